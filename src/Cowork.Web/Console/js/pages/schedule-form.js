// A new schedule: a skill by an interval, or a prompt by a cron expression whose next times are shown while it is written.
import { get, post } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { time } from "../format.js";
import { to } from "../router.js";
import { me } from "../store.js";
import { choice } from "../ui/chips.js";
import { dialog, leaveFor } from "../ui/dialog.js";
import { fault } from "../ui/empty.js";

const General = "proj_00000000000000000000000000";
const Units = [[60, "minutes"], [3_600, "hours"], [86_400, "days"]];
const Previewed = 3;

const field = (name, control, text) => h("label.field", h("span", name), control, text && h("span.small.muted", text));
const options = (pairs, at) => pairs.map(([value, word]) => h("option", { value, selected: value === at }, word));

export async function makeSchedule(misfires, overlaps, signal) {
    const kinds = [["prompt", "A prompt", "createPromptSchedule"], ["skill", "A skill", "createSchedule"]].filter(([, , operation]) => me.may(operation));
    let kind = kinds[0][0];
    const parts = { prompt: promptPart(signal), skill: await skillPart(signal) };
    const body = h("div.form", parts[kind].element);
    const misfire = h("select", options(Object.entries(misfires), "one"));
    const overlap = h("select", options(Object.entries(overlaps), "skip"));
    const problem = h("div");
    const box = dialog("New schedule", h("form.form.branch", { id: "schedule", on: { submit: async event => {
        event.preventDefault();
        try {
            leaveFor(box, to("schedules", await parts[kind].send({ misfire: misfire.value, overlap: overlap.value })));
        } catch (error) {
            replace(problem, fault(error));
        }
    } } },
        choice({ label: "What is run", choices: kinds, at: kind, isOne: true, choose: chosen => {
            kind = chosen;
            replace(problem);
            replace(body, parts[kind].element);
        } }),
        body, field("Times that are missed", misfire), field("While the run before goes on", overlap), problem), h("button.primary", { type: "submit", form: "schedule" }, "Plan it"));
}

function promptPart(signal) {
    const prompt = h("textarea", { rows: 3, required: true });
    const cron = h("input.mono", { required: true, value: "0 9 * * MON-FRI", spellcheck: "false" });
    const zone = h("input", { required: true, value: new Intl.DateTimeFormat().resolvedOptions().timeZone, spellcheck: "false" });
    const project = h("select", options([[General, "General"]], General));
    const next = h("div.small.muted", { role: "status" });
    const preview = async () => {
        try {
            const { next: times } = await get("/api/v1/schedules/preview", { cron: cron.value, timezone: zone.value, count: Previewed }, signal);
            replace(next, times.length === 0 ? "No more come." : ["Next: ", times.map((at, i) => [i > 0 && ", ", time(at)])]);
        } catch (error) {
            error.name !== "AbortError" && replace(next, error.message);
        }
    };
    [cron, zone].forEach(input => input.addEventListener("input", debounce(preview, 250)));
    preview();
    get("/api/v1/projects", { limit: 100 }, signal).then(({ data }) => replace(project, options([[General, "General"], ...data.filter(each => each.id !== General).map(each => [each.id, each.name])], General)))
        .catch(() => { });
    return {
        element: h("div.form", field("Prompt", prompt, "The message of each run; /name at its beginning asks for a skill."),
            h("div.pair", field("Cron expression", cron), field("By the clocks of", zone)), next, field("Project", project)),
        send: async more => (await post("/api/v1/schedules", { project_id: project.value, cron: cron.value.trim(), timezone: zone.value.trim(), prompt: prompt.value, ...more })).id,
    };
}

async function skillPart(signal) {
    const [{ skills }, { sessions }] = await Promise.all([get("/skills", { limit: 200 }, signal), get("/sessions", { limit: 100 }, signal)]);
    const runnable = skills.filter(each => each.prompt_template !== null);
    const skill = h("select", { required: true }, options(runnable.map(each => [each.skill_id, each.name])));
    const session = h("input", { required: true, list: "schedule-sessions", value: sessions[0]?.session_id ?? "", autocomplete: "off" });
    const number = h("input", { type: "number", min: 1, required: true, value: 1 });
    const unit = h("select", { "aria-label": "Unit" }, options(Units, 3_600));
    const params = h("div.form");
    let inputs = [];
    const build = () => {
        inputs = (runnable.find(each => each.skill_id === skill.value)?.required_params ?? []).map(name => h("input", { required: true, data: { name } }));
        replace(params, inputs.map(input => field(h("code", input.dataset.name), input)));
    };
    skill.addEventListener("change", build);
    build();
    return {
        element: h("div.form", runnable.length === 0 && h("p.muted", "There is no skill that can be run by itself. ", h("a", { href: to("skills") }, "Make one")),
            field("Skill", skill), params, h("div.pair", field("Every", number), field("Unit", unit)), field("In the session", session),
            h("datalist", { id: "schedule-sessions" }, sessions.map(each => h("option", { value: each.session_id }, each.title ?? "")))),
        send: async more => (await post("/scheduled-runs", {
            session_id: session.value.trim(), skill_id: skill.value, interval_seconds: Number(number.value) * Number(unit.value),
            params: Object.fromEntries(inputs.map(input => [input.dataset.name, input.value])), ...more,
        })).schedule_id,
    };
}
