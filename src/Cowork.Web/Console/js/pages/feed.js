// The tenant's log, newest on top, live. The bar beside it is whole where nothing is missing between two events.
import { get, getExact } from "../api.js";
import { debounce, h, replace, svg } from "../dom.js";
import { isToday, person, personText, time, timeText, titleOf, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { live } from "../live.js";
import { setQuery, to } from "../router.js";
import { isErasing } from "../store.js";
import { kindOf, mark } from "../ui/badge.js";
import { digest, id } from "../ui/copy.js";
import { empty, fault } from "../ui/empty.js";
import { jsonBlock } from "../ui/json.js";
import { rows } from "../ui/rows.js";
import { FeedLog } from "./feed-log.js";

const Page = 1_000;
// What is asked for first when somebody scrolls back: more only where little of it is shown.
const Few = 250;
// What is kept of the log: what it says in short; the payloads stay on the host.
const KeptMax = 100_000;
const Row = 28;
// Events that are loaded to reach one of them.
const NearMax = 5_000;
const Kinds = [["model", "models"], ["tool", "tools"], ["memory", "memories"], ["person", "people"], ["refused", "failures"], ["proven", "ends"], ["wait", "the rest"]];

export default async function page({ root, signal, query }) {
    const log = new FeedLog(KeptMax);
    const state = {
        off: new Set((query.get("without") ?? "").split(",").filter(Boolean)), text: query.get("q") ?? "", session: query.get("session") ?? "", actor: query.get("actor") ?? "",
        deltas: query.get("deltas") === "1", at: Number(query.get("at")) || null, paused: false, busy: false, catching: false, hasEnd: false, first: 0, last: 0,
    };
    // In the order of the log; row 0 of the list is the last of it.
    let shown = [];
    const rowAt = index => shown[shown.length - 1 - index];
    const incoming = [];
    const proof = h("span.muted", { role: "status" });
    const side = h("aside.feed-side.hidden", { "aria-label": "The event", tabindex: "0" });
    const dense = h("div.dense", { role: "img", "aria-label": "Whether anything is missing between the events in sight" });
    const list = rows({ label: "Events", render, open: inspect, moved: index => !side.classList.contains("hidden") && inspect(index), near });
    const frame = h("div.card.feed-frame", dense, list, side);
    const none = h("div");
    const pause = h("button", { type: "button", "aria-pressed": "false", on: { click: hold } }, "Pause ", h("kbd.button-kbd", "p"));
    replace(root, h("div.head", h("h1", "Feed"), proof, h("span.actions", pause)), filters(), frame, none);
    listKeys(list, signal);
    pageKeys([{ key: "p", does: "Stop and go on", run: hold }, { key: "Escape", does: "Close the event", run: close }], signal);

    function filters() {
        const field = (name, label, attributes) => {
            const input = h("input", { type: "search", placeholder: label, "aria-label": label, value: state[name], ...attributes });
            input.addEventListener("input", debounce(() => {
                state[name] = input.value.trim();
                apply();
            }, 200));
            return input;
        };
        const chip = (word, isOn, toggle) => h("button.chip", { type: "button", "aria-pressed": isOn, on: { click: event => {
            event.currentTarget.setAttribute("aria-pressed", toggle());
            apply();
        } } }, word);
        return h("div.filters", { role: "search" },
            field("text", "Type or content", { data: { search: "" }, list: "types" }), field("session", "Session", { style: { width: "170px" } }), field("actor", "Actor", { style: { width: "150px" } }),
            h("div.chips", { role: "group", "aria-label": "Kinds" },
                Kinds.map(([kind, word]) => chip([mark(kind), word], !state.off.has(kind), () => !(state.off.has(kind) ? !state.off.delete(kind) : state.off.add(kind)))),
                chip("each piece of text", state.deltas, () => state.deltas = !state.deltas)));
    }

    function matches(event) {
        return (state.deltas || event.type !== "output_delta") && !state.off.has(event.kind)
            && (!state.session || event.session?.includes(state.session)) && (!state.actor || [event.actor, personText(event.actor)].some(name => name?.includes(state.actor)))
            && (!state.text || event.type.includes(state.text) || event.brief.toLowerCase().includes(state.text.toLowerCase()));
    }

    function apply() {
        setQuery({ q: state.text, session: state.session, actor: state.actor, without: [...state.off].join(","), deltas: state.deltas ? "1" : "" });
        filter();
        list.scrollTop = 0;
    }

    function filter() {
        shown = log.events.filter(matches);
        list.update(shown.length);
        tell();
        fillUp();
    }

    function render(index, row) {
        const event = rowAt(index);
        if (!event) {
            return;
        }
        row.append(
            h("span.gid.mono", whole(event.gid)),
            h("time.at-time.mono.narrow-hide", { datetime: event.ts, title: titleOf(event.ts), class: isToday(event.ts) ? "" : "dated", data: isToday(event.ts) ? { today: "" } : {} }, timeText(event.ts, { milliseconds: true })),
            h("span.type.mono", { class: `kind-${event.kind}` }, mark(event.kind), h("span", event.type)),
            h("span.brief.mono.cut", event.brief),
            h("span.of-session.cut.narrow-hide", { title: event.session }, event.session ?? ""),
            h("span.hash.mono.narrow-hide", event.hash.slice(0, 8)));
    }

    function near(first, last) {
        [state.first, state.last] = [first, last];
        bar();
        if (last > shown.length - 60) {
            older();
        }
    }

    // A line from each row in sight to the next: whole when every event between them is here.
    function bar() {
        const lines = [];
        const top = list.scrollTop;
        for (let i = state.first; i <= state.last && i < shown.length; i++) {
            const y = i * Row - top + Row / 2;
            const [newer, older] = [rowAt(i), rowAt(i + 1)];
            const isWhole = !older || log.isWhole(older.gid, newer.gid);
            lines.push(svg("circle", { cx: 11, cy: y, r: 2, class: isWhole ? "fill-proven" : "fill-refused" }));
            if (older) {
                lines.push(svg("line", { x1: 11, x2: 11, y1: y + 3, y2: y + Row - 3, class: isWhole ? "stroke-proven" : "stroke-refused", "stroke-width": 1.5, "stroke-dasharray": isWhole ? null : "2 3" }));
            }
        }
        replace(dense, svg("svg", { "aria-hidden": "true" }, lines));
    }

    function tell() {
        const { first, last, count, missing, foreign, streams } = log.proof();
        replace(proof, count === 0 ? "" : missing.length > 0
            ? h("span.kind-refused", `${missing.length === 1 ? "One place" : `${missing.length} places`} where events are missing: the first after event ${whole(missing[0])}`)
            : [h("span.kind-proven", "◆"), ` ${whole(first)} to ${whole(last)}: `, foreign === 0 ? `${whole(count)} events, none is missing`
                : `${whole(count)} events in ${whole(streams)} streams, none is missing; ${whole(foreign)} positions are other tenants'`]);
        if (count > 0) {
            frame.classList.toggle("hidden", shown.length === 0 && side.classList.contains("hidden"));
            replace(none, shown.length === 0 && h("div.card", log.isBegun ? empty("No event is like that", "Take a filter away.")
                : h("p.pad.muted", `Not among the newest ${whole(count)}. Looking further…`)));
        }
    }

    async function older() {
        // There is something before once there is something: until then, it would be the log's beginning.
        if (!state.hasEnd || state.busy || state.catching || log.isBegun) {
            return;
        }
        state.busy = true;
        try {
            const had = shown.length;
            for (let tries = 0; tries < 12 && !log.isBegun && shown.length < had + 80; tries++) {
                await log.loadOlder(async (since, limit) => (await getExact("/events", { since_id: since, limit }, signal)).events, Math.min(Page, Few << tries));
                shown = log.events.filter(matches);
            }
            list.update(shown.length);
            tell();
        } catch (error) {
            fail(error);
        } finally {
            state.busy = false;
        }
    }

    function fillUp() {
        if (shown.length < 60 && !log.isBegun) {
            older();
        }
    }

    function take(events) {
        const added = log.add(events);
        if (added.length === 0) {
            return;
        }
        const news = added.filter(matches);
        shown.push(...news);
        if (shown.length > 0 && shown[0].gid < log.first) {
            shown.splice(0, shown.findIndex(event => event.gid >= log.first));
        }
        list.update(shown.length, news.length);
        tell();
    }

    function hold() {
        state.paused = !state.paused;
        pause.setAttribute("aria-pressed", state.paused);
        if (!state.paused) {
            catchUp();
        }
    }

    // From a position on, the end of what is known when none is named, to the end of the log. What comes meanwhile waits, so that nothing overtakes.
    async function catchUp(from = log.last) {
        if (state.catching) {
            return;
        }
        state.catching = true;
        try {
            for (let since = from, events; (events = (await getExact("/events", { since_id: since, limit: Page }, signal)).events).length > 0; since = events.at(-1).gid) {
                take(events);
            }
        } catch (error) {
            fail(error);
        } finally {
            state.catching = false;
            soon();
        }
    }

    // Something was erased: the list and the event that is open do not say it any more.
    async function reread() {
        const { of } = inspect;
        if (of) {
            inspect.of = 0;
            open(of);
        }
        try {
            for (let since = Math.max(0, log.first - 1), events; since < log.last
                && (events = (await getExact("/events", { since_id: since, limit: Page }, signal)).events).length > 0; since = events.at(-1).gid) {
                log.reread(events);
                list.redraw();
            }
        } catch (error) {
            fail(error);
        }
    }

    function inspect(index) {
        const event = rowAt(index);
        event && open(event.gid);
    }

    // The event at a position of the log, whether the list has it or not.
    async function open(gid) {
        if (inspect.of === gid) {
            return;
        }
        frame.classList.add("with-side");
        side.classList.remove("hidden");
        replace(side, h("p.muted", "…"));
        inspect.of = gid;
        setQuery({ at: gid });
        try {
            const { events: [whole] } = await getExact("/events", { since_id: gid - 1, limit: 1 }, signal);
            if (inspect.of !== gid) {
                return;
            }
            whole?.gid === gid ? show(whole) : replace(side, h("p.muted", "This position of the log is none of this tenant's."));
        } catch (error) {
            error.name !== "AbortError" && replace(side, fault(error));
        }
    }

    function show(event) {
        replace(side,
            h("div.inspector-title", mark(kindOf(event.type)), h("h2.mono.grow", event.type), h("button.icon.quiet", { type: "button", "aria-label": "Close", on: { click: close } }, "×")),
            h("dl.facts",
                h("dt", "Position"), h("dd.mono", whole(event.gid)),
                h("dt", "Time"), h("dd", time(event.ts, { milliseconds: true })),
                event.actor && [h("dt", "Actor"), h("dd", person(event.actor))],
                event.run_id && [h("dt", "Run"), h("dd", h("a.mono", { href: to("runs", event.run_id) }, event.run_id))],
                event.session_id && [h("dt", "Session"), h("dd", h("a.mono", { href: to("sessions", event.session_id) }, event.session_id))],
                h("dt", "Stream"), h("dd", id(event.stream_id), h("span.muted", `, event ${whole(event.version)} of it`)),
                event.event_id && [h("dt", "Event"), h("dd", id(event.event_id))],
                h("dt", "Hash"), h("dd", digest(event.hash, 24)),
                event.correlation_id && [h("dt", "Trace"), h("dd", digest(event.correlation_id, 24))]),
            event.tombstone ? h("p.note", "Its data expired: it was kept as long as it was to be. That it was here, when, and by whom stays, with its hash.")
                : jsonBlock("Payload", event.payload));
    }

    function close() {
        inspect.of = 0;
        setQuery({ at: null });
        side.classList.add("hidden");
        frame.classList.remove("with-side");
        list.focus();
    }

    function fail(error) {
        error.name !== "AbortError" && replace(proof, fault(error));
    }

    // What comes fast is shown ten times a second. What is in the stream and in a page of the log counts once.
    const soon = debounce(() => state.catching || state.paused || take(incoming.splice(0)), 100);
    const again = debounce(reread, 400);
    live.on(events => {
        events.some(event => isErasing(event) && (event.session_id === null || log.events.some(each => each.session === event.session_id))) && again();
        if (!state.paused) {
            events.forEach(event => incoming.push(event));
            soon();
        }
    }, signal);
    live.onState(word => word === "reset" && !state.paused && catchUp(), signal);
    try {
        const head = live.cursor ?? (await get("/runs/counts", {}, signal)).as_of_gid;
        // Up to an event that the address names, unless it is far back: then it is shown alone.
        const isNear = state.at !== null && head - state.at < NearMax;
        await catchUp(Math.max(0, (isNear ? Math.min(head, state.at) : head) - 300));
        state.hasEnd = true;
        filter();
        if (state.at !== null) {
            const row = shown.findLastIndex(event => event.gid === state.at);
            open(state.at);
            if (row >= 0) {
                list.choose(shown.length - 1 - row);
                list.scrollTop += list.clientHeight / 2;
            }
        }
        if (log.events.length === 0) {
            await older();
        }
        if (log.events.length === 0) {
            frame.classList.add("hidden");
            replace(none, h("div.card", empty("Nothing has happened yet", "Whatever happens is an event.", ["POST", "/sessions", { session_id: "first" }])));
        }
    } catch (error) {
        fail(error);
    }
}
