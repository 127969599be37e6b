// The figures of a run, and the events that each comes from.
import { cost, duration, time, whole } from "../format.js";

// run: as foldRun() made it of the first so many events; end: until when it is shown.
// [{name, value, parts: [{event, name, part}], format}]; format(part): a figure is the sum of such parts; null: it is only counted from its events.
export function figuresOf(run, events, count, end) {
    const spanOf = step => step.from === null ? null : (step.to ?? end) - step.from;
    const waitOf = step => step.wait ? (step.wait.to ?? end) - step.wait.from : step.kind === "queue" ? spanOf(step) : null;
    const parts = (steps, of, by = step => step.events.at(-1) ?? run.head) => steps.map(step => ({ event: by(step), name: step.name, part: of(step) })).filter(({ part }) => part !== null);
    // What ended the wait, or began it.
    const decisionOf = step => step.events.find(event => event.type === "approval_decided" || event.type === "approval_expired")
        ?? step.events.find(event => event.type === "approval_requested") ?? step.events.at(-1);
    const ofKind = kind => parts(run.steps.filter(step => step.kind === kind), spanOf);
    const answers = run.steps.filter(step => step.response);
    const waits = parts(run.steps, waitOf, decisionOf);
    const shown = events.slice(0, count);
    const [first, last] = [shown[0], shown.at(-1)];
    const ends = [{ event: first, name: "from" }, { event: last, name: run.ended ? "to" : "until now" }];
    const sum = (name, some) => ({ name, value: duration(total(some)), parts: some, format: duration });
    return [
        { name: "Work", value: duration(Math.max(0, end - run.created - total(waits))), parts: ends },
        sum("Waited", waits), sum("Model", ofKind("model")), sum("Tools", ofKind("tool")),
        {
            name: "Tokens", value: pair([run.input, run.output]), format: pair,
            parts: parts(answers, ({ response }) => response.input_tokens || response.output_tokens ? [response.input_tokens ?? 0, response.output_tokens ?? 0] : null),
        },
        { name: "Cost", value: cost(run.cost), format: cost, parts: parts(answers, ({ response }) => response.cost_usd ?? null) },
        {
            name: "Attempt", value: whole(run.attempt),
            parts: shown.filter(event => event.type === "run_created" || event.type === "run_recovered").map(event => ({ event, name: "" })),
        },
        { name: "Events", value: whole(count), parts: ends },
        { name: "Asked", value: time(first.ts), parts: [{ event: first, name: "" }] },
    ];
}

const total = parts => parts.reduce((sum, { part }) => sum + part, 0);

const pair = ([read, written]) => `${whole(read)} + ${whole(written)}`;
