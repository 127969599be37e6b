// Reads the data of events by the shapes that the host stores them in (shapes.js).

import { LIST, NUMBER, OBJECT, TEXT } from "./json.js";
import { isInteger } from "./members.js";
import { EVENTS, RUN_EVENTS, SHAPES } from "./shapes.js";

const INT_MAX = 2 ** 31;
const runEvents = new Set(RUN_EVENTS);

/** The event lies in a run's own stream. */
export const isRunEvent = (type) => runEvents.has(type);

/**
 * The data of an event as a plain object, with what a missing number or flag stands for.
 * @throws {Error} No event has the name, or the data is not of its shape.
 */
export function read(type, part) {
    if (!Object.hasOwn(EVENTS, type)) {
        throw new Error(`This version knows no event "${type}".`);
    }
    if (part.value === null) {
        throw new Error(`A ${type} is null.`);
    }
    return record(EVENTS[type], part, "$");
}

function record(shape, part, at) {
    if (part.kind !== OBJECT) {
        throw new Error(`${at} is no object.`);
    }
    const object = Object.create(null);
    for (const [name, kind] of Object.entries(SHAPES[shape])) {
        const found = part.get(name);
        if (found !== undefined) {
            object[name] = value(kind, found, `${at}.${name}`);
        } else if (kind === "int!" || kind === "long!") {
            object[name] = 0;
        } else if (kind === "bool!") {
            object[name] = false;
        } else if (kind[0] === "=" && kind.endsWith("!")) {
            [object[name]] = kind.slice(1, -1).split("|");
        } else {
            object[name] = null;
        }
    }
    return object;
}

/** @param kind The name of a kind; with `!`: null is none of its values. */
function value(kind, part, at) {
    const isRequired = kind.endsWith("!");
    const name = isRequired ? kind.slice(0, -1) : kind;
    if (part.value === null) {
        if (isRequired) {
            throw new Error(`${at} is null.`);
        }
        return null;
    }
    switch (name[0]) {
        case "[":
            if (part.kind !== LIST) {
                break;
            }
            return part.value.map((item, i) => value(name.slice(1), item, `${at}[${i}]`));
        case "{":
            if (part.kind !== OBJECT) {
                break;
            }
            return Object.fromEntries([...part.value].map(([member, item]) => [member, value(name.slice(1), item, `${at}.${member}`)]));
        case "@":
            return record(name.slice(1), part, at);
        case "=": {
            const known = name.slice(1).split("|");
            const found = part.kind === TEXT ? known.find((one) => one === part.value.toLowerCase()) : isInteger(part) ? known[Number(part.value)] ?? part.value : undefined;
            if (found === undefined) {
                break;
            }
            return found;
        }
    }
    switch (name) {
        case "any":
            return part.plain();
        case "text":
        case "id":
            if (part.kind === TEXT) {
                return part.value;
            }
            break;
        case "time":
            if (part.kind === TEXT && /^\d{4}-\d\d-\d\d(T|$)/.test(part.value) && !Number.isNaN(Date.parse(part.value))) {
                return part.value;
            }
            break;
        case "int":
        case "long":
            if (isInteger(part) && (name === "long" || (Number(part.value) >= -INT_MAX && Number(part.value) < INT_MAX))) {
                return Number(part.value);
            }
            break;
        case "number":
            if (part.kind === NUMBER) {
                return Number(part.value);
            }
            break;
        case "bool":
            if (typeof part.value === "boolean") {
                return part.value;
            }
            break;
        case "content":
            return content(part, at);
    }
    throw new Error(`${at} is none of the kind ${name}.`);
}

/** A text in one of its three forms: itself, where it lies, or its ciphertext. */
function content(part, at) {
    if (part.kind === TEXT) {
        return part.value;
    }
    const texts = (...names) => part.kind === OBJECT && names.every((name) => part.get(name)?.kind === TEXT);
    if (texts("sha256") && isInteger(part.get("bytes"))) {
        return { sha256: part.get("sha256").value, bytes: Number(part.get("bytes").value) };
    }
    if (part.get("sha256") === undefined && texts("enc", "subject", "ciphertext")) {
        return { enc: part.get("enc").value, subject: part.get("subject").value, ciphertext: part.get("ciphertext").value };
    }
    throw new Error(`${at} is no text.`);
}
