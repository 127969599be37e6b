// Finds pages by name, things by id, and words in messages, replies, titles and memories (GET /search).
import { get } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { time } from "../format.js";
import { go, to } from "../router.js";
import { brief } from "../text.js";
import { mark } from "./badge.js";

// Ids by what they begin with: the mark, the thing, and the page that has it.
const Things = {
    run: ["model", "run", "runs"], sess: ["wait", "session", "sessions"], skill: ["wait", "skill", "skills"], sched: ["wait", "schedule", "schedules"], art: ["tool", "artifact", "artifacts"],
    sp: ["wait", "scratchpad", "scratchpads"], grp: ["person", "group", "groups"], mem: ["memory", "memory", "memories"], work: ["wait", "work", "works"],
};
const Marks = { user: "person", assistant: "model", title: "wait", memory: "memory" };

// pages: [{title, path}] that may be offered.
export function palette(pages) {
    const abort = new AbortController();
    const list = h("ul.hits", { role: "listbox", id: "hits", "aria-label": "Found" });
    const field = h("input", {
        type: "search", placeholder: "Words, an id, or a page", "aria-label": "Search", role: "combobox", "aria-controls": "hits", "aria-expanded": "true", "aria-autocomplete": "list", autocomplete: "off",
    });
    const said = h("p.said.muted.hidden", { role: "status" });
    let hits = [];
    let at = 0;
    const box = h("dialog.palette", { "aria-label": "Search", on: {
        close: () => {
            abort.abort();
            box.remove();
        },
        click: event => event.target === box && box.close(),
    } }, field, list, said);

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

    function tell(text) {
        said.classList.toggle("hidden", !text);
        replace(said, text);
    }

    function byId(q) {
        const [, prefix] = /^([a-z]+)_\w+$/.exec(q) ?? [];
        const [kind, note, where] = Object.hasOwn(Things, prefix ?? "") ? Things[prefix] : [];
        return prefix === "appr" ? [{ kind: "person", text: q, note: "approval", href: to("approvals", { at: q }) }]
            : pages.some(page => page.path === where) ? [{ kind, text: q, note, href: to(where, q) }]
            : prefix === "file" && pages.some(page => page.path === "files") ? [{ kind: "wait", text: q, note: "file", href: to("files", { at: q }) }] : [];
    }

    async function look() {
        const q = field.value.trim();
        const low = q.toLowerCase();
        const near = pages.filter(page => page.title.toLowerCase().includes(low)).map(page => ({ kind: "wait", text: page.title, note: "page", href: to(...page.path.split("/").filter(Boolean)) }));
        const ids = byId(q);
        show([...ids, ...near]);
        tell(q.length < 2 && hits.length === 0 && "No page is called so. Words have two letters and more.");
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
                tell(hits.length === 0 && "Nothing found in messages, replies, titles of sessions and memories, nor is it the id of a thing.");
            }
        } catch (error) {
            error.name !== "AbortError" && field.value.trim() === q && tell(error.message);
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
