// A run on paper, as an auditor keeps it: all of its steps with what went in and came out, all of its events with their hashes, and what was verified.
import { h } from "../dom.js";
import { bytes, cost, duration, paperTime, utc, whole } from "../format.js";
import { isCut, PreviewMax, verdictOf } from "../run-steps.js";
import { me } from "../store.js";
import { wholeJson } from "../text.js";
import { badge, mark } from "../ui/badge.js";
import { reply } from "../ui/reply.js";

// run: as foldRun() made it of the first events; figures: as figuresOf() made them; verdict: what the verifier said, an element; proof: {at}, when it said so, or null;
// wholes: outputs that the feed has the beginnings of, by the hash of their event.
export function sheetOf({ id, details, events, isPast, run, figures, artifacts, verdict, proof, wholes }) {
    const fact = (name, ...value) => value[0] === null || value[0] === undefined || value[0] === "" ? null : [h("dt", name), h("dd", value)];
    const moment = at => at ? [paperTime(at), h("span.muted", ` · ${utc(new Date(at))}`)] : [null];
    const { lineage } = details;
    return h("div.sheet",
        h("header.sheet-head", h("p.muted", "Record of a run"), h("h1", details.message?.trim().split("\n")[0] || "(no text)")),
        isPast && h("p.note", h("b", `As of event ${whole(events.length)}. `), "What came after it is not on this paper."),
        h("dl.facts",
            fact("Run", h("code", id)), fact("Session", h("code", details.session_id)), fact("Tenant", h("code", me.org_id)), fact("State", badge(run.status)),
            fact("Model", details.model ?? run.model), fact("Asked", ...moment(details.created_at)), fact("Began", ...moment(run.started)), fact("Ended", ...moment(run.ended)),
            lineage && fact(lineage.kind === "counterfactual" ? "What if, of" : "Forked from", h("code", lineage.run_id ?? lineage.session_id))),
        h("dl.card.figures", figures.filter(({ name }) => name !== "Asked").map(({ name, value }) => h("div.figure", h("dt", name), h("dd", value instanceof Node ? value.cloneNode(true) : value)))),
        section("Verified", proof && verdict.childElementCount > 0
            ? [h("p.muted", "By this browser on ", moment(proof.at), ", with the program that its host gave it:"), verdictOnPaper(verdict)]
            : h("p.muted", "Not verified when this was printed. ", h("code", `./cowork verify ${id}.json`), " judges the run's bundle on a machine of yours.")),
        section("Message", h("pre.text", details.message || "(no text)")),
        section("Reply", run.error && h("p.note.bad", h("b", run.error.code ?? "failed"), " ", run.error.message ?? ""),
            run.text ? reply(isPast ? run.text : details.reply ?? run.text) : h("p.muted", "It said nothing.")),
        section(`Steps (${whole(run.steps.length)})`, run.steps.map((step, i) => stepOf(step, i, run, wholes))),
        artifacts.length > 0 && section(`Artifacts (${whole(artifacts.length)})`, h("table.table", h("thead", h("tr", ["Path", "Version", "Size", "SHA-256"].map(name => h("th", { scope: "col" }, name)))),
            h("tbody", artifacts.map(each => h("tr", h("td", h("code", each.path)), h("td", whole(each.version)), h("td", bytes(each.bytes)), h("td", h("code.hash", each.sha256))))))),
        section(`Events (${whole(events.length)})`, h("p.muted", "All of the run's stream and those that belong to it. Their payloads are in the run's bundle."),
            h("table.table.of-events-all", h("thead", h("tr", ["Position", "Version", "Time", "Type", "Actor", "Hash"].map(name => h("th", { scope: "col" }, name)))),
                h("tbody", events.map(event => h("tr", h("td.num", whole(event.gid)), h("td.num", whole(event.version)), h("td.nowrap", paperTime(event.ts)),
                    h("td.nowrap", h("code", event.type)), h("td", event.actor ?? ""), h("td", h("code.hash", event.hash))))))));
}

function section(title, ...content) {
    return h("section.section", h("h2", title), content);
}

// Without what can only be clicked.
function verdictOnPaper(verdict) {
    const copy = verdict.cloneNode(true);
    copy.querySelectorAll("button").forEach(button => button.matches(".digest") ? button.replaceWith(h("code.hash", button.title)) : button.remove());
    copy.removeAttribute("aria-live");
    return copy;
}

function stepOf(step, i, run, wholes) {
    const { policy, approval, decision, response, result, error } = step;
    const asked = step.events.find(event => event.type === "tool_call");
    const answered = step.events.findLast(event => event.type === "tool_result");
    const from = event => event && h("p.from", `Event ${whole(event.gid)}, ${event.type} `, h("code.hash", event.hash));
    const named = new Set([asked, answered]);
    const word = verdictOf(step);
    return h("article.step",
        h("h3", mark(step.kind), ` ${i + 1}. `, h("b", step.name), " ", badge(word, word === "unmade" ? "not made" : null),
            h("span.muted", step.from === null ? "" : ` +${duration(Math.max(0, step.from - run.created))}, took ${duration(Math.max(0, (step.to ?? run.until) - step.from))}`)),
        error && h("p", h("b", error.code ?? "failed"), " ", error.message ?? ""),
        policy && h("p", "Policy: ", h("b", policy.outcome), " by ", h("code", policy.rule), policy.reason && ` (${policy.reason})`),
        approval && h("p", "Asked a person, for arguments with digest ", h("code.hash", approval.args_digest ?? "–")),
        decision && h("p", "Decided: ", h("b", decision.outcome), decision.by && ` by ${decision.by}`, ` after ${duration(step.wait.to - step.wait.from)}`, (decision.note ?? decision.decision_note) && `: ${decision.note ?? decision.decision_note}`),
        response && h("p", `${whole(response.input_tokens ?? 0)} tokens in, ${whole(response.output_tokens ?? 0)} out${response.cost_usd > 0 ? `, ${cost(response.cost_usd)}` : ""}`,
            response.request_sha256 && [", request ", h("code.hash", response.request_sha256)]),
        step.input !== undefined && [h("h4", "Input"), from(asked), h("pre.text", wholeJson(step.input) ?? "(too deep to be written)")],
        step.text && [h("h4", "Said"), h("pre.text", step.text)],
        step.kind === "memory" && step.output && [h("h4", "Found"), h("pre.text", wholeJson(step.output) ?? "(too deep to be written)")],
        result && [h("h4", result.is_error ? "Output (an error)" : "Output"), from(answered), outputOf(result, answered, wholes)],
        h("ul.from", step.events.filter(event => !named.has(event) && !event.type.endsWith("_delta")).map(event => h("li", `Event ${whole(event.gid)}, ${event.type} `, h("code.hash", event.hash)))));
}

function outputOf(result, event, wholes) {
    const known = wholes.get(event?.hash);
    const text = known ?? result.content_preview ?? result.content ?? "";
    return [h("pre.text", typeof text === "string" ? text : wholeJson(text) ?? "(too deep to be written)"),
        known === undefined && isCut(result.content_preview) && h("p.muted", `These are the first ${whole(PreviewMax)} characters. “Print” on the run's page, or Verify before it, puts the whole here.`)];
}
