// The scratchpads of all sessions: notebooks that agents and people execute.
import { pages as paged } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { person, time } from "../format.js";
import { listKeys } from "../keys.js";
import { setQuery, to } from "../router.js";
import { removable } from "../ui/chips.js";
import { empty, firstSession } from "../ui/empty.js";
import { growing } from "../ui/growing.js";
import { table } from "../ui/table.js";

const PageRows = 100;

export const isOfScratchpad = event => /^(scratchpad|cell|kernel)_/.test(event.type);

export default async function page({ root, signal, query }) {
    const count = h("span.muted");
    const list = h("div");
    let session = query.get("session");
    const search = h("input", { type: "search", placeholder: "Part of the title", "aria-label": "Part of the title", value: query.get("q") ?? "", data: { search: "" } });
    const chip = removable("session", session, () => {
        session = null;
        setQuery({ session });
        pads.restart();
    });
    replace(root, h("div.head", h("h1", "Scratchpads"), count), h("div.filters", { role: "search" }, search, chip), list);
    const view = table({
        label: "Scratchpads", id: row => row.scratchpad_id, href: row => to("scratchpads", row.scratchpad_id),
        columns: [
            { title: "Title", fill: true, link: true, show: row => row.title },
            { title: "Session", text: true, hide: true, show: row => h("a.above.muted", { href: to("sessions", row.session_id) }, row.session_id) },
            { title: "Made by", text: true, hide: true, show: row => person(row.created_by, "code.muted") },
            { title: "Made", num: true, hide: true, show: row => h("span.muted", time(row.created_at)) },
            { title: "Last change", num: true, show: row => h("span.muted", time(row.updated_at)) },
        ],
    });
    listKeys(view, signal);
    const pads = growing({
        view, place: list, count, load: s => paged("/scratchpads", "scratchpads", { q: search.value.trim(), limit: PageRows, session_id: session }, s), key: "scratchpad_id", signal, gap: 1_000,
        when: event => isOfScratchpad(event) && event.type !== "cell_output",
        isLate: () => search.value.trim() !== "",
        none: () => search.value.trim() ? empty("No scratchpad is like that") : empty("No scratchpads yet", "A scratchpad is a notebook of a session: agents execute cells in it, and so can people.",
            ...firstSession(session), ["POST", "/api/v1/scratchpads", { conversation_id: session ?? "first", title: "Draft", cells: [{ type: "code", content: "1 + 1" }] }]),
    });
    search.addEventListener("input", debounce(() => {
        setQuery({ q: search.value.trim() });
        pads.restart();
    }, 150));
}
