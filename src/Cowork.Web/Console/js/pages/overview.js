// What waits for a person, what goes on, what it costs.
import { get } from "../api.js";
import { h, renew, replace } from "../dom.js";
import { age, cost, duration, inZone, left, percent, time, timeText, whole } from "../format.js";
import { listKeys } from "../keys.js";
import { to } from "../router.js";
import { isOfApproval, isOfRun, resource } from "../store.js";
import { badge, mark } from "../ui/badge.js";
import { bars, legend } from "../ui/charts.js";
import { ailing } from "../ui/behind.js";
import { empty, fault } from "../ui/empty.js";
import { inTurn, table } from "../ui/table.js";
import { waitingCalls } from "./approvals.js";

const Shown = 8;
// Figures are the tenant's; events of runs come to who sees their sessions.
const Every = 30_000;

export default async function page({ root, signal }) {
    const waiting = h("div");
    const figures = h("dl.card.figures");
    const chart = h("div.card.pad");
    const heldUp = h("p.small.faint");
    const going = h("div");
    const failed = h("div");
    const next = h("div");
    const first = h("div");
    const ill = h("div");
    replace(root,
        h("div.head", h("h1", "Overview")), ill, first,
        h("section", { "aria-labelledby": "needs" }, h("div.section-head", h("h2", { id: "needs" }, "Needs a person"), h("span.actions", h("a.small.muted", { href: to("approvals") }, "All approvals"))), waiting),
        h("section.section", { "aria-label": "Figures" }, figures),
        h("section.section", { "aria-labelledby": "day" }, h("div.section-head", h("h2", { id: "day" }, "The last 24 hours"), heldUp,
            h("span.actions", legend([["proven", "completed"], ["refused", "failed"], ["wait", "cancelled"]], mark))), chart),
        h("div.grid-2.section",
            h("section", { "aria-labelledby": "going" }, h("div.section-head", h("h2", { id: "going" }, "Going on"), h("span.actions", h("a.small.muted", { href: to("runs") }, "All runs"))), going),
            h("section", { "aria-labelledby": "failed" }, h("div.section-head", h("h2", { id: "failed" }, "Failed lately"),
                h("span.actions", h("a.small.muted", { href: to("runs", { status: "failed" }) }, "All that failed"))), failed)),
        h("section.section", { "aria-labelledby": "next" }, h("div.section-head", h("h2", { id: "next" }, "Next slots")), next));

    ailing(ill, signal);
    const inbox = table({
        label: "Calls that wait for a person", id: row => row.approval_id, href: row => to("approvals", { at: row.approval_id }),
        columns: [
            { title: "Waits", show: row => age(row.created_at, { suffix: "" }), nowrap: true },
            { title: "Call", fill: true, link: true, show: row => [h("b", row.tool_name), " ", h("span.muted", row.reason)] },
            { title: "Session", hide: true, text: true, show: row => h("span.muted", row.session_id) },
            { title: "Rule", hide: true, text: true, show: row => h("code.muted", row.rule) },
            { title: "Expires", num: true, show: row => h("span.muted", left(row.expires_at, { prefix: "in ", suffix: "" })) },
        ],
    });
    const more = h("div.more.hidden");
    inbox.card.append(more);
    listKeys(inTurn(() => [inbox, goingOn, failedLately, slotted]), signal);
    resource({
        load: s => waitingCalls(get, s), when: isOfApproval, signal, fail: error => replace(waiting, fault(error)),
        show: rows => {
            if (rows.length === 0) {
                inbox.update([]);
                replace(waiting, h("p.card.pad.muted", mark("proven"), " Nothing waits for a person."));
                return;
            }
            inbox.update(rows.slice(0, Shown));
            const left = rows.length - Shown;
            more.classList.toggle("hidden", left <= 0);
            renew(more, h("a", { href: to("approvals") }, `${left} more`));
            replace(waiting, inbox.card);
        },
    });

    const state = {};
    const draw = () => {
        const { counts, budget, metrics, day } = state;
        if (!counts) {
            return;
        }
        const execution = metrics?.latency?.execution;
        renew(figures, [
            ["Running now", whole(counts.running), to("runs", { status: "running" })],
            ["Queued now", whole(counts.queued), to("runs", { status: "queued" })],
            ["Waiting now", whole(counts.approval_required), to("approvals"), counts.approval_required > 0 ? "alarm" : ""],
            ["Completed, 24 h", whole(day?.completed), to("runs", { status: "completed", since: day?.since })],
            ["Failed, 24 h", whole(day?.failed), to("runs", { status: "failed", since: day?.since }), day?.failed > 0 ? "bad" : ""],
            ["Success, 24 h", percent(day && day.completed + day.failed > 0 ? day.completed / (day.completed + day.failed) : null)],
            ["Median, all time", duration(execution?.p50 === null || execution?.p50 === undefined ? null : execution.p50 * 1000)],
            ["Cost today", budget ? spent(budget) : "–", null, !budget ? "" : budget.remaining_usd <= 0 ? "bad" : budget.spent_usd >= budget.soft_limit_usd ? "alarm" : ""],
        ].map(([name, value, href, kind]) => h("div.figure", { class: kind ?? "" }, h("dt", name), h("dd", href ? h("a", { href }, value) : value))));
        replace(first, counts.total === 0 && h("div.card.begin", empty("Nothing has happened yet", "A session is a conversation with an agent over one folder, and each turn of it a run.",
            ["POST", "/sessions", { session_id: "first" }], ["POST", "/sessions/first/turn", { message: "Hello" }])));
    };
    const part = (name, path) => resource({
        load: s => get(path, {}, s), when: isOfRun, every: Every, signal, gap: 1_000, fail: error => replace(figures, fault(error)),
        show: value => {
            state[name] = value;
            draw();
        },
    });
    part("counts", "/runs/counts");
    part("budget", "/budget");
    part("metrics", "/metrics");

    resource({
        load: s => get("/metrics/series", { bucket: "1h" }, s), when: isOfRun, every: Every, signal, gap: 5_000, fail: error => replace(chart, fault(error)),
        show: ({ points, as_of_gid: upTo }) => {
            const sum = name => points.reduce((total, point) => total + point[name], 0);
            state.day = { completed: sum("completed"), failed: sum("failed"), since: points[0]?.from };
            draw();
            const hour = at => timeText(at).slice(-8, -3);
            replace(heldUp, `up to event ${whole(upTo)}`);
            renew(chart, bars({
                label: "Runs that ended, by the hour", height: 120, kinds: [["proven", "completed"], ["refused", "failed"], ["wait", "cancelled"]],
                points: points.map(point => ({
                    label: `${timeText(point.from)} to ${hour(point.to)}`, tick: hour(point.from), from: point.from, to: point.to,
                    values: { proven: point.completed, refused: point.failed, wait: point.cancelled },
                })),
                href: point => to("runs", { since: point.from, until: point.to }),
            }));
        },
    });

    const runColumns = [
        { title: "State", show: row => badge(row.status) },
        { title: "Message", fill: true, link: true, show: row => row.message },
        { title: "Session", hide: true, text: true, show: row => h("span.muted", row.session_id) },
    ];
    const goingOn = list(going, "Runs that go on", { status: "running,queued", limit: Shown }, [...runColumns, { title: "Since", num: true, show: row => h("span.muted", age(row.started_at ?? row.created_at, { suffix: "" })) }],
        () => h("p.card.pad.muted", "Nothing runs at the moment."), signal);
    const failedLately = list(failed, "Runs that failed", { status: "failed", limit: Shown },
        [...runColumns.slice(1), { title: "Why", hide: true, nowrap: true, show: row => h("code.kind-refused", row.error?.code ?? "–") }, { title: "Asked", num: true, show: row => time(row.created_at) }],
        () => h("p.card.pad.muted", "No run has failed."), signal);

    let slotted = null;
    resource({
        load: s => get("/schedules/upcoming", { limit: Shown }, s), when: event => event.type.startsWith("schedule"), signal, fail: error => replace(next, fault(error)),
        show: ({ slots }) => {
            if (slots.length === 0) {
                slotted?.update([]);
                replace(next, h("div.card", empty("No schedule is active", "A schedule runs a skill, or a prompt, at planned times.",
                    ["POST", "/api/v1/schedules", { project_id: "proj_00000000000000000000000000", cron: "0 9 * * MON-FRI", timezone: "Europe/Berlin", prompt: "What is new?" }])));
                return;
            }
            slotted ??= table({
                label: "Planned times that come next", id: row => row.schedule_id + row.slot, href: row => to("schedules", row.schedule_id),
                columns: [
                    { title: "Schedule", fill: true, link: true, show: row => row.name },
                    { title: "In", num: true, show: row => h("span.muted", left(row.slot, { suffix: "" })) },
                    { title: "At", num: true, show: row => time(row.slot) },
                ],
            });
            slotted.update(slots);
            replace(next, slotted.card);
        },
    });
}

// What models have cost today, of what they may: in figures and as a bar, which is full at the limit.
function spent({ spent_usd: done, reserved_usd: held, daily_limit_usd: limit, resets_at: until }) {
    const part = usd => limit > 0 ? `${Math.min(100, usd / limit * 100).toFixed(1)}%` : "0%";
    return [cost(done), h("small", ` of ${cost(limit)}`, held > 0 && `, ${cost(held)} held`), h("span.sr", ", until ", time(until)),
        h("div.bar.budget", { "aria-hidden": "true", title: `Begins anew ${inZone(until)}` },
            h("i", { style: { width: part(done) } }), h("i.held", { style: { width: part(held) } }))];
}

function list(into, label, query, columns, none, signal) {
    const view = table({ label, id: row => row.run_id, href: row => to("runs", row.run_id), columns });
    resource({
        load: s => get("/runs", query, s), when: isOfRun, signal, gap: 800, fail: error => replace(into, fault(error)),
        show: ({ runs }) => {
            view.update(runs);
            replace(into, runs.length === 0 ? none() : view.card);
        },
    });
    return view;
}
