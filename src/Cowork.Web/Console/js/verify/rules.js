// What the events of a run say of each other, in every format: which events must be there, once, of this run and in order.

import { quoted, require } from "./members.js";
import { isRunEvent } from "./events.js";
import { bare, keyOf, runKey, sessionKey, streamOf } from "./keys.js";
import { digestOf } from "./sha256.js";
import { fold } from "./summary.js";

/** The actor of what a run's driver writes. */
const DRIVER = "agent";

const OUTPUT_ROOT = ".anton/output/";

const SOURCED = new Set(["tool_result.v1", "llm_response.v1", "feedback_received.v1"]);

const isStep = (e) => e.type === "memory_retrieval.v1" || e.type === "llm_response.v1" || e.type === "tool_result.v1";
const isEnd = (e) => e.type === "run_completed.v1" || e.type === "run_failed.v1" || e.type === "run_cancelled.v1";
const dayOf = (e) => `budget-${e.ts.slice(0, 4)}${e.ts.slice(5, 7)}${e.ts.slice(8, 10)}`;

/** Steps of the run that are recorded, with those of its past. */
export const stepsOf = (own, past) => own.filter(isStep).length + past.filter(isStep).length;

/** The beginning of the run that a counterfactual goes off from; of another run nothing. */
export function pastOf(own, related) {
    const cut = own[0].type === "run_created.v1" ? own[0].data.counterfactual?.of : null;
    return cut ? related.filter((e) => e.stream === streamOf.run(cut.run_id) && e.version <= cut.version) : [];
}

/** The result is that of a call that was made. */
export const isMade = (data) => data.source == null || data.source === "live";

/** A text of a call's arguments; null: there is none. */
export function argument(json, name) {
    try {
        const found = JSON.parse(json);
        return found !== null && typeof found === "object" && !Array.isArray(found) && Object.hasOwn(found, name) && typeof found[name] === "string" ? found[name] : null;
    } catch {
        // The model may write anything.
        return null;
    }
}

export function checkRules(entries, own, related) {
    const created = own[0].type === "run_created.v1" && streamOf.run(own[0].data.run_id) === own[0].stream ? own[0].data : null;
    require(created !== null, own[0].at, "The run's own stream does not begin with its run_created.");
    checkIdentity(entries, own[0]);
    checkCorrelation(entries, own[0]);
    checkStreams(entries, created);
    checkQueue(entries, own, created);
    const past = pastOf(own, related);
    checkCalls(own, past, created.counterfactual != null);
    checkTotals(own);
    checkArtifacts(entries, own, created);
    checkMemories(entries, own, past, created);
    checkBudget(entries);
}

/** Each event is of the run's tenant, and there once. */
function checkIdentity(entries, first) {
    const places = new Map();
    for (const e of entries) {
        require(e.org === first.org, `${e.at}.tenant_id`, () => `The run's tenant is ${quoted(first.org)}.`);
        require(!places.has(e.id), `${e.at}.id`, () => `${places.get(e.id)} has the same id.`);
        places.set(e.id, e.at);
    }
}

/** What the driver writes, and what the commit of the turn writes, has the correlation of the request that asked for the run. */
function checkCorrelation(entries, first) {
    if (first.correlation === null) {
        // Nobody traced the request. A driver that is traced has spans of its own.
        return;
    }
    for (const e of entries) {
        if (e.actor === DRIVER || e.type === "run_queued.v1") {
            require(e.correlation === first.correlation, `${e.at}.correlation_id`, () => `The run's is ${quoted(first.correlation)}.`);
        }
    }
}

/** Stream, run and session that an event must be of; undefined: no run has such an event. */
function belongs(e, run) {
    const { data } = e;
    switch (e.type) {
        case "run_queued.v1":
        case "run_dequeued.v1":
            return [streamOf.session(run.session_id), data.run_id, run.session_id];
        case "artifact_discovered.v1":
            // A path that was erased names no stream.
            return [e.isErased ? streamOf.artifact(data.artifact_id) : `artifact-${artifactKey(data.session_id, data.path)}`, data.run_id, data.session_id];
        case "memory_written.v1":
            return [streamOf.memory(data.memory_id), data.run_id, data.session_id];
        case "budget_reserved.v1":
            return [dayOf(e), data.run_id, run.session_id];
        case "budget_settled.v1":
            // It lies in the stream of the day of its reservation.
            return [e.stream.startsWith("budget-") ? e.stream : dayOf(e), data.run_id, run.session_id];
        case "budget_soft_limit_reached.v1":
            return [dayOf(e), run.run_id, run.session_id];
        case "schedule_triggered.v1":
            return run.source?.schedule_id ? [streamOf.schedule(run.source.schedule_id), data.run_id, run.session_id] : undefined;
        default:
            return isRunEvent(e.type) ? [e.stream, run.run_id, run.session_id] : undefined;
    }
}

export const artifactKey = (session, path) => keyOf(`artifact ${sessionId(session)} ${path}`);

/** A session's id as it is written, with the prefix that its key has. */
function sessionId(id) {
    const key = sessionKey(id);
    return key === id ? id : `sess_${key}`;
}

/** Each event belongs to the run and lies in the stream of what it is about. The run's artifacts have no gap, and it writes a memory once. */
function checkStreams(entries, run) {
    const artifacts = new Map();
    const memories = new Set();
    for (const e of entries) {
        const { at, data } = e;
        require(e.isOwn === isRunEvent(e.type), at, "The event does not belong into its stream.");
        const expected = belongs(e, run);
        require(expected !== undefined, `${at}.type`, "No run has such an event.");
        const [stream, ofRun, session] = expected;
        require(typeof ofRun === "string" && runKey(ofRun) === runKey(run.run_id), `${at}.data`, "The event is of another run.");
        require(sessionKey(session) === sessionKey(run.session_id), `${at}.data`, "The event is of another session.");
        require(stream === e.stream, `${at}.stream_id`, "The event does not belong into its stream.");
        if (e.type === "artifact_discovered.v1") {
            require(streamOf.artifact(data.artifact_id) === e.stream, `${at}.data`, "The artifact's id is not that of its path.");
            require(data.bytes >= 0 && data.version >= 1, `${at}.data`, "An artifact has a size and a version.");
            // One run writes at a time in a session, so that only what a client's cell wrote can be between two of this one.
            const before = artifacts.get(e.stream);
            require(
                before === undefined
                || (e.version - 1 === before.version
                    ? data.version - 1 === before.data.version && (e.isErased || data.sha256 !== before.data.sha256)
                    : e.version > before.version && data.version > before.data.version),
                at, "The artifact's version before it is missing, or it is there twice.");
            artifacts.set(e.stream, e);
        } else if (e.type === "memory_written.v1") {
            require(!memories.has(e.stream), at, "The run wrote the memory before.");
            memories.add(e.stream);
        }
    }
}

/** The run was queued once, after it was created, and left the queue once, when it ended; a schedule's run was triggered once. */
function checkQueue(entries, own, run) {
    const end = own[own.length - 1];
    const single = (type, count) => {
        const found = entries.filter((e) => e.type === `${type}.v1`);
        require(found.length <= count, found[count]?.at ?? "$.events", count === 0 ? "The run cannot have this event." : "The event is there twice.");
        require(found.length === count, "$.events", `The event ${type}.v1 of the run is missing.`);
        return found[0];
    };
    const queued = single("run_queued", 1);
    require(queued.gid > own[0].gid, `${queued.at}.gid`, "The run was queued before it was created.");
    const dequeued = single("run_dequeued", isEnd(end) ? 1 : 0);
    if (dequeued !== undefined) {
        require(dequeued.gid > end.gid, `${dequeued.at}.gid`, "The run left the queue before it ended.");
        require(dequeued.version > queued.version, `${dequeued.at}.version`, "The run left the queue before it was queued.");
    }
    single("schedule_triggered", run.source?.schedule_id ? 1 : 0);
}

/**
 * Each answer has the calls that it counts, and each call its policy decision, its approval where the policy asked for one, and its result. Only a call that was allowed has
 * a result that is no error. An answer's request shows feedback that was given before, once, and the reply has seen all of it. Nothing follows the end.
 */
function checkCalls(own, past, isCounterfactual) {
    const open = [];
    // Arguments that were erased have not the digest that they had.
    const isErased = [...past, ...own].some((e) => e.isErased && e.type === "tool_call.v1");
    let expected = 0;
    let steps = 0;
    let unseen = 0;
    let isAllowed = false;
    let isRefused = false;
    let hasEnded = false;
    let asked = null;
    let pending = null;
    for (const { type, data } of past) {
        steps += isStep({ type }) ? 1 : 0;
        unseen += type === "feedback_received.v1" ? 1 : type === "llm_response.v1" ? -(data.feedback ?? 0) : 0;
        if (type === "tool_call.v1") {
            open.push(data);
        } else if (type === "tool_result.v1") {
            open.shift();
        }
    }
    for (const { at, type, data } of own) {
        const isServed = type === "approval_served.v1" || (SOURCED.has(type) && data.source != null);
        require(isCounterfactual || !isServed, at, "Only a counterfactual is served from the record of another run.");
        require(!hasEnded, at, "The run has ended before.");
        require(expected === 0 || type === "tool_call.v1", at, `The model's answer has ${expected} more calls.`);
        require(asked === null || type === "approval_requested.v1" || type === "approval_served.v1", at, "The request for the approval is missing.");
        require(!isRefused || (type === "tool_result.v1" && data.is_error) || type === "run_cancelled.v1", at, "A refused call has no result but the refusal.");
        require(
            pending === null || type === "approval_decided.v1" || type === "run_cancel_requested.v1" || type === "feedback_received.v1", at,
            "The decision on the approval is missing.");
        switch (type) {
            case "memory_retrieval.v1":
                steps++;
                break;
            case "llm_response.v1": {
                const feedback = data.feedback ?? 0;
                require(open.length === 0, at, "A call of the answer before has no result.");
                require(data.step === ++steps, at, `It is step ${steps} of the run.`);
                require((data.feedback === null || data.feedback >= 1) && feedback <= unseen, at, "Its request shows feedback that nobody gave.");
                unseen -= feedback;
                require(
                    (data.continues ?? false) === (data.tool_calls === 0 && unseen > 0), at,
                    "The run goes on after an answer without calls while feedback waits, and only then.");
                expected = data.tool_calls;
                break;
            }
            case "feedback_received.v1":
                unseen++;
                break;
            case "assistant_reply.v1":
                require(unseen === 0, at, "Feedback waits that this reply has not seen.");
                break;
            case "tool_call.v1":
                require(expected-- > 0, at, "The model's answer has no such call.");
                open.push(data);
                break;
            case "policy_decision.v1":
                require(open[0]?.id === data.tool_call_id && open.length > 0 && !isAllowed, at, "The decision is about no call that waits for one.");
                isAllowed = data.outcome === "allow";
                isRefused = data.outcome === "deny";
                asked = data.outcome === "confirm" ? data : null;
                break;
            case "approval_requested.v1": {
                require(asked !== null && asked.tool_call_id === data.tool_call_id && asked.rule === data.rule, at, "The policy did not ask for this approval.");
                const [waiting] = open;
                require(
                    waiting.name === data.tool_name && isSameContent(waiting.input, data.tool_input)
                    && (isErased || typeof waiting.input !== "string" || digestOf(waiting.input) === data.args_digest),
                    at, "The approval is about another call.");
                asked = null;
                pending = data;
                break;
            }
            case "approval_served.v1":
                require(
                    asked !== null && asked.tool_call_id === data.tool_call_id && open[0].name === data.tool_name
                    && (isErased || typeof open[0].input !== "string" || digestOf(open[0].input) === data.args_digest),
                    at, "The policy did not ask for this approval.");
                asked = null;
                isAllowed = data.outcome === "approved";
                isRefused = !isAllowed;
                break;
            case "approval_decided.v1":
                require(pending !== null && bare(pending.approval_id, "appr_") === bare(data.approval_id, "appr_"), at, "Nobody asked for this approval.");
                pending = null;
                isAllowed = data.outcome === "approved";
                isRefused = !isAllowed;
                break;
            case "tool_result.v1": {
                const called = open.shift();
                require(called !== undefined && called.id === data.id && called.name === data.name, at, "The result is of no call that waits for one.");
                require(isAllowed || data.is_error, at, "No decision of the policy and no approval allows the call.");
                require((data.source != null) === (isAllowed && isCounterfactual), at, "A call of a counterfactual that is allowed says where its result is from.");
                require(data.step === ++steps, at, `It is step ${steps} of the run.`);
                isAllowed = false;
                isRefused = false;
                break;
            }
            case "run_completed.v1":
                require(open.length === 0, at, "A call has no result.");
                hasEnded = true;
                break;
            case "run_failed.v1":
            case "run_cancelled.v1":
                hasEnded = true;
                break;
        }
    }
}

/** Two texts are the same, whichever of the three forms they have. */
export function isSameContent(a, b) {
    if (a === null || b === null || typeof a !== "object" || typeof b !== "object") {
        return (a ?? null) === (b ?? null);
    }
    return "sha256" in a || "sha256" in b
        ? a.sha256 === b.sha256 && a.bytes === b.bytes
        : a.enc === b.enc && a.subject === b.subject && a.ciphertext === b.ciphertext;
}

/** A completed run says what its events sum up to. */
function checkTotals(own) {
    const { at, type, data } = own[own.length - 1];
    if (type === "run_completed.v1") {
        const row = fold(own);
        require(
            data.total_tokens === row.totalTokens && data.tool_calls === row.toolCalls && data.cost_micro_usd === row.cost, at,
            "The totals are not the sums of the run's events.");
    }
}

/** What write_file and move_file say that they wrote below the output root is there. The result's text names the path, and the call's arguments the content. */
function checkArtifacts(entries, own, run) {
    const written = new Map();
    for (const { type, data } of entries) {
        if (type === "artifact_discovered.v1") {
            const key = artifactKey(data.session_id, data.path);
            written.set(key, [...(written.get(key) ?? []), data.sha256]);
        }
    }
    const calls = new Map();
    for (const { at, type, data } of own) {
        if (type === "tool_call.v1") {
            calls.set(data.id, data);
        }
        const input = type === "tool_result.v1" ? calls.get(data.id)?.input : undefined;
        if (type !== "tool_result.v1" || data.is_error || !isMade(data) || typeof data.content !== "string" || typeof input !== "string") {
            continue;
        }
        // A path that is spelt another way than the result shows it is not looked for: the result may name it in another form.
        let isMissing = false;
        if (data.name === "write_file") {
            const path = argument(input, "path");
            const content = argument(input, "content");
            isMissing = path !== null && path.startsWith(OUTPUT_ROOT) && content !== null
                && data.content === `Wrote ${path} (${new TextEncoder().encode(content).length} bytes).`
                && !(written.get(artifactKey(run.session_id, path)) ?? []).includes(digestOf(content));
        } else if (data.name === "move_file") {
            const to = argument(input, "to");
            isMissing = to !== null && to.startsWith(OUTPUT_ROOT) && data.content.endsWith(` to ${to}.`) && !written.has(artifactKey(run.session_id, to));
        }
        require(!isMissing, at, "The artifact that the call wrote is missing.");
    }
}

/**
 * What a call was told to remember is there, before the call's result. A memory has the name of what it comes from: a call, the session's summary, or what was learned.
 */
function checkMemories(entries, own, past, run) {
    const last = own[own.length - 1];
    const named = (name) => `memory-${keyOf(name)}`;
    const written = new Map(entries.filter((e) => e.type === "memory_written.v1").map((e) => [e.stream, e]));
    if (written.size === 0 && !own.some((e) => e.type === "tool_result.v1" && e.data.name === "remember")) {
        return;
    }
    // A call whose result a crash prevented may have left its memory.
    const ofCalls = new Set(Array.from({ length: stepsOf(own, past) + 1 }, (_, i) => named(`memory ${run.run_id}:${i + 1}`)));
    const notes = new Map([
        [named(`session_summary ${sessionKey(run.session_id)}`), "session_summary"],
        [named(`learning ${runKey(run.run_id)}`), "learning"],
    ]);
    for (const e of written.values()) {
        const { at, data } = e;
        const kind = notes.get(e.stream);
        require(kind !== undefined || ofCalls.has(e.stream), `${at}.stream_id`, "No call of the run and no note on it has this memory.");
        require(data.kind === (kind ?? "memory"), `${at}.data`, `The memory's kind is ${kind ?? "memory"}.`);
        require(kind === undefined || (last.type === "run_completed.v1" && e.gid > last.gid), at, "Notes follow the completed run.");
        const from = data.event ?? null;
        require(
            from === null || (from.stream_id === own[0].stream && from.version >= 1 && from.version <= last.version), `${at}.data`,
            "The memory follows from no event of the run.");
    }
    for (const { at, type, gid, data } of own) {
        if (type === "tool_result.v1" && data.name === "remember" && !data.is_error && isMade(data)) {
            const memory = written.get(named(`memory ${run.run_id}:${data.step}`));
            require(memory !== undefined && memory.gid < gid, at, "The memory that the call kept is missing.");
        }
    }
}

/** Each settlement is of the reservation before it in its stream, and settles what was reserved. */
function checkBudget(entries) {
    const open = new Map();
    for (const { at, type, stream, data } of entries) {
        if (type === "budget_reserved.v1") {
            require(!open.has(stream), at, "The call before it is not settled.");
            open.set(stream, data);
        } else if (type === "budget_settled.v1") {
            const held = open.get(stream);
            open.delete(stream);
            require(
                held !== undefined && (held.step ?? null) === (data.step ?? null) && held.attempt === data.attempt && held.reserved_micro_usd === data.reserved_micro_usd, at,
                "It settles no call that was reserved.");
        }
    }
}
