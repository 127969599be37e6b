// One schedule: what it has planned, and what became of each planned time, with the reason.
import { call, get, getExact, path, post, remove } from "../api.js";
import { h, renew, replace } from "../dom.js";
import { duration, person, personText, shortId, time, timeText, titleOf, whole, zone as ownZone } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { go, setQuery, to } from "../router.js";
import { isOfRun, me, resource } from "../store.js";
import { brief } from "../text.js";
import { badge, mark, tag } from "../ui/badge.js";
import { block, id } from "../ui/copy.js";
import { confirm } from "../ui/dialog.js";
import { empty, fault, lost } from "../ui/empty.js";
import { jsonBlock } from "../ui/json.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";
import { clockNote, inZone, nextChange, offsetOf, offsetText } from "./zones.js";
import { isOfSchedule, Misfires, Overlaps, slotsOf, spanText, whenOf } from "./schedules.js";

const PageRows = 200;
const Ahead = 50;
// What a day of the calendar counts ahead; with more the day says so.
const AheadMax = 1_000;
const Day = 86_400_000;
const WeeksBack = 3;
const WeeksAhead = 2;
const Kinds = {
    fired: ["proven", "fired"], caught_up: ["proven", "caught up"], triggered: ["model", "by hand"], skipped: ["refused", "no run"], replanned: ["person", "planned anew"],
    created: ["wait", "made"], changed: ["wait", "changed"], paused: ["person", "paused"], resumed: ["wait", "resumed"],
};
const HasRun = new Set(["fired", "caught_up"]);

export default async function page({ root, signal, params, query, title }) {
    const schedule = params.schedule;
    let details = null;
    let entries = [];
    let before = null;
    let ahead = [];
    let day = query.get("day");
    let from = query.get("from");
    const head = h("div");
    const calendar = h("section", { "aria-label": "Calendar" });
    const ledgerHead = h("div.section-head.section");
    const ledger = h("div");
    const plan = h("aside.inspector", { "aria-label": "What is planned", tabindex: "0" });
    replace(root, head, h("div.split", h("div", calendar, ledgerHead, ledger), plan));

    const view = table({
        label: "Ledger", id: row => row.version, href: row => row.run_id ? to("runs", row.run_id) : to("schedules", schedule, { day: dayOf(Date.parse(row.slot ?? row.at)) }),
        columns: [
            { title: "What", nowrap: true, show: row => tag(...Kinds[row.kind] ?? ["wait", row.kind]) },
            { title: "Planned", nowrap: true, show: row => row.slot ? h("span", time(row.slot), row.through && [" … ", time(row.through)]) : h("span.faint", "–") },
            { title: "Why", fill: true, link: true, cut: false, class: "why", show: row => whyOf(row) },
            { title: "Run", nowrap: true, hide: true, show: row => row.run_id ? [row.status && badge(row.status), " ", h("span.mono.muted", shortId(row.run_id))] : "" },
            { title: "Decided", num: true, hide: true, show: row => h("span.muted", time(row.at)) },
        ],
    });
    listKeys(view, signal);
    const foot = h("div.more");
    view.card.append(foot);

    const source = resource({
        load: async s => {
            const answer = await getExact(path`/schedules/${schedule}/ledger`, { limit: PageRows }, s);
            const slots = answer.schedule.next_run_at ? await slotsOf(answer.schedule, answer.schedule.cron ? AheadMax : Ahead, s) : [];
            return { answer, slots };
        },
        when: event => isOfSchedule(event) || isOfRun(event) && entries.some(entry => entry.run_id === event.run_id), signal, gap: 1_000,
        fail: error => lost(error, { root, head, crumbs: crumbs(), word: "Schedule", again: () => source.refresh() }),
        show: ({ answer, slots }) => {
            details = answer.schedule;
            ahead = slots;
            const oldest = answer.entries.at(-1)?.version ?? 0;
            const kept = entries.filter(entry => entry.version < oldest);
            before = kept.length > 0 ? before : answer.next_before;
            entries = [...answer.entries, ...kept];
            title(details.name);
            draw();
        },
    });

    const canSwitch = () => me.may(details.skill_id ? "pauseSchedule" : "changePromptSchedule");
    const canRun = () => me.may(details.skill_id ? "triggerSchedule" : "runPromptSchedule");
    pageKeys([
        { key: "p", does: "Pause, or go on", run: () => details && canSwitch() && turn() },
        { key: "0", does: "All days", run: () => pick(null) },
    ], signal);

    function crumbs() {
        return h("ol.crumbs", h("li", h("a", { href: to("schedules") }, "Schedules")), h("li", id(schedule)));
    }

    function draw() {
        drawHead();
        drawCalendar();
        drawLedger();
        drawPlan();
    }

    function drawHead() {
        const isPaused = details.status === "paused";
        renew(head, crumbs(),
            h("div.head", h("h1", brief(details.name, 120)), badge(details.status), h("span.muted", whenOf(details)), h("span.actions",
                canRun() && h("button", { type: "button", on: { click: run } }, "Run it now"),
                canSwitch() && h("button", { type: "button", on: { click: turn } }, isPaused ? "Resume" : "Pause"),
                me.may(details.skill_id ? "deleteSchedule" : "deletePromptSchedule") && h("button.danger", { type: "button", on: { click: forget } }, "Delete"))));
    }

    function drawCalendar() {
        const now = Date.now();
        const monday = startOf(now) - ((new Date(now).getDay() + 6) % 7) * Day;
        const step = details.interval_seconds * 1_000;
        const firstAhead = details.next_run_at ? Date.parse(details.next_run_at) : null;
        // An interval's planned times are counted by division, however many they are.
        const plannedOn = at => step && firstAhead !== null ? Math.max(0, Math.ceil((startOf(at + Day * 1.5) - firstAhead) / step) - Math.max(0, Math.ceil((at - firstAhead) / step))) : 0;
        const days = new Map();
        const count = (at, kind, n = 1) => {
            const key = dayOf(at);
            const of = days.get(key) ?? days.set(key, { fired: 0, skipped: 0, paused: 0, planned: step ? plannedOn(startOf(at)) : 0 }).get(key);
            of[kind] += n;
        };
        for (const entry of entries) {
            if (HasRun.has(entry.kind) || entry.kind === "triggered") {
                count(Date.parse(entry.slot ?? entry.at), "fired");
            } else if (entry.kind === "skipped") {
                count(Date.parse(entry.slot), "skipped", entry.count ?? 1);
            } else if (entry.kind === "paused") {
                count(Date.parse(entry.at), "paused");
            }
        }
        step || ahead.forEach(at => count(at, "planned"));
        const known = before === null ? -Infinity : Date.parse(entries.at(-1)?.at ?? 0);
        const counted = !step && ahead.length === AheadMax ? ahead.at(-1) : Infinity;
        const cells = [];
        for (let i = -7 * WeeksBack; i < 7 * WeeksAhead; i++) {
            // By noon, so that a day with a change of the clocks is no other day.
            const at = startOf(monday + i * Day + Day / 2);
            const key = dayOf(at);
            const { fired = 0, skipped = 0, paused = 0, planned = plannedOn(at) } = days.get(key) ?? {};
            const isPast = at + Day <= now;
            const words = [fired && `${whole(fired)} ran`, skipped && `${whole(skipped)} did not`, paused && "paused", planned && `${at < counted && counted < at + Day ? "more than " : ""}${whole(planned)} planned`].filter(Boolean);
            const isUnknown = isPast && at < known - Day;
            cells.push(h("button.day", {
                type: "button", data: { at: key }, class: `${key === dayOf(now) ? "today" : ""} ${key === day ? "at" : ""}`, "aria-pressed": key === day, on: { click: () => pick(key === day ? null : key) },
            },
                // Marks with counts say nothing to who cannot see them: the day has a sentence for its name.
                h("span.sr", `${dateText(at)}: ${words.join(", ") || (isUnknown ? "not read yet" : "nothing")}`),
                h("span.date", { "aria-hidden": "true" }, new Date(at).getDate() === 1 || i === -7 * WeeksBack ? dateText(at) : String(new Date(at).getDate())),
                h("span.counts", { "aria-hidden": "true" }, fired > 0 && h("span.kind-proven", mark("proven"), whole(fired)), skipped > 0 && h("span.kind-refused", mark("refused"), whole(skipped)),
                    paused > 0 && h("span.kind-person", mark("person")), planned > 0 && h("span.kind-planned", h("i.ring"), counted < at + Day && at <= counted ? `${whole(planned)}+` : whole(planned)),
                    words.length === 0 && (isUnknown || at > counted) && h("span.faint", "…"))));
        }
        renew(calendar, h("div.section-head", h("h2", "Calendar"), h("ul.legend", h("li", mark("proven"), "ran"), h("li", mark("refused"), "did not"), h("li", mark("person"), "paused"), h("li", h("i.ring"), "planned")),
            day && h("span.actions", h("button.quiet", { type: "button", on: { click: () => pick(null) } }, "All days"))),
            h("div.card.calendar", ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].map(name => h("span.day-name", { "aria-hidden": "true" }, name)), cells));
    }

    function drawLedger() {
        const shown = day ? entries.filter(entry => dayOf(Date.parse(entry.slot ?? entry.at)) === day || entry.through && dayOf(Date.parse(entry.slot)) <= day && day <= dayOf(Date.parse(entry.through))) : entries;
        replace(ledgerHead, h("h2", "Ledger"), h("span.muted", day ? `of ${dateText(Date.parse(`${day}T12:00:00`))}` : before === null ? whole(shown.length) : `the newest ${whole(shown.length)}`));
        view.update(shown);
        replace(foot, h("button.quiet", { type: "button", on: { click: further } }, "Earlier ones"));
        foot.classList.toggle("hidden", before === null);
        replace(ledger, shown.length > 0 || before !== null ? view.card : h("div.card", day ? empty("Nothing was decided on that day")
            : empty("Nothing was decided yet", "Its planned times are, when they come; a run can be started by hand, too.",
                ["POST", details.skill_id ? path`/scheduled-runs/${schedule}/trigger` : path`/api/v1/schedules/${schedule}/run`, {}])));
    }

    async function further() {
        try {
            const answer = await get(path`/schedules/${schedule}/ledger`, { limit: PageRows, before }, signal);
            entries.push(...answer.entries);
            before = answer.next_before;
            drawCalendar();
            drawLedger();
        } catch (error) {
            error.name !== "AbortError" && replace(foot, fault(error, further));
        }
    }

    function pick(key) {
        day = key;
        setQuery({ day });
        drawCalendar();
        drawLedger();
    }

    function whyOf(row) {
        const note = row.slot && details.cron && clockNote(Date.parse(row.slot), details.timezone);
        return [h("span", sentence(row)), note && h("span.clock-note", " ", tag("person", "clock"), " ", note)];
    }

    function sentence(row) {
        const late = row.slot ? Date.parse(row.at) - Date.parse(row.slot) : 0;
        const skipped = row.through ? row.count ? `${whole(row.count)} planned times: ` : "More planned times than are counted: " : "";
        switch (row.kind) {
            case "fired":
                return late < 1_000 ? "On time." : `${duration(late)} after its time.`;
            case "caught_up":
                return `It was missed, and was caught up ${duration(late)} later (misfire: ${details.misfire}).`;
            case "triggered":
                return `Started by ${personText(row.by)}.`;
            case "skipped":
                return [skipped, row.reason === "missed" ? `No host could start it in time (misfire: ${details.misfire}). ` : row.reason === "overlap" ? "The run before had not ended (overlap: skip). " : h("code", row.reason), " ",
                    h("span.muted", brief(row.detail ?? "", 300))];
            case "replanned":
                return `The clock of the host was set back. ${row.detail ?? ""}`;
            case "created":
                return `Made by ${personText(row.by)}${row.next_run_at ? "" : ", paused"}.`;
            case "changed":
                return `Changed by ${personText(row.by)}: planned from then.`;
            case "paused":
                return [`Paused by ${personText(row.by)}. `, h("span.muted", leftOut(row))];
            case "resumed":
                return `Resumed by ${personText(row.by)}: planned from then.`;
            default:
                return row.detail ?? row.reason ?? "";
        }
    }

    // What would have been planned while it was paused.
    function leftOut(row) {
        const until = entries.findLast(entry => entry.version > row.version && entry.kind === "resumed");
        const span = (until ? Date.parse(until.at) : Date.now()) - Date.parse(row.at);
        const times = details.interval_seconds ? Math.floor(span / details.interval_seconds / 1000) : null;
        return `${until ? "For" : "Since"} ${duration(span)}: times in it are not planned, and do not count as missed${times ? ` (about ${whole(times)})` : ""}.`;
    }

    async function drawPlan() {
        const zone = details.timezone ?? ownZone;
        const what = details.skill_id
            ? [h("dt", "Skill"), h("dd", h("a", { href: to("skills", details.skill_id, details.skill_version ? { version: details.skill_version } : {}) }, shortId(details.skill_id)), details.skill_version ? `, version ${details.skill_version}` : ", the latest version")]
            : [h("dt", "Project"), h("dd.mono", shortId(details.project_id))];
        const list = drawPlan.list ??= h("div");
        renew(plan, h("dl.facts", what,
            h("dt", "Session"), h("dd", details.session_id ? h("a", { href: to("sessions", details.session_id), title: details.session_id }, brief(details.session_id, 40)) : "a new one each time"),
            h("dt", "Acts for"), h("dd", person(details.created_by)), h("dt", "Missed"), h("dd", Misfires[details.misfire] ?? details.misfire), h("dt", "Overlap"), h("dd", Overlaps[details.overlap] ?? details.overlap),
            h("dt", "Runs"), h("dd", h("a", { href: to("runs", { schedule_id: schedule }) }, "all of its runs"))),
            details.prompt && [h("h3", { style: { margin: "14px 0 4px" } }, "Prompt"), block(details.prompt, { label: "Prompt" })],
            details.params && Object.keys(details.params).length > 0 && jsonBlock("Parameters", details.params),
            h("div.code-head", h("h3", from ? `${Ahead} from ${dateText(Date.parse(from))} on` : `The next ${Ahead}`)),
            details.cron && h("p", h("button", { type: "button", on: { click: toChange } }, "To the next change of the clocks"), from && h("button.quiet", { type: "button", on: { click: () => look(null) } }, "From now")), list);
        const signature = `${details.next_run_at} ${from} ${details.cron} ${zone}`;
        if (drawPlan.of === signature) {
            return;
        }
        drawPlan.of = signature;
        try {
            const start = from ? Date.parse(from) : null;
            const slots = from === null ? ahead.slice(0, Ahead) : await slotsOf(details, Ahead, signal, start);
            replace(list, slots.length === 0 ? h("p.muted", details.status === "paused" ? "It is paused: nothing is planned." : "No more come.") : table50(slots, zone));
        } catch (error) {
            error.name !== "AbortError" && replace(list, fault(error));
        }
    }

    function table50(slots, zone) {
        let last = offsetOf(Date.now(), zone);
        return h("ol.slots", slots.map(at => {
            const offset = offsetOf(at, zone);
            const note = details.cron && clockNote(at, zone);
            const isOther = offset !== last;
            last = offset;
            return h("li", { class: isOther || note ? "change" : "" },
                h("time", { datetime: new Date(at).toISOString(), title: titleOf(at) }, inZone(at, zone, details.interval_seconds % 60 > 0)),
                h("span.mono", { class: isOther ? "kind-person" : "faint" }, offsetText(offset)),
                note && h("p.small", note), isOther && !note && h("p.small", "By other clocks than the time before."));
        }), h("li.small.muted", details.cron ? `Times of ${zone}; here the first is ${timeText(new Date(slots[0]).toISOString())}.` : `Times of ${zone}, every ${spanText(details.interval_seconds)}.`));
    }

    function look(at) {
        from = at === null ? null : new Date(at).toISOString();
        setQuery({ from });
        drawPlan();
    }

    function toChange() {
        const change = nextChange(from ? Date.parse(from) + 2 * Day : Date.now(), details.timezone);
        change === null ? toast(`The clocks of ${details.timezone} are not changed.`) : look(change - Day);
    }

    async function turn() {
        const isPaused = details.status === "paused";
        if (!isPaused && !await confirm("Pause the schedule?", "What is planned is forgotten until it is resumed; runs that go on are not stopped.", "Pause it")) {
            return;
        }
        try {
            await (details.skill_id ? post(path`/scheduled-runs/${schedule}/${isPaused ? "resume" : "pause"}`)
                : call("PATCH", path`/api/v1/schedules/${schedule}`, { body: { status: isPaused ? "active" : "paused" } }));
            source.refresh();
        } catch (error) {
            toast(error.message, { bad: true });
        }
    }

    async function forget() {
        if (!await confirm("Delete the schedule?", "Nothing is planned by it any more; runs that it started go on, and the log keeps its ledger.", "Delete")) {
            return;
        }
        try {
            await remove(details.skill_id ? path`/scheduled-runs/${schedule}` : path`/api/v1/schedules/${schedule}`);
            toast("The schedule is deleted");
            go(to("schedules"), signal);
        } catch (error) {
            toast(error.message, { bad: true });
        }
    }

    async function run() {
        try {
            const made = await (details.skill_id ? post(path`/scheduled-runs/${schedule}/trigger`) : post(path`/api/v1/schedules/${schedule}/run`));
            toast("It has begun", made.run_id ? { action: "Open it", run: () => go(to("runs", made.run_id)) } : {});
            source.refresh();
        } catch (error) {
            toast(error.message, { bad: true });
        }
    }
}

// The reader's day: 2026-11-30.
function dayOf(ms) {
    const date = new Date(ms);
    return `${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, "0")}-${String(date.getDate()).padStart(2, "0")}`;
}

function startOf(ms) {
    const date = new Date(ms);
    date.setHours(0, 0, 0, 0);
    return date.getTime();
}

const dates = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

function dateText(ms) {
    return dates.format(new Date(ms));
}
