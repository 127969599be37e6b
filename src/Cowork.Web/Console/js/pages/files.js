// Files that were given to agents, in a project, a conversation, or the whole tenant; and of a session what its runs made, too.
import { bytes as bytesOf, call, get, path, remove } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { bytes, shortId, time } from "../format.js";
import { setQuery, to } from "../router.js";
import { listKeys, pageKeys } from "../keys.js";
import { me } from "../store.js";
import { brief } from "../text.js";
import { tag } from "../ui/badge.js";
import { removable } from "../ui/chips.js";
import { id } from "../ui/copy.js";
import { confirm } from "../ui/dialog.js";
import { empty, fault } from "../ui/empty.js";
import { growing } from "../ui/growing.js";
import { preview, save } from "../ui/preview.js";
import { inTurn, table } from "../ui/table.js";
import { toast } from "../ui/toast.js";
import { artifactList } from "./artifacts.js";

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

function ofWhat(file) {
    return file.conversation_id ? h("a.above.muted", { href: to("sessions", sessionOf(file.conversation_id)) }, sessionOf(file.conversation_id))
        : h("span.muted", file.project_id ? `project ${shortId(file.project_id)}` : "all");
}

export default async function page({ root, signal, query }) {
    const count = h("span.muted");
    const list = h("div");
    let at = query.get("at");
    let session = query.get("session");
    const side = h("aside.inspector", { "aria-label": "The file", tabindex: "0" });
    const search = h("input", { type: "search", placeholder: "Part of the name", "aria-label": "Part of the name", value: query.get("q") ?? "", data: { search: "" } });
    const chip = removable("session", session, () => {
        session = null;
        setQuery({ session });
        drawMade();
        source.restart();
    });
    const mayGive = me.may("uploadFile");
    const given = h("input.hidden", { type: "file", multiple: true, "aria-label": "Files to upload", on: { change: () => upload([...given.files]) } });
    const made = h("div.section");
    replace(root, h("div.head", h("h1", "Files"), count, h("span.actions",
        mayGive && h("button", { type: "button", on: { click: () => given.click() } }, "Upload ", h("kbd.button-kbd", "n")), given)),
        h("div.filters", { role: "search" }, search, chip), h("div.split", h("div", list, made), side));
    const view = table({
        label: "Files", id: row => row.id, href: row => to("files", { at: row.id, session }), choose: row => choose(row.id),
        columns: [
            { title: "Name", fill: true, link: true, show: row => row.name },
            { title: "Type", text: true, hide: "early", show: row => h("code.muted", row.mime_type) },
            { title: "Text", hide: true, show: row => tag(...Texts[row.status] ?? ["wait", row.status]) },
            { title: "Size", num: true, show: row => bytes(row.size) },
            { title: "Of", text: true, hide: "early", show: ofWhat },
            { title: "Given", num: true, show: row => h("span.muted", time(row.created_at)) },
        ],
    });
    let madeView = null;
    drawMade();
    listKeys(inTurn(() => [view, madeView]), signal);
    pageKeys([{ key: "s", does: "Save the file", run: () => side.querySelector("button[data-save]")?.click() }], signal);
    mayGive && pageKeys([{ key: "n", does: "Upload files", run: () => given.click() }], signal);

    async function pageFrom(offset, limit, s) {
        const { data, has_more: goesOn } = await get("/api/v1/files", { q: search.value.trim(), limit, offset, conversation_id: session }, s);
        return { rows: data, next: goesOn ? (size = PageRows) => pageFrom(offset + data.length, size, s) : null };
    }

    const source = growing({
        view, place: list, count, load: s => pageFrom(0, PageRows, s), key: "id", when: isOfFile, every: 30_000, signal, gap: 1_000, drawn: inspect,
        isLate: () => search.value.trim() !== "",
        none: () => search.value.trim() ? empty("No file is like that") : empty("No files yet", "What is uploaded is read, and agents find it.",
            ["POST", "/api/v1/files", undefined, { file: "article,price\ntea,4;filename=prices.csv", conversation_id: session }]),
    });

    function choose(file) {
        at = file;
        setQuery({ at });
        inspect();
    }

    async function inspect() {
        const row = source.rows.find(each => each.id === at);
        view.shows(row ? at : null);
        const signature = row ? `${row.id} ${row.status} ${row.status_code} ${row.name}` : "";
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
        replace(side, h("div.inspector-title", h("h2.grow", row.name),
            h("button", { type: "button", data: { save: "" }, on: { click: () => content().then(blob => save(blob, row.name)).catch(error => toast(error.message, { bad: true })) } }, "Save"),
            me.may("deleteFile") && h("button.danger", { type: "button", on: { click: () => forget(row) } }, "Delete")),
            h("dl.facts", h("dt", "Id"), h("dd", id(row.id)), h("dt", "Type"), h("dd.mono", row.mime_type), h("dt", "Size"), h("dd", bytes(row.size)),
                h("dt", "Of"), h("dd", ofWhat(row)),
                row.status_detail && [h("dt", "Text"), h("dd", row.status_detail)], row.status_code && [h("dt", "Because"), h("dd.mono", row.status_code)]),
            h("h3", { style: { margin: "14px 0 4px" } }, "Content"), slot);
        try {
            await preview(slot, await content(), { mediaType: row.mime_type, name: row.name, signal });
        } catch (error) {
            error.name !== "AbortError" && replace(slot, fault(error));
        }
    }

    // What was made is no upload: it has versions, and steps that wrote them.
    function drawMade() {
        const all = h("a.small.muted", { href: to("artifacts", { session }) }, session ? "As a page" : "What agents made");
        if (!session) {
            madeView = null;
            replace(made, h("p", all));
            return;
        }
        const number = h("span.muted");
        const found = h("div");
        replace(made, h("section", { "aria-labelledby": "made" }, h("div.section-head", h("h2", { id: "made" }, "What its runs made"), number, h("span.actions", all)), found));
        ({ table: madeView } = artifactList(found, number, signal, () => ({ session, q: "" }), { withSession: false }));
    }

    async function upload(files) {
        given.value = "";
        for (const file of files) {
            try {
                const form = new FormData();
                session && form.append("conversation_id", session);
                form.append("file", file, file.name);
                at = (await (await call("POST", "/api/v1/files", { form, signal })).json()).id;
                setQuery({ at });
            } catch (error) {
                toast(`${file.name}: ${error.message}`, { bad: true });
            }
        }
        await source.refresh();
    }

    async function forget(row) {
        if (!await confirm("Delete the file?", `No run finds ${brief(row.name, 80)} any more.`, "Delete")) {
            return;
        }
        try {
            await remove(path`/api/v1/files/${row.id}`);
            toast("The file is deleted");
        } catch (error) {
            toast(error.message, { bad: true });
        }
        await source.refresh();
    }

    search.addEventListener("input", debounce(() => {
        setQuery({ q: search.value.trim() });
        source.restart();
    }, 150));
}
