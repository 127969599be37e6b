// The steps of a run with their texts, in the order in which GET /runs/diff counts them: by their ends, and of a counterfactual with those of the common past.
import { get, path } from "../api.js";
import { foldRun } from "../run-steps.js";

const Page = 1_000;
// A counterfactual goes off from a run that is none.
const DepthMax = 2;

export async function eventsOf(run, signal) {
    const events = [];
    for (let since = 0, answer; ; since = answer.next_since_id) {
        answer = await get(path`/runs/${run}/events`, { since_id: since, limit: Page }, signal);
        events.push(...answer.events);
        if (!answer.has_more) {
            return events;
        }
    }
}

// {steps, memories}: memories are what it left, of a counterfactual also what its origin did. count: how many steps it has together with those of its past.
export async function storyOf(run, count, signal, depth = 0) {
    const events = await eventsOf(run.run_id, signal);
    const own = ended(events).map(step => ({ ...step, run: run.run_id }));
    const left = events.filter(event => event.type === "memory_written" && event.payload.run_id === run.run_id).map(event => event.payload);
    if (run.lineage?.kind !== "counterfactual" || !run.lineage.run_id || depth >= DepthMax) {
        return { steps: own, memories: left };
    }
    const origin = await get(path`/runs/${run.lineage.run_id}`, {}, signal);
    const before = Math.max(0, count - own.length);
    const past = await storyOf(origin, before, signal, depth + 1);
    return { steps: [...past.steps.slice(0, before), ...own], memories: [...past.memories, ...left] };
}

function ended(events) {
    const places = new Map(events.map((event, i) => [event, i]));
    const endOf = step => places.get(step.kind === "tool" ? step.events.find(e => e.type === "tool_result") : step.events.find(e => e.type === "llm_response" || e.type === "memory_retrieval"));
    return foldRun(events).steps.filter(step => endOf(step) !== undefined).sort((a, b) => endOf(a) - endOf(b));
}
