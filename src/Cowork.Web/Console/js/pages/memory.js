// One memory: what it says, and the run, the event and the model that it came from.
import { call, get, path, remove } from "../api.js";
import { h, replace } from "../dom.js";
import { cost, time, whole } from "../format.js";
import { go, to } from "../router.js";
import { me, resource } from "../store.js";
import { brief } from "../text.js";
import { copyButton, digest, id } from "../ui/copy.js";
import { confirm, dialog } from "../ui/dialog.js";
import { lost } from "../ui/empty.js";
import { reply } from "../ui/reply.js";
import { toast } from "../ui/toast.js";
import { kindBadge } from "./memories.js";

// Pages of a run's events in which the one is looked for.
const PagesMax = 20;
const PageEvents = 500;

export default async function page({ root, signal, params, title }) {
    const head = h("div");
    const content = h("div");
    const facts = h("div");
    const place = h("span", "…");
    let looked = null;
    let before = null;
    const crumbs = h("ol.crumbs", h("li", h("a", { href: to("memories") }, "Memories")), h("li", id(params.memory)));
    replace(root, crumbs, head, h("div.split", content, facts));
    const found = resource({
        load: s => get(path`/memories/${params.memory}`, {}, s), when: event => event.stream_id === `memory-${params.memory.replace(/^mem_/, "")}`, every: 30_000, signal,
        fail: error => lost(error, { root, head, crumbs, word: "Memory", again: () => found.refresh() }),
        show: async memory => {
            if (before === JSON.stringify(memory)) {
                return;
            }
            before = JSON.stringify(memory);
            // What a session's runs wrote about it is nobody's to change; a fact is.
            const fact = memory.kind === "memory" ? await get(path`/api/v1/memories/${memory.memory_id}`, {}, signal).catch(() => null) : null;
            title(brief(memory.content, 60));
            replace(head, h("div.head", h("h1", brief(memory.content, 80)), kindBadge(memory.kind), h("span.actions", copyButton(memory.content, "Copy the text"),
                fact && me.may("changeMemory") && h("button", { type: "button", on: { click: () => change(memory) } }, "Change"),
                fact && me.may("deleteMemory") && h("button.danger", { type: "button", on: { click: () => forget(memory) } }, "Delete"))));
            replace(content, h("section", { "aria-label": "What it says" }, h("div.card.pad", reply(memory.content, { below: 1 }))));
            replace(facts, h("section.inspector", { "aria-labelledby": "origin" }, h("div.inspector-title", h("h2", { id: "origin" }, "Where it came from")), h("dl.facts",
                memory.run_id ? [
                    h("dt", "Run"), h("dd", h("a.mono", { href: to("runs", memory.run_id) }, memory.run_id)),
                    h("dt", "Session"), h("dd", h("a", { href: to("sessions", memory.session_id) }, memory.session_id),
                        h("div.small", h("a.muted", { href: to("memories", { session: memory.session_id }) }, "What else it left"))),
                    h("dt", "Event"), h("dd", memory.event ? [place, h("div.small.muted", `event ${whole(memory.event.version)} of `, id(memory.event.stream_id))]
                        : h("span.muted", "an earlier release did not write it down")),
                ] : [h("dt", "Said by"), h("dd", "a user")],
                fact && [h("dt", "For"), h("dd", fact.project_id ? ["runs of the project ", h("code", fact.project_id)] : "every run")],
                h("dt", "Written"), h("dd", time(memory.created_at)),
                memory.version > 1 && [h("dt", "Changed"), h("dd", time(memory.updated_at), `, ${whole(memory.version)} versions`)],
                memory.notes && notesOf(memory.notes))));
            if (memory.event && looked !== memory.run_id) {
                looked = memory.run_id;
                locate(memory);
            }
        },
    });

    // Which of the run's events it was, so that the run's page can be shown as of then.
    async function locate({ run_id: run, event }) {
        try {
            let count = 0;
            let since = 0;
            for (let page = 0; page < PagesMax; page++) {
                const answer = await get(path`/runs/${run}/events`, { since_id: since, limit: PageEvents }, signal);
                const at = answer.events.findIndex(each => each.stream_id === event.stream_id && each.version === event.version);
                if (at >= 0) {
                    replace(place, h("a", { href: to("runs", run, { at: count + at + 1 }) }, h("code", answer.events[at].type), ", the run as it was then"));
                    return;
                }
                count += answer.events.length;
                since = answer.next_since_id;
                if (!answer.has_more) {
                    break;
                }
            }
            replace(place, "the run has no such event any more");
        } catch (error) {
            error.name !== "AbortError" && replace(place, error.message);
        }
    }

    function change(memory) {
        const text = h("textarea", { id: "memory-content", rows: 5, maxlength: 4000, required: true, value: memory.content });
        const box = dialog("Change the fact", h("form.form", { on: { submit: async event => {
            event.preventDefault();
            try {
                await call("PATCH", path`/api/v1/memories/${memory.memory_id}`, { body: { content: text.value } });
                box.close();
                await found.refresh();
            } catch (error) {
                toast(error.message, { bad: true });
            }
        } } }, h("label.field", { for: text.id }, h("span", "The next retrieval finds it so; what runs were told stays in the log"), text),
            h("div", h("button.primary", { type: "submit" }, "Change"))));
    }

    async function forget(memory) {
        if (!await confirm("Delete the memory?", "No run finds it any more. The log keeps what runs were told.", "Delete")) {
            return;
        }
        try {
            await remove(path`/api/v1/memories/${memory.memory_id}`);
            toast("The memory is deleted");
            go(to("memories"), signal);
        } catch (error) {
            toast(error.message, { bad: true });
        }
    }
}

function notesOf(notes) {
    return [
        h("dt", "Model"), h("dd", h("code", notes.model), h("span.muted", `, ${whole(notes.input_tokens)} + ${whole(notes.output_tokens)} tokens`),
            notes.cost_usd !== null && h("span.muted", `, ${cost(notes.cost_usd)}`)),
        h("dt", "Request"), h("dd", digest(notes.request_sha256, 16)),
        notes.failure && [h("dt", "By rule"), h("dd", "because the model gave none: ", h("code.kind-refused", notes.failure.code), " ", notes.failure.message)],
    ];
}
