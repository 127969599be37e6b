// All runs, newest first. Filters stand in the address.
import { get, pages as paged, path } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { cost, duration, time, timeText, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { live } from "../live.js";
import { setQuery, to } from "../router.js";
import { isOfRun, me, resource } from "../store.js";
import { brief } from "../text.js";
import { badge } from "../ui/badge.js";
import { removable } from "../ui/chips.js";
import { empty, fault } from "../ui/empty.js";
import { table } from "../ui/table.js";

const Statuses = ["queued", "running", "approval_required", "completed", "failed", "cancelled"];
const Filters = ["session_id", "model", "skill_id", "skill_version", "schedule_id", "project_id", "source", "lineage", "since", "until"];
const Times = new Set(["since", "until"]);
const PageRows = 50;
const RowsMax = 5_000;

export function took(run, now = Date.now()) {
    return run.started_at ? (run.completed_at ? Date.parse(run.completed_at) : now) - Date.parse(run.started_at) : null;
}

export default async function page({ root, signal, query }) {
    const head = h("span.muted");
    const list = h("div");
    const filters = Object.fromEntries(Filters.map(name => [name, query.get(name)]));
    const state = { status: new Set((query.get("status") ?? "").split(",").filter(Boolean)), q: query.get("q") ?? "" };
    const picks = me.may("getRunDiff") ? picker() : null;
    replace(root, h("div.head", h("h1", "Runs"), head), bar(), list, picks?.bar);
    const view = runTable(signal, { picks });
    const more = pager(view, list, head, signal, () => ({ status: [...state.status], q: state.q, ...filters }));
    picks && pageKeys([{ key: "c", does: "Choose the row, to compare two", run: () => view.current()?.line.querySelector(".pick input")?.click() }], signal);

    function bar() {
        const search = h("input", { type: "search", placeholder: "Words of messages and replies", "aria-label": "Words of messages and replies", value: state.q, data: { search: "" } });
        const soon = debounce(() => {
            state.q = search.value.trim();
            apply();
        }, 250);
        search.addEventListener("input", soon);
        const chips = Statuses.map(status => h("button.chip", {
            type: "button", "aria-pressed": state.status.has(status), on: { click: event => {
                const isOn = !state.status.delete(status) && Boolean(state.status.add(status));
                event.currentTarget.setAttribute("aria-pressed", isOn);
                apply();
            } },
        }, badge(status).textContent));
        const fixed = Object.entries(filters).map(([name, value]) => removable(name.replaceAll("_", " "), Times.has(name) && Date.parse(value) ? timeText(value) : value, () => {
            filters[name] = null;
            apply();
        }));
        return h("div.filters", { role: "search" }, search, h("div.chips", { role: "group", "aria-label": "States" }, chips), h("div.chips", fixed));
    }

    function apply() {
        setQuery({ q: state.q, status: [...state.status].join(","), ...filters });
        more.restart();
    }
}

// Two runs of the list, to be compared: the earlier one stands left.
function picker() {
    const picked = [];
    const bar = h("div.picked.hidden", { role: "status" });
    const boxes = () => document.querySelectorAll(".pick input");
    const draw = () => {
        bar.classList.toggle("hidden", picked.length === 0);
        const [left, right] = picked.toSorted();
        replace(bar, h("span", picked.length === 1 ? "One run is chosen. Choose the one to compare it with." : "Two runs are chosen."),
            picked.length === 2 && h("a.button.primary", { href: to("compare", { left, right }) }, "Compare"),
            h("button.quiet", { type: "button", on: { click: () => {
                picked.length = 0;
                boxes().forEach(box => box.checked = false);
                draw();
            } } }, "None"));
    };
    return {
        bar,
        has: run => picked.includes(run),
        toggle(run) {
            if (picked.includes(run)) {
                picked.splice(picked.indexOf(run), 1);
            } else if (picked.push(run) > 2) {
                // The one that was chosen first gives way.
                const gone = picked.shift();
                boxes().forEach(box => box.checked &&= box.dataset.run !== gone);
            }
            draw();
        },
    };
}

// picks: the runs that are chosen, and a box in each row for it; null: none can be.
export function runTable(signal, { withSession = true, href = row => to("runs", row.run_id), picks = null } = {}) {
    const view = table({
        label: "Runs", id: row => row.run_id, href,
        columns: [
            picks && { title: "", hide: true, class: "pick", show: row => h("input.above", {
                type: "checkbox", data: { run: row.run_id }, checked: picks.has(row.run_id), "aria-label": `Compare ${brief(row.message || row.run_id, 60)}`, on: { change: () => picks.toggle(row.run_id) } }) },
            { title: "State", show: row => badge(row.status) },
            { title: "Message", fill: true, link: true, show: row => row.message || h("span.faint", "(no text)") },
            withSession && { title: "Session", hide: true, nowrap: true, show: row => h("a.above.muted", { href: to("sessions", row.session_id) }, brief(row.session_id, 28)) },
            { title: "Model", hide: true, nowrap: true, show: row => h("code.muted", brief(row.model ?? "–", 24)) },
            { title: "Took", num: true, hide: true, show: row => row.completed_at ? duration(took(row)) : "–" },
            { title: "Tokens", num: true, hide: true, show: row => whole(row.total_tokens) },
            { title: "Cost", num: true, hide: true, show: row => cost(row.cost_usd) },
            { title: "Asked", num: true, show: row => h("span.muted", time(row.created_at)) },
            { title: "Seal", num: true, hide: true, show: row => row.completed_at
                ? h("span.kind-proven", { title: `${row.version} events, closed by the last one's hash` }, "◆ ", whole(row.version))
                : h("span.faint", { title: `${row.version} events until now` }, "◇ ", whole(row.version)) },
        ].filter(Boolean),
    });
    listKeys(view, signal);
    return view;
}

// A list that grows at its end, and says when there is something new at its begin to who has scrolled on.
// none: stands where no run is; null: what does so in a list with filters.
export function pager(view, list, head, signal, query, none = null) {
    let rows = [];
    let next = null;
    let turn = 0;
    let waiting = [];
    const foot = h("div.more");
    const pill = h("button.pill.hidden", { type: "button", on: { click: () => {
        rows = [...waiting, ...rows];
        waiting = [];
        pill.classList.add("hidden");
        draw();
        scrollTo({ top: 0 });
    } } });
    view.card.prepend(pill);
    view.card.append(foot);
    const sight = new IntersectionObserver(entries => entries.some(entry => entry.isIntersecting) && further(), { rootMargin: "400px" });
    sight.observe(foot);
    signal.addEventListener("abort", () => sight.disconnect(), { once: true });

    // A first page that came anew: rows change where they stand, and those that are not like the filters any more go.
    function merge(page) {
        const fresh = new Map(page.rows.map(row => [row.run_id, row]));
        const known = new Set(rows.map(row => row.run_id));
        const oldest = page.next ? page.rows.at(-1)?.created_at ?? "" : "";
        const kept = rows.filter(row => fresh.has(row.run_id) || row.created_at < oldest).map(row => fresh.get(row.run_id) ?? row);
        const news = page.rows.filter(row => !known.has(row.run_id));
        // Who reads further down is not moved.
        const isAway = scrollY > 120;
        rows = isAway ? kept : [...news, ...kept];
        waiting = isAway ? news : [];
        if (rows.length > RowsMax) {
            rows.length = RowsMax;
        }
        replace(pill, waiting.length === 1 ? "1 new run" : `${waiting.length} new runs`);
        pill.classList.toggle("hidden", waiting.length === 0);
        draw();
    }

    function draw() {
        view.update(rows);
        replace(head, rows.length === 0 ? "" : next ? `the newest ${whole(rows.length)}` : whole(rows.length));
        replace(foot, next ? h("button.quiet", { type: "button", on: { click: further } }, "More") : rows.length > PageRows ? "That is all." : "");
        foot.classList.toggle("hidden", !next && rows.length <= PageRows);
        replace(list, rows.length === 0 ? h("div.card", none ? none() : isFiltered() ? empty("No run is like that", "Take a filter away.") : empty("No runs yet", "Each turn of a session is a run.", ["POST", "/sessions", { session_id: "first" }],
            ["POST", "/sessions/first/turn", { message: "Hello" }])) : view.card);
    }

    function isFiltered() {
        return Object.values(query()).some(value => value && value.length > 0);
    }

    async function further() {
        if (!next || further.busy) {
            return;
        }
        further.busy = true;
        const mine = turn;
        try {
            const page = await next();
            if (mine === turn) {
                next = page.next;
                const known = new Set(rows.map(row => row.run_id));
                rows.push(...page.rows.filter(row => !known.has(row.run_id)));
                draw();
            }
        } catch (error) {
            if (error.name !== "AbortError") {
                replace(foot, fault(error, further));
            }
        } finally {
            further.busy = false;
        }
    }

    const first = resource({
        load: s => paged("/runs", "runs", { ...query(), limit: PageRows }, s), when: isOfRun, signal, fail: error => replace(list, fault(error, () => first.refresh())),
        show: page => {
            if (rows.length === 0 || turn !== first.turn) {
                first.turn = turn;
                next = page.next;
                rows = page.rows;
                draw();
                return;
            }
            merge(page);
        },
    });

    // A row that is not on the first page is asked for by itself.
    const stale = new Set();
    const renew = debounce(async () => {
        const ids = [...stale].slice(0, 20);
        stale.clear();
        for (const id of ids) {
            const run = await get(path`/runs/${id}`, {}, signal).catch(() => null);
            const i = rows.findIndex(row => row.run_id === id);
            if (run && i >= 0) {
                rows[i] = { ...rows[i], ...run, message: brief(run.message ?? "", 300), reply: run.reply && brief(run.reply, 300) };
            }
        }
        draw();
    }, 500);
    live.on(events => {
        for (const event of events) {
            if (isOfRun(event) && rows.findIndex(row => row.run_id === event.run_id) >= PageRows) {
                stale.add(event.run_id);
            }
        }
        stale.size > 0 && renew();
    }, signal);

    return {
        restart() {
            turn++;
            rows = [];
            next = null;
            first.refresh();
        },
    };
}
