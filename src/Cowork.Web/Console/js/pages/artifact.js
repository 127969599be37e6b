// One artifact: its versions, who wrote each, what it holds, and what changed since the version before.
import { bytes as bytesOf, get, path } from "../api.js";
import { h, renew, replace } from "../dom.js";
import { bytes, isErasedDigest, shortHash, shortId, time, whole } from "../format.js";
import { listKeys, pageKeys, versionKeys } from "../keys.js";
import { setQuery, to } from "../router.js";
import { resource } from "../store.js";
import { brief } from "../text.js";
import { digest, id } from "../ui/copy.js";
import { diff } from "../ui/diff.js";
import { fault, lost } from "../ui/empty.js";
import { preview, save } from "../ui/preview.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";

const DiffBytesMax = 512 * 1024;

export default async function page({ root, signal, params, query, title }) {
    const artifact = params.artifact;
    let details = null;
    let versions = [];
    let at = Number(query.get("version")) || null;
    let isDiff = query.get("show") === "diff";
    const blobs = new Map();
    const head = h("div");
    const shown = h("div");
    const view = table({
        label: "Versions", id: row => row.version, href: row => to("artifacts", artifact, { version: row.version }), choose: row => choose(row.version),
        columns: [
            { title: "Version", link: true, cut: false, nowrap: true, show: row => `version ${whole(row.version)}` },
            { title: "Written by", fill: true, show: row => row.run_id ? [h("a.above", { href: to("runs", row.run_id, { sha: row.sha256 }) }, "the step"), h("span.muted", " of ", h("span.mono", shortId(row.run_id)))] : h("span.muted", "a cell of a scratchpad") },
            { title: "Digest", nowrap: true, hide: true, show: row => h("span.above", digest(row.sha256, 16)) },
            { title: "Size", num: true, show: row => bytes(row.bytes) },
            { title: "Written", num: true, show: row => h("span.muted", time(row.created_at)) },
        ],
    });
    replace(root, head, view.card, shown);
    listKeys(view, signal);
    pageKeys([
        ...versionKeys(() => versions, () => at, choose),
        { key: "d", does: "What changed", run: () => toggle() },
    ], signal);

    const source = resource({
        load: s => Promise.all([get(path`/artifacts/${artifact}`, {}, s), get(path`/artifacts/${artifact}/versions`, { limit: 1000 }, s)]),
        when: event => event.type.startsWith("artifact_") && event.payload.artifact_id === artifact, signal, fail: error => lost(error, { root, head, crumbs: crumbs(), word: "Artifact", again: () => source.refresh() }),
        show: ([found, list]) => {
            if (details && found.path !== details.path) {
                // Of what was erased nothing stays.
                blobs.clear();
                draw.of = null;
            }
            details = found;
            ({ versions } = list);
            at ??= found.version;
            title(nameOf());
            view.update(versions);
            draw();
        },
    });

    const nameOf = () => details.path.split("/").at(-1) || details.path;

    function crumbs() {
        return h("ol.crumbs", h("li", h("a", { href: to("artifacts") }, "Artifacts")), details && h("li", h("a", { href: to("artifacts", { session: details.session_id }), title: details.session_id }, brief(details.session_id, 40))), h("li", id(artifact)));
    }

    function choose(version) {
        at = version;
        setQuery({ version });
        draw();
    }

    function toggle() {
        isDiff = !isDiff;
        setQuery({ show: isDiff ? "diff" : "" });
        draw();
    }

    async function draw() {
        const row = versions.find(each => each.version === at);
        const before = versions.find(each => each.version === at - 1);
        renew(head, crumbs(), h("div.head", h("h1", nameOf()), h("code.muted", details.path), h("span.actions",
            before && h("button", { type: "button", "aria-pressed": isDiff, on: { click: toggle } }, "What changed"),
            row && !isErasedDigest(row.sha256) && h("button", { type: "button", on: { click: () => blobOf(row).then(blob => save(blob, nameOf())).catch(error => toast(error.message, { bad: true })) } }, "Save"))));
        view.shows(at);
        if (!row) {
            replace(shown, h("p.note.section", "There is no such version."));
            return;
        }
        const signature = `${row.sha256} ${isDiff} ${before?.sha256}`;
        if (draw.of === signature) {
            return;
        }
        draw.of = signature;
        const slot = h("div");
        replace(shown, h("section.section", { "aria-labelledby": "content" }, h("div.section-head", h("h2", { id: "content" }, `Version ${whole(at)}`), h("span.muted", row.media_type),
            row.run_id && !isErasedDigest(row.sha256) && h("a.digest", { href: to("runs", row.run_id, { sha: row.sha256 }), title: row.sha256 }, shortHash(row.sha256, 16))), slot));
        try {
            if (isDiff && before && row.bytes <= DiffBytesMax && before.bytes <= DiffBytesMax) {
                const [a, b] = await Promise.all([before, row].map(async each => (await blobOf(each)).text()));
                replace(slot, diff(a, b, `What version ${at} changed`));
            } else {
                await preview(slot, await blobOf(row), { mediaType: row.media_type, name: nameOf(), signal });
            }
        } catch (error) {
            draw.of = null;
            error.name !== "AbortError" && replace(slot, fault(error, draw));
        }
    }

    async function blobOf(row) {
        if (!blobs.has(row.version)) {
            blobs.set(row.version, await bytesOf(path`/artifacts/${artifact}/versions/${row.version}/content`, {}, signal));
        }
        return blobs.get(row.version);
    }
}
