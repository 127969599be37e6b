// One session: what was asked and answered in it, and what is asked next.
import { get, path, post } from "../api.js";
import { h, replace } from "../dom.js";
import { time } from "../format.js";
import { go, to } from "../router.js";
import { me, resource } from "../store.js";
import { id } from "../ui/copy.js";
import { empty, fault } from "../ui/empty.js";
import { toast } from "../ui/toast.js";
import { pager, runTable } from "./runs.js";

export default async function page({ root, signal, params, title }) {
    const head = h("div");
    const count = h("span.muted");
    const list = h("div");
    const composer = h("div");
    const erased = h("p.note.section.hidden", "The personal data of whom it is about were erased: nothing more is asked in it.");
    const content = [head, erased, composer, h("div.section-head.section", h("h2", "Runs"), count), list];
    replace(root, content);
    title(params.session);
    const runs = pager(runTable(signal, { withSession: false }), list, count, signal, () => ({ session_id: params.session }),
        () => empty("Nothing was asked yet", "Each turn of the session is a run.", ["POST", path`/sessions/${params.session}/turn`, { message: "Hello" }]));
    const found = resource({
        load: s => Promise.all([get(path`/sessions/${params.session}`, {}, s), isErased(s)]), when: event => event.session_id === params.session && event.type.startsWith("session_"), signal,
        // Of what does not exist nothing is offered.
        fail: error => replace(error.status === 404 ? root : head, h("ol.crumbs", h("li", h("a", { href: to("sessions") }, "Sessions")), h("li", params.session)), fault(error, () => found.refresh())),
        show: ([session, hasNoTexts]) => {
            erased.classList.toggle("hidden", !hasNoTexts);
            composer.classList.toggle("hidden", hasNoTexts);
            if (!head.isConnected) {
                replace(root, content);
                runs.restart();
            }
            replace(head,
                h("ol.crumbs", h("li", h("a", { href: to("sessions") }, "Sessions")), h("li", id(session.session_id))),
                h("div.head", h("h1", session.title || session.session_id), h("span.actions",
                    [["artifacts", "Artifacts"], ["files", "Files"], ["scratchpads", "Scratchpads"]].map(([page, word]) => h("a.button", { href: to(page, { session: session.session_id }) }, word)),
                    me.may("listTenantEvents") && h("a.button", { href: to("feed", { session: session.session_id }) }, "Its events"))),
                h("dl.facts",
                    h("dt", "Folder"), h("dd", h("code", session.workspace_path ?? "–")),
                    h("dt", "Model"), h("dd", session.model ? h("code", session.model) : "the host's default"),
                    h("dt", "Made"), h("dd", time(session.created_at))));
        },
    });
    // Its first event names the data subject; who may not ask how it is with them is told when a turn is refused.
    async function isErased(s) {
        if (!me.may("getSubject")) {
            return false;
        }
        const { events: [made] } = await get(path`/sessions/${params.session}/events`, { limit: 1 }, s);
        const subject = made?.payload.subject;
        return Boolean(subject) && ["erasing", "erased"].includes((await get(path`/subjects/${subject}`, {}, s)).state);
    }

    if (me.may("takeTurn")) {
        const { models } = await get("/models", {}, signal).catch(() => ({ models: [] }));
        const text = h("textarea", { id: "message", rows: 3, placeholder: "Ask the agent…", "aria-label": "Message", data: { search: "" } });
        const model = h("select", { "aria-label": "Model" }, h("option", { value: "" }, "Usual model"), models.map(each => h("option", { value: each.name, disabled: !each.is_ready }, each.name)));
        const send = async event => {
            event.preventDefault();
            if (!text.value.trim()) {
                return;
            }
            try {
                const made = await post(path`/sessions/${params.session}/turn`, { message: text.value, wait_for_completion: false, ...(model.value ? { model: model.value } : {}) });
                text.value = "";
                if (signal.aborted) {
                    toast("The run has begun", { action: "Open it", run: () => go(to("runs", made.run_id)) });
                } else {
                    go(to("runs", made.run_id));
                }
            } catch (error) {
                toast(error.message, { bad: true });
            }
        };
        text.addEventListener("keydown", event => event.key === "Enter" && (event.ctrlKey || event.metaKey) && text.form.requestSubmit());
        replace(composer, h("form.section.card.pad", { "aria-label": "A turn", on: { submit: send } }, text, h("div.filters", { style: { margin: "8px 0 0" } }, model, h("button.primary", { type: "submit" }, "Send ", h("kbd.button-kbd", "Ctrl ↵")))));
    }
}
