// What runs and cells have made in all sessions. The digest of each leads to the step that wrote it.
import { pages as paged } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { bytes, shortHash, time, whole } from "../format.js";
import { listKeys } from "../keys.js";
import { setQuery, to } from "../router.js";
import { resource } from "../store.js";
import { brief } from "../text.js";
import { empty, fault } from "../ui/empty.js";
import { table } from "../ui/table.js";

const PageRows = 100;

export const isOfArtifact = event => event.type.startsWith("artifact_");

export default async function page({ root, signal, query }) {
    const count = h("span.muted");
    const list = h("div");
    let session = query.get("session");
    const search = h("input", { type: "search", placeholder: "Part of the path", "aria-label": "Part of the path", value: query.get("q") ?? "", data: { search: "" } });
    const chip = session && h("button.chip", { type: "button", "aria-pressed": "true", on: { click: () => {
        session = null;
        setQuery({ session: "" });
        chip.remove();
        view.restart();
    } } }, `session: ${brief(session, 40)} ×`);
    replace(root, h("div.head", h("h1", "Artifacts"), count), h("div.filters", { role: "search" }, search, chip), list);
    const view = artifactList(list, count, signal, () => ({ session, q: search.value.trim().toLowerCase() }));
    listKeys(view.table, signal);
    search.addEventListener("input", debounce(() => {
        setQuery({ q: search.value.trim() });
        view.draw();
    }, 150));
}

// A list of artifacts; filter() → {session, q}.
export function artifactList(list, count, signal, filter, { withSession = true } = {}) {
    const view = table({
        label: "Artifacts", id: row => row.artifact_id, href: row => to("artifacts", row.artifact_id),
        columns: [
            { title: "Path", fill: true, link: true, show: row => row.path },
            withSession && { title: "Session", nowrap: true, hide: true, show: row => h("a.above.muted", { href: to("sessions", row.session_id) }, brief(row.session_id, 28)) },
            { title: "Type", nowrap: true, hide: true, show: row => h("code.muted", row.media_type) },
            { title: "Version", num: true, hide: true, show: row => whole(row.version) },
            { title: "Size", num: true, show: row => bytes(row.bytes) },
            { title: "Written by", nowrap: true, hide: true, show: row => row.run_id
                ? h("a.above.digest", { href: to("runs", row.run_id, { sha: row.sha256 }), title: row.sha256, "aria-label": `The step that wrote ${shortHash(row.sha256, 12)}` }, shortHash(row.sha256, 12)) : h("span.muted", "a cell") },
            { title: "Written", num: true, show: row => h("span.muted", time(row.updated_at)) },
        ].filter(Boolean),
    });
    const foot = h("div.more");
    view.card.append(foot);
    let rows = [];
    let next = null;

    function draw() {
        const { q, session } = filter();
        const shown = q ? rows.filter(row => row.path.toLowerCase().includes(q)) : rows;
        view.update(shown);
        replace(count, rows.length === 0 ? "" : next ? `the newest ${whole(rows.length)}` : whole(rows.length));
        replace(foot, h("button.quiet", { type: "button", on: { click: more } }, "More"));
        foot.classList.toggle("hidden", !next);
        replace(list, rows.length === 0 ? h("div.card", empty("No artifacts yet", "What a run writes below .anton/output is one.",
            ["POST", `/sessions/${encodeURIComponent(session ?? "first")}/turn`, { message: '/tool write_file {"path":".anton/output/hello.md","content":"# Hello"}' }]))
            : shown.length === 0 ? h("div.card", empty("No artifact is like that")) : view.card);
    }

    async function more() {
        const page = await next();
        next = page.next;
        rows.push(...page.rows);
        draw();
    }

    const first = resource({
        load: s => paged("/artifacts", "artifacts", { limit: PageRows, session_id: filter().session }, s), when: isOfArtifact, signal, gap: 600, fail: error => replace(list, fault(error, () => first.refresh())),
        show: page => {
            const fresh = new Set(page.rows.map(row => row.artifact_id));
            const oldest = page.rows.at(-1)?.created_at ?? "";
            rows = [...page.rows, ...rows.filter(row => !fresh.has(row.artifact_id) && row.created_at < oldest)];
            next = rows.length === page.rows.length ? page.next : next;
            draw();
        },
    });
    return {
        table: view, draw,
        restart() {
            rows = [];
            first.refresh();
        },
    };
}
