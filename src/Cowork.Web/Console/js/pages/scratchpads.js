// The scratchpads of all sessions: notebooks that agents and people execute.
import { pages as paged } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { time, whole } from "../format.js";
import { listKeys } from "../keys.js";
import { setQuery, to } from "../router.js";
import { resource } from "../store.js";
import { brief } from "../text.js";
import { empty, fault } from "../ui/empty.js";
import { table } from "../ui/table.js";

const PageRows = 100;

export const isOfScratchpad = event => /^(scratchpad|cell|kernel)_/.test(event.type);

export default async function page({ root, signal, query }) {
    const count = h("span.muted");
    const list = h("div");
    let session = query.get("session");
    const search = h("input", { type: "search", placeholder: "Part of the title", "aria-label": "Part of the title", value: query.get("q") ?? "", data: { search: "" } });
    const chip = session && h("button.chip", { type: "button", "aria-pressed": "true", on: { click: () => {
        session = null;
        setQuery({ session: "" });
        chip.remove();
        rows = [];
        first.refresh();
    } } }, `session: ${brief(session, 40)} ×`);
    replace(root, h("div.head", h("h1", "Scratchpads"), count), h("div.filters", { role: "search" }, search, chip), list);
    const view = table({
        label: "Scratchpads", id: row => row.scratchpad_id, href: row => to("scratchpads", row.scratchpad_id),
        columns: [
            { title: "Title", fill: true, link: true, show: row => row.title },
            { title: "Session", nowrap: true, hide: true, show: row => h("a.above.muted", { href: to("sessions", row.session_id) }, brief(row.session_id, 32)) },
            { title: "Made by", nowrap: true, hide: true, show: row => h("code.muted", row.created_by) },
            { title: "Made", num: true, hide: true, show: row => h("span.muted", time(row.created_at)) },
            { title: "Last change", num: true, show: row => h("span.muted", time(row.updated_at)) },
        ],
    });
    listKeys(view, signal);
    const foot = h("div.more");
    view.card.append(foot);
    let rows = [];
    let next = null;

    function draw() {
        const q = search.value.trim().toLowerCase();
        const shown = q ? rows.filter(row => row.title.toLowerCase().includes(q)) : rows;
        view.update(shown);
        replace(count, rows.length === 0 ? "" : next ? `the newest ${whole(rows.length)}` : whole(rows.length));
        replace(foot, h("button.quiet", { type: "button", on: { click: more } }, "More"));
        foot.classList.toggle("hidden", !next);
        replace(list, rows.length === 0 ? h("div.card", empty("No scratchpads yet", "A scratchpad is a notebook of a session: agents execute cells in it, and so can people.",
            ["POST", "/api/v1/scratchpads", { conversation_id: session ?? "first", title: "Draft", cells: [{ type: "code", content: "1 + 1" }] }]))
            : shown.length === 0 ? h("div.card", empty("No scratchpad is like that")) : view.card);
    }

    async function more() {
        const page = await next();
        next = page.next;
        rows.push(...page.rows);
        draw();
    }

    search.addEventListener("input", debounce(() => {
        setQuery({ q: search.value.trim() });
        draw();
    }, 150));
    const first = resource({
        load: s => paged("/scratchpads", "scratchpads", { limit: PageRows, session_id: session }, s), when: event => isOfScratchpad(event) && event.type !== "cell_output", signal, gap: 1_000,
        fail: error => replace(list, fault(error, () => first.refresh())),
        show: page => {
            const fresh = new Set(page.rows.map(row => row.scratchpad_id));
            const oldest = page.rows.at(-1)?.created_at ?? "";
            rows = [...page.rows, ...rows.filter(row => !fresh.has(row.scratchpad_id) && row.created_at < oldest)];
            next = rows.length === page.rows.length ? page.next : next;
            draw();
        },
    });
}
