// One session: what was asked and answered in it, and what is asked next.
import { get, path, post, remove } from "../api.js";
import { h, replace } from "../dom.js";
import { time, whole } from "../format.js";
import { go, to } from "../router.js";
import { me, resource } from "../store.js";
import { tag } from "../ui/badge.js";
import { id } from "../ui/copy.js";
import { confirm, dialog } from "../ui/dialog.js";
import { empty, fault, lost } from "../ui/empty.js";
import { toast } from "../ui/toast.js";
import { pager, runTable } from "./runs.js";

// After which a session is kept for another time.
const Keeping = new Set(["retention_set", "session_held", "session_released"]);

export default async function page({ root, signal, params, title }) {
    const head = h("div");
    // What auditors and administrators know of how long it is kept: beside its name, on its buttons, and among its facts.
    const [held, holding, kept] = [h("span"), h("span"), h("div", { style: { display: "contents" } })];
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
        fail: error => lost(error, {
            root, head, crumbs: h("ol.crumbs", h("li", h("a", { href: to("sessions") }, "Sessions")), h("li", params.session)), word: "Session", again: () => found.refresh(),
            more: me.may("listTenantEvents") && h("p.muted.section", "Of a session that was deleted, or was kept as long as it was to be, ",
                h("a", { href: to("feed", { session: params.session }) }, "the log has the events"), "."),
        }),
        show: ([session, hasNoTexts]) => {
            erased.classList.toggle("hidden", !hasNoTexts);
            composer.classList.toggle("hidden", hasNoTexts);
            if (!head.isConnected) {
                replace(root, content);
                runs.restart();
            }
            replace(head,
                h("ol.crumbs", h("li", h("a", { href: to("sessions") }, "Sessions")), h("li", id(session.session_id))),
                h("div.head", h("h1", session.title || session.session_id), held, h("span.actions",
                    [["artifacts", "Artifacts"], ["files", "Files"], ["scratchpads", "Scratchpads"]].map(([page, word]) => h("a.button", { href: to(page, { session: session.session_id }) }, word)),
                    me.may("listTenantEvents") && h("a.button", { href: to("feed", { session: session.session_id }) }, "Its events"), holding)),
                h("dl.facts",
                    h("dt", "Folder"), h("dd", h("code", session.workspace_path ?? "–")),
                    h("dt", "Model"), h("dd", session.model ? h("code", session.model) : "the host's default"),
                    h("dt", "Made"), h("dd", time(session.created_at)), kept));
        },
    });
    me.may("getRetention") && resource({
        load: s => get("/retention", {}, s), when: event => Keeping.has(event.type), every: 60_000, signal,
        show: ({ sessions_days: days, held: all }) => {
            const isHeld = all.includes(params.session);
            replace(held, isHeld && tag("person", "legal hold"));
            replace(kept, isHeld ? [h("dt", "Kept"), h("dd", "until the legal hold ends: it is neither deleted nor expires")]
                : days > 0 && [h("dt", "Kept"), h("dd", `${whole(days)} ${days === 1 ? "day" : "days"} after its last event`)]);
            replace(holding, isHeld ? me.may("releaseSession") && h("button", { type: "button", on: { click: release } }, "End the hold…")
                : me.may("holdSession") && h("button", { type: "button", on: { click: hold } }, "Hold…"));
        },
    });

    function hold() {
        const reason = h("textarea", { id: "hold-reason", rows: 2, maxlength: 4000, required: true, placeholder: "Lawsuit 7" });
        const problem = h("div");
        const box = dialog("Put a legal hold", h("form.form", { on: { submit: async event => {
            event.preventDefault();
            try {
                await post(path`/sessions/${params.session}/hold`, { reason: reason.value });
                box.close();
            } catch (error) {
                replace(problem, fault(error));
            }
        } } }, h("p", "What happened in the session is kept until the hold ends: the session is not deleted, does not expire, and its data subject is not erased."),
        h("label.field", { for: reason.id }, h("span", "Why, for who reads the log"), reason), problem, h("div", h("button.primary", { type: "submit" }, "Hold it"))));
    }

    async function release() {
        if (await confirm("End the legal hold?", "From then on the session can be deleted, and expires when its time is over. The log has who ended it.", "End it")) {
            try {
                await remove(path`/sessions/${params.session}/hold`);
            } catch (error) {
                toast(error.message, { bad: true });
            }
        }
    }

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
