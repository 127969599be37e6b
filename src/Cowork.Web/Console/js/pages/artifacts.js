// What runs and cells have made in all sessions. The digest of each leads to the step that wrote it.
import { pages as paged } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { bytes, shortHash, time, whole } from "../format.js";
import { listKeys } from "../keys.js";
import { setQuery, to } from "../router.js";
import { removable } from "../ui/chips.js";
import { empty, firstSession } from "../ui/empty.js";
import { growing } from "../ui/growing.js";
import { table } from "../ui/table.js";

const PageRows = 100;

export const isOfArtifact = event => event.type.startsWith("artifact_");

export default async function page({ root, signal, query }) {
    const count = h("span.muted");
    const list = h("div");
    let session = query.get("session");
    const search = h("input", { type: "search", placeholder: "Part of the path", "aria-label": "Part of the path", value: query.get("q") ?? "", data: { search: "" } });
    const chip = removable("session", session, () => {
        session = null;
        setQuery({ session });
        view.restart();
    });
    replace(root, h("div.head", h("h1", "Artifacts"), count), h("div.filters", { role: "search" }, search, chip), list);
    const view = artifactList(list, count, signal, () => ({ session, q: search.value.trim() }));
    listKeys(view.table, signal);
    search.addEventListener("input", debounce(() => {
        setQuery({ q: search.value.trim() });
        view.restart();
    }, 150));
}

// A list of artifacts; filter() → {session, q}.
export function artifactList(list, count, signal, filter, { withSession = true } = {}) {
    const view = table({
        label: "Artifacts", id: row => row.artifact_id, href: row => to("artifacts", row.artifact_id),
        columns: [
            { title: "Path", fill: true, link: true, show: row => row.path },
            withSession && { title: "Session", text: true, hide: true, show: row => h("a.above.muted", { href: to("sessions", row.session_id) }, row.session_id) },
            { title: "Type", text: true, hide: true, show: row => h("code.muted", row.media_type) },
            { title: "Version", num: true, hide: true, show: row => whole(row.version) },
            { title: "Size", num: true, show: row => bytes(row.bytes) },
            { title: "Written by", nowrap: true, hide: true, show: row => row.run_id
                ? h("a.above.digest", { href: to("runs", row.run_id, { sha: row.sha256 }), title: row.sha256, "aria-label": `The step that wrote ${shortHash(row.sha256, 12)}` }, shortHash(row.sha256, 12)) : h("span.muted", "a cell") },
            { title: "Written", num: true, show: row => h("span.muted", time(row.updated_at)) },
        ].filter(Boolean),
    });
    const artifacts = growing({
        view, place: list, count, load: s => paged("/artifacts", "artifacts", { q: filter().q, limit: PageRows, session_id: filter().session }, s), key: "artifact_id", when: isOfArtifact,
        signal, gap: 1_000,
        isLate: () => filter().q !== "",
        none: () => filter().q ? empty("No artifact is like that") : empty("No artifacts yet", "What a run writes below .anton/output is one.",
            ...firstSession(filter().session), ["POST", `/sessions/${encodeURIComponent(filter().session ?? "first")}/turn`, { message: '/tool write_file {"path":".anton/output/hello.md","content":"# Hello"}' }]),
    });
    return { table: view, restart: artifacts.restart };
}
