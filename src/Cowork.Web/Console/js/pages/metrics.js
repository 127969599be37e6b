// Runs, latencies, tokens and cost over time. The range and how long its stretches are stand in the address.
import { call, get } from "../api.js";
import { h, renew, replace } from "../dom.js";
import { cost, duration, percent, time, timeText, whole } from "../format.js";
import { listKeys } from "../keys.js";
import { setQuery, to } from "../router.js";
import { isOfRun, resource } from "../store.js";
import { mark } from "../ui/badge.js";
import { standing } from "../ui/behind.js";
import { bars, legend, lines } from "../ui/charts.js";
import { empty, fault } from "../ui/empty.js";
import { table } from "../ui/table.js";

const Hour = 3_600_000;
// Clocks that are so near are taken for the same.
const SkewMin = 60_000;
// Of each range the stretches that make a chart which can be read; the first is the usual one.
const Ranges = {
    "1h": { word: "1 hour", ms: Hour, buckets: ["1m", "5m"] },
    "6h": { word: "6 hours", ms: 6 * Hour, buckets: ["15m", "5m", "1h"] },
    "24h": { word: "24 hours", ms: 24 * Hour, buckets: ["1h", "15m"] },
    "7d": { word: "7 days", ms: 7 * 24 * Hour, buckets: ["6h", "1h", "1d"] },
    "30d": { word: "30 days", ms: 30 * 24 * Hour, buckets: ["1d", "6h"] },
    "1y": { word: "1 year", ms: 365 * 24 * Hour, buckets: ["1d"] },
};
const Buckets = { "1m": ["1 minute", 60_000], "5m": ["5 minutes", 300_000], "15m": ["15 minutes", 900_000], "1h": ["1 hour", Hour], "6h": ["6 hours", 6 * Hour],
    "1d": ["1 day", 24 * Hour] };
const Shares = [["p50", "median", null], ["p95", "95 %", "4 3"], ["p99", "99 %", "1 3"]];
const Seconds = 1_000;

export default async function page({ root, signal, query }) {
    const state = { range: Ranges[query.get("range")] ? query.get("range") : "24h", bucket: query.get("bucket"), from: query.get("from"), to: query.get("to") };
    const heldUp = h("span.muted");
    const bar = h("div.filters");
    const figures = h("dl.card.figures");
    const charts = h("div.charts");
    const points = h("div");
    const all = h("div");
    const allUpTo = h("span.small.faint");
    const section = (id, title, note, content) => h("section.section", { "aria-labelledby": id }, h("div.section-head", h("h2", { id }, title), note), content);
    const ill = h("div");
    standing(ill, "metrics", signal);
    replace(root, h("div.head", h("h1", "Metrics"), heldUp), ill, bar, h("section", { "aria-label": "Figures" }, figures), charts,
        section("points", "The same in figures", h("span.small.faint", "A row leads to the runs that were asked for in its time."), points),
        section("all", "All runs until now", allUpTo, all));

    const fixed = () => state.from && state.to;
    const allowed = () => fixed() ? bucketsOf(Date.parse(state.to) - Date.parse(state.from)) : Ranges[state.range].buckets;
    const bucket = () => allowed().includes(state.bucket) ? state.bucket : allowed()[0];

    function controls() {
        renew(bar,
            h("div.chips", { role: "group", "aria-label": "Range" }, Object.entries(Ranges).map(([name, { word }]) => h("button.chip", {
                type: "button", "aria-pressed": !fixed() && state.range === name, on: { click: () => choose({ range: name, from: null, to: null }) },
            }, word)),
            fixed() && h("button.chip", { type: "button", "aria-pressed": "true", on: { click: () => choose({ from: null, to: null }) } },
                `${timeText(state.from)} to ${timeText(state.to)} ×`)),
            h("label.inline", h("span.muted", "by"), h("select", { "aria-label": "Length of the stretches", value: bucket(),
                on: { change: event => choose({ bucket: event.currentTarget.value }) } },
                allowed().map(name => h("option", { value: name, selected: name === bucket() }, Buckets[name][0])))));
    }

    function choose(changes) {
        Object.assign(state, changes);
        setQuery({ range: state.range === "24h" ? null : state.range, bucket: state.bucket && allowed().includes(state.bucket) ? state.bucket : null, from: state.from,
            to: state.to });
        controls();
        series.refresh();
    }

    // By the host's clock: that of a browser may be far from it.
    const ahead = Date.now() - (Date.parse((await call("GET", "/health/live", { signal })).headers.get("date")) || Date.now());
    const hostNow = () => Date.now() - (Math.abs(ahead) > SkewMin ? ahead : 0);
    controls();
    const rows = pointTable(signal);
    const series = resource({
        load: s => {
            const end = fixed() ? Date.parse(state.to) : hostNow();
            const begin = fixed() ? Date.parse(state.from) : end - Ranges[state.range].ms + Buckets[bucket()][1];
            return get("/metrics/series", { bucket: bucket(), from: new Date(begin).toISOString(), ...(fixed() ? { to: new Date(end).toISOString() } : {}) }, s);
        },
        when: event => !fixed() && isOfRun(event), every: fixed() ? 0 : 60_000, signal, gap: 3_000, fail: error => replace(charts, fault(error, () => series.refresh())),
        show: answer => {
            replace(heldUp, "every figure holds up to event ", h("b", whole(answer.as_of_gid)));
            showFigures(figures, answer.points);
            showCharts(charts, answer);
            const some = answer.points.filter(point => point.through_gid !== null).reverse();
            rows.update(some);
            replace(points, some.length > 0 ? rows.card : h("div.card",
                empty("Nothing happened in this time", "A turn of a session is a run, and counts here.", ["POST", "/sessions", { session_id: "first" }],
                ["POST", "/sessions/first/turn", { message: "Hello" }])));
        },
    });

    const latencies = table({
        label: "Latencies of all runs", id: row => row.name,
        columns: [
            { title: "Time", nowrap: true, show: row => [mark(row.kind), " ", row.name] },
            { title: "", fill: true, hide: true, show: row => h("span.muted", row.what) },
            { title: "Samples", num: true, show: row => whole(row.count) },
            ...["p50", "p90", "p95", "p99"].map(name => ({ title: name, num: true, hide: name === "p90", show: row => seconds(row[name]) })),
        ],
    });
    resource({
        load: s => get("/metrics", {}, s), when: isOfRun, signal, gap: 3_000, fail: error => replace(all, fault(error)),
        show: metrics => {
            replace(allUpTo, "up to event ", whole(metrics.as_of_gid));
            latencies.update([
                { name: "queue", kind: "wait", what: "from asked for to started", ...metrics.latency.queue },
                { name: "execution", kind: "model", what: "from started to ended, without waits for approvals", ...metrics.latency.execution },
                { name: "approval", kind: "person", what: "from asked for to decided or expired", ...metrics.latency.approval },
            ]);
            replace(all, h("dl.card.figures.joined", figure("Runs", whole(metrics.run_count)), figure("Success", percent(metrics.success_rate)),
                figure("Tokens", whole(metrics.total_tokens)), figure("Cost", cost(metrics.cost_usd)),
                metrics.since && figure("Since", timeText(metrics.since))), latencies.card);
        },
    });
}

// Stretches of which so long a time has few enough.
function bucketsOf(ms) {
    const fit = Object.keys(Buckets).filter(name => ms / Buckets[name][1] <= 200 && ms / Buckets[name][1] >= 1);
    return fit.length > 0 ? fit : [ms < Hour ? "1m" : "1d"];
}

// Which stretch of its day it is, in the reader's zone.
function numberInDay(at, length) {
    return Math.round((Date.parse(at) - new Date(at).setHours(0, 0, 0, 0)) / length);
}

const figure = (name, ...value) => h("div.figure", h("dt", name), h("dd", value));
const seconds = s => s === null ? "–" : duration(s * Seconds);
const sum = (points, name) => points.reduce((total, point) => total + point[name], 0);
const successOf = ({ completed, failed }) => completed + failed === 0 ? null : completed / (completed + failed);
const span = point => `${timeText(point.from)} to ${timeText(point.to)}`;
const through = point => point.through_gid === null ? "" : ` (up to event ${whole(point.through_gid)})`;

function showFigures(into, points) {
    const totals = { completed: sum(points, "completed"), failed: sum(points, "failed") };
    const since = { since: points[0]?.from, until: points.at(-1)?.to };
    const link = (value, status) => h("a", { href: to("runs", { ...since, status }) }, whole(value));
    renew(into,
        figure("Asked for", link(sum(points, "created"))), figure("Completed", link(totals.completed, "completed")),
        h("div.figure", { class: totals.failed > 0 ? "bad" : "" }, h("dt", "Failed"), h("dd", link(totals.failed, "failed"))),
        figure("Cancelled", link(sum(points, "cancelled"), "cancelled")),
        figure("Success", percent(successOf(totals))), figure("Tokens read", whole(sum(points, "input_tokens"))), figure("Tokens written", whole(sum(points, "output_tokens"))),
        figure("Cost", cost(sum(points, "cost_usd"))));
}

function showCharts(into, { points, bucket }) {
    const isLong = Buckets[bucket][1] >= 24 * Hour;
    const spans = points.length * Buckets[bucket][1] > 36 * Hour;
    const day = at => new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" }).format(new Date(at));
    const tick = point => isLong || spans ? day(point.from) : timeText(point.from).slice(-8, -3);
    const href = point => to("runs", { since: point.from, until: point.to });
    const first = points.length === 0 ? 0 : numberInDay(points[0].from, Buckets[bucket][1]);
    const labels = points.map(tick);
    const texts = points.map(point => span(point) + through(point));
    const at = i => href(points[i]);
    const stacked = (label, kinds, values, format) => bars({
        label, kinds, format, href, first, points: points.map(point => ({ ...point, label: span(point) + through(point), tick: tick(point), values: values(point) })),
    });
    const latency = (name, kind, word) => {
        const of = point => point.latency[name];
        const greatest = Math.max(0, ...points.map(point => of(point).p95 ?? 0));
        const count = points.reduce((total, point) => total + of(point).count, 0);
        return card(word, count === 0 ? "no samples" : [`95 % at most `, h("b", seconds(greatest)), `, ${whole(count)} ${count === 1 ? "sample" : "samples"}`],
            h("ul.legend", Shares.map(([, label, dash]) => h("li", dashMark(kind, dash), label))),
            lines({
                label: `${word}: ${count} samples, 95 % at most ${seconds(greatest)}`, labels, texts, href: at, first, format: duration,
                series: Shares.map(([share, label, dash]) => ({ kind, word: label, dash,
                    values: points.map(point => of(point)[share] === null ? null : of(point)[share] * Seconds) })),
            }));
    };
    const ended = [["proven", "completed"], ["refused", "failed"], ["wait", "cancelled"]];
    const tokens = [["model", "read"], ["model-2", "written"]];
    const totals = { completed: sum(points, "completed"), failed: sum(points, "failed") };
    renew(into,
        card("Runs that ended", [h("b", whole(totals.completed + totals.failed + sum(points, "cancelled"))), " of ", whole(sum(points, "created")), " asked for"],
            legend(ended, mark),
            stacked("Runs that ended", ended, point => ({ proven: point.completed, refused: point.failed, wait: point.cancelled }), whole)),
        card("Success", [h("b", percent(successOf(totals))), " of those that completed or failed"], null,
            lines({ label: `Success: ${percent(successOf(totals))} in all`, labels, texts, href: at, first, format: percent, max: 1,
                series: [{ kind: "proven", word: "success", values: points.map(successOf) }] })),
        latency("queue", "wait", "Queue"),
        latency("execution", "model", "Execution"),
        latency("approval", "person", "Approval"),
        card("Tokens", [h("b", whole(sum(points, "total_tokens")))], legend(tokens, kind => h("i.mark", { class: kind, "aria-hidden": "true" })),
            stacked("Tokens", tokens, point => ({ model: point.input_tokens, "model-2": point.output_tokens }), whole)),
        card("Cost", [h("b", cost(sum(points, "cost_usd"))), " in US dollars, of models with a price"], null,
            stacked("Cost in US dollars", [["model", "cost"]], point => ({ model: point.cost_usd }), cost)));
}

function dashMark(kind, dash) {
    return h("i.dash", { class: `${kind}${dash ? dash === "4 3" ? " dashed" : " dotted" : ""}`, "aria-hidden": "true" });
}

function card(title, figure, key, chart) {
    return h("section.card.pad", { "aria-label": title }, h("div.section-head", h("h2", title), h("span.small.muted", figure), key && h("span.actions", key)), chart);
}

function pointTable(signal) {
    const view = table({
        label: "Figures over time", id: row => row.from, href: row => to("runs", { since: row.from, until: row.to }),
        columns: [
            { title: "From", link: true, nowrap: true, show: row => time(row.from) },
            { title: "", fill: true, hide: true, show: () => "" },
            { title: "Asked for", num: true, hide: true, show: row => whole(row.created) },
            { title: "Completed", num: true, show: row => whole(row.completed) },
            { title: "Failed", num: true, show: row => row.failed > 0 ? h("span.kind-refused", whole(row.failed)) : "0" },
            { title: "Success", num: true, hide: true, show: row => percent(successOf(row)) },
            { title: "Median", num: true, show: row => seconds(row.latency.execution.p50) },
            { title: "95 %", num: true, hide: true, show: row => seconds(row.latency.execution.p95) },
            { title: "Tokens", num: true, hide: true, show: row => whole(row.total_tokens) },
            { title: "Cost", num: true, hide: true, show: row => cost(row.cost_usd) },
            { title: "Up to event", num: true, hide: true, show: row => h("span.muted", whole(row.through_gid)) },
        ],
    });
    listKeys(view, signal);
    return view;
}
