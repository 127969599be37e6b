// The tenant's schedules of both kinds, and what each has planned for the next day.
import { get, pages as paged } from "../api.js";
import { debounce, h, replace, svg } from "../dom.js";
import { left, time, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { setQuery, to } from "../router.js";
import { me, resource } from "../store.js";
import { brief } from "../text.js";
import { badge } from "../ui/badge.js";
import { choice } from "../ui/chips.js";
import { empty, fault } from "../ui/empty.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";

const Day = 86_400_000;
// Of one row.
const SlotsMax = 500;
const Places = 190;
// Strips of rows further down are not asked for.
const StripsMax = 60;
const Statuses = ["active", "paused"];
export const Misfires = { one: "the last missed time is caught up", none: "missed times are left out", all: "the last 100 missed times are caught up" };
export const Overlaps = { skip: "a time is left out while the run before goes on", queue: "runs wait for each other", parallel: "runs may go at the same time" };

export const isOfSchedule = event => event.type.startsWith("schedule_");

export default async function page({ root, signal, query }) {
    const head = h("span.muted");
    const list = h("div");
    let status = Statuses.includes(query.get("status")) ? query.get("status") : null;
    const mayMake = me.may("createSchedule") || me.may("createPromptSchedule");
    const search = h("input", { type: "search", placeholder: "Name or prompt", "aria-label": "Name or prompt", value: query.get("q") ?? "", data: { search: "" } });
    const chips = choice({ label: "States", choices: Statuses.map(word => [word, word]), at: status, choose: chosen => {
        status = chosen;
        setQuery({ status });
        draw();
    } });
    replace(root, h("div.head", h("h1", "Schedules"), head, mayMake && h("span.actions",
        h("button", { type: "button", on: { click: make } }, "New schedule ", h("kbd.button-kbd", "n")))), h("div.filters", { role: "search" }, search, chips), list);
    mayMake && pageKeys([{ key: "n", does: "New schedule", run: make }], signal);
    const strips = new Map();
    const view = table({
        label: "Schedules", id: row => row.schedule_id, href: row => to("schedules", row.schedule_id),
        columns: [
            { title: "State", show: row => badge(row.status) },
            { title: "Name", fill: true, link: true, show: row => brief(row.name, 120) },
            { title: "Runs", nowrap: true, hide: true, show: row => row.skill_id ? h("a.above.muted", { href: to("skills", row.skill_id) }, "a skill", row.skill_version ? `, version ${row.skill_version}` : "") : h("span.muted", "a prompt") },
            { title: "When", text: true, hide: true, show: row => whenOf(row) },
            { title: "The next 24 hours", hide: true, show: row => strips.get(row.schedule_id) ?? strips.set(row.schedule_id, h("div.strip")).get(row.schedule_id) },
            { title: "Last", num: true, hide: true, show: row => h("span.muted", time(row.last_run_at)) },
            { title: "Next", num: true, show: row => row.next_run_at ? [time(row.next_run_at), " ", h("span.muted.narrow-hide", left(row.next_run_at, { prefix: "in ", suffix: "" }))] : h("span.faint", "–") },
        ],
    });
    listKeys(view, signal);
    let rows = [];
    let isCut = false;

    function draw() {
        const shown = rows.filter(row => !status || row.status === status);
        view.update(shown);
        replace(head, isCut ? `the newest ${whole(rows.length)}` : whole(rows.length));
        replace(list, rows.length === 0 && !search.value.trim() ? h("div.card", empty("No schedules yet", "A schedule runs a skill by an interval, or a prompt by a cron expression.",
            ["POST", "/api/v1/schedules", { project_id: "proj_00000000000000000000000000", cron: "0 9 * * MON-FRI", timezone: "Europe/Berlin", prompt: "What is new?" }]))
            : shown.length === 0 ? h("div.card", empty("No schedule is like that")) : view.card);
        shown.slice(0, StripsMax).forEach(strip);
    }

    async function make() {
        try {
            const { makeSchedule } = await import("./schedule-form.js");
            await makeSchedule(Misfires, Overlaps, signal);
        } catch (error) {
            error.name !== "AbortError" && toast(error.message, { bad: true });
        }
    }

    async function strip(row) {
        const slot = strips.get(row.schedule_id);
        if (!slot || slot.of === row.next_run_at) {
            return;
        }
        slot.of = row.next_run_at;
        const from = Date.now();
        const marks = row.next_run_at ? await marksOf(row, from, signal).catch(() => null) : [];
        if (marks === null) {
            replace(slot, h("span.faint", "not known"));
            return;
        }
        replace(slot, svg("svg.chart", { viewBox: "0 0 192 16", width: 192, height: 16, role: "img", "aria-label": marks.length === 0 ? "nothing is planned" : "planned times" },
            svg("line.axis", { x1: 0, x2: 192, y1: 15.5, y2: 15.5 }), [6, 12, 18].map(hour => svg("line.axis", { x1: hour * 8, x2: hour * 8, y1: 12, y2: 16 })),
            spansOf(marks).map(([x, end]) => svg("rect", { class: "fill-model", x, y: 3, width: end - x + 1.5, height: 11 }))));
    }

    search.addEventListener("input", debounce(() => {
        setQuery({ q: search.value.trim() });
        source.refresh();
    }, 150));
    const source = resource({
        load: async s => {
            const asked = { q: search.value.trim(), limit: 1000 };
            const [first, other] = await Promise.all([paged("/scheduled-runs", "scheduled_runs", asked, s), get("/api/v1/schedules", asked, s)]);
            const prompts = other.data.map(each => ({ ...each, schedule_id: each.id, name: brief(each.prompt, 160), skill_id: null }));
            return { rows: [...first.rows, ...prompts].sort((a, b) => a.created_at < b.created_at ? 1 : -1), isCut: first.next !== null || other.has_more };
        },
        when: isOfSchedule, signal, gap: 1_000, isLate: () => search.value.trim() !== "", fail: error => replace(list, fault(error, () => source.refresh())),
        show: value => {
            ({ rows, isCut } = value);
            draw();
        },
    });
}

// Where the planned times of a day stand, no two at one place. An expression has no more than one in a minute, so that few requests are enough for all of them.
async function marksOf(row, from, signal) {
    const place = at => Math.round((at - from) / Day * Places);
    if (!row.cron && row.interval_seconds * 1_000 < Day / Places) {
        const first = Math.max(0, place(Date.parse(row.next_run_at)));
        return Array.from({ length: Math.max(0, Places - first) }, (_, i) => first + i);
    }
    const marks = new Set();
    for (let start = null; ;) {
        const times = await slotsOf(row, SlotsMax, signal, start);
        times.filter(at => at < from + Day).forEach(at => marks.add(place(at)));
        const last = times.at(-1);
        if (times.length < SlotsMax || last >= from + Day || last <= start) {
            return [...marks];
        }
        start = last;
    }
}

// Places that touch are one.
function spansOf(marks) {
    const spans = [];
    for (const x of marks.toSorted((a, b) => a - b)) {
        if (spans.at(-1)?.[1] === x - 1) {
            spans.at(-1)[1] = x;
        } else {
            spans.push([x, x]);
        }
    }
    return spans;
}

export function whenOf(row) {
    return row.cron ? [h("code", row.cron), " ", h("span.muted", row.timezone)] : `every ${spanText(row.interval_seconds)}`;
}

export function spanText(seconds) {
    const [n, unit] = seconds % 86_400 === 0 ? [seconds / 86_400, "day"] : seconds % 3_600 === 0 ? [seconds / 3_600, "hour"] : seconds % 60 === 0 ? [seconds / 60, "minute"] : [seconds, "second"];
    return n === 1 ? unit : `${whole(n)} ${unit}s`;
}

// The next planned times, in ms: by the host's own calculation, or an interval's.
export async function slotsOf(row, count, signal, from = null) {
    if (row.cron) {
        const { next } = await get("/api/v1/schedules/preview", { cron: row.cron, timezone: row.timezone, count, from: from === null ? null : new Date(from).toISOString() }, signal);
        return next.map(at => Date.parse(at));
    }
    const step = row.interval_seconds * 1_000;
    const first = Date.parse(row.next_run_at);
    if (!row.next_run_at) {
        return [];
    }
    const begin = from === null ? first : first + Math.max(0, Math.ceil((from - first) / step)) * step;
    return Array.from({ length: count }, (_, i) => begin + i * step);
}
