// One skill: its versions, what each changed, what it does with parameters, and the runs of exactly that version.
import { get, path, post } from "../api.js";
import { h, renew, replace } from "../dom.js";
import { time, whole } from "../format.js";
import { listKeys, pageKeys, versionKeys } from "../keys.js";
import { setQuery, to } from "../router.js";
import { me, resource } from "../store.js";
import { brief } from "../text.js";
import { badge } from "../ui/badge.js";
import { block, copyButton, id } from "../ui/copy.js";
import { diff } from "../ui/diff.js";
import { empty, fault, firstSession, lost } from "../ui/empty.js";
import { reply } from "../ui/reply.js";
import { inTurn, table } from "../ui/table.js";
import { toast } from "../ui/toast.js";
import { pager, runTable } from "./runs.js";
import { isOfSkill, skillForm } from "./skills.js";

export default async function page({ root, signal, params, query, title }) {
    const skill = params.skill;
    let versions = [];
    let at = Number(query.get("version")) || null;
    let against = query.get("against");
    const head = h("div");
    const shown = h("div");
    const trial = h("aside.inspector", { "aria-label": "Try it", tabindex: "0" });
    const runsHead = h("div.section-head.section");
    const runCount = h("span.muted");
    const runList = h("div");
    const view = table({
        label: "Versions", id: row => row.version, href: row => to("skills", skill, { version: row.version }), choose: row => choose(row.version),
        columns: [
            { title: "Version", link: true, cut: false, nowrap: true, show: row => `version ${whole(row.version)}` },
            { title: "What changed", fill: true, show: row => h("span.muted", changes(row)) },
            { title: "Parameters", text: true, hide: true, show: row => h("code.muted", row.required_params.join(", ") || "–") },
            { title: "Made", num: true, show: row => h("span.muted", time(row.created_at)) },
        ],
    });
    replace(root, head, h("div.split", h("div", view.card, shown), trial), runsHead, runList);

    pageKeys([
        ...versionKeys(() => versions, () => at, choose),
        { key: "e", does: "Try this version", run: () => trial.querySelector("input, textarea, select, button")?.focus() },
    ], signal);

    const ofVersion = runTable(signal);
    listKeys(inTurn(() => [view, ofVersion]), signal);
    const runs = pager(ofVersion, runList, runCount, signal, () => ({ skill_id: skill, skill_version: at }),
        () => empty("No run of this version yet", "Try it above, or:", ...firstSession(), ["POST", path`/skills/${skill}/run`, {
            session_id: "first", version: at, params: Object.fromEntries((versions.find(row => row.version === at)?.required_params ?? []).map(name => [name, "…"])),
        }]));
    const source = resource({
        load: async s => {
            const [details, told, other] = await Promise.all([
                get(path`/skills/${skill}`, {}, s), get(path`/skills/${skill}/versions`, { limit: 1000 }, s), get(path`/api/v1/skills/${skill}/versions`, { limit: 1000 }, s),
            ]);
            const byVersion = new Map(other.data.map(each => [each.version, each]));
            return { details, versions: told.versions.map(each => ({ instructions: null, tools: [], ...byVersion.get(each.version), ...each })) };
        },
        when: isOfSkill, signal, fail: error => lost(error, { root, head, crumbs: crumbs(), word: "Skill", again: () => source.refresh() }),
        show: value => {
            versions = value.versions;
            const isFirst = at === null || !versions.some(row => row.version === at);
            at = isFirst ? value.details.latest_version : at;
            title(value.details.name);
            drawHead(value.details);
            view.update(versions);
            draw();
            isFirst && runs.restart();
        },
    });

    function crumbs() {
        return h("ol.crumbs", h("li", h("a", { href: to("skills") }, "Skills")), h("li", id(skill)));
    }

    function drawHead(details) {
        renew(head, crumbs(), h("div.head", h("h1", brief(details.name, 120)), h("span.muted", brief(details.description, 240)), h("span.actions",
            me.may("addSkillVersion") && h("button", { type: "button", on: { click: add } }, "New version"))));
    }

    function choose(version) {
        at = version;
        against = null;
        setQuery({ version, against: "" });
        draw();
        runs.restart();
    }

    function draw() {
        const row = versions.find(each => each.version === at);
        if (!row) {
            return;
        }
        view.shows(at);
        const before = against === "none" ? null : versions.find(each => each.version === (Number(against) || at - 1));
        const choice = h("select", { "aria-label": "Compared with", on: { change: () => {
            against = choice.value;
            setQuery({ against });
            draw();
        } } }, h("option", { value: "none", selected: !before }, "not compared"), versions.filter(each => each.version !== at).map(each =>
            h("option", { value: each.version, selected: each === before }, `compared with version ${each.version}`)));
        const part = (name, of) => {
            const [x, y] = [before ? of(before) ?? "" : "", of(row) ?? ""];
            return (x || y) && [h("div.code-head", h("h3", name), h("span.actions", copyButton(y))), before && x !== y ? diff(x, y, name) : block(y, { label: name })];
        };
        renew(shown, h("section.section", { "aria-labelledby": "version" },
            h("div.section-head", h("h2", { id: "version" }, `Version ${whole(at)}`), h("span.muted", time(row.created_at)), h("span.actions", versions.length > 1 && choice)),
            part("Template", each => each.prompt_template), part("Instructions", each => each.instructions), part("Tools", each => each.tools.join("\n")),
            part("Description", each => each.description)));
        replace(runsHead, h("h2", `Runs of exactly version ${whole(at)}`), runCount, h("span.actions", h("a.button.quiet", { href: to("runs", { skill_id: skill }) }, "Of all versions")));
        tryIt(row);
    }

    function changes(row) {
        const before = versions.find(each => each.version === row.version - 1);
        if (!before) {
            return row.version === 1 ? brief(row.description, 120) || "the first" : "";
        }
        const words = [["template", "prompt_template"], ["instructions", "instructions"], ["description", "description"], ["name", "name"]].filter(([, member]) => row[member] !== before[member]).map(([word]) => word);
        row.tools.join() !== before.tools.join() && words.push("tools");
        JSON.stringify(row.metadata) !== JSON.stringify(before.metadata) && words.push("metadata");
        return words.length === 0 ? "nothing that is shown" : words.join(", ");
    }

    function add() {
        const latest = versions[0];
        skillForm("New version", "Add it", null, { template: latest.prompt_template ?? "", description: latest.description }, async fields => {
            const made = await post(path`/skills/${skill}/versions`, fields);
            at = made.version;
            against = null;
            setQuery({ version: at, against: "" });
            await source.refresh();
            runs.restart();
        });
    }

    // The form stays as it is while the version is the same: somebody may be writing in it.
    function tryIt(row) {
        if (tryIt.of === row.version) {
            return;
        }
        tryIt.of = row.version;
        if (!me.may("runSkill")) {
            replace(trial, h("p.muted", "To try it needs the role member."));
            return;
        }
        if (row.prompt_template === null) {
            replace(trial, h("h2", "Try it"), h("p.muted", "This version has instructions only: it is active in runs and renders no message."));
            return;
        }
        const inputs = row.required_params.map(name => h("textarea", { rows: 1, data: { name }, on: { input: preview } }));
        const session = h("input", { required: true, list: "skill-sessions", value: tryIt.session ?? "", placeholder: "Session", autocomplete: "off" });
        const known = h("datalist", { id: "skill-sessions" });
        const rendered = h("div");
        const result = h("div", { "aria-live": "polite" });
        const values = () => Object.fromEntries(inputs.filter(input => input.value !== "").map(input => [input.dataset.name, input.value]));
        function preview() {
            replace(rendered, h("div.code", { tabindex: "0", role: "group", "aria-label": "The message" }, h("pre", render(row.prompt_template, values()))));
        }
        replace(trial, h("div.inspector-title", h("h2.grow", `Try version ${whole(row.version)}`)),
            h("form.branch.narrow", { on: { submit: async event => {
                event.preventDefault();
                tryIt.session = session.value.trim();
                try {
                    const made = await post(path`/skills/${skill}/run`, { session_id: tryIt.session, version: row.version, params: values(), wait_for_completion: false });
                    follow(made.run_id, result);
                } catch (error) {
                    toast(error.message, { bad: true });
                }
            } } }, inputs.map(input => h("label.field", h("span", h("code", input.dataset.name)), input)), h("label.field", h("span", "In the session"), session), known,
            h("div", h("h3", "The message"), rendered), h("div", h("button.primary", { type: "submit" }, "Run it"))), result);
        preview();
        // Where it ran last, or the newest session.
        Promise.all([get("/sessions", { limit: 100 }, signal), get("/runs", { skill_id: skill, limit: 1 }, signal)]).then(([{ sessions }, { runs: [last] }]) => {
            replace(known, sessions.map(each => h("option", { value: each.session_id }, each.title ?? "")));
            session.value ||= last?.session_id ?? sessions[0]?.session_id ?? "";
        }).catch(() => { });
    }

    function follow(run, slot) {
        follow.leave?.abort();
        follow.leave = new AbortController();
        const mine = AbortSignal.any([signal, follow.leave.signal]);
        resource({
            load: s => get(path`/runs/${run}`, {}, s), when: event => event.run_id === run && event.type !== "output_delta", signal: mine, gap: 200, fail: error => replace(slot, fault(error)),
            show: details => replace(slot, h("div.section", h("p", badge(details.status), " ", h("a", { href: to("runs", run) }, "the run")),
                details.error && h("p.note.bad", details.error.message), details.reply && reply(details.reply))),
        });
    }
}

// The template with values in it; what is missing stays marked.
function render(template, values) {
    return template.split(/(\{\{|\}\}|\{[A-Za-z_]\w{0,63}\})/).map(part => part === "{{" ? "{" : part === "}}" ? "}"
        : /^\{\w+\}$/.test(part) ? values[part.slice(1, -1)] ?? h("mark.missing", part) : part);
}
