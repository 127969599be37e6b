// The tenant's skills, by their latest versions.
import { pages as paged, post } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { time, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { setQuery, to } from "../router.js";
import { me } from "../store.js";
import { brief } from "../text.js";
import { dialog, leaveFor } from "../ui/dialog.js";
import { empty, fault } from "../ui/empty.js";
import { growing } from "../ui/growing.js";
import { table } from "../ui/table.js";

const PageRows = 100;

export const isOfSkill = event => event.type.startsWith("skill_");

export default async function page({ root, signal, query }) {
    const head = h("span.muted");
    const list = h("div");
    const search = h("input", { type: "search", placeholder: "Name or description", "aria-label": "Name or description", value: query.get("q") ?? "", data: { search: "" } });
    replace(root, h("div.head", h("h1", "Skills"), head, h("span.actions",
        me.may("createSkill") && h("button", { type: "button", on: { click: create } }, "New skill ", h("kbd.button-kbd", "n")))),
        h("div.filters", { role: "search" }, search), list);
    me.may("createSkill") && pageKeys([{ key: "n", does: "New skill", run: create }], signal);
    const view = table({
        label: "Skills", id: row => row.skill_id, href: row => to("skills", row.skill_id),
        columns: [
            { title: "Name", link: true, show: row => row.name },
            { title: "Description", fill: true, hide: true, show: row => h("span.muted", brief(row.description, 200)) },
            { title: "Parameters", text: true, hide: true, show: row => row.required_params.length === 0 ? h("span.faint", row.prompt_template === null ? "instructions only" : "none")
                : h("code.muted", row.required_params.join(", ")) },
            { title: "Version", num: true, show: row => whole(row.latest_version) },
            { title: "Changed", num: true, show: row => h("span.muted", time(row.latest_version_created_at)) },
        ],
    });
    listKeys(view, signal);
    const skills = growing({
        view, place: list, count: head, load: s => paged("/skills", "skills", { q: search.value.trim(), limit: PageRows }, s), key: "skill_id", when: isOfSkill, signal, gap: 1_000,
        isLate: () => search.value.trim() !== "",
        none: () => search.value.trim() ? empty("No skill is like that") : empty("No skills yet", "A skill is a prompt that is used again, with parameters, in versions that never change.",
            ["POST", "/skills", { name: "daily-kpi", prompt_template: "Show the figures of {day}." }]),
    });
    search.addEventListener("input", debounce(() => {
        setQuery({ q: search.value.trim() });
        skills.restart();
    }, 150));
}

function create() {
    const name = h("input", { required: true, maxlength: 200 });
    skillForm("New skill", "Make it", [h("label.field", h("span", "Name"), name)], { template: "", description: "" }, async fields => {
        const made = await post("/skills", { name: name.value, ...fields });
        return to("skills", made.skill_id);
    });
}

// A dialog with a template and a description. send(fields) answers where it leads, if anywhere.
export function skillForm(title, word, above, { template, description }, send) {
    const text = h("textarea.mono", { rows: 10, required: true, value: template, spellcheck: "false" });
    const about = h("input", { value: description, maxlength: 2_000 });
    const said = h("div");
    const box = dialog(title, h("form.branch", { id: "skill", on: { submit: async event => {
        event.preventDefault();
        try {
            leaveFor(box, await send({ prompt_template: text.value, description: about.value }));
        } catch (error) {
            replace(said, fault(error));
        }
    } } }, above, h("label.field", h("span", "Template: {name} is a parameter, {{ and }} are braces"), text), h("label.field", h("span", "Description"), about), said),
    h("button.primary", { type: "submit", form: "skill" }, word));
}
