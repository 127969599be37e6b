// All runs, newest first. Filters stand in the address.
import { pages as paged } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { cost, duration, time, timeText, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { live } from "../live.js";
import { keepPlace, placeOf, setQuery, to } from "../router.js";
import { isErasing, isOfRun, me, resource } from "../store.js";
import { brief } from "../text.js";
import { badge } from "../ui/badge.js";
import { removable } from "../ui/chips.js";
import { empty, fault } from "../ui/empty.js";
import { append, follow, reach, RowsMax } from "../ui/growth.js";
import { table } from "../ui/table.js";

const Statuses = ["queued", "running", "approval_required", "completed", "failed", "cancelled"];
const Filters = ["session_id", "model", "skill_id", "skill_version", "schedule_id", "project_id", "source", "lineage", "since", "until"];
const Times = new Set(["since", "until"]);
const PageRows = 50;
// Who has scrolled so far reads further down.
const TopMax = 120;
// No row of a table is lower.
const LineMin = 20;

export function took(run, now = Date.now()) {
    return run.started_at ? (run.completed_at ? Date.parse(run.completed_at) : now) - Date.parse(run.started_at) : null;
}

export default async function page({ root, signal, query }) {
    const head = h("span.muted");
    const list = h("div");
    const filters = Object.fromEntries(Filters.map(name => [name, query.get(name)]));
    const state = { status: new Set((query.get("status") ?? "").split(",").filter(Boolean)), q: query.get("q") ?? "" };
    const picks = me.may("getRunDiff") ? picker(signal) : null;
    replace(root, h("div.head", h("h1", "Runs"), head), bar(), list, picks?.bar);
    const view = runTable(signal, { picks });
    const more = pager(view, list, head, signal, () => ({ status: [...state.status], q: state.q, ...filters }));
    picks && pageKeys([
        { key: "c", does: "Choose the row, to compare two", run: () => view.current()?.line.querySelector(".pick input")?.click() },
        { key: "d", does: "Compare the two that are chosen", run: () => picks.bar.querySelector("a")?.click() },
    ], signal);

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
function picker(signal) {
    const picked = [...placeOf("picked")?.runs ?? []];
    keepPlace("picked", () => ({ runs: picked }), signal);
    const bar = h("div.picked.hidden", { role: "status" });
    const boxes = () => document.querySelectorAll(".pick input");
    const draw = () => {
        bar.classList.toggle("hidden", picked.length === 0);
        const [left, right] = picked.toSorted();
        replace(bar, h("span", picked.length === 1 ? "One run is chosen. Choose the one to compare it with." : "Two runs are chosen."),
            picked.length === 2 && h("a.button.primary", { href: to("compare", { left, right }) }, "Compare ", h("kbd.button-kbd", "d")),
            h("button.quiet", { type: "button", on: { click: () => {
                picked.length = 0;
                boxes().forEach(box => box.checked = false);
                draw();
            } } }, "None"));
    };
    draw();
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
            withSession && { title: "Session", hide: true, text: true, show: row => h("a.above.muted", { href: to("sessions", row.session_id) }, row.session_id) },
            { title: "Model", hide: true, text: true, show: row => h("code.muted", row.model ?? "–") },
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
    // Newest first, by the position of the log where a run was made.
    let rows = [];
    let next = null;
    let turn = 0;
    let question = 0;
    // Runs that came on top while the reader was further down.
    const waiting = new Set();
    // Runs of which something was heard, and which may stand otherwise in the list, or not any more.
    const heard = new Set();
    let isAllOld = false;
    // There are more than a list holds.
    let isCut = false;
    let back = placeOf(view.label);
    keepPlace(view.label, () => ({ rows: rows.length, at: view.current()?.row.run_id }), signal);
    const foot = h("div.more");
    const pill = h("button.pill.hidden", { type: "button", on: { click: () => {
        waiting.clear();
        draw();
        scrollTo({ top: 0 });
    } } });
    view.card.prepend(pill);
    view.card.append(foot);
    const sight = new IntersectionObserver(entries => entries.some(entry => entry.isIntersecting) && further(), { rootMargin: "400px" });
    sight.observe(foot);
    signal.addEventListener("abort", () => sight.disconnect(), { once: true });

    // A list that is left open at its top is not to grow with each run: past what a reader sees of it, the first page is enough, and what follows is loaded again where they go on.
    function isLong() {
        return scrollY <= TopMax && rows.length > 2 * PageRows + innerHeight / LineMin && !view.card.contains(document.activeElement);
    }

    // Fresh rows reach down to the newest of those that are here, so that none is missing between, and to each of which something was heard.
    function reaches(fresh, ids) {
        const last = fresh.at(-1);
        if (rows.length === 0) {
            return fresh.length >= (back?.rows ?? 0);
        }
        return last && last.gid <= (isAllOld ? rows.at(-1) : rows[0]).gid && ids.every(id => last.run_id <= id);
    }

    async function load(s) {
        const mine = question;
        const isAnew = isLong();
        const asked = new Set(heard);
        const [wasOld, end] = [isAllOld, rows.at(-1)?.run_id ?? ""];
        // An id begins with the time when it was made. What is behind the end comes with a further page.
        const ids = [...asked].filter(id => id >= end);
        const first = await paged("/runs", "runs", { ...query(), limit: PageRows }, s);
        const page = await reach(first, "run_id", fresh => mine !== question || isAnew || reaches(fresh, ids));
        return { ...page, question: mine, isAnew, done() {
            asked.forEach(id => (!further.busy || id >= end) && heard.delete(id));
            isAllOld &&= !wasOld;
        } };
    }

    // A first page that came anew takes the place of what was here of its part of the list: what is not in it any more is not like the filters.
    function merge(page) {
        const top = rows.find(row => !waiting.has(row.run_id));
        const known = new Set(rows.map(row => row.run_id));
        const fresh = new Set(page.rows.map(row => row.run_id));
        const last = page.rows.at(-1);
        const isJoined = !(page.isAnew && isLong()) && page.next && rows.length > 0 && last?.gid <= rows[0].gid;
        const kept = isJoined ? rows.filter(row => row.gid < last.gid && !fresh.has(row.run_id)) : [];
        if (kept.length === 0) {
            turn++;
            next = page.next;
            isCut = false;
        }
        // Who reads further down is not moved.
        if (scrollY > TopMax && top && view.card.isConnected) {
            page.rows.forEach(row => row.gid > top.gid && !known.has(row.run_id) && waiting.add(row.run_id));
        } else {
            waiting.clear();
        }
        rows = [...page.rows, ...kept];
        if (rows.length > RowsMax) {
            rows.length = RowsMax;
            turn++;
            next = null;
            isCut = true;
        }
        draw();
    }

    function draw() {
        const ids = new Set(rows.map(row => row.run_id));
        waiting.forEach(id => ids.has(id) || waiting.delete(id));
        const shown = rows.filter(row => !waiting.has(row.run_id));
        if (shown.length === 0) {
            waiting.clear();
            shown.push(...rows);
        }
        replace(pill, waiting.size === 1 ? "1 new run" : `${whole(waiting.size)} new runs`);
        pill.classList.toggle("hidden", waiting.size === 0);
        view.update(shown);
        replace(head, rows.length === 0 ? "" : next || isCut ? `the newest ${whole(rows.length)}` : whole(rows.length));
        replace(foot, isCut || next && rows.length >= RowsMax ? "A list holds no more. Filters find the others." : next ? h("button.quiet", { type: "button", on: { click: further } }, "More") : rows.length > PageRows ? "That is all." : "");
        foot.classList.toggle("hidden", !next && rows.length <= PageRows);
        replace(list, rows.length === 0 ? h("div.card", none ? none() : isFiltered() ? empty("No run is like that", "Take a filter away.") : empty("No runs yet", "Each turn of a session is a run.", ["POST", "/sessions", { session_id: "first" }],
            ["POST", "/sessions/first/turn", { message: "Hello" }])) : view.card);
    }

    function isFiltered() {
        return Object.values(query()).some(value => value && value.length > 0);
    }

    async function further() {
        if (!next || further.busy || rows.length >= RowsMax) {
            return;
        }
        further.busy = true;
        const asked = question;
        try {
            await follow({ next: () => next, turn: () => turn, take(page) {
                next = page.next;
                append(rows, page.rows, "run_id");
                page.rows.some(row => heard.has(row.run_id)) && first.soon();
            } });
            if (asked === question) {
                draw();
                // The foot may be in sight still, which the browser does not tell again.
                sight.unobserve(foot);
                sight.observe(foot);
            }
        } catch (error) {
            if (error.name !== "AbortError") {
                replace(foot, fault(error, further));
            }
        } finally {
            further.busy = false;
        }
    }

    live.on(events => {
        events.forEach(event => isOfRun(event) && heard.add(event.run_id));
        isAllOld ||= events.some(isErasing);
    }, signal);
    live.onState(state => isAllOld ||= state === "reset", signal);
    const first = resource({
        load, when: isOfRun, signal, fail: error => replace(list, fault(error, () => first.refresh()), rows.length > 0 && view.card),
        show: page => {
            if (page.question !== question) {
                return;
            }
            page.done();
            merge(page);
            if (back) {
                view.choose(back.at);
                scrollTo(0, back.y);
                back = null;
            }
        },
    });

    return {
        restart() {
            question++;
            turn++;
            rows = [];
            next = null;
            back = null;
            waiting.clear();
            first.refresh();
        },
    };
}
