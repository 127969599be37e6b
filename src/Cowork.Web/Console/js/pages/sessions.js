// All sessions, newest first; with words, those whose names have them, and what was said with them in any session.
import { get, pages as paged, post } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { person, time, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { live } from "../live.js";
import { setQuery, to } from "../router.js";
import { isErasing, isOfRun, me } from "../store.js";
import { brief } from "../text.js";
import { mark } from "../ui/badge.js";
import { searchIsBehind } from "../ui/behind.js";
import { dialog, leaveFor } from "../ui/dialog.js";
import { empty, fault } from "../ui/empty.js";
import { growing } from "../ui/growing.js";
import { inTurn, table } from "../ui/table.js";
import { toast } from "../ui/toast.js";

const PageRows = 200;
const Sought = "Names, or words that were said";
const WordMin = 2;
const HitsMax = 20;

export default async function page({ root, signal, query }) {
    const head = h("span.muted");
    const list = h("div");
    const said = h("div");
    const search = h("input", { type: "search", placeholder: Sought, "aria-label": Sought, value: query.get("q") ?? "", data: { search: "" } });
    const mayMake = me.may("createSession");
    replace(root,
        h("div.head", h("h1", "Sessions"), head, mayMake && h("span.actions", h("button", { type: "button", on: { click: make } }, "New session ", h("kbd.button-kbd", "n")))),
        h("div.filters", { role: "search" }, search), list, said);
    mayMake && pageKeys([{ key: "n", does: "New session", run: make }], signal);

    const view = table({
        label: "Sessions", id: row => row.session_id, href: row => to("sessions", row.session_id),
        columns: [
            { title: "Session", link: true, show: row => row.session_id },
            { title: "Title", fill: true, hide: true, show: row => row.title ?? row.metadata?.title ?? h("span.faint", "–") },
            { title: "By", hide: true, text: true, show: row => person(row.created_by, "code.muted") },
            { title: "Folder", hide: true, text: true, show: row => h("code.muted", row.workspace_path ?? "–") },
            { title: "Going on", num: true, show: row => row.live_runs > 0 ? h("span.kind-model", whole(row.live_runs)) : h("span.faint", "–") },
            { title: "Runs", num: true, show: row => whole(row.runs) },
            { title: "Last change", num: true, hide: true, show: row => h("span.muted", time(row.updated_at ?? row.created_at)) },
        ],
    });
    listKeys(inTurn(() => [view, hits]), signal);
    const sessions = growing({
        view, place: list, count: head, load: s => paged("/sessions", "sessions", { q: search.value.trim(), limit: PageRows }, s), key: "session_id", signal, gap: 1_000,
        when: event => event.type.startsWith("session_") || isOfRun(event),
        isLate: () => search.value.trim() !== "",
        none: () => search.value.trim() ? empty("No session has such a name")
            : empty("No sessions yet", "A session is one conversation with an agent over one folder.", ["POST", "/sessions", { session_id: "first" }]),
    });
    search.addEventListener("input", debounce(() => {
        setQuery({ q: search.value.trim() });
        sessions.restart();
        look();
    }, 150));

    const hits = table({
        label: "What was said with these words", id: row => `${row.kind} ${row.run_id} ${row.session_id}`,
        href: row => row.run_id ? to("runs", row.run_id) : to("sessions", row.session_id),
        columns: [
            { title: "By", nowrap: true, show: row => [mark(row.role === "user" ? "person" : "model"), " ", row.role === "user" ? "a user" : "the agent"] },
            { title: "Said", fill: true, link: true, show: row => brief(row.snippet, 300) },
            { title: "Session", hide: true, text: true, show: row => h("a.above.muted", { href: to("sessions", row.session_id) }, row.session_id) },
            { title: "Time", num: true, show: row => h("span.muted", time(row.at)) },
        ],
    });

    // Names are found by parts of words, and what was said by whole ones.
    async function look() {
        const q = search.value.trim();
        if (q.length < WordMin) {
            hits.update([]);
            replace(said);
            return;
        }
        try {
            const found = await get("/search", { q, kinds: "messages,replies", limit: HitsMax }, signal);
            const behind = await searchIsBehind(found.as_of_gid, signal);
            if (search.value.trim() === q) {
                hits.update(found.hits);
                replace(said, behind, found.hits.length > 0 && h("section.section", { "aria-labelledby": "said" },
                    h("div.section-head", h("h2", { id: "said" }, "Said with these words"),
                        h("span.muted", found.hits.length === HitsMax ? `the best ${whole(HitsMax)}` : whole(found.hits.length))), hits.card));
            }
        } catch (error) {
            error.name !== "AbortError" && replace(said, fault(error));
        }
    }
    live.on(events => events.some(isErasing) && look(), signal);
    look();

    function make() {
        const id = h("input", { id: "session-id", placeholder: "A name, or nothing", pattern: "[A-Za-z0-9._-]{1,128}" });
        const box = dialog("New session", h("form.field", { on: { submit: async event => {
            event.preventDefault();
            try {
                const made = await post("/sessions", id.value ? { session_id: id.value } : {});
                leaveFor(box, to("sessions", made.session_id));
            } catch (error) {
                toast(error.message, { bad: true });
            }
        } } }, h("label.field", { for: "session-id" }, h("span", "Id"), id), h("div", h("button.primary", { type: "submit" }, "Make it"))));
    }
}
