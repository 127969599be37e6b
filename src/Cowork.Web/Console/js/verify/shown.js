// What a page shows of events against the events of a verified bundle: the feed's form of an event is made of what was recorded, member by member, and is the page's, or is named.

import { membersOf, read } from "../exact.js";

// Characters of a tool's result that the feed shows.
const PreviewMax = 2_000;
const Money = /_micro_usd$/;
// What a double has room for: what has more digits is another number in canonical form.
const DigitsMax = 17;

/**
 * Compares the events of a page with those of a bundle.
 * @param {object[]} events As the feed of the run gives them, read by exact.js.
 * @param {object[]} rows As the report of a verified bundle has them.
 * @param {number} had Events that the page had before it asked for the bundle. Those that came since may be behind its end.
 * @returns {{fault: ?string, others: {event: object, names: string[]}[]}} Why they are not the same events; and those of which something else is shown.
 */
export function compare(events, rows, had) {
    if (events.length < rows.length || had > rows.length) {
        return { fault: `The bundle has ${rows.length} events, and this page ${Math.min(events.length, Math.max(had, rows.length))}.`, others: [] };
    }
    const at = rows.findIndex((row, i) => row.hash !== events[i].hash);
    if (at >= 0) {
        return { fault: `Event ${at + 1} of the bundle is not event ${at + 1} of this page: its hash is another.`, others: [] };
    }
    return { fault: null, others: rows.map((row, i) => ({ event: events[i], names: namesOf(events[i], row) })).filter(({ names }) => names.length > 0) };
}

/** The members of an event of which the page shows something else than was recorded. */
function namesOf(event, row) {
    const names = Object.keys(row).filter((name) => name !== "payload" && row[name] !== (event[name] ?? null));
    const given = new Map(membersOf(event.payload ?? {}).map(([name, value, number]) => [name, [value, number]]));
    const recorded = read(row.payload);
    const all = membersOf(event.payload ?? {}).length;
    for (const [name, value, number] of shownOf(row.type, recorded)) {
        const found = given.get(name);
        given.delete(name);
        if (found === undefined || !isShown(name, value, number, ...found)) {
            names.push(name);
        }
    }
    names.push(...given.keys());
    return all === new Set(membersOf(event.payload ?? {}).map(([name]) => name)).size ? names : [...names, "payload"];
}

/** [name, value, number] of each member that the feed shows of recorded data. */
function shownOf(type, data) {
    const members = membersOf(data);
    switch (type) {
        case "llm_response":
            return [...inUsd(members.filter(([name]) => name !== "reasoning")), ...(members.some(([name]) => name === "cost_micro_usd") ? [] : [["cost_usd", null]])];
        case "run_completed":
            return inUsd(members);
        case "model_retried":
        case "run_failed":
            return within(members, "usage");
        case "memory_written":
            return within(members, "notes");
        case "tool_result":
            return members.map(([name, value, number]) => name !== "content" ? [name, value, number] : ["content_preview", typeof value === "string" ? preview(value) : value, number]);
        default:
            return type.startsWith("budget_") ? inUsd(members) : members;
    }
}

const inUsd = (members) => members.map(([name, value, number]) => Money.test(name) ? [name.replace(Money, "_usd"), value / 1e6] : [name, value, number]);

const within = (members, part) => members.map(([name, value, number]) =>
    name === part && value !== null && typeof value === "object" ? [name, Object.fromEntries(inUsd(membersOf(value)).map(([of, each]) => [of, each]))] : [name, value, number]);

const preview = (text) => {
    const cut = text.slice(0, PreviewMax);
    return cut.length < text.length && /[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut;
};

function isShown(name, value, number, given, givenNumber) {
    if ((name === "input" || name === "tool_input") && typeof value === "string" && given !== null && typeof given === "object") {
        // The text that the model wrote, read.
        try {
            return isSame(read(value), undefined, given, undefined);
        } catch {
            return false;
        }
    }
    return isSame(value, number, given, givenNumber);
}

function isSame(a, numberA, b, numberB) {
    if (a === null || b === null || typeof a !== "object" || typeof b !== "object") {
        return typeof a === "number" && typeof b === "number" ? isNumber(numberA ?? String(a), numberB ?? String(b)) : a === b;
    }
    if (Array.isArray(a) !== Array.isArray(b)) {
        return false;
    }
    const [left, right] = [a, b].map((each) => Array.isArray(each) ? membersOf(each) : membersOf(each).toSorted(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0)));
    return left.length === right.length && left.every(([name, value, number], i) => name === right[i][0] && isSame(value, number, right[i][1], right[i][2]));
}

const isNumber = (recorded, given) => recorded === given
    || recorded === String(Number(given)) && given.replace(/e.*$/i, "").replace(/\D/g, "").replace(/^0+|0+$/g, "").length <= DigitsMax;
