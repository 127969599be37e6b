// The policy in force: its rules in their order, a call held against them, and other rules held against what happened.
import { call, get } from "../api.js";
import { h, replace } from "../dom.js";
import { writeAround } from "../exact.js";
import { whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { setQuery, to } from "../router.js";
import { me } from "../store.js";
import { badge, mark } from "../ui/badge.js";
import { digest } from "../ui/copy.js";
import { empty, fault } from "../ui/empty.js";
import { table } from "../ui/table.js";

const InputInAddressMax = 2_000;
// Decisions that one look at history judges, over several requests.
const SimulatedMax = 50_000;
const Examples = { read_file: { path: ".env" }, write_file: { path: "plan.md", content: "…" }, delete_file: { path: "plan.md" }, list_files: { path: "." },
    search_files: { query: "budget" }, remember: { content: "…" }, recall: { query: "…" } };

// What is judged is what was written, and not what this browser makes of it.
const ask = async (where, text, signal) => (await call("POST", where, { form: text, headers: { "content-type": "application/json" }, signal })).json();

export default async function show({ content, count, signal, query }) {
    const [{ policy, digest: hash }, { tools }, { sessions }] = await Promise.all([get("/policy", {}, signal), get("/tools", {}, signal),
        get("/sessions", { limit: 100 }, signal)]);
    const { rules } = policy;
    replace(count, `${whole(rules.length)} rules, the first that matches decides`);
    let answer = null;
    const view = table({
        label: "Rules, in their order", id: row => row.name,
        columns: [
            { title: "#", num: true, show: row => h("span.faint", String(row.number)) },
            { title: "Rule", name: true, show: row => h("code", row.name) },
            { title: "Outcome", show: row => badge(row.outcome) },
            { title: "Of the call", nowrap: true, class: "of-call", show: row => row.decides
                ? h("b.decides", mark(row.outcome === "allow" ? "proven" : row.outcome === "deny" ? "refused" : "person"), " decides") : row.matches ? h("span.muted", "matches")
                : "" },
            { title: "When", fill: true, show: row => h("span.muted", { title: whenOf(row) }, whenOf(row)) },
        ],
    });
    listKeys(view, signal);
    const draw = () => view.update(rules.map((rule, i) => ({
        ...rule, number: i + 1, matches: answer?.rules.find(each => each.name === rule.name)?.matches ?? false, decides: answer?.rule === rule.name,
    })));
    draw();

    const tool = h("select", { id: "check-tool" }, tools.map(each => h("option", { value: each.name }, each.name)));
    tool.value = query.get("tool") ?? (tools.some(each => each.name === "write_file") ? "write_file" : tools[0]?.name);
    // The newest are offered; any can be named.
    const session = h("input.mono", { id: "check-session", list: "check-sessions", required: true, autocomplete: "off", spellcheck: "false" });
    const newest = h("datalist", { id: "check-sessions" }, sessions.map(each => h("option", { value: each.session_id })));
    session.value = query.get("session") ?? sessions[0]?.session_id ?? "";
    session.addEventListener("input", () => forget());
    const input = h("textarea.mono", { id: "check-input", rows: 5, spellcheck: "false", data: { search: "" } });
    const example = () => input.value = JSON.stringify(Examples[tool.value] ?? exampleOf(tools.find(each => each.name === tool.value)?.input_schema), null, 2);
    query.get("input") !== null ? input.value = query.get("input") : example();
    tool.addEventListener("change", () => {
        example();
        forget();
    });
    const verdict = h("div", { role: "status" });
    const field = (element, words) => h("label.field", { for: element.id }, h("span", words), element);
    const form = h("form.form", { "aria-label": "A call", data: { question: "" }, on: { submit: event => {
        event.preventDefault();
        check();
    } } },
        sessions.length === 0 ? empty("No sessions yet", "The folder and grants of a session decide with the rules.", ["POST", "/sessions", { session_id: "first" }])
            : [field(tool, "Tool"), field(session, "In the session"), newest, field(input, "Arguments, as JSON"),
                h("div", h("button.primary", { type: "submit" }, "Which rule decides? ", h("kbd.button-kbd", "c")))], verdict);

    function forget() {
        answer = null;
        replace(verdict);
        draw();
    }

    async function check() {
        let sent;
        try {
            sent = writeAround({ tool: tool.value, session_id: session.value }, "input", input.value.trim() || "{}");
        } catch (error) {
            replace(verdict, h("div.fault", { role: "alert" }, `The arguments are no JSON: ${error.message}`));
            return;
        }
        try {
            answer = await ask("/policy/check", sent, signal);
            setQuery({ tool: tool.value, session: session.value, input: input.value.length <= InputInAddressMax ? input.value : null });
        } catch (error) {
            forget();
            error.name !== "AbortError" && replace(verdict, fault(error));
            return;
        }
        draw();
        const matching = answer.rules.filter(rule => rule.matches).map(rule => rule.name);
        replace(verdict, h("div.note.verdict",
            h("p", badge(answer.outcome), " by ", h("code", answer.rule), ": ", answer.reason),
            h("dl.facts",
                h("dt", "It would"), h("dd", h("code", answer.subject.kind)),
                answer.subject.paths.length > 0 && [h("dt", "Touching"), h("dd", answer.subject.paths.map(each => h("div.mono", each)))],
                answer.subject.invalid && [h("dt", "At fault"), h("dd", answer.subject.invalid)],
                h("dt", "Matching"), h("dd", matching.length === 0 ? "no rule" : matching.map((name, i) => [i > 0 && ", ", h("code", name)])),
                h("dt", "Done"), h("dd", "nothing: it was only asked"))));
    }

    replace(content,
        h("div.split",
            h("section", { "aria-labelledby": "rules" }, h("div.section-head", h("h2", { id: "rules" }, "In force on this host"),
                h("span.small.muted", "digest ", digest(hash, 16)),
                policy.show_thinking && h("span.small.muted", "Readers see what models think.")), view.card),
            h("aside.inspector", { "aria-labelledby": "check" }, h("div.inspector-title", h("h2", { id: "check" }, "Try a call")), form)),
        me.may("simulatePolicy") && simulation(rules, signal));
    pageKeys([{ key: "c", does: "Hold the call against the rules", run: check }], signal);
    if (query.get("tool") && sessions.length > 0) {
        await check();
    }
}

// The members of a rule, as a sentence.
function whenOf(rule) {
    const words = list => list.join(", ");
    return [
        rule.unjudgeable && "the input cannot be judged", rule.kinds && words(rule.kinds), rule.tools && `tools ${words(rule.tools)}`,
        rule.paths && `paths ${words(rule.paths)}`, rule.below && `below ${words(rule.below)}`,
        rule.below_output && "below the output root", rule.inside_grants === true && "inside the grants", rule.inside_grants === false && "outside the grants",
        rule.estimate_over && `longer than ${rule.estimate_over} s`,
    ].filter(Boolean).join(" · ") || "always";
}

function exampleOf(schema) {
    return Object.fromEntries(Object.entries(schema?.properties ?? {}).filter(([name]) => schema.required?.includes(name))
        .map(([name, of]) => [name, of.type === "integer" || of.type === "number" ? 1 : of.type === "boolean" ? true : of.type === "array" ? [] : of.type === "object" ? {}
            : of.enum?.[0] ?? "…"]));
}

// Other rules, held against the decisions in the log.
function simulation(rules, signal) {
    const proposed = h("textarea.mono", { id: "proposed", rows: 12, spellcheck: "false", value: JSON.stringify(rules, null, 2) });
    const result = h("div", { role: "status" });
    const run = h("button.primary", { type: "submit" }, "Hold them against the log");
    return h("section.section", { "aria-labelledby": "simulate" }, h("div.section-head", h("h2", { id: "simulate" }, "What would other rules have decided?"),
        h("span.small.muted", "Change them here: nothing takes effect, and the log keeps that you asked.")),
    h("form.form", { on: { submit: async event => {
        event.preventDefault();
        run.disabled = true;
        try {
            await simulate();
        } catch (error) {
            error.name !== "AbortError" && replace(result, fault(error));
        }
        run.disabled = false;
    } } }, h("label.field", { for: proposed.id }, h("span", "Rules, as the policy file has them"), proposed), h("div", run)), result);

    async function simulate() {
        const written = cursor => writeAround({ limit: 10_000, ...(cursor ? { cursor } : {}) }, "rules", proposed.value);
        try {
            written();
        } catch (error) {
            replace(result, h("div.fault", { role: "alert" }, `The rules are no JSON: ${error.message}`));
            return;
        }
        const total = { decisions: 0, changed: 0, unknown: 0, outcomes: new Map(), tools: new Map(), examples: [] };
        let cursor = null;
        do {
            const part = await ask("/policy/simulate", written(cursor), signal);
            add(total, part);
            cursor = part.next_cursor;
            show(total, Boolean(cursor));
        } while (cursor && total.decisions < SimulatedMax && !signal.aborted);
        show(total, false, Boolean(cursor));
    }

    function add(total, part) {
        for (const name of ["decisions", "changed", "unknown"]) {
            total[name] += part[name];
        }
        for (const row of part.by_tool) {
            const key = `${row.tool}\n${row.before}\n${row.after}`;
            total.tools.set(key, { ...row, calls: (total.tools.get(key)?.calls ?? 0) + row.calls });
        }
        total.examples.push(...part.examples.slice(0, 20 - total.examples.length));
    }

    function show(total, isGoing, isCut) {
        const rows = [...total.tools.values()].filter(row => row.before !== row.after).sort((a, b) => b.calls - a.calls);
        const changes = table({
            label: "What would be different", id: row => `${row.tool} ${row.before} ${row.after}`,
            columns: [
                { title: "Tool", name: true, show: row => h("code", row.tool) }, { title: "Was", show: row => badge(row.before) },
                { title: "Would be", show: row => badge(row.after) },
                { title: "", fill: true, hide: true, show: () => "" }, { title: "Calls", num: true, show: row => whole(row.calls) },
            ],
        });
        changes.update(rows);
        const examples = table({
            label: "Calls that would be decided otherwise", id: row => row.event_id, href: row => row.run_id ? to("runs", row.run_id) : to("feed"),
            columns: [
                { title: "Call", link: true, show: row => h("code", row.tool) },
                { title: "Was", show: row => [badge(row.before), " ", h("code.muted", row.rule_before)] },
                { title: "Would be", show: row => [badge(row.after), " ", h("code.muted", row.rule_after ?? "")] },
                { title: "Touching", fill: true, hide: true, show: row => h("span.mono.muted", row.paths.join(" ")) },
                { title: "Event", num: true, hide: true, show: row => h("span.muted", whole(row.gid)) },
            ],
        });
        examples.update(total.examples);
        replace(result, h("p.note", { class: total.changed === 0 ? "good" : "" },
            isGoing ? "So far: " : isCut ? `Of the first ${whole(total.decisions)} decisions: ` : "", h("b", whole(total.changed)),
            ` of ${whole(total.decisions)} decisions would be different`,
            total.unknown > 0 && `, ${whole(total.unknown)} cannot be judged again`, "."),
        rows.length > 0 && h("div.section", changes.card), total.examples.length > 0 && h("div.section", examples.card));
    }
}
