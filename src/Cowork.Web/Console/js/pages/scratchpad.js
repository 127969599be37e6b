// One scratchpad: its cells with what they came to, and who executed each, for which run.
import { bytes as bytesOf, get, path, post } from "../api.js";
import { h, renew, replace } from "../dom.js";
import { readRoot } from "../exact.js";
import { duration, shortId, time, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { setQuery, to } from "../router.js";
import { me, resource } from "../store.js";
import { brief } from "../text.js";
import { badge, tag } from "../ui/badge.js";
import { block, copyButton, id } from "../ui/copy.js";
import { empty, lost } from "../ui/empty.js";
import { json } from "../ui/json.js";
import { htmlFrame, picture, save } from "../ui/preview.js";
import { reply } from "../ui/reply.js";
import { toast } from "../ui/toast.js";
import { isOfScratchpad } from "./scratchpads.js";
import { sessionOf } from "./files.js";

// Forms of one output, the best first.
const Forms = ["text/html", "image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp", "text/markdown", "application/json", "text/plain"];
const Statuses = { success: ["proven", "succeeded"], error: ["refused", "failed"], running: ["model working", "running"], pending: ["wait", "not executed"] };
const Kernels = { none: "no kernel", waiting: "waits for a kernel", idle: "kernel idle", busy: "kernel busy" };

export default async function page({ root, signal, params, query, title }) {
    const pad = params.pad;
    let details = null;
    let executions = new Map();
    let at = query.get("cell");
    // Cells stay where they are while they are the same: frames would load again.
    const shown = new Map();
    const head = h("div");
    const list = h("ol.cells");
    replace(root, head, list);

    const source = resource({
        load: s => Promise.all([get(path`/api/v1/scratchpads/${pad}`, {}, s), get(path`/scratchpads/${pad}/executions`, { limit: 1000 }, s)]),
        when: event => isOfScratchpad(event) && (!details || event.session_id === null || event.session_id === sessionOf(details.conversation_id)), signal, gap: 500,
        fail: error => lost(error, { root, head, crumbs: crumbs(), word: "Scratchpad", again: () => source.refresh() }),
        show: ([found, told]) => {
            details = found;
            executions = new Map();
            for (const each of told.executions) {
                // The newest comes first.
                executions.has(each.cell_id) || executions.set(each.cell_id, each);
            }
            title(details.title);
            draw(told.executions.length);
        },
    });

    function crumbs() {
        return h("ol.crumbs", h("li", h("a", { href: to("scratchpads") }, "Scratchpads")),
            details && h("li", h("a", { href: to("sessions", sessionOf(details.conversation_id)) }, brief(sessionOf(details.conversation_id), 40))), h("li", id(pad)));
    }

    function draw(times) {
        const { kernel } = details;
        renew(head, crumbs(), h("div.head", h("h1", brief(details.title, 140)), tag(kernel.status === "busy" ? "model working" : "wait", Kernels[kernel.status] ?? kernel.status),
            h("span.muted", kernel.name && h("code", kernel.name), times > 0 && ` ${whole(times)} executions`), details.replay_of && h("a.muted", { href: to("scratchpads", details.replay_of) }, "a replay of another"),
            h("span.actions", h("button", { type: "button", on: { click: () => bytesOf(path`/api/v1/scratchpads/${pad}/ipynb`, {}, signal).then(blob => save(blob, `${pad}.ipynb`)).catch(say) } }, "Notebook"))));
        const cells = details.cells.filter(cell => cell.type !== "output");
        const ids = new Set(cells.map(cell => cell.id));
        for (const [key, entry] of shown) {
            if (!ids.has(key)) {
                entry.element.remove();
                shown.delete(key);
            }
        }
        cells.forEach((cell, i) => {
            const text = JSON.stringify([cell, executions.get(cell.id)]);
            let entry = shown.get(cell.id);
            if (!entry) {
                entry = { element: h("li.cell", { tabindex: "-1", data: { cell: cell.id } }) };
                shown.set(cell.id, entry);
            }
            if (entry.text !== text) {
                entry.leave?.abort();
                entry.leave = new AbortController();
                entry.text = text;
                fill(entry.element, cell, AbortSignal.any([signal, entry.leave.signal]));
            }
            if (list.children[i] !== entry.element) {
                list.insertBefore(entry.element, list.children[i] ?? null);
            }
        });
        cells.length === 0 && replace(list, h("li.card", empty("It has no cells yet", "A cell is a piece of code or of text.", ["POST", path`/api/v1/scratchpads/${pad}/cells`, { type: "code", content: "1 + 1" }])));
        draw.wasShown || focus(at, { isFirst: true });
        draw.wasShown = true;
    }

    function fill(element, cell, ends) {
        if (cell.type === "markdown") {
            replace(element, h("span.cell-no"), h("div.cell-body", reply(cell.content, { below: 1 })));
            return;
        }
        const done = executions.get(cell.id);
        renew(element,
            h("span.cell-no.mono", { title: "Number of the execution since the kernel began" }, `[${cell.execution_count ?? " "}]`),
            h("div.cell-body",
                block(cell.content, { label: `Code, ${cell.language ?? "python"}` }),
                h("div.cell-by", tag(...Statuses[cell.status] ?? ["wait", cell.status]), cell.queued > 0 && badge("queued"),
                    done && [h("span.muted", "by ", done.run_id ? ["the agent, in ", h("a.mono", { href: to("runs", done.run_id) }, shortId(done.run_id))] : h("span.mono", done.requested_by)), h("span.muted", time(done.started_at ?? done.queued_at))],
                    cell.duration_ms !== null && h("span.muted", duration(cell.duration_ms)), done?.attempt > 1 && h("span.kind-person", `attempt ${done.attempt}`),
                    done?.files > 0 && h("a.muted", { href: to("artifacts", { session: sessionOf(details.conversation_id) }) }, `${whole(done.files)} files written`),
                    h("span.actions", copyButton(cell.content, "Copy code"), me.may("runCell") && h("button.quiet", { type: "button", data: { run: "" }, on: { click: () => run(cell.id) } }, "Run"))),
                cell.error && h("p.note.bad", h("b", cell.error_code ?? "failed"), " ", cell.error),
                outputsOf(cell, ends), cell.truncated && h("p.small.muted", "There was more output than is kept.")));
    }

    async function run(cell) {
        try {
            await post(path`/api/v1/scratchpads/${pad}/cells/${cell}/run`, { stream: false }, { signal });
        } catch (error) {
            error.name !== "AbortError" && say(error);
        }
    }

    function say(error) {
        toast(error.message, { bad: true });
    }

    function focus(cell, { isFirst = false } = {}) {
        const entry = shown.get(cell);
        if (!entry) {
            return;
        }
        at = cell;
        isFirst || setQuery({ cell });
        list.querySelectorAll(".cell.at").forEach(each => each.classList.remove("at"));
        entry.element.classList.add("at");
        entry.element.focus({ preventScroll: true });
        entry.element.scrollIntoView({ block: "nearest" });
    }

    listKeys({
        move: by => {
            const keys = [...list.querySelectorAll(".cell")].map(each => each.dataset.cell);
            const i = keys.indexOf(at);
            keys.length > 0 && focus(keys[i < 0 ? 0 : Math.max(0, Math.min(keys.length - 1, i + by))]);
        },
        open: () => false,
    }, signal);
    me.may("runCell") && pageKeys([{ key: "r", does: "Run the cell", run: () => shown.get(at)?.element.querySelector("button[data-run]")?.click() }], signal);
}

// Forms of one thing are a group; one of them is shown.
function outputsOf(cell, ends) {
    const groups = Map.groupBy(cell.outputs, output => output.group);
    return [...groups.values()].map(forms => {
        const rank = output => Forms.includes(output.mime) ? Forms.indexOf(output.mime) : Forms.length;
        const [best] = forms.toSorted((a, b) => rank(a) - rank(b));
        return h("div.output", { class: best.name === "stderr" || best.name === "traceback" ? "bad" : "" }, outputOf(best, ends), forms.length > 1 && h("p.small.faint", `shown as ${best.mime}; also ${forms.filter(form => form !== best).map(form => form.mime).join(", ")}`));
    });
}

function outputOf({ mime, data, name }, ends) {
    if (mime === "text/html") {
        return htmlFrame(data, "Output, a page");
    }
    if (mime.startsWith("image/")) {
        const blob = blobOf(data, mime);
        return blob ? picture(blob, "Output, a picture", ends) : h("p.muted", "A picture that cannot be read.");
    }
    if (mime === "text/markdown") {
        return reply(data, { below: 1 });
    }
    if (mime === "application/json" || mime.endsWith("+json")) {
        try {
            const { value, number } = readRoot(data);
            return json(value, "Output", number);
        } catch {
            return block(data, { label: "Output" });
        }
    }
    return block(data, { label: name ?? "Output" });
}

// Of a data URL, as the API sends pictures.
function blobOf(data, mime) {
    try {
        return new Blob([Uint8Array.from(atob(data.slice(data.indexOf(",") + 1)), c => c.charCodeAt(0))], { type: mime });
    } catch {
        return null;
    }
}
