// The run's summary, folded again from the events of its own stream.

import { canonical } from "./json.js";
import { quoted, require, requireMembers } from "./members.js";

/** Members that bundles have since cowork-trace/3. */
const SINCE_THIRD = new Set(["id", "prompt", "response", "input_tokens", "output_tokens", "cancel_requested", "worker_mode"]);

/** A text as a summary shows it: itself, or where it lies. */
const content = (form) => (form !== null && typeof form === "object"
    ? ("sha256" in form ? { sha256: form.sha256, bytes: form.bytes } : { enc: form.enc, subject: form.subject, ciphertext: form.ciphertext })
    : form ?? null);

function used(row, usage) {
    if (usage) {
        row.totalTokens += usage.input_tokens + usage.output_tokens;
        row.outputTokens += usage.output_tokens;
        row.cost += usage.cost_micro_usd ?? 0;
    }
}

/** What each event changes. */
const FOLDS = {
    run_started(row, e) {
        Object.assign(row, { status: "running", startedAt: e.ts, attempt: 1 });
    },
    run_resumed(row, { data }) {
        row.attempt = data.attempt;
    },
    llm_response(row, { data }) {
        if (data.source == null) {
            // Another run has paid for a recorded answer.
            used(row, data);
        }
        row.toolCalls += data.tool_calls;
    },
    model_retried(row, { data }) {
        used(row, data.usage);
    },
    approval_requested(row, { data }) {
        Object.assign(row, { status: "approval_required", pending: [data.approval_id] });
    },
    approval_decided(row) {
        Object.assign(row, { status: "running", pending: [] });
    },
    assistant_reply(row, { data }) {
        row.reply = content(data.content);
    },
    run_cancel_requested(row) {
        row.cancelRequested = true;
    },
    run_completed(row, e) {
        Object.assign(row, { status: "completed", completedAt: e.ts });
    },
    run_failed(row, e) {
        used(row, e.data.usage);
        Object.assign(row, { status: "failed", completedAt: e.ts, error: { code: e.data.error.code, message: e.data.error.message } });
    },
    run_cancelled(row, e) {
        Object.assign(row, { status: "cancelled", completedAt: e.ts });
    },
};

/** The state of a run after events of its own stream; null: they do not begin with run_created. */
export function fold(own) {
    let row = null;
    for (const e of own) {
        const type = e.type.slice(0, e.type.lastIndexOf("."));
        if (type === "run_created") {
            const { data } = e;
            const { fork } = data;
            row = {
                created: data, createdAt: e.ts, status: "queued", reply: null, error: null, pending: [], totalTokens: 0, outputTokens: 0, toolCalls: 0, cost: 0,
                startedAt: null, completedAt: null, attempt: 0, cancelRequested: false,
                lineage: fork ? lineage(fork, data.counterfactual ?? null) : null,
            };
        } else if (row !== null) {
            FOLDS[type]?.(row, e);
        }
    }
    return row;
}

function lineage(fork, counterfactual) {
    const of = { session_id: fork.session_id, run_id: fork.run_id ?? null, stream_id: fork.event.stream_id, version: fork.event.version, hash: fork.hash };
    if (counterfactual === null) {
        return { kind: "fork", ...of };
    }
    const { from_event, changed, allow } = counterfactual;
    return { kind: "counterfactual", ...of, from_event, ...(changed ? { changed } : {}), ...(allow ? { allow } : {}) };
}

/** The summary as a bundle has it. */
function summary(row) {
    const { created } = row;
    const source = created.source ?? {};
    const message = content(created.message);
    return {
        run_id: created.run_id, session_id: created.session_id, status: row.status, reply: row.reply, error: row.error, pending_approval_ids: row.pending,
        total_tokens: row.totalTokens, tool_calls: row.toolCalls, cost_usd: row.cost / 1_000_000, created_at: row.createdAt, message, model: created.model ?? null,
        skill_id: source.skill_id ?? null, skill_version: source.skill_version ?? null, schedule_id: source.schedule_id ?? null, started_at: row.startedAt,
        completed_at: row.completedAt, attempt: row.attempt, lineage: row.lineage, id: created.run_id, prompt: message, response: row.reply,
        input_tokens: row.totalTokens - row.outputTokens, output_tokens: row.outputTokens, cancel_requested: row.cancelRequested, worker_mode: "queue",
        ...(created.skills ? { skills: created.skills.map(({ id, name, version }) => ({ id, name: name ?? null, version })) } : {}),
    };
}

/** @param slice The text of a part of the bundle. */
export function checkSummary(run, own, isEarlier, slice) {
    const row = fold(own);
    require(row !== null, "$.events", "The run cannot be folded: The stream does not begin with run_created.");
    require(row.created.run_id !== null && row.created.session_id !== null, "$.events", "The run cannot be folded: Its first event names no run or no session.");
    const folded = Object.entries(summary(row)).filter(([name]) => !isEarlier || !SINCE_THIRD.has(name)).sort(([a], [b]) => (a < b ? -1 : 1));
    requireMembers(run, "$.run", folded.map(([name]) => name));
    for (const [name, value] of folded) {
        require(slice(run.get(name)) === canonical(value), `$.run.${name}`, () => `The events give ${quoted(canonical(value))}.`);
    }
}
