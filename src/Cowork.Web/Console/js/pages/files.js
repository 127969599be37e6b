// Files that were given to agents: in a project, a conversation, or the whole tenant.
import { address, bytes as bytesOf, get, path } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { bytes, shortId, time, whole } from "../format.js";
import { setQuery, to } from "../router.js";
import { listKeys, pageKeys } from "../keys.js";
import { resource } from "../store.js";
import { brief } from "../text.js";
import { tag } from "../ui/badge.js";
import { copyButton, id } from "../ui/copy.js";
import { empty, fault } from "../ui/empty.js";
import { preview, save } from "../ui/preview.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";

const PageRows = 100;
// Whether search finds what is in the file.
const Texts = { ready: ["proven", "found by search"], failed: ["refused", "no text"], processing: ["model working", "being read"] };
const Key = /^[0-9a-hjkmnp-tv-z]{26}$/;

export const isOfFile = event => event.type.startsWith("file_");

// A conversation of contract B is a session of contract A.
export function sessionOf(conversation) {
    const rest = conversation.slice("conv_".length);
    return Key.test(rest) ? `sess_${rest}` : rest;
}

export default async function page({ root, signal, query }) {
    const count = h("span.muted");
    const list = h("div");
    let at = query.get("at");
    let session = query.get("session");
    const side = h("aside.inspector", { "aria-label": "The file", tabindex: "0" });
    const search = h("input", { type: "search", placeholder: "Part of the name", "aria-label": "Part of the name", value: query.get("q") ?? "", data: { search: "" } });
    const chip = session && h("button.chip", { type: "button", "aria-pressed": "true", on: { click: () => {
        session = null;
        setQuery({ session: "" });
        chip.remove();
        rows = [];
        source.refresh();
    } } }, `session: ${brief(session, 40)} ×`);
    replace(root, h("div.head", h("h1", "Files"), count), h("div.filters", { role: "search" }, search, chip), h("div.split", list, side));
    const view = table({
        label: "Files", id: row => row.id, href: row => to("files", { at: row.id, session }), choose: row => choose(row.id),
        columns: [
            { title: "Name", fill: true, link: true, show: row => row.name },
            { title: "Type", nowrap: true, hide: true, show: row => h("code.muted", row.mime_type) },
            { title: "Text", hide: true, show: row => tag(...Texts[row.status] ?? ["wait", row.status]) },
            { title: "Size", num: true, show: row => bytes(row.size) },
            { title: "Of", nowrap: true, hide: true, show: row => row.conversation_id ? h("a.above.muted", { href: to("sessions", sessionOf(row.conversation_id)) }, brief(sessionOf(row.conversation_id), 24))
                : h("span.muted", row.project_id ? `project ${shortId(row.project_id)}` : "all") },
            { title: "Given", num: true, show: row => h("span.muted", time(row.created_at)) },
        ],
    });
    listKeys(view, signal);
    pageKeys([{ key: "s", does: "Save the file", run: () => side.querySelector("button[data-save]")?.click() }], signal);
    let rows = [];
    let more = false;
    const foot = h("div.more");
    view.card.append(foot);

    const source = resource({
        load: s => get("/api/v1/files", { limit: PageRows, conversation_id: session }, s), when: isOfFile, signal, gap: 500, fail: error => replace(list, fault(error, () => source.refresh())),
        show: answer => {
            const fresh = new Set(answer.data.map(row => row.id));
            const oldest = answer.data.at(-1)?.created_at ?? "";
            const kept = rows.filter(row => !fresh.has(row.id) && row.created_at < oldest);
            more = kept.length > 0 ? more : answer.has_more;
            rows = [...answer.data, ...kept];
            draw();
        },
    });

    function draw() {
        const q = search.value.trim().toLowerCase();
        const shown = q ? rows.filter(row => row.name.toLowerCase().includes(q)) : rows;
        view.update(shown);
        replace(count, rows.length === 0 ? "" : more ? `the newest ${whole(rows.length)}` : whole(rows.length));
        replace(foot, h("button.quiet", { type: "button", on: { click: further } }, "More"));
        foot.classList.toggle("hidden", !more);
        const line = `curl -s '${address("/api/v1/files").href}' -F file=@prices.csv${session ? ` -F conversation_id=${session}` : ""}`;
        replace(list, rows.length === 0 ? h("div.card", empty("No files yet", "What is uploaded is read, and agents find it."), h("div.empty", h("div.code", { tabindex: "0", role: "group", "aria-label": "A command that can be copied" },
            h("pre", line), copyButton(line)))) : shown.length === 0 ? h("div.card", empty("No file is like that")) : view.card);
        inspect();
    }

    async function further() {
        const answer = await get("/api/v1/files", { limit: PageRows, offset: rows.length, conversation_id: session }, signal);
        const known = new Set(rows.map(row => row.id));
        rows.push(...answer.data.filter(row => !known.has(row.id)));
        more = answer.has_more;
        draw();
    }

    function choose(file) {
        at = file;
        setQuery({ at });
        inspect();
    }

    async function inspect() {
        const row = rows.find(each => each.id === at);
        const signature = row ? `${row.id} ${row.status}` : "";
        if (inspect.of === signature) {
            return;
        }
        inspect.of = signature;
        if (!row) {
            replace(side, h("p.muted", "Choose a file."));
            return;
        }
        const slot = h("div");
        const content = () => bytesOf(path`/api/v1/files/${row.id}/content`, {}, signal);
        replace(side, h("div.inspector-title", h("h2.grow", row.name), h("button", { type: "button", data: { save: "" }, on: { click: () => content().then(blob => save(blob, row.name)).catch(error => toast(error.message, { bad: true })) } }, "Save")),
            h("dl.facts", h("dt", "Id"), h("dd", id(row.id)), h("dt", "Type"), h("dd.mono", row.mime_type), h("dt", "Size"), h("dd", bytes(row.size)),
                row.status_detail && [h("dt", "Text"), h("dd", row.status_detail)], row.status_code && [h("dt", "Because"), h("dd.mono", row.status_code)]),
            h("h3", { style: { margin: "14px 0 4px" } }, "Content"), slot);
        try {
            await preview(slot, await content(), { mediaType: row.mime_type, name: row.name, signal });
        } catch (error) {
            error.name !== "AbortError" && replace(slot, fault(error));
        }
    }

    search.addEventListener("input", debounce(() => {
        setQuery({ q: search.value.trim() });
        draw();
    }, 150));
}
