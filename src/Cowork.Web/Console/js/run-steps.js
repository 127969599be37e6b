// What a run did, folded from its events: the rows of its waterfall. Of the first k events they are what was there then.
//   {steps, text, status, tokens, cost, times, head}; a step: {key, kind, depth, name, note, from, first, to, state, events, …}

const at = event => Date.parse(event.ts);

// Limits that are looked at between steps: nothing was under way.
const Between = new Set(["limit_tokens", "limit_tool_calls", "limit_rounds"]);

export function foldRun(events, count = events.length) {
    const run = {
        steps: [], text: "", status: "queued", isTyping: false, input: 0, output: 0, cost: 0, attempt: 1, created: null, started: null, ended: null, last: null, message: null, error: null,
        head: null, calls: new Map(), asks: new Map(), retries: 0,
    };
    for (let i = 0; i < count; i++) {
        take(run, events[i]);
    }
    // What is asked and not yet answered has no event: the row goes on from the event before.
    if (!run.ended && run.status === "running") {
        underWay(run, run.last);
    }
    return run;
}

function add(run, step) {
    run.steps.push({ depth: 0, note: "", events: [], to: null, first: null, state: "running", ...step, key: `${step.kind}:${run.steps.length}` });
    return run.steps.at(-1);
}

function take(run, event) {
    const { type, payload } = event;
    const now = at(event);
    run.last = now;
    run.head = event;
    switch (type) {
        case "run_created":
            Object.assign(run, { created: now, message: payload.message, model: payload.model, isRecalled: Boolean(payload.counterfactual) });
            run.queue = add(run, { kind: "queue", name: "queued", from: now, events: [event] });
            break;
        case "run_queued":
            run.queue?.events.push(event);
            if (run.queue && payload.ahead > 0) {
                run.queue.note = `${payload.ahead} ahead`;
            }
            break;
        case "run_started":
            run.started ??= now;
            run.status = "running";
            close(run.queue, now, "completed", event);
            break;
        case "memory_retrieval":
            run.isRecalled = true;
            add(run, {
                kind: "memory", name: "recall memory", note: `${payload.retrieved_count ?? 0} found`, from: run.edge ?? run.started ?? now, to: now, state: "completed", events: [event], output: payload,
            });
            break;
        case "output_delta":
        case "thinking_delta": {
            const step = round(run, event);
            step.first ??= now;
            if (type === "output_delta") {
                // What it said before it called tools is part of those steps; the reply begins anew.
                run.text = run.isTyping ? run.text + payload.text : payload.text;
                run.isTyping = true;
                step.text = (step.text ?? "") + payload.text;
            }
            step.events.push(event);
            break;
        }
        case "llm_response": {
            const step = round(run, event);
            step.from = payload.asked_at ? Date.parse(payload.asked_at) : step.from;
            step.first = payload.first_token_at ? Date.parse(payload.first_token_at) : step.first;
            close(step, now, "completed", event);
            Object.assign(step, { name: payload.model ?? step.name, note: `${payload.input_tokens} in, ${payload.output_tokens} out`, response: payload });
            run.input += payload.input_tokens ?? 0;
            run.output += payload.output_tokens ?? 0;
            run.cost += payload.cost_usd ?? (payload.cost_micro_usd ?? 0) / 1e6;
            run.round = null;
            run.isTyping = false;
            break;
        }
        case "model_retried": {
            const step = round(run, event);
            close(step, now, "failed", event);
            Object.assign(step, { note: "tried again", error: payload });
            spend(run, step, payload.usage);
            run.round = null;
            run.isTyping = false;
            // Until it is asked again.
            run.edge = now + (payload.wait_ms ?? 0);
            return;
        }
        case "tool_call":
            run.calls.set(payload.id, add(run, { kind: "tool", depth: 1, name: payload.name, note: noteOf(payload), from: null, at: now, events: [event], state: "waiting", input: payload.input, call: payload.id }));
            break;
        case "policy_decision": {
            const step = run.calls.get(payload.tool_call_id);
            if (step) {
                step.policy = payload;
                step.events.push(event);
                if (payload.outcome === "allow") {
                    Object.assign(step, { from: now, state: "running" });
                } else if (payload.outcome === "deny") {
                    Object.assign(step, { from: now, state: "denied" });
                }
            }
            break;
        }
        case "approval_requested": {
            const step = run.calls.get(payload.tool_call_id) ?? waitingStep(run);
            run.status = "approval_required";
            if (step) {
                Object.assign(step, { wait: { from: now, to: null, id: payload.approval_id }, approval: payload, state: "waiting" });
                step.events.push(event);
                run.asks.set(payload.approval_id, step);
            }
            break;
        }
        case "approval_decided":
        case "approval_expired": {
            const step = run.asks.get(payload.approval_id) ?? waitingStep(run);
            if (step?.wait) {
                step.wait.to = now;
                step.decision = { by: event.actor, ...payload, outcome: type === "approval_expired" ? "expired" : payload.outcome };
                step.events.push(event);
                // An approved call is made when a driver has the run again.
                step.state = payload.outcome === "approved" ? "decided" : "denied";
            }
            break;
        }
        case "run_resumed":
            run.status = "running";
            if (payload.attempt > run.attempt) {
                run.attempt = payload.attempt;
                close(run.round, run.edge, "failed", null);
                run.round = null;
                add(run, { kind: "retry", name: "another driver went on", from: run.edge, to: now, state: "completed", events: [event] });
            }
            for (const step of run.steps.filter(step => step.state === "decided")) {
                Object.assign(step, { from: now, state: "running" });
            }
            break;
        case "tool_result": {
            const step = run.calls.get(payload.id);
            if (step) {
                step.from = payload.started_at ? Date.parse(payload.started_at) : run.edge ?? now;
                close(step, now, step.state === "denied" ? "denied" : payload.is_error ? "failed" : "completed", event);
                step.result = payload;
            }
            break;
        }
        case "assistant_reply":
            run.hasReplied = true;
            break;
        case "run_completed":
        case "run_failed":
        case "run_cancelled":
            Object.assign(run, { status: type.slice(4), ended: now, isTyping: false, error: payload.error ?? (type === "run_failed" ? payload : null) });
            run.text = payload.reply ?? run.text;
            finish(run, event, now);
            break;
        // Said to the run, or to others meanwhile: what is under way goes on.
        case "feedback_received":
        case "run_cancel_requested":
            return;
        case "tools_offered":
            round(run, event).events.push(event);
            break;
        case "approval_served":
            break;
        // Of another stream.
        default:
            return;
    }
    run.edge = now;
}

// Characters that an event's preview of a text has at most; it is cut before a character of two.
export const PreviewMax = 2_000;

// Whether a preview may be the beginning of something longer.
export const isCut = preview => typeof preview === "string" && preview.length >= PreviewMax - 1;

// The word for how a step came out: a policy denies, a person rejects.
export function verdictOf({ state, decision }) {
    return state === "waiting" || state === "decided" ? "pending" : state === "denied" ? decision?.outcome ?? "deny" : state;
}

// The step that is under way, open: a call that is being made, or the attempt at an answer; undefined: none is.
function underWay(run, now) {
    const open = run.steps.filter(step => step.to === null);
    if (open.length === 0 && run.isRecalled && !run.hasReplied) {
        return run.round = add(run, { kind: "model", name: run.model ?? "model", from: Math.min(run.edge, now) });
    }
    return open.find(step => step.kind === "model") ?? open.find(step => step.kind === "tool" && step.state === "running");
}

// What an attempt cost that came to nothing, where the provider said so.
function spend(run, step, usage) {
    if (usage) {
        step.response = usage;
        run.input += usage.input_tokens ?? 0;
        run.output += usage.output_tokens ?? 0;
        run.cost += usage.cost_usd ?? 0;
    }
}

// The run is over: the step that it ended in says so, and calls that were never made have no time.
function finish(run, event, now) {
    const isGood = event.type === "run_completed";
    const state = event.type.slice(4);
    const waits = each => each.to === null && (each.kind === "queue" || each.wait && each.wait.to === null);
    let step = isGood || Between.has(run.error?.code) ? undefined : underWay(run, now) ?? run.steps.find(waits);
    for (const each of run.steps.filter(each => each.to === null)) {
        if (each.wait && each.wait.to === null) {
            each.wait.to = now;
        }
        if (each === step || each.kind !== "tool") {
            close(each, now, each === step ? state : "cancelled", null);
        } else {
            Object.assign(each, { from: null, to: now, state: each.state === "denied" ? "denied" : "unmade" });
        }
    }
    if (!isGood) {
        step ??= add(run, { kind: "end", name: state, from: now, to: now, state });
        step.error = run.error;
        step.kind === "model" && spend(run, step, event.payload.usage);
        step.events.push(event);
        run.broke = step;
    }
    run.end = event;
}

// The attempt at an answer that goes on; it began when the event before it was there.
function round(run, event) {
    run.round ??= add(run, { kind: "model", name: run.model ?? "model", from: run.edge ?? at(event), state: "running" });
    return run.round;
}

function waitingStep(run) {
    return run.steps.findLast(step => step.kind === "tool" && step.to === null);
}

function close(step, now, state, event) {
    if (!step) {
        return;
    }
    Object.assign(step, { to: now, state });
    step.from ??= step.at ?? now;
    event && step.events.push(event);
}

// What of a call's arguments says most, in a few words.
function noteOf({ input }) {
    const value = input && typeof input === "object" ? input.path ?? input.query ?? input.from ?? input.name ?? input.sql ?? input.content : input;
    return typeof value === "string" ? value : "";
}

// The time axis: waits of people that are longer than the work around them are folded to one width.
//   {place(t) → 0…1, folds: [{from, to, ms}], ticks: [{at, ms}], span}
export function axisOf(run, isFolded, ticksOf, about) {
    const start = run.created ?? 0;
    const end = Math.max(start + 1, run.until ?? run.ended ?? run.last ?? start);
    const waits = isFolded ? joined(run.steps.filter(step => step.wait).map(step => [step.wait.from, step.wait.to ?? end]).concat(
        run.steps.filter(step => step.kind === "queue" && step.to - step.from > 2_000).map(step => [step.from, step.to]))) : [];
    const work = end - start - waits.reduce((sum, [from, to]) => sum + to - from, 0);
    // A fold is as wide as a sixth of the rest, and never wider than what it folds.
    const width = Math.max(1, work * 0.16);
    const folds = waits.filter(([from, to]) => to - from > width * 1.5).map(([from, to]) => ({ start: from, stop: to, ms: to - from }));
    const short = t => folds.reduce((shown, fold) => t <= fold.start ? shown : shown - Math.min(t, fold.stop) + fold.start + width * Math.min(1, (Math.min(t, fold.stop) - fold.start) / fold.ms), t) - start;
    const span = Math.max(1, short(end));
    const place = t => Math.min(1, Math.max(0, short(t) / span));
    return {
        place, span, folds: folds.map(fold => ({ from: place(fold.start), to: place(fold.stop), ms: fold.ms })),
        ticks: ticksOf(span, about).map(ms => ({ at: ms / span, ms })).filter(tick => tick.at <= 1 - .4 / about && !folds.some(fold => tick.at > place(fold.start) - .5 / about && tick.at < place(fold.stop) + .01)),
    };
}

function joined(spans) {
    const merged = [];
    for (const [from, to] of spans.filter(([from, to]) => to > from).sort((a, b) => a[0] - b[0])) {
        const last = merged.at(-1);
        if (last && from <= last[1]) {
            last[1] = Math.max(last[1], to);
        } else {
            merged.push([from, to]);
        }
    }
    return merged;
}
