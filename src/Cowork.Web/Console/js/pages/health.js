// Whether the host is well: how far projections are, jobs and those that were given up, the hosts, and the signed heads of the log.
import { get, path, post, remove } from "../api.js";
import { h, replace, say } from "../dom.js";
import { age, bytes, duration, left, time, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { setQuery, to } from "../router.js";
import { me, resource } from "../store.js";
import { brief } from "../text.js";
import { badge, mark, tag } from "../ui/badge.js";
import { digest, id } from "../ui/copy.js";
import { confirm, dialog } from "../ui/dialog.js";
import { fault } from "../ui/empty.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";

// None of this is told by events of their own.
const Every = 5_000;
const LagMax = 1_000;
// Dead letters that are shown until somebody asks for all, and that are tried again by one request.
const LettersShown = 20;
const LettersMax = 1_000;
// Where the thing is that a job is about, by its kind.
const Things = { run: key => to("runs", `run_${key}`), notes: key => to("runs", `run_${key}`) };

export default async function page({ root, signal, query }) {
    const verdict = h("span");
    const figures = h("dl.card.figures");
    const parts = Object.fromEntries(["projections", "jobs", "letters", "nodes", "heads"].map(name => [name, h("div")]));
    const notes = Object.fromEntries(["projections", "letters", "heads"].map(name => [name, h("span.small.muted")]));
    // What is about all tenants is for the operators' own.
    const needs = { projections: "listProjections", jobs: "listJobs", letters: "listDeadLetters", nodes: "listNodes", heads: "listHeads" };
    const section = (name, title, actions) => me.may(needs[name]) && h("section.section", { "aria-labelledby": name },
        h("div.section-head", h("h2", { id: name }, title), notes[name], actions && h("span.actions", actions)), parts[name]);
    const replayAll = h("button.hidden", { type: "button", on: { click: () => replayEach() } }, "Try all again…");
    replace(root, h("div.head", h("h1", "Health"), verdict), h("section", { "aria-label": "Figures" }, figures),
        section("projections", "Projections"), section("letters", "Dead letters", replayAll), section("jobs", "Jobs"),
        h("div.grid-2", section("nodes", "Hosts"), section("heads", "Signed heads of the log")));

    const kept = (name, options) => me.may(needs[name]) && resource({ every: Every, signal, fail: error => replace(parts[name], fault(error)), ...options });

    resource({
        load: s => get("/health/ready", {}, s).catch(error => error.status === 503 ? { status: error.code, why: error.message } : Promise.reject(error)), every: Every, signal,
        fail: error => replace(verdict, fault(error)),
        show: ready => replace(verdict, ready.status !== "ready" ? tag("refused", ready.why ?? ready.status)
            : ready.parked.length > 0 ? tag("refused", ready.parked.length === 1 ? "one projection is parked" : `${ready.parked.length} projections are parked`)
            : ready.audit_fault ? tag("refused", "no head is signed") : tag("proven", "ready")),
    });

    resource({
        load: s => get("/metrics", {}, s), every: Every, signal, fail: error => replace(figures, fault(error)),
        show: ({ host }) => host && replace(figures, [
            ["Events", whole(host.log_head)], ["Jobs waiting", whole(host.jobs.waiting)], ["Jobs being done", whole(host.jobs.held)],
            ["Connections", [whole(host.connections.open), h("small", ` of ${whole(host.connections.max)}`)]],
            ["Streams", [whole(host.streams.open), h("small", ` of ${whole(host.streams.max)}`)]], ["Memory", bytes(host.memory_bytes)],
            ["CPU", duration(host.cpu_seconds * 1000)], ["Up", age(host.started_at, { suffix: "" })],
        ].map(([name, value]) => h("div.figure", h("dt", name), h("dd", value)))),
    });

    const projections = table({
        label: "How far projections have come", id: row => row.name,
        columns: [
            { title: "Projection", name: true, show: row => h("code", row.name) },
            { title: "State", show: row => row.parked ? tag("refused", "parked") : row.lag_events > LagMax ? tag("person", "behind") : row.lag_events > 0
                ? tag("model", "following") : tag("proven", "up to date") },
            { title: "", fill: true, hide: true, show: row => row.parked ? h("span.kind-refused", row.parked.error) : "" },
            { title: "Up to event", num: true, hide: true, show: row => whole(row.position) },
            { title: "Behind by", num: true, show: row => row.lag_events === 0 ? h("span.faint", "0") : whole(row.lag_events) },
            { title: "Last step", num: true, hide: true, show: row => h("span.muted", age(row.updated_at)) },
        ],
    });
    const parked = h("div.stack");
    kept("projections", {
        load: s => get("/projections", {}, s),
        show: ({ head_gid: head, projections: rows }) => {
            say(notes.projections, `The log ends at event ${whole(head)}`);
            projections.update(rows);
            replace(parked, rows.filter(row => row.parked).map(({ name, parked: poison }) => h("div.note.bad", { role: "group", "aria-label": `What parks ${name}` },
                h("p", h("b", name), " stands before event ", h("b", whole(poison.gid)), ", which it cannot fold: it goes on when a release that can is started, or after ",
                    h("code", "./cowork rebuild"), "."),
                h("dl.facts", h("dt", "Error"), h("dd.mono", poison.error), h("dt", "Event"),
                    h("dd", h("code", poison.type), " ", id(poison.event_id), me.may("listTenantEvents") && [" ", h("a", { href: to("feed", { at: poison.gid }) }, "in the feed")]),
                    h("dt", "Stream"), h("dd", id(poison.stream_id),
                        poison.stream_id.startsWith("run-") && [" ", h("a", { href: to("runs", `run_${poison.stream_id.slice(4)}`) }, "its run")]),
                    h("dt", "Parked"), h("dd", time(poison.parked_at))))));
            replace(parts.projections, parked, projections.card);
        },
    });

    const jobs = table({
        label: "Jobs by kind", id: row => row.kind,
        columns: [
            { title: "Kind", name: true, show: row => h("code", row.kind) },
            { title: "Waiting", num: true, show: row => row.waiting === 0 ? h("span.faint", "0") : whole(row.waiting) },
            { title: "Being done", num: true, hide: true, show: row => row.held === 0 ? h("span.faint", "0") : h("span.kind-model", whole(row.held)) },
            { title: "Planned", num: true, show: row => row.later === 0 ? h("span.faint", "0") : whole(row.later) },
            { title: "Given up", num: true, show: row => row.given_up === 0 ? h("span.faint", "0") : h("span.kind-refused", whole(row.given_up)) },
            { title: "", fill: true, hide: true, show: () => "" },
            { title: "Waits longest", num: true, hide: true, show: row => row.oldest_due_at ? age(row.oldest_due_at, { suffix: "" }) : h("span.faint", "–") },
            { title: "Next", num: true, hide: true, show: row => row.next_due_at ? time(row.next_due_at) : h("span.faint", "–") },
        ],
    });
    kept("jobs", {
        load: s => get("/engine/jobs", {}, s),
        show: ({ jobs: rows }) => {
            jobs.update(rows);
            replace(parts.jobs, rows.length === 0 ? h("p.card.pad.muted", "There are no jobs at the moment.") : jobs.card);
        },
    });

    let letters = [];
    let total = 0;
    let isWhole = false;
    const more = h("div.more");
    let wanted = query.get("letter");
    const mayMend = me.may("replayDeadLetters");
    const dead = table({
        label: "Jobs that were given up", id: row => row.id, open: row => show(row),
        columns: [
            { title: "Kind", name: true, show: row => h("button.quiet.row-link.cut", { type: "button", on: { click: () => show(row) } }, h("code", row.kind)) },
            { title: "Of", nowrap: true, hide: true, show: row => Things[row.kind] ? h("a.above.mono", { href: Things[row.kind](row.key) }, brief(row.key, 30)) : h("span.mono.muted", brief(row.key, 30)) },
            { title: "Why", fill: true, show: row => [row.message, " ", h("span.faint", row.exception)] },
            { title: "Tenant", hide: true, text: true, show: row => row.org_id },
            { title: "Tries", num: true, hide: true, show: row => whole(row.attempts) },
            { title: "Given up", num: true, hide: true, show: row => h("span.muted", age(row.sent_at)) },
            mayMend && { title: "", num: true, show: row => h("button.above", { type: "button", "aria-label": `Try again: ${row.kind}`, on: { click: () => replay([row]) } },
                "Try again") },
        ].filter(Boolean),
    });
    dead.card.append(more);
    listKeys(dead, signal);
    const drawLetters = () => {
        const shown = isWhole ? letters : letters.slice(0, LettersShown);
        dead.update(shown);
        more.classList.toggle("hidden", total <= shown.length);
        replace(more, shown.length < letters.length ? h("button.quiet", { type: "button", on: { click: () => {
            isWhole = true;
            drawLetters();
        } } }, `${whole(letters.length - shown.length)} more`) : `The newest ${whole(shown.length)} of ${whole(total)} are shown.`);
        replace(parts.letters, letters.length === 0 ? h("p.card.pad.muted", mark("proven"), " No job was given up.") : dead.card);
    };
    const source = kept("letters", {
        load: s => get("/engine/dead-letters", {}, s),
        show: answer => {
            const { dead_letters: rows } = answer;
            [letters, total] = [rows, answer.total];
            say(notes.letters, total === 0 ? "" : total === 1 ? "one job was given up" : `${whole(total)} jobs were given up`);
            replayAll.classList.toggle("hidden", !mayMend || rows.length < 2);
            drawLetters();
            const named = rows.find(row => row.id === wanted);
            wanted = null;
            named && show(named);
        },
    });

    async function replay(rows) {
        try {
            const { count } = await post("/engine/dead-letters/replay", { ids: rows.map(row => row.id) });
            toast(count === 1 ? "The job is tried again" : `${whole(count)} jobs are tried again`);
            await source.refresh();
        } catch (error) {
            toast(error.message, { bad: true });
        }
    }

    // All that there are now, a thousand at a time: what fails again meanwhile is another letter, and waits for the next press.
    async function replayEach() {
        if (letters.length === 0 || !await confirm("Try all again?", total === 1 ? "One job that was given up is tried again." : `${whole(total)} jobs that were given up are tried again, `
            + "each as often as a new one. What keeps them from their end should be mended before.", "Try all")) {
            return;
        }
        replayAll.disabled = true;
        try {
            const { sent_at: newest } = letters[0];
            const tried = new Set();
            let count = 0;
            for (let rows = letters; ; rows = (await get("/engine/dead-letters", {}, signal)).dead_letters) {
                const ids = rows.filter(row => !tried.has(row.id) && row.sent_at <= newest).map(row => row.id).slice(0, LettersMax);
                if (ids.length === 0) {
                    break;
                }
                ids.forEach(id => tried.add(id));
                count += (await post("/engine/dead-letters/replay", { ids })).count;
            }
            toast(count === 1 ? "The job is tried again" : `${whole(count)} jobs are tried again`);
        } catch (error) {
            error.name !== "AbortError" && toast(error.message, { bad: true });
        }
        replayAll.disabled = false;
        await source.refresh();
    }

    async function discard(row) {
        if (!await confirm("Forget the job?", `${row.kind} ${row.key} of ${row.org_id} will not be done. What waits for it waits for ever.`, "Forget it")) {
            return;
        }
        try {
            await remove(path`/engine/dead-letters/${row.id}`);
            toast("The job is forgotten");
        } catch (error) {
            toast(error.message, { bad: true });
        }
        await source.refresh();
    }

    function show(row) {
        setQuery({ letter: row.id });
        const then = action => ({ click: () => {
            box.close();
            action();
        } });
        const box = dialog("A job that was given up",
            h("dl.facts", h("dt", "Kind"), h("dd", h("code", row.kind)), h("dt", "Key"),
                h("dd.mono", Things[row.kind] ? h("a", { href: Things[row.kind](row.key), on: { click: () => box.close() } }, row.key) : row.key), h("dt", "Tenant"), h("dd", row.org_id), h("dt", "Tries"),
                h("dd", whole(row.attempts)),
                h("dt", "Given up"), h("dd", time(row.sent_at)), h("dt", "Error"), h("dd.mono", row.exception), h("dt", "Message"), h("dd.mono", row.message)),
            mayMend ? [h("button.primary", { type: "button", on: then(() => replay([row])) }, "Try again"),
                h("button.danger", { type: "button", on: then(() => discard(row)) }, "Forget it")] : []);
        box.addEventListener("close", () => setQuery({ letter: null }));
    }
    mayMend && pageKeys([{ key: "y", does: "Try all dead letters again", run: () => replayEach() }], signal);

    const nodes = table({
        label: "Hosts that work on the database", id: row => row.id,
        columns: [
            { title: "Host", fill: true, show: row => h("code", row.id) },
            { title: "", nowrap: true, show: row => row.is_answering ? badge("active", "answers you") : h("span.muted", "alive") },
            { title: "Lease", num: true, show: row => h("span.muted", left(row.expires_at)) },
        ],
    });
    kept("nodes", {
        load: s => get("/engine/nodes", {}, s),
        show: ({ nodes: rows }) => {
            nodes.update(rows);
            replace(parts.nodes, nodes.card);
        },
    });

    kept("heads", {
        load: async s => {
            const [{ host }, { heads: [first] }] = await Promise.all([get("/metrics", {}, s), get("/audit/heads", { limit: 1 }, s)]);
            return { audit: host?.audit, end: host?.log_head, head: first && await get("/audit/heads/latest", {}, s) };
        },
        show: ({ audit, end, head }) => {
            replace(notes.heads, head ? ["the last ", age(head.timestamp)] : "");
            replace(parts.heads, audit?.fault && h("div.note.bad", h("b", "No head is signed: "), "the database is not what it was. ", h("code", "/health/ready"), " says why."),
                head ? h("dl.facts.card.pad",
                    h("dt", "Number"), h("dd", whole(head.number)),
                    h("dt", "Covers"), h("dd", whole(head.tree_size), " events",
                        end > head.tree_size ? h("span.muted", `, ${whole(end - head.tree_size)} came since`) : end && h("span.kind-proven", ", all of them")),
                    h("dt", "Signed"), h("dd", time(head.timestamp)),
                    h("dt", "Root"), h("dd", digest(head.root_hash, 24)),
                    h("dt", "Key"), h("dd", digest(head.kid, 16)),
                    audit?.targets.length > 0 && [h("dt", "Sent to"),
                        h("dd", h("ul", audit.targets.map(target => h("li", target.failing ? tag("refused", "fails") : tag("proven", "up to date"), " ", target.name,
                        h("span.muted", ` up to number ${whole(target.sent)}`)))))])
                : h("p.card.pad.muted", "No head was signed yet: the first comes within a minute of the first event."));
        },
    });
}
