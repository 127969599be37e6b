// What runs are told beside their messages: notes of sessions, what agents learnt and remembered, and what users stated. Each says where it came from.
import { get, pages as paged, path, post } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { shortId, time, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { setQuery, to } from "../router.js";
import { me } from "../store.js";
import { brief } from "../text.js";
import { tag } from "../ui/badge.js";
import { choice, removable } from "../ui/chips.js";
import { dialog } from "../ui/dialog.js";
import { empty } from "../ui/empty.js";
import { growing } from "../ui/growing.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";

const PageRows = 100;
const HitsMax = 100;
export const Kinds = { memory: ["memory", "fact"], learning: ["memory", "learning"], session_summary: ["wait", "session notes"] };

export const kindBadge = kind => tag(...Kinds[kind] ?? ["wait", kind]);

export default async function page({ root, signal, query }) {
    const state = { kind: Kinds[query.get("kind")] ? query.get("kind") : null, q: query.get("q") ?? "", session: query.get("session") };
    const head = h("span.muted");
    const list = h("div");
    const mayState = me.may("createMemory");
    const search = h("input", { type: "search", placeholder: "Words of memories", "aria-label": "Words of memories", value: state.q, data: { search: "" } });
    const kinds = choice({ label: "Kinds", choices: Object.entries(Kinds).map(([kind, [, word]]) => [kind, word]), at: state.kind, choose: kind => {
        state.kind = kind;
        apply();
    } });
    const ofOne = removable("session", state.session, () => {
        state.session = null;
        apply();
    });
    replace(root, h("div.head", h("h1", "Memories"), head, mayState && h("span.actions",
        h("button", { type: "button", on: { click: make } }, "State a fact ", h("kbd.button-kbd", "n")))),
        h("div.filters", { role: "search" }, search, kinds, ofOne), list);
    mayState && pageKeys([{ key: "n", does: "State a fact", run: make }], signal);

    const view = table({
        label: "Memories", id: row => row.memory_id, href: row => to("memories", row.memory_id),
        columns: [
            { title: "Kind", nowrap: true, show: row => row.kind ? kindBadge(row.kind) : tag("memory", "found") },
            { title: "Memory", fill: true, link: true, show: row => brief(row.content, 300) },
            { title: "From", hide: true, nowrap: true, show: origin },
            { title: "Session", hide: true, text: true, show: row => row.session_id ? h("a.above.muted", { href: to("sessions", row.session_id) }, row.session_id)
                : h("span.faint", "–") },
            { title: "Written", num: true, show: row => h("span.muted", time(row.updated_at)) },
        ],
    });
    listKeys(view, signal);

    function apply() {
        setQuery({ q: state.q, kind: state.kind, session: state.session });
        source.restart();
    }

    search.addEventListener("input", debounce(() => {
        state.q = search.value.trim();
        apply();
    }, 250));

    // By words, the best first; or all, the newest first.
    async function load(s) {
        if (!state.q) {
            return state.session ? ofSession(await paged(path`/sessions/${state.session}/memories`, "memories", { limit: PageRows }, s))
                : paged("/memories", "memories", { kind: state.kind, limit: PageRows }, s);
        }
        const { hits } = await get("/search", { q: state.q, kinds: "memories", limit: HitsMax }, s);
        return { rows: hits.filter(hit => !state.session || hit.session_id === state.session).map(hit => ({ ...hit, kind: null, content: hit.snippet, updated_at: hit.at })),
            next: null };
    }

    // Such a list has all kinds.
    const ofSession = page => ({ ...page, rows: page.rows.filter(row => !state.kind || row.kind === state.kind), next: page.next && (async () => ofSession(await page.next())) });

    const source = growing({
        view, place: list, count: head, load, key: "memory_id", when: event => event.type.startsWith("memory_") && event.type !== "memory_retrieval", every: 30_000, signal,
        gap: 1_000,
        told: (number, goesOn) => state.q ? `the best ${whole(number)}` : goesOn ? `the newest ${whole(number)}` : whole(number),
        none: () => state.q || state.kind || state.session ? empty("No memory is like that", "Take a filter away.")
            : empty("No memories yet", "Runs leave some behind; a fact can be stated, too.", ["POST", "/api/v1/memories", { content: "The fiscal year begins in April." }]),
    });

    function make() {
        const content = h("textarea", { id: "memory-content", rows: 4, maxlength: 4000, required: true, placeholder: "A sentence that runs are told when it matters" });
        const box = dialog("State a fact", h("form.form", { on: { submit: async event => {
            event.preventDefault();
            try {
                await post("/api/v1/memories", { content: content.value });
                box.close();
                await source.refresh();
            } catch (error) {
                toast(error.message, { bad: true });
            }
        } } }, h("label.field", { for: content.id }, h("span", "Every run of the tenant may be told it"), content), h("div", h("button.primary", { type: "submit" }, "State it"))));
    }
}

function origin(row) {
    return row.run_id ? h("a.above", { href: to("runs", row.run_id) }, h("code.muted", shortId(row.run_id))) : h("span.muted", "a user");
}
