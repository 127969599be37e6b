// Finds pages by name, things by id, and words in messages, replies, titles and memories (GET /search).
import { get } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { time } from "../format.js";
import { go, to } from "../router.js";
import { brief } from "../text.js";
import { mark } from "./badge.js";

const Marks = { user: "person", assistant: "model", title: "wait", memory: "memory" };

// pages: [{title, path}] that may be offered.
export function palette(pages) {
    const abort = new AbortController();
    const list = h("ul.hits", { role: "listbox", id: "hits", "aria-label": "Found" });
    const field = h("input", {
        type: "search", placeholder: "Words, an id, or a page", "aria-label": "Search", role: "combobox", "aria-controls": "hits", "aria-expanded": "true", "aria-autocomplete": "list", autocomplete: "off",
    });
    let hits = [];
    let at = 0;
    const box = h("dialog.palette", { "aria-label": "Search", on: {
        close: () => {
            abort.abort();
            box.remove();
        },
        click: event => event.target === box && box.close(),
    } }, field, list);

    function choose(index) {
        at = Math.max(0, Math.min(hits.length - 1, index));
        [...list.children].forEach((item, i) => item.setAttribute("aria-selected", i === at));
        const item = list.children[at];
        item?.scrollIntoView({ block: "nearest" });
        item ? field.setAttribute("aria-activedescendant", item.id) : field.removeAttribute("aria-activedescendant");
    }

    function open(hit) {
        box.close();
        go(hit.href);
    }

    function show(found) {
        hits = found;
        replace(list, found.map((hit, i) => h("li", { id: `hit-${i}`, role: "option", on: { click: () => open(hit) } }, mark(hit.kind), h("span.cut.grow", hit.text), hit.note && h("span.muted", hit.note))));
        choose(0);
    }

    async function look() {
        const q = field.value.trim();
        const low = q.toLowerCase();
        const near = pages.filter(page => page.title.toLowerCase().includes(low)).map(page => ({ kind: "wait", text: page.title, note: "page", href: to(...page.path.split("/").filter(Boolean)) }));
        const ids = /^run_\w+$/.test(q) ? [{ kind: "model", text: q, note: "run", href: to("runs", q) }] : /^appr_\w+$/.test(q) ? [{ kind: "person", text: q, note: "approval", href: to("approvals", { at: q }) }]
            : /^sess_\w+$/.test(q) ? [{ kind: "wait", text: q, note: "session", href: to("sessions", q) }] : [];
        show([...ids, ...near]);
        if (q.length < 2) {
            return;
        }
        try {
            const found = await get("/search", { q, limit: 20 }, abort.signal);
            if (field.value.trim() === q) {
                show([...ids, ...near, ...found.hits.map(hit => ({
                    kind: Marks[hit.role] ?? "wait", text: brief(hit.snippet, 120), note: hit.at && time(hit.at),
                    href: hit.memory_id ? to("memories", hit.memory_id) : hit.run_id ? to("runs", hit.run_id) : to("sessions", hit.session_id),
                }))]);
            }
        } catch (error) {
            error.name !== "AbortError" && list.append(h("li.muted", error.message));
        }
    }

    const soon = debounce(look, 180);
    field.addEventListener("input", soon);
    field.addEventListener("keydown", event => {
        if (event.key === "ArrowDown" || event.key === "ArrowUp") {
            choose(at + (event.key === "ArrowDown" ? 1 : -1));
        } else if (event.key === "Enter" && hits[at]) {
            open(hits[at]);
        } else {
            return;
        }
        event.preventDefault();
    });
    document.body.append(box);
    box.showModal();
    look();
}
