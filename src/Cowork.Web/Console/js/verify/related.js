// What a run's own events say of the events in `related`: which must be there, as they are named, and before the event that names them. No other may be there.

import { quoted, require } from "./members.js";
import { isRunEvent } from "./events.js";
import { bare, keyOf, runKey, sessionKey, streamOf } from "./keys.js";
import { argument, artifactKey, isMade, isSameContent, pastOf, stepsOf } from "./rules.js";

const EXECUTIONS = new Set(["cell_queued.v1", "cell_started.v1", "cell_output.v1", "cell_displays_updated.v1", "cell_interrupt_requested.v1", "cell_completed.v1"]);
const MEMORIES = new Set(["memory_written.v1", "memory_created.v1", "memory_changed.v1"]);
const SCRATCHPADS = /^(scratchpad|cell|kernel)_/;

/** @param erasures Those of the related events that are there for what was erased. */
export function checkRelated(related, entries, own, erasures) {
    const places = new Places(related, entries);
    const past = pastOf(own, related);
    checkNames(own, past, places);
    checkCells(related, own, past, places);
    checkLeft(related, own, past, places);
    erasures.forEach(({ stream, version }) => places.name(stream, version));
    places.requireNamed();
}

/** The runs whose beginnings a run rests on: those that its fork has cut, and the one that it goes off from. */
const partsOf = ({ fork, counterfactual }) => [...(fork?.cuts ?? []), ...(counterfactual ? [counterfactual.of] : [])];

/** What an event of the run names by stream and version: [stream, version, isAsNamed, isEarlier]. */
function* namedBy({ type, data }) {
    if (type === "run_created.v1") {
        // The turn's commit may make the session too.
        yield [streamOf.session(data.session_id), 1, (found) => found.type === "session_created.v1", false];
        const source = data.source ?? {};
        if (source.schedule_id) {
            yield [streamOf.schedule(source.schedule_id), 1, (found) => found.type === "schedule_created.v1", true];
        }
        if (source.skill_id && source.skill_version) {
            yield [streamOf.skill(source.skill_id), source.skill_version, (found) => definition(found, source.skill_version) !== null, true];
        }
        for (const cut of partsOf(data)) {
            for (let version = 1; version <= cut.version; version++) {
                yield [streamOf.run(cut.run_id), version, (found) => isRunEvent(found.type), true];
            }
        }
        for (const skill of data.skills ?? []) {
            yield [streamOf.skill(skill.id), skill.version, (found, isErased) => {
                const defined = definition(found, skill.version);
                return defined !== null && defined.name === skill.name && (isErased || isSameContent(defined.instructions, skill.instructions));
            }, true];
        }
    } else if (type === "memory_retrieval.v1") {
        for (let i = 0; i < Math.min(data.provenance.length, data.context.length); i++) {
            const { id, version } = data.provenance[i];
            if (version != null) {
                yield [
                    streamOf.memory(id), version,
                    (found, isErased) => found.isExpired || (MEMORIES.has(found.type) && (isErased || isSameContent(found.data.text, data.context[i]))), true];
            }
        }
    }
}

const definition = ({ type, data }, version) => (
    (type === "skill_created.v1" && version === 1) || (type === "skill_version_added.v1" && data.version === version) ? data.definition : null);

/** What the run's own events name is there, as they name it, and was there before. */
function checkNames(own, past, places) {
    const cuts = new Set((own.find(({ type }) => type === "run_created.v1")?.data.fork?.cuts ?? []).map((cut) => runKey(cut.run_id)));
    // What a counterfactual retrieved is in the beginning that it has of the other run.
    for (const e of [...past.filter(({ type }) => type === "memory_retrieval.v1"), ...own]) {
        const { at, type, gid, data } = e;
        for (const [stream, version, isAsNamed, isEarlier] of namedBy(e)) {
            const found = places.named(at, stream, version, isEarlier ? gid : Infinity);
            // A text of one of them was erased, and the other one is not of that person: there is nothing to compare.
            require(isAsNamed(found, e.isErased !== found.isErased), found.at, `It is not what ${at} names.`);
        }
        for (const cut of type === "run_created.v1" ? partsOf(data) : []) {
            const last = places.named(at, streamOf.run(cut.run_id), cut.version, gid);
            require(last.hash === cut.hash, last.at, `It is not the event at which ${at} forked.`);
        }
        if (type !== "memory_retrieval.v1") {
            continue;
        }
        for (const earlier of (data.history ?? []).filter((run) => !cuts.has(runKey(run)))) {
            const created = places.named(at, streamOf.run(earlier), 1, gid);
            require(created.type === "run_created.v1" && runKey(created.data.run_id) === runKey(earlier), created.at, "It is not the begin of an earlier turn.");
            places.reply(at, earlier, gid, "The reply of the earlier turn");
        }
        for (const said of data.conversation ?? []) {
            const created = places.named(at, streamOf.run(said.run_id), 1, gid);
            const agent = created.type === "run_created.v1" && runKey(created.data.run_id) === runKey(said.run_id) ? created.data.agent : null;
            const isMembers = said.agent_id == null;
            require(
                agent != null && (isMembers ? agent.called_by == null && agent.by === said.by : agent.id === said.agent_id && agent.nickname === said.by),
                created.at, "It is not what was said in the group.");
            if (!isMembers) {
                places.reply(at, said.run_id, gid, "The answer");
            }
        }
    }
}

/** The executions are those of the run's calls, and each call that executed a cell has its execution from the queue to its end. */
function checkCells(events, own, past, places) {
    const run = own[0].data;
    const cellOf = (step) => keyOf(`cell of ${run.run_id}:${step}`);
    const scratchpads = new Set(events.filter(({ type, isExpired }) => type === "cell_queued.v1" && !isExpired).map(({ stream }) => stream));
    // A call whose result a crash prevented may have executed its cell.
    const cells = new Set(scratchpads.size === 0 ? [] : Array.from({ length: stepsOf(own, past) + 1 }, (_, i) => cellOf(i + 1)));
    const executions = new Map();
    const ended = new Map();
    for (const { at, stream, version, gid, type, data, isExpired } of events) {
        if (isExpired || !SCRATCHPADS.test(type)) {
            continue;
        }
        if (type === "cell_queued.v1") {
            require(
                data.run_id != null && runKey(data.run_id) === runKey(run.run_id) && cells.has(bare(data.cell_id, "cell_")), `${at}.data`, "No call of the run has this cell.");
            executions.set(`${stream} ${data.execution}`, data);
        }
        if (type === "scratchpad_created.v1") {
            require(
                sessionKey(data.session_id) === sessionKey(run.session_id) && streamOf.scratchpad(data.scratchpad_id) === stream, `${at}.data`,
                "It is no scratchpad of the run's session.");
            require(scratchpads.has(stream), at, "The run executed no cell of it.");
        } else {
            const queued = EXECUTIONS.has(type) ? executions.get(`${stream} ${data.execution}`) : undefined;
            require(queued !== undefined, at, "It is about no execution that the run asked for.");
            if (type === "cell_completed.v1") {
                require(bare(data.cell_id, "cell_") === bare(queued.cell_id, "cell_"), `${at}.data`, "It is about another cell.");
                ended.set(bare(queued.cell_id, "cell_"), { queued, gid });
            }
        }
        places.name(stream, version);
    }
    const calls = new Map();
    for (const { at, type, gid, data } of own) {
        if (type === "tool_call.v1") {
            calls.set(data.id, data);
        } else if (type === "tool_result.v1" && data.name === "scratchpad" && !data.is_error && isMade(data)) {
            // Arguments that lie in the blob store name their code by its digest alone.
            const input = calls.get(data.id)?.input;
            if (typeof input === "string" && argument(input, "action") === "exec") {
                const cell = ended.get(cellOf(data.step));
                require(cell !== undefined && cell.gid < gid, at, "The execution of its cell is missing.");
                require(
                    typeof cell.queued.code !== "string" || cell.queued.code === argument(input, "code"), at, "The cell that was executed has another code.");
            }
        }
    }
}

/** Artifacts and memories that a counterfactual has of the run that it goes off from are that run's, and were there before. Bundles of earlier releases have none of them. */
function checkLeft(related, own, past, places) {
    if (past.length === 0) {
        return;
    }
    require(past[0].type === "run_created.v1", own[0].at, "The beginning of the other run is missing.");
    const run = own[0].data.counterfactual.of.run_id;
    const session = past[0].data.session_id;
    const isTheirs = (data) => data.run_id != null && runKey(data.run_id) === runKey(run) && sessionKey(data.session_id) === sessionKey(session);
    const left = related.filter(({ gid, type }) => gid < own[0].gid && (type === "artifact_discovered.v1" || type === "memory_written.v1"));
    const kept = new Set(left.length === 0 ? [] : Array.from({ length: stepsOf([], past) }, (_, i) => `memory-${keyOf(`memory ${run}:${i + 1}`)}`));
    for (const { stream, version, type, data, isErased, isExpired } of left) {
        const isLeft = type === "memory_written.v1"
            // The text of a memory may have expired since.
            ? kept.has(stream) && (isExpired || isTheirs(data))
            : !isExpired && isTheirs(data) && stream === (isErased ? streamOf.artifact(data.artifact_id) : `artifact-${artifactKey(session, data.path)}`);
        if (isLeft) {
            places.name(stream, version);
        }
    }
}

/**
 * Events whose texts are erased have no key in the whole bundle, and their subject's erasure is there, behind them. It is looked at before what the events say: an erased text
 * says nothing. Answers the erasures.
 */
export function checkErasures(events) {
    const disclosed = new Set(events.filter(({ subject, isErased }) => subject !== null && !isErased).map(({ subject, stream }) => JSON.stringify([subject, stream])));
    const there = new Map(events.filter(({ type }) => type === "subject_erased.v1").reverse().map((e) => [e.stream, e]));
    return new Set(events.filter(({ isErased }) => isErased).map(({ at, subject, stream, gid }) => {
        const missing = `${at}.content_key`;
        require(
            !disclosed.has(JSON.stringify([subject, stream])), missing, "The member is missing, and another event of the stream has it: the texts were not erased.");
        const erasure = there.get(streamOf.subject(subject));
        require(
            erasure !== undefined, missing, () => `The member is missing, and so is the event that erased ${quoted(subject)}: nothing says that the texts were erased.`);
        require(erasure.gid > gid, `${erasure.at}.gid`, `It was recorded before ${at}: the key was there.`);
        return erasure;
    }));
}

/** Where the events of a bundle are, and which of other streams nothing has named yet. */
class Places {
    #places = new Map();
    #replies = new Map();
    #unnamed;

    constructor(related, entries) {
        const ids = new Map();
        for (const e of [...entries, ...related]) {
            require(e.org === entries[0].org, `${e.at}.tenant_id`, () => `The run's tenant is ${quoted(entries[0].org)}.`);
            require(!ids.has(e.id), `${e.at}.id`, () => `${ids.get(e.id)} has the same id.`);
            ids.set(e.id, e.at);
            const place = `${e.version} ${e.stream}`;
            require(!this.#places.has(place), e.at, "The event is there twice.");
            this.#places.set(place, e);
            if (e.type === "assistant_reply.v1" && !this.#replies.has(e.stream)) {
                this.#replies.set(e.stream, e);
            }
        }
        this.#unnamed = new Map(related.map((e) => [`${e.version} ${e.stream}`, e]));
    }

    name(stream, version) {
        this.#unnamed.delete(`${version} ${stream}`);
    }

    /** The event that another one names. */
    named(at, stream, version, before) {
        const found = this.#places.get(`${version} ${stream}`);
        require(found !== undefined, at, () => `Version ${version} of ${quoted(stream)}, which the event names, is missing.`);
        require(found.gid < before, `${found.at}.gid`, `It was recorded after ${at}, which names it.`);
        this.name(stream, version);
        return found;
    }

    reply(at, run, before, what) {
        const stream = streamOf.run(run);
        const reply = this.#replies.get(stream);
        require(reply !== undefined, at, () => `${what} ${quoted(run)} is missing.`);
        this.named(at, stream, reply.version, before);
    }

    /** Each event of another stream was named. */
    requireNamed() {
        const [first] = this.#unnamed.values();
        require(first === undefined, first?.at ?? "$.related", "No event of the run names it.");
    }
}
