// Two runs beside each other, step by step: where they part, what is otherwise since, and what that costs.
import { ApiError, bytes as bytesOf, get, path } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { bytes, cost, duration, time, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { go, setQuery, to } from "../router.js";
import { storyOf } from "./run-story.js";
import { resource } from "../store.js";
import { brief, wholeJson } from "../text.js";
import { badge, mark, tag } from "../ui/badge.js";
import { block, digest, id } from "../ui/copy.js";
import { diff } from "../ui/diff.js";
import { fault } from "../ui/empty.js";
import { digestOf } from "../verify/sha256.js";
import { kindBadge, Kinds } from "./memories.js";
import { pager, runTable } from "./runs.js";

// What differs first of two steps, as GET /runs/diff names it: in a word, and in a sentence.
const Words = {
    missing: ["no such step", "One of them has no such step."],
    kind: ["another kind", "One asked the model where the other called a tool."],
    request: ["request", "The model was asked something else."],
    answer: ["answer", "The same request had another answer."],
    tool: ["tool", "Another tool was called."],
    arguments: ["arguments", "The tool was called with other arguments."],
    verdict: ["verdict", "The same call was judged otherwise."],
    result: ["result", "The same call had another result."],
    memories: ["memories", "Other memories were found."],
};
const Changes = { message: "another message", model: "another model", policy: "another policy", skills: "other versions of skills" };
const Sources = { recorded: "from the record", stub: "not made", live: "made" };
const ArtifactBytesMax = 512 * 1024;

export default async function page({ root, signal, query, title }) {
    const [left, right] = [query.get("left"), query.get("right")];
    if (left && right) {
        compare(root, signal, left, right, query, title);
    } else {
        choose(root, signal, left ?? right, query);
    }
}

// Nothing, or one run, is chosen: a list in which each row leads on.
function choose(root, signal, left, query) {
    const count = h("span.muted");
    const list = h("div");
    const first = h("div");
    const search = h("input", { type: "search", placeholder: "Words of messages and replies", "aria-label": "Words of messages and replies", value: query.get("q") ?? "", data: { search: "" } });
    let session = null;
    const view = runTable(signal, { href: row => to("compare", left ? { left, right: row.run_id } : { left: row.run_id }) });
    const more = pager(view, list, count, signal, () => ({ q: search.value.trim(), session_id: session }));
    const within = h("button.chip.hidden", { type: "button", "aria-pressed": "false", on: { click: event => {
        session = session ? null : within.dataset.session;
        event.currentTarget.setAttribute("aria-pressed", session !== null);
        more.restart();
    } } }, "Only of its session");
    search.addEventListener("input", debounce(() => {
        setQuery({ q: search.value.trim() });
        more.restart();
    }, 250));
    replace(root, h("div.head", h("h1", "Compare"), h("span.muted", left ? "Choose the run that stands beside it." : "Choose a run, then the one that stands beside it.")), first,
        h("div.filters", { role: "search" }, search, within, count), list);
    left && resource({
        load: s => get(path`/runs/${left}`, {}, s), signal, fail: error => replace(first, fault(error)),
        show: run => {
            within.dataset.session = run.session_id;
            within.classList.remove("hidden");
            const origin = run.lineage?.run_id;
            replace(first, h("div.card.cmp-sides", sideOf("Left", run), h("div.cmp-side", h("p.small.muted", "Right"),
                origin ? h("p", h("a.button", { href: to("compare", { left: origin, right: left }) }, "The run that it goes off from")) : h("p.muted", "A run of the list below"),
                h("p", h("a.muted", { href: to("compare") }, "Choose another first one")))));
        },
    });
}

function sideOf(word, run, others) {
    const { lineage } = run;
    return h("div.cmp-side",
        h("p.small.muted", word, " ", id(run.run_id)),
        h("p.cut", badge(run.status), " ", h("a", { href: to("runs", run.run_id) }, h("b", brief(run.message ?? "", 160) || "(no text)"))),
        h("p.small.muted", h("a", { href: to("sessions", run.session_id), title: run.session_id }, brief(run.session_id, 40)), " · ", h("code", run.model ?? "–"), " · ", time(run.created_at),
            lineage && [" · ", lineage.kind === "counterfactual" ? ["what if: ", (lineage.changed ?? []).map(what => Changes[what] ?? what).join(", ") || "nothing changed"] : "forked", lineage.run_id && lineage.run_id !== others && [" from ",
                h("a.mono", { href: to("runs", lineage.run_id) }, "its origin")], lineage.from_event && `, from event ${whole(lineage.from_event)} on`]));
}

// Where one is not there, which one that is.
async function bothOf(left, right, signal) {
    const sides = await Promise.allSettled([left, right].map(run => get(path`/runs/${run}`, {}, signal)));
    const missing = [left, right].filter((_, i) => sides[i].reason?.status === 404);
    if (missing.length > 0) {
        throw new ApiError(404, "not_found", missing.length === 2 ? "There is no such run on either side." : `There is no such run on the ${missing[0] === left ? "left" : "right"}: ${missing[0]}`);
    }
    const failed = sides.find(side => side.status === "rejected");
    if (failed) {
        throw failed.reason;
    }
    return sides.map(side => side.value);
}

function compare(root, signal, left, right, query, title) {
    let found = null;
    let stories = [[], []];
    let chosen = Number(query.get("step")) || null;
    let isUnlike = query.get("only") === "1";
    const body = h("div");
    const list = h("div.card.cmp", { role: "group", "aria-label": "Steps" });
    const only = h("button", { type: "button", "aria-pressed": isUnlike, on: { click: () => {
        isUnlike = !isUnlike;
        only.setAttribute("aria-pressed", isUnlike);
        setQuery({ only: isUnlike ? 1 : "" });
        drawSteps();
    } } }, "Only differences");
    replace(root, h("div.head", h("h1", "Compare"), h("span.actions", h("a.button", { href: to("compare", { left: right, right: left }) }, "Swap"),
        h("a.button", { href: to("compare", { left }) }, "Another one"))), body);

    const source = resource({
        load: async s => {
            const [a, b] = await bothOf(left, right, s);
            const [diff, made, madeB] = await Promise.all([
                get("/runs/diff", { left, right }, s), get(path`/runs/${left}/artifacts`, {}, s), get(path`/runs/${right}/artifacts`, {}, s),
            ]);
            const told = await Promise.all([storyOf(a, diff.left.steps, s), storyOf(b, diff.right.steps, s)]);
            return { diff, runs: [a, b], made: [made.artifacts, madeB.artifacts], told };
        },
        when: event => (event.run_id === left || event.run_id === right) && event.type !== "output_delta", signal, gap: 600,
        fail: error => replace(body, fault(error, () => source.refresh())),
        show: value => {
            found = value;
            stories = value.told.map(story => story.steps);
            chosen ??= value.diff.first_divergence?.step ?? null;
            title("Compare");
            draw();
        },
    });

    function draw() {
        const { diff: told, runs: [a, b], made } = found;
        const first = told.first_divergence;
        const alike = told.steps.filter(step => !step.differs).length;
        replace(body,
            left === right && h("p.note.section", "Both sides are the same run."),
            h("div.card.cmp-sides", sideOf("Left", a, right), sideOf("Right", b, left)),
            first
                ? h("p.note.cmp-verdict", h("b", `They part at step ${whole(first.step)}`), ` of ${whole(Math.max(told.left.steps, told.right.steps))}. `, Words[first.what]?.[1] ?? first.what, " ",
                    h("button.quiet", { type: "button", on: { click: () => show(first.step) } }, "Show it"))
                : h("p.note.good.cmp-verdict", h("b", "Nothing differs"), `: ${whole(told.steps.length)} steps asked and had the same, by their digests.`),
            h("dl.card.figures.cmp-figures", figure("Steps", told.left.steps, told.right.steps, whole), figure("Tokens in", told.left.input_tokens, told.right.input_tokens, whole),
                figure("Tokens out", told.left.output_tokens, told.right.output_tokens, whole), figure("Cost", told.left.cost_usd, told.right.cost_usd, cost),
                figure("Took, with waits", told.left.duration_ms, told.right.duration_ms, duration),
                h("div.figure", h("dt", "Alike"), h("dd", whole(alike), h("small", ` of ${whole(told.steps.length)}`)))),
            h("section.section", { "aria-labelledby": "cmp-steps" }, h("div.section-head", h("h2", { id: "cmp-steps" }, "Steps"), h("span.muted", "aligned by number, compared by digest"),
                h("span.actions", only)), list),
            artifactsOf(told.artifacts, made),
            memoriesOf(told.memories ?? [], found.told.map(story => story.memories)),
            h("section.section", { "aria-labelledby": "cmp-reply" }, h("div.section-head", h("h2", { id: "cmp-reply" }, "Reply"), !told.reply && h("span.muted", "the same in both")),
                told.reply && diff(told.reply.left ?? "", told.reply.right ?? "", "The replies")));
        drawSteps();
    }

    function drawSteps() {
        const { diff: told } = found;
        const longest = Math.max(1, ...told.steps.flatMap(step => [step.left?.duration_ms ?? 0, step.right?.duration_ms ?? 0]));
        const hadFocus = list.contains(document.activeElement) ? document.activeElement.dataset.step : null;
        const shown = isUnlike ? told.steps.filter(step => step.differs) : told.steps;
        replace(list,
            h("div.cmp-head", { "aria-hidden": "true" }, h("span.num", "#"), h("span", "Left"), h("span", "Differs"), h("span", "Right"), h("span.num", "Tokens"), h("span.num", "Cost"), h("span.num", "Time")),
            shown.map(step => [
                step.step === told.first_divergence?.step && h("p.cmp-part", "Here they part"),
                row(step, longest),
                step.step === chosen && h("div.cmp-open", { id: `step-${step.step}`, role: "region", "aria-label": `Step ${step.step}` }, details(step)),
            ]),
            shown.length === 0 && h("p.pad.muted", "No step differs."),
            told.more_steps > 0 && h("p.pad.muted", `${whole(told.more_steps)} steps more are not shown.`));
        hadFocus && list.querySelector(`[data-step="${CSS.escape(hadFocus)}"]`)?.focus({ preventScroll: true });
    }

    function row(step, longest) {
        const side = (of, story) => of === null ? h("span.cmp-side-cell.faint", "–")
            : h("span.cmp-side-cell", mark(of.is_error ? "refused" : of.kind), h("b", nameOf(of, story)), h("span.cut", story?.note ?? ""), of.source && of.source !== "live" && h("span.faint", Sources[of.source] ?? of.source));
        const bar = (of, kind) => h("i", { class: kind, style: { width: `${((of?.duration_ms ?? 0) / longest * 100).toFixed(1)}%` } });
        const tokens = step.deltas.input_tokens + step.deltas.output_tokens;
        return h("button.cmp-row", {
            type: "button", "aria-expanded": step.step === chosen, "aria-controls": step.step === chosen ? `step-${step.step}` : null, class: step.differs ? "" : "alike", data: { step: step.step },
            on: { click: () => toggle(step.step) },
        },
            h("span.num.faint", String(step.step)), side(step.left, stories[0][step.step - 1]),
            h("span.cmp-what", step.differs ? tag("person", Words[step.differs]?.[0] ?? step.differs) : h("span.faint", h("span", { "aria-hidden": "true" }, "="), h("span.sr", "alike"))),
            side(step.right, stories[1][step.step - 1]),
            h("span.num", signed(tokens, whole)), h("span.num", signed(step.deltas.cost_usd, cost)),
            h("span.cmp-time", h("span.cmp-bars", { "aria-hidden": "true" }, bar(step.left, "wait"), bar(step.right, step.right?.kind ?? "wait")), h("span.num", signed(step.deltas.duration_ms, duration))));
    }

    function details(step) {
        const [a, b] = [stories[0][step.step - 1], stories[1][step.step - 1]];
        const both = (name, l, r, show) => (l || r) && [h("dt", name), h("dd", l === r ? [show(l), h("span.faint", " in both")] : h("span.cmp-pair", h("span", h("span.faint", "left "), show(l)), h("span", h("span.faint", "right "), show(r))))];
        const each = member => [step.left?.[member] ?? null, step.right?.[member] ?? null];
        const hash = value => digest(value, 16);
        const word = value => value ?? h("span.faint", "–");
        const kinds = new Set([step.left?.kind, step.right?.kind].filter(Boolean));
        const asked = kinds.size > 1 ? "Asked" : kinds.has("model") ? "Request" : kinds.has("memory") ? "Memories" : "Arguments";
        // Of memories the texts are both, what is asked for and what came.
        const cameTo = [step.left, step.right].map(of => of && of.kind !== "memory" ? of.outcome_sha256 : null);
        return [
            h("p", h("b", step.differs ? Words[step.differs]?.[1] ?? step.differs : "Both steps asked and had the same.")),
            h("dl.facts",
                both(asked, ...each("sha256"), hash), both("Came to", ...cameTo, hash), both("Judged", ...each("verdict"), word),
                both("From", Sources[step.left?.source] ?? null, Sources[step.right?.source] ?? null, word),
                both("Took", step.left && duration(step.left.duration_ms), step.right && duration(step.right.duration_ms), word),
                both("Tokens", tokensOf(step.left), tokensOf(step.right), word),
                h("dt", "In the run"), h("dd.cmp-pair", [a, b].map((story, i) => story && h("a", { href: to("runs", story.run, { step: story.key }) }, i === 0 ? "left step" : "right step")))),
            texts("Arguments", a, b, story => story.kind === "tool" ? asArguments(story.input) : null),
            texts("Memories", a, b, story => story.kind === "memory" ? asText(story.output?.context ?? story.output) : null),
            texts("Said", a, b, story => story.kind === "model" ? story.text ?? "" : null),
            texts("Result", a, b, story => story.kind === "tool" ? asText(story.result?.content_preview ?? story.result?.content ?? "") : null)];
    }

    function toggle(step) {
        chosen = chosen === step ? null : step;
        setQuery({ step: chosen });
        drawSteps();
    }

    function show(step) {
        chosen = step;
        setQuery({ step });
        drawSteps();
        const row = list.querySelector(`[data-step="${step}"]`);
        row?.focus({ preventScroll: true });
        row?.scrollIntoView({ block: "nearest" });
    }

    listKeys({
        move(by) {
            const rows = [...list.querySelectorAll(".cmp-row")].map(each => Number(each.dataset.step));
            const i = rows.indexOf(chosen);
            rows.length > 0 && show(rows[i < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, i + by))]);
        },
        open: () => false,
    }, signal);
    pageKeys([
        { key: "n", does: "Next difference", run: () => {
            const steps = found?.diff.steps.filter(step => step.differs) ?? [];
            const next = steps.find(step => step.step > (chosen ?? 0)) ?? steps[0];
            next && show(next.step);
        } },
        { key: "d", does: "Only differences", run: () => only.click() },
        { key: "x", does: "Swap the sides", run: () => go(to("compare", { left: right, right: left })) },
    ], signal);

    function artifactsOf(differing, [madeLeft, madeRight]) {
        if (differing.length === 0) {
            return madeLeft.length + madeRight.length > 0 && h("section.section", { "aria-label": "Artifacts" }, h("div.section-head", h("h2", "Artifacts"), h("span.muted", "the same in both")));
        }
        const slot = h("div", { "aria-live": "polite" });
        const of = (made, where, sha) => sha && made.findLast(each => each.path === where && each.sha256 === sha);
        const cell = artifact => artifact ? [h("span.muted", bytes(artifact.bytes)), " ", digest(artifact.sha256, 12)] : h("span.faint", "not made");
        return h("section.section", { "aria-labelledby": "cmp-made" }, h("div.section-head", h("h2", { id: "cmp-made" }, "Artifacts"), h("span.muted", `${whole(differing.length)} differ`)),
            h("ul.card.cmp-made", differing.map(each => {
                const [a, b] = [of(madeLeft, each.path, each.left_sha256), of(madeRight, each.path, each.right_sha256)];
                return h("li", h("code.cut.grow", each.path), h("span", cell(a)), h("span.faint", "→"), h("span", cell(b)),
                    h("button.quiet", { type: "button", on: { click: () => showArtifact(slot, each.path, a, b, signal) } }, "Show"));
            })), slot);
    }

    // What each left to runs that come after it. Their texts are in the events that wrote them, and are known by their digests.
    function memoriesOf(differing, left) {
        if (differing.length === 0) {
            return left[0].length + left[1].length > 0 && h("section.section", { "aria-label": "Memories written" }, h("div.section-head", h("h2", "Memories written"), h("span.muted",
                found.runs.some(run => run.lineage?.kind === "counterfactual") ? "the facts are the same in both, and what would have been takes no notes" : "both left the same")));
        }
        const slot = h("div", { "aria-live": "polite" });
        const of = (memories, { kind }, sha) => sha ? memories.find(each => each.kind === kind && typeof each.text === "string" && digestOf(lastOf(each)) === sha) ?? { sha } : null;
        const cell = (memory, sha) => memory === null ? h("span.faint", "not left") : [memory.memory_id && [h("a.muted", { href: to("memories", memory.memory_id) }, "the memory"), " "], digest(sha, 12)];
        return h("section.section", { "aria-labelledby": "cmp-left" }, h("div.section-head", h("h2", { id: "cmp-left" }, "Memories written"), h("span.muted", `${whole(differing.length)} differ`)),
            h("ul.card.cmp-made", differing.map(each => {
                const [a, b] = [of(left[0], each, each.left_sha256), of(left[1], each, each.right_sha256)];
                const name = `${Kinds[each.kind]?.[1] ?? each.kind} ${whole(each.number)}`;
                const isKnown = (a === null || a.memory_id) && (b === null || b.memory_id);
                return h("li", h("span.grow", kindBadge(each.kind), " ", h("span.muted", whole(each.number))), h("span", cell(a, each.left_sha256)), h("span.faint", "→"), h("span", cell(b, each.right_sha256)),
                    isKnown ? h("button.quiet", { type: "button", "aria-label": `Show ${name}`, on: { click: () => replace(slot, h("div.code-head", h("h3", name)), diff(a ? lastOf(a) : "", b ? lastOf(b) : "", `What differs in ${name}`)) } }, "Show")
                        : h("span.small.muted", "its text is not in the events any more"));
            })), slot);
    }
}

async function showArtifact(slot, where, a, b, signal) {
    try {
        const [x, y] = await Promise.all([a, b].map(each => textOf(each, signal)));
        replace(slot, h("div.code-head", h("h3", where)), diff(x, y, `What differs in ${where}`));
    } catch (error) {
        error.name !== "AbortError" && replace(slot, fault(error));
    }
}

async function textOf(artifact, signal) {
    if (!artifact) {
        return "";
    }
    if (artifact.bytes > ArtifactBytesMax) {
        return `(${bytes(artifact.bytes)}, ${artifact.sha256})`;
    }
    const text = await (await bytesOf(path`/artifacts/${artifact.artifact_id}/versions/${artifact.version}/content`, {}, signal)).text();
    return text.includes("\0") ? `(no text, ${artifact.sha256})` : text;
}

// Of a session's notes the line of the run itself.
function lastOf({ kind, text }) {
    return kind === "session_summary" ? text.slice(text.lastIndexOf("\n") + 1) : text;
}

function nameOf(step, story) {
    return step.tool ?? (step.kind === "memory" ? "recall memory" : story?.name ?? step.kind);
}

function tokensOf(step) {
    return step && step.kind === "model" ? `${whole(step.input_tokens)} in, ${whole(step.output_tokens)} out` : null;
}

function asText(value) {
    return typeof value === "string" ? value : wholeJson(value) ?? "(too deep to be written)";
}

// Texts of several lines as they are, so that their lines are compared.
function asArguments(input) {
    return input === null || typeof input !== "object" || Array.isArray(input) ? asText(input)
        : Object.entries(input).map(([name, value]) => typeof value === "string" && value.includes("\n") ? `${name}:\n${value}` : `${name}: ${asText(value)}`).join("\n");
}

// Of one side, or of both: as a difference where there is one.
function texts(name, a, b, of) {
    const [x, y] = [a ? of(a) : null, b ? of(b) : null];
    return (x ?? y) === null || (x ?? "") === "" && (y ?? "") === "" ? null
        : [h("div.code-head", h("h3", name), x === y && h("span.faint.small", "the same in both")), x === y ? block(x, { label: name }) : diff(x ?? "", y ?? "", name)];
}

function figure(name, left, right, format) {
    return h("div.figure", h("dt", name), h("dd", format(left), left !== right && [h("span.faint", " → "), format(right), " ", h("small", signed(right - left, format))]));
}

// +12, −3, and nothing where nothing changed.
export function signed(value, format) {
    return value === 0 ? h("span.faint", "0") : `${value > 0 ? "+" : "−"}${format(Math.abs(value))}`;
}
