// Finds pages and things by name, things by id, and words in messages, replies, titles and memories (GET /search).
import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { time } from "../format.js";
import { leave as leaveFor, to } from "../router.js";
import { me } from "../store.js";
import { brief } from "../text.js";
import { mark } from "./badge.js";

// Ids by what they begin with: the mark, the thing, and the page that has it.
const Things = {
    run: ["model", "run", "runs"], sess: ["wait", "session", "sessions"], skill: ["wait", "skill", "skills"], sched: ["wait", "schedule", "schedules"], art: ["tool", "artifact", "artifacts"],
    sp: ["wait", "scratchpad", "scratchpads"], grp: ["person", "group", "groups"], mem: ["memory", "memory", "memories"], work: ["wait", "work", "works"],
};
// Lists that find things by their names.
//   needs: the operation that lists them; page: the one that is about them; name: what they are called; hasSearch: the page finds the rest of them by the same words.
const Lists = [
    { needs: "listSessions", page: "sessions", note: "session", path: "/sessions", rows: "sessions", name: row => row.title ?? row.metadata?.title ?? row.session_id, href: row => to("sessions", row.session_id), hasSearch: true },
    { needs: "listSkills", page: "skills", note: "skill", path: "/skills", rows: "skills", name: row => row.name, href: row => to("skills", row.skill_id), hasSearch: true },
    { needs: "listSchedules", page: "schedules", note: "schedule", path: "/scheduled-runs", rows: "scheduled_runs", name: row => row.name, href: row => to("schedules", row.schedule_id), isOfSession: true, hasSearch: true },
    { needs: "listPromptSchedules", page: "schedules", note: "schedule", path: "/api/v1/schedules", rows: "data", name: row => row.prompt, href: row => to("schedules", row.id), hasSearch: true },
    { needs: "listNotebooks", page: "scratchpads", note: "scratchpad", path: "/scratchpads", rows: "scratchpads", name: row => row.title, href: row => to("scratchpads", row.scratchpad_id), isOfSession: true, hasSearch: true },
    { needs: "listFiles", page: "files", note: "file", path: "/api/v1/files", rows: "data", name: row => row.name, href: row => to("files", { q: row.name, at: row.id }), hasSearch: true },
    { needs: "listArtifacts", page: "artifacts", note: "artifact", path: "/artifacts", rows: "artifacts", name: row => row.path, href: row => to("artifacts", row.artifact_id), isOfSession: true, hasSearch: true },
    { needs: "listGroups", page: "groups", note: "group", path: "/groups", rows: "groups", query: () => ({ scope: me.roles.includes("admin") ? "all" : "mine" }), name: row => row.title, href: row => to("groups", row.group_id), hasSearch: true },
    { needs: "listConnections", page: "connectors", note: "connection", path: "/api/v1/connectors/connections", rows: "data", name: row => row.name, href: row => to("connectors", { q: row.name, at: row.id }), hasSearch: true },
    { needs: "listTokens", page: "access", note: "token", path: "/tokens", rows: "tokens", name: row => row.name, href: row => to("access", { show: "tokens", token: row.token_id }) },
];
// Of one kind, so that none hides the others.
const NamesMax = 5;
const WordMin = 2;
// Milliseconds.
const AskAfter = 200;
const Marks = { user: "person", assistant: "model", title: "wait", memory: "memory" };

// pages: [{title, path}] that may be offered; text: what to look for first.
export function palette(pages, text = "") {
    const abort = new AbortController();
    const list = h("ul.hits", { role: "listbox", id: "hits", "aria-label": "Found" });
    const field = h("input", {
        type: "search", placeholder: "A name, words, an id, or a page", "aria-label": "Search", role: "combobox", "aria-controls": "hits", "aria-expanded": "true", "aria-autocomplete": "list",
        autocomplete: "off", value: text,
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
        leaveFor(hit.href);
    }

    // What comes later does not take the choice away that the reader made.
    function show(found) {
        const chosen = isMoved ? hits[at]?.href : null;
        hits = found;
        replace(list, found.map((hit, i) => h("li", { id: `hit-${i}`, role: "option", on: { click: () => open(hit) } }, mark(hit.kind), h("span.cut.grow", { title: hit.text }, hit.text), hit.note && h("span.muted", hit.note))));
        choose(chosen ? Math.max(0, found.findIndex(hit => hit.href === chosen)) : 0);
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

    const offered = Lists.filter(each => me.may(each.needs) && pages.some(page => page.path === each.page));
    let isMoved = false;
    let asked = null;
    let leave = new AbortController();
    // By where it was looked: what was found for the words that stand there, or why nothing is known.
    let answers = new Map();
    // What was found for the words before: of it, what has the new words too is shown until their answers come.
    let before = new Map();
    const waiting = new Set();

    // One question of one place. What comes for words that are not there any more is not shown.
    async function ask(place, load) {
        waiting.add(place);
        const of = answers;
        try {
            of.set(place, { found: await load() });
        } catch (error) {
            if (error.name === "AbortError") {
                return;
            }
            of.set(place, { error });
        }
        if (of === answers) {
            waiting.delete(place);
            box.isConnected && draw();
        }
    }

    function named(q, isAsked) {
        const words = q.toLowerCase().split(/\s+/);
        const hits = [];
        const further = [];
        for (const each of offered) {
            const answer = isAsked ? answers.get(each)?.found : null;
            const rows = answer?.[each.rows] ?? ((answers.get(each) ?? before.get(each))?.found?.[each.rows] ?? []).filter(row => {
                const name = (each.name(row) ?? "").toLowerCase();
                return words.every(word => name.includes(word));
            });
            hits.push(...rows.slice(0, NamesMax).map(row => ({
                kind: kindOf(each), text: brief(each.name(row) ?? "", 160), note: each.isOfSession ? `${each.note} of ${brief(row.session_id, 24)}` : each.note, href: each.href(row),
            })));
            if (each.hasSearch && (rows.length > NamesMax || answer?.next_cursor || answer?.has_more)) {
                const { title } = pages.find(page => page.path === each.page);
                const href = to(each.page, { q, ...each.query?.() });
                further.some(hit => hit.href === href) || further.push({ kind: kindOf(each), text: `${title} with “${q}”`, note: "the whole list", href });
            }
        }
        return { hits, further };
    }

    function draw() {
        const q = field.value.trim();
        const low = q.toLowerCase();
        const near = pages.filter(page => page.title.toLowerCase().includes(low)).map(page => ({ kind: "wait", text: page.title, note: "page", href: to(...page.path.split("/").filter(Boolean)) }));
        const isAsked = q.length >= WordMin && asked === q;
        const { hits: names, further } = q.length >= WordMin ? named(q, isAsked) : { hits: [], further: [] };
        const of = place => isAsked ? answers.get(place)?.found ?? [] : [];
        const all = [...byId(q), ...near, ...names, ...of("works"), ...of("texts")];
        // A thing that is found by its id and by its name is there once; a run as often as its words are.
        const seen = new Set();
        const once = all.filter(hit => hit.isText || !seen.has(hit.href) && seen.add(hit.href)).filter(hit => hit.role !== "title" || !seen.has(hit.href));
        show([...once, ...further]);
        const failed = [...answers.values()].find(answer => answer.error)?.error;
        tell(q.length < WordMin ? hits.length === 0 && "No page is called so. Words have two letters and more."
            : isAsked && waiting.size === 0 && (failed?.message ?? (once.length === 0 && "Nothing found by its name or id, nor in messages, replies, titles of sessions and memories.")));
    }

    function look() {
        const q = field.value.trim();
        if (asked === q || !box.isConnected) {
            draw();
            return;
        }
        asked = q;
        isMoved = false;
        leave.abort();
        leave = new AbortController();
        before = new Map([...before, ...answers]);
        answers = new Map();
        waiting.clear();
        if (q.length >= WordMin) {
            const signal = AbortSignal.any([abort.signal, leave.signal]);
            ask("texts", async () => (await get("/search", { q, limit: 20 }, signal)).hits.map(hit => ({
                kind: Marks[hit.role] ?? "wait", text: brief(hit.snippet, 120), note: hit.at && time(hit.at), isText: true, role: hit.role,
                href: hit.memory_id ? to("memories", hit.memory_id) : hit.run_id ? to("runs", hit.run_id) : to("sessions", hit.session_id),
            })));
            me.may("listWorks") && pages.some(page => page.path === "works") && ask("works", async () => (await get("/myworks", { q, limit: NamesMax }, signal)).data.list.map(work => ({
                kind: "wait", text: brief(work.label, 160), note: "work", href: to("works", work.work_id),
            })));
            offered.forEach(each => ask(each, () => get(each.path, { q, limit: NamesMax + 1, ...each.query?.() }, signal)));
        }
        draw();
    }

    // What is here already is shown at once; the host is asked when the reader has stopped typing.
    let timer = 0;
    abort.signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
    field.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(look, AskAfter);
        isMoved = false;
        draw();
    });
    field.addEventListener("keydown", event => {
        if (event.key === "ArrowDown" || event.key === "ArrowUp") {
            isMoved = true;
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

function kindOf({ page }) {
    return Object.values(Things).find(([, , where]) => where === page)?.[0] ?? "wait";
}
