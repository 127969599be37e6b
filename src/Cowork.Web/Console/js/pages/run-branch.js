// What goes off from a run at one of its events: a fork, which goes on by itself, and a counterfactual, which does over what came after, with something otherwise.
import { get, path, post } from "../api.js";
import { h, replace } from "../dom.js";
import { whole } from "../format.js";
import { to } from "../router.js";
import { brief, briefJson } from "../text.js";
import { dialog, leaveFor } from "../ui/dialog.js";
import { fault } from "../ui/empty.js";

const Pieces = new Set(["output_delta", "thinking_delta"]);
const OptionsMax = 2_000;

function form(title, word, fields, send) {
    const said = h("div");
    const box = dialog(title, h("form.branch", { id: "branch", on: { submit: async event => {
        event.preventDefault();
        try {
            leaveFor(box, await send());
        } catch (error) {
            replace(said, fault(error));
        }
    } } }, fields, said), h("button.primary", { type: "submit", form: "branch" }, word));
}

const field = (name, control, text) => h("label.field", h("span", name), control, text && h("span.small", text));

function eventChoice(events, chosen, name) {
    const shown = events.filter(event => !Pieces.has(event.type) && event.feed_id).slice(-OptionsMax);
    return h("select", { "aria-label": name }, shown.map(event =>
        h("option", { value: event.feed_id, selected: event === chosen }, `${whole(event.feed_id)}  ${event.type}  ${brief(event.payload.name ?? event.payload.rule ?? event.payload.path ?? briefJson(event.payload, 40), 40)}`)));
}

// at: the last event of what both have.
export function fork(run, events, at) {
    const place = eventChoice(events, at ?? events.at(-1), "The last event that both have");
    const message = h("textarea", { rows: 3, maxlength: 262_144 });
    form("Fork the run", "Fork", [
        h("p.muted", "A session of its own, with this past by reference. Files are not copied: both see them as they are now, and what the run has done outside stays done."),
        field("The last event that both have", place), field("The first message of the new session", message, "Without one, the session waits for its first turn."),
    ], async () => {
        const made = await post(path`/runs/${run.run_id}/fork`, { at_event: Number(place.value), ...(message.value.trim() ? { message: message.value } : {}) });
        return made.run_id ? to("runs", made.run_id) : to("sessions", made.session_id);
    });
}

// from: the first event that may be another one.
export async function whatIf(run, events, from, signal) {
    const { models } = await get("/models", {}, signal).catch(() => ({ models: [] }));
    const place = eventChoice(events, from ?? events.find(event => event.type === "policy_decision") ?? events.find(event => event.type === "llm_response"), "The first event that may be another one");
    const model = h("select", h("option", { value: "" }, "As it was"), models.map(each => h("option", { value: each.name, disabled: !each.is_ready }, each.name)));
    const message = h("textarea", { rows: 2, maxlength: 262_144 });
    const rules = h("textarea.mono", { rows: 3, spellcheck: "false", placeholder: '[{"name": "read_only", "outcome": "deny", "reason": "Nothing is written.", "kinds": ["create", "overwrite"]}]' });
    const tools = [...new Set(events.filter(event => event.type === "tool_call").map(event => event.payload.name))];
    const allowed = tools.map(tool => h("input", { type: "checkbox", value: tool }));
    const versions = (run.skills ?? []).map(skill => h("input", { type: "number", min: 1, placeholder: skill.version, data: { skill: skill.id } }));
    const budget = h("input", { type: "number", min: 0, step: "0.01", placeholder: "no limit of its own" });
    const approvals = h("select", h("option", { value: "wait" }, "wait for a person"), h("option", { value: "reject" }, "are rejected"));
    form("What if", "Start it", [
        h("p.muted", "The same past, and from the event on with something otherwise. What the record has is served from it; no tool is called that is not allowed here."),
        field("The first event that may be another one", place),
        h("div.grid-2", field("Model", model), field("Said to it there", message)),
        versions.length > 0 && h("div.grid-2", versions.map((input, i) => field(`Version of ${run.skills[i].name}`, input))),
        field("Rules of another policy (JSON)", rules),
        tools.length > 0 && h("fieldset.field", h("legend", "Tools that are called where the record has no result"), h("div.chips", allowed.map((input, i) => h("label.check", input, h("code", tools[i]))))),
        h("div.grid-2", field("Calls without a recorded decision", approvals), field("Budget in US dollars", budget)),
    ], async () => {
        const body = { from_event: Number(place.value), wait_for_completion: false, approvals: approvals.value };
        model.value && Object.assign(body, { model: model.value });
        message.value.trim() && Object.assign(body, { message: message.value });
        rules.value.trim() && Object.assign(body, { rules: rulesOf(rules.value) });
        const chosen = versions.filter(input => input.value);
        chosen.length > 0 && Object.assign(body, { skill_versions: Object.fromEntries(chosen.map(input => [input.dataset.skill, Number(input.value)])) });
        const names = allowed.filter(input => input.checked).map(input => input.value);
        names.length > 0 && Object.assign(body, { allow: names });
        budget.value && Object.assign(body, { budget_usd: Number(budget.value) });
        const made = await post(path`/runs/${run.run_id}/counterfactual`, body);
        return to("compare", { left: run.run_id, right: made.run_id });
    });
}

function rulesOf(text) {
    try {
        return JSON.parse(text);
    } catch (error) {
        throw new Error(`The rules are no JSON: ${error.message}`);
    }
}
