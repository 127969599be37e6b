// One work: its preview, in a frame where it is a page, its payload as it was sent, and what can be done with it.
import { call, path, post } from "../api.js";
import { h, replace } from "../dom.js";
import { read } from "../exact.js";
import { bytes, time } from "../format.js";
import { go, to } from "../router.js";
import { me, resource } from "../store.js";
import { brief, wholeJson } from "../text.js";
import { block, id } from "../ui/copy.js";
import { confirm, dialog } from "../ui/dialog.js";
import { fault, lost } from "../ui/empty.js";
import { jsonBlock } from "../ui/json.js";
import { htmlFrame, isHtml } from "../ui/preview.js";
import { reply } from "../ui/reply.js";
import { toast } from "../ui/toast.js";
import { bucketBadge, tagsOf } from "./works.js";

// Members of a payload that are shown as a page where they are HTML.
const PagesMax = 5;

export default async function page({ root, signal, params, title }) {
    const head = h("div");
    const shown = h("div");
    const facts = h("div");
    const crumbs = h("ol.crumbs", h("li", h("a", { href: to("works") }, "Works")), h("li", id(params.work)));
    replace(root, crumbs, head, h("div.split", shown, facts));
    let before = null;
    // Of the work as it is shown: what somebody else has changed meanwhile is not written over.
    let version = null;
    // Bytes of the payload as it was sent.
    let size = 0;
    const found = resource({
        load: async s => {
            const answer = await call("GET", path`/myworks/${params.work}`, { signal: s });
            version = answer.headers.get("etag");
            const text = await answer.text();
            const places = new WeakMap();
            const { work } = read(text, places).data;
            size = new Blob([text.slice(...places.get(work.payload) ?? [])]).size;
            return work;
        },
        when: event => event.stream_id === `work-${params.work.replace(/^work_/, "")}`,
        every: 30_000, signal,
        fail: error => lost(error, { root, head, crumbs, word: "Work", again: () => found.refresh() }),
        show: work => {
            if (before === wholeJson(work)) {
                return;
            }
            before = wholeJson(work);
            title(brief(work.label, 60));
            replace(head, h("div.head", h("h1", work.label), bucketBadge(work.bucket), h("span.actions",
                me.may("changeWork") && h("button", { type: "button", on: { click: () => change(work) } }, "Change"),
                me.may("duplicateWork") && h("button", { type: "button",
                    on: { click: () => settle(async () => go(to("works", (await post(path`/myworks/${work.work_id}/duplicate`)).data.work.work_id), signal)) } }, "Duplicate"),
                me.may("deleteWork") && h("button.danger", { type: "button", on: { click: () => forget(work) } }, "Delete"))));
            replace(shown, work.preview && h("section", { "aria-labelledby": "preview" }, h("div.section-head", h("h2", { id: "preview" }, "Preview")),
                preview(work.preview, "Preview")),
                pagesOf(work.payload).map(([name, html]) => h("section.section", { "aria-label": name },
                    h("div.section-head", h("h2", name), h("span.small.muted", "of the payload")), preview(html, name))),
                h("section.section", { "aria-label": "Payload" }, jsonBlock("Payload", work.payload)),
                work.metadata !== undefined && h("section", { "aria-label": "Metadata" }, jsonBlock("Metadata", work.metadata)));
            replace(facts, h("section.inspector", { "aria-labelledby": "facts" }, h("div.inspector-title", h("h2", { id: "facts" }, "Kept as")), h("dl.facts",
                h("dt", "Bucket"), h("dd", h("code", work.bucket)), work.tags?.length > 0 && [h("dt", "Tags"), h("dd.wrap", tagsOf(work, 50))],
                h("dt", "Payload"), h("dd", bytes(size)), h("dt", "Made"), h("dd", time(work.created_at)), h("dt", "Changed"),
                h("dd", time(work.updated_at)))));
        },
    });

    // As text first: what is HTML becomes a page in a frame when the reader asks for that.
    function preview(text, label) {
        if (!isHtml(text)) {
            return h("div.card.pad", reply(text));
        }
        const place = h("div");
        const asText = () => replace(place, block(text, { label: `Source of ${label}` }));
        const button = h("button", { type: "button", "aria-pressed": "false", on: { click: () => {
            const isPage = button.getAttribute("aria-pressed") === "false";
            button.setAttribute("aria-pressed", isPage);
            isPage ? replace(place, htmlFrame(text, label)) : asText();
        } } }, "As a page");
        asText();
        return [h("p.filters", button, h("span.small.muted", "in a frame in which no script runs and to which nothing comes from elsewhere")), place];
    }

    function change(work) {
        const label = h("input", { id: "work-label", required: true, value: work.label });
        const about = h("textarea", { id: "work-preview", rows: 4, value: work.preview ?? "" });
        const tags = h("input", { id: "work-tags", value: (work.tags ?? []).join(", ") });
        const problem = h("div");
        const at = version;
        const field = (input, words) => h("label.field", { for: input.id }, h("span", words), input);
        const box = dialog("Change the work", h("form.form", { on: { submit: async event => {
            event.preventDefault();
            const words = tags.value.split(",").map(word => word.trim()).filter(Boolean);
            try {
                await call("PATCH", path`/myworks/${work.work_id}`, {
                    headers: at ? { "if-match": at } : {}, body: { label: label.value, preview: about.value || null, tags: words.length > 0 ? words : null },
                });
                box.close();
                await found.refresh();
            } catch (error) {
                replace(problem, fault(error));
            }
        } } }, field(label, "Label"), field(about, "Preview"), field(tags, "Tags, with commas between them"), problem,
            h("div", h("button.primary", { type: "submit" }, "Change it"))));
    }

    async function forget(work) {
        if (await confirm("Delete the work?", `${brief(work.label, 80)} is gone for you; the log keeps what happened.`, "Delete")) {
            await settle(async () => {
                await call("DELETE", path`/myworks/${work.work_id}`);
                toast("The work is deleted");
                go(to("works"), signal);
            });
        }
    }

    async function settle(action) {
        try {
            await action();
        } catch (error) {
            toast(error.message, { bad: true });
        }
    }
}

function pagesOf(payload) {
    return Object.entries(payload).filter(([, value]) => isHtml(value)).slice(0, PagesMax);
}
