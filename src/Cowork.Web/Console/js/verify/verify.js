// The check of a bundle (docs/trace.md) in the reader's own browser: what `cowork verify` does, step by step, with the same verdict at the same place.

import { Fault, parse, TEXT } from "./json.js";
import { base64, integer, list, member, object, objectAt, quoted, require, requireMembers, text } from "./members.js";
import { checkChain, checkRelatedChain } from "./chain.js";
import { checkLog } from "./log.js";
import { checkErasures, checkRelated } from "./related.js";
import { checkRules } from "./rules.js";
import { checkSummary } from "./summary.js";
import { digestOf } from "./sha256.js";

const FIRST = "cowork-trace/1";
const SECOND = "cowork-trace/2";
const THIRD = "cowork-trace/3";
export const FORMAT = "cowork-trace/4";
const ENDED = ["completed", "failed", "cancelled"];
const FORMATS = [FORMAT, THIRD, SECOND, FIRST];

const BYTES_MAX = 256 * 1024 * 1024;
const DEPTH_MAX = 64;

const FIRST_MEMBERS = ["artifacts", "blobs", "digests", "events", "format", "head", "run"];
const EARLIER_MEMBERS = [...FIRST_MEMBERS, "artifact_bytes"];
const MEMBERS = [...EARLIER_MEMBERS, "related"];

const CONTENT_MAX = 64 * 1024;
const CONTENTS_MAX = 1024 * 1024;

/**
 * Checks a bundle.
 * @param {Uint8Array} bytes The file as it is.
 * @param {{subtle?: SubtleCrypto, onProgress?: (part: string, done: number) => void, hasRows?: boolean}} [options] hasRows: the report has the run's summary and its events, as a page shows them.
 * @returns {Promise<{report?: object, fault?: {location: string, message: string}}>} The report of a sound bundle, else the first fault. Both may repeat what the bundle says.
 */
export async function verify(bytes, { subtle = globalThis.crypto?.subtle, onProgress = () => {}, hasRows = false } = {}) {
    try {
        require(bytes.length <= BYTES_MAX, "$", `The file has more than ${BYTES_MAX} bytes.`);
        return { report: await check(bytes, parse(bytes, DEPTH_MAX), subtle, onProgress, hasRows) };
    } catch (fault) {
        const { location, message } = fault instanceof Fault ? fault : { location: "$", message: `The data is none that this version writes: ${quoted(fault.message)}` };
        return { fault: { location, message } };
    }
}

async function check(bytes, root, subtle, onProgress, hasRows) {
    const slice = (part) => bytes.subarray(part.start, part.end);
    const decoder = new TextDecoder();
    const textOf = (part) => decoder.decode(slice(part));
    // Of a part of an event's data, with the texts of data subjects opened.
    const openedText = (part, { opened }) => decoder.decode(opened.bytes.subarray(part.start, part.end));
    const started = performance.now();

    object(root, "$");
    const format = text(root, "format", "$");
    require(FORMATS.includes(format), "$.format", `The format is none of ${FORMATS.join(", ")}.`);
    const isFirst = format === FIRST;
    const isEarlier = isFirst || format === SECOND;
    const hasRelated = format === FORMAT;
    requireMembers(root, "$", isFirst ? FIRST_MEMBERS : !hasRelated ? EARLIER_MEMBERS : root.get("log") ? [...MEMBERS, "log"] : MEMBERS);
    const run = objectAt(root, "run");
    const head = objectAt(root, "head");
    requireMembers(head, "$.head", isEarlier ? ["hash", "stream_id", "version"] : ["hash", "stream_id", "version", "digest"]);

    list(root, "events", "$");
    const entries = checkChain(bytes, root, text(head, "stream_id", "$.head"), isEarlier, onProgress);
    if (!isEarlier) {
        checkCopies(run, entries, textOf, openedText);
    }
    const own = entries.filter((entry) => entry.isOwn);
    require(own.length > 0, "$.events", "The run's own stream has no event.");
    const last = own[own.length - 1];
    require(integer(head, "version", "$.head") === last.version, "$.head.version", `The last event of the stream is version ${last.version}.`);
    require(text(head, "hash", "$.head") === last.hash, "$.head.hash", "It is not the hash of the stream's last event.");

    const related = hasRelated ? checkRelatedChain(bytes, root, onProgress) : [];
    const closed = hasRelated ? undefined : entries.find(({ subject }) => subject !== null);
    require(closed === undefined, `${closed?.at}.data`, "Texts are sealed in it, and no bundle of its format has such.");
    const erasures = checkErasures([...entries, ...related]);
    checkSummary(run, own, isEarlier, textOf);
    checkRules(entries, own, related);
    if (hasRelated) {
        checkRelated(related, entries, own, erasures);
    }
    const blobs = checkBlobs(root, [...entries, ...related], own);
    const artifacts = checkArtifacts(root, entries, isEarlier, textOf, openedText);
    const contents = isFirst ? planned(artifacts).map(() => false) : checkContents(root, artifacts);
    const digests = objectAt(root, "digests");
    checkDigests(root, digests, isEarlier, slice);
    const digest = digestOf(slice(digests));
    require(isEarlier || text(head, "digest", "$.head") === digest, "$.head.digest", "It is not the digest of the digests.");
    const runId = text(run, "run_id", "$.run");
    const signature = hasRelated ? await checkLog(
        root, runId, [...entries, ...related], ENDED.includes(text(run, "status", "$.run")), new TextDecoder().decode(slice(head)), subtle) : null;
    const included = contents.filter(Boolean).length;
    return {
        runId, format, status: text(run, "status", "$.run"), events: entries.length, related: related.length, blobs,
        erased: [...entries, ...related].filter(({ isErased }) => isErased).length,
        expired: related.filter(({ isExpired }) => isExpired).length,
        artifacts: included, leftOut: contents.length - included,
        head: last.hash, digest, signature, bytes: bytes.length, streams: new Set([...entries, ...related].map(({ stream }) => stream)).size,
        hashes: [...entries, ...related].map(({ gid, hash }) => ({ gid, hash })), milliseconds: performance.now() - started,
        ...(hasRows ? { run: run.plain(), rows: entries.map((entry) => rowOf(entry, text(run, "session_id", "$.run"), openedText(entry.opened.part, entry))) } : {}),
    };
}

/** An event with the members that the feed gives it; the payload is the JSON of its data. */
function rowOf({ gid, feedId, hash, type, ts, actor, version, stream, id, correlation }, session, payload) {
    return {
        gid, feed_id: feedId, hash, type: type.slice(0, type.lastIndexOf(".")), stored_type: type, ts, actor, version, stream_id: stream, event_id: id, session_id: session,
        correlation_id: correlation, payload,
    };
}

/** Members that say again what others say: no hash of an event covers them. */
function checkCopies(run, entries, textOf, openedText) {
    const session = text(run, "session_id", "$.run");
    for (const entry of entries) {
        const { at, part, type, opened } = entry;
        const feedType = type.slice(0, type.lastIndexOf("."));
        require(text(part, "event_type", at) === feedType, `${at}.event_type`, `The event's type is ${feedType}.`);
        require(text(part, "session_id", at) === session, `${at}.session_id`, () => `The run's session is ${quoted(session)}.`);
        require(textOf(member(part, "payload", at)) === openedText(opened.part, entry), `${at}.payload`, "It is not the event's data.");
    }
}

/** Each event's references are there, and nothing else is. */
function checkBlobs(root, entries, own) {
    const wanted = new Set();
    entries.forEach(({ opened }) => findBlobs(opened.part, wanted));
    const settings = new Set(own.filter(({ type }) => type === "run_started.v1" || type === "run_resumed.v1").map(({ data }) => data.settings).filter((sha256) => sha256 != null));
    const blobs = list(root, "blobs", "$");
    blobs.forEach((blob, i) => {
        const at = `$.blobs[${i}]`;
        requireMembers(object(blob, at), at, ["base64", "bytes", "sha256"]);
        const bytes = base64(blob, at);
        const sha256 = text(blob, "sha256", at);
        require(digestOf(bytes) === sha256, at, () => `The bytes do not have the digest ${quoted(sha256)}.`);
        require(integer(blob, "bytes", at) === bytes.length, `${at}.bytes`, `The content has ${bytes.length} bytes.`);
        const isNamed = wanted.delete(sha256);
        require(settings.delete(sha256) || isNamed, at, "No event refers to it, or it is there twice.");
    });
    require(wanted.size === 0, "$.blobs", () => `The blob ${quoted([...wanted].sort()[0])} is missing.`);
    return blobs.length;
}

/** Adds the digests of all {sha256, bytes} objects below a part. */
function findBlobs(part, found) {
    if (part.value instanceof Map) {
        const sha256 = part.get("sha256");
        const size = part.get("bytes");
        if (part.value.size === 2 && sha256?.kind === TEXT && size !== undefined && !(size.value instanceof Map) && !Array.isArray(size.value) && size.value !== null) {
            found.add(sha256.value);
            return;
        }
        part.value.forEach((below) => findBlobs(below, found));
    } else if (Array.isArray(part.value)) {
        part.value.forEach((item) => findBlobs(item, found));
    }
}

/** The artifacts against the events, in order and member by member. Answers those of the events. */
function checkArtifacts(root, entries, isEarlier, textOf, openedText) {
    const given = list(root, "artifacts", "$");
    const expected = entries.filter(({ type }) => type === "artifact_discovered.v1");
    given.slice(0, expected.length).forEach((artifact, i) => {
        const at = `$.artifacts[${i}]`;
        const { opened, ts } = expected[i];
        const data = opened.part;
        const recorded = new Map([...data.value].map(([name, value]) => [name, openedText(value, expected[i])]));
        recorded.set("created_at", JSON.stringify(ts));
        if (!isEarlier) {
            const path = data.get("path");
            recorded.set("id", recorded.get("artifact_id") ?? "null");
            recorded.set("kind", path?.kind === TEXT ? JSON.stringify(kindOf(path.value)) : "null");
        }
        requireMembers(object(artifact, at), at, [...recorded.keys()]);
        recorded.forEach((value, name) => require(textOf(member(artifact, name, at)) === value, `${at}.${quoted(name)}`, () => `The event gives ${quoted(value)}.`));
    });
    require(given.length === expected.length, "$.artifacts", `The events record ${expected.length} artifacts, not ${given.length}.`);
    return expected.map(({ data }) => ({ sha256: data.sha256, bytes: data.bytes }));
}

/** The extension of a path's last name; `file`: it has none. */
function kindOf(path) {
    const name = path.slice(path.lastIndexOf("/") + 1);
    const dot = name.lastIndexOf(".");
    return dot > 0 && dot < name.length - 1 ? name.slice(dot + 1) : "file";
}

/** Each content against its digest, and that only large or missing ones are left out. Answers for each whether it is included. */
function checkContents(root, artifacts) {
    const given = list(root, "artifact_bytes", "$");
    const expected = planned(artifacts);
    const included = given.slice(0, expected.length).map((content, i) => {
        const at = `$.artifact_bytes[${i}]`;
        const { sha256, bytes, leftOut } = expected[i];
        const isIncluded = object(content, at).get("base64") !== undefined;
        requireMembers(content, at, isIncluded ? ["base64", "bytes", "sha256"] : ["bytes", "left_out", "sha256"]);
        require(text(content, "sha256", at) === sha256, `${at}.sha256`, () => `The artifacts give ${quoted(sha256)}.`);
        require(integer(content, "bytes", at) === bytes, `${at}.bytes`, `The artifacts give ${bytes}.`);
        if (isIncluded) {
            require(leftOut === null, `${at}.base64`, `A bundle does not include this content: ${leftOut}.`);
            const found = base64(content, at);
            require(digestOf(found) === sha256, at, () => `The bytes do not have the digest ${quoted(sha256)}.`);
            require(found.length === bytes, `${at}.bytes`, `The content has ${found.length} bytes.`);
        } else {
            require(text(content, "left_out", at) === (leftOut ?? "missing"), `${at}.left_out`, `The artifacts give ${leftOut ?? "missing"}.`);
        }
        return isIncluded;
    });
    require(given.length === expected.length, "$.artifact_bytes", `The artifacts have ${expected.length} contents, not ${given.length}.`);
    return included;
}

/** Each content once, and why a bundle leaves it out; null: it does not. */
function planned(artifacts) {
    const seen = new Set();
    let total = 0;
    return artifacts.filter(({ sha256 }) => !seen.has(sha256) && seen.add(sha256))
        .map(({ sha256, bytes }) => {
            const leftOut = bytes > CONTENT_MAX ? "too_large" : bytes > CONTENTS_MAX - total ? "past_all" : null;
            total += leftOut === null ? bytes : 0;
            return { sha256, bytes, leftOut };
        });
}

/** SHA-256 of each part, of lists of each item. */
function checkDigests(root, digests, isEarlier, slice) {
    const parts = [...root.value].filter(([name]) => name !== "digests" && name !== "log" && (isEarlier || name !== "head"));
    requireMembers(digests, "$.digests", parts.map(([name]) => name));
    const isDigest = (given, part) => given.kind === TEXT && given.value === digestOf(slice(part));
    for (const [name, part] of parts) {
        const given = digests.get(name);
        if (!Array.isArray(part.value)) {
            require(isDigest(given, part), `$.${name}`, "The part does not match its digest.");
            continue;
        }
        const items = list(digests, name, "$.digests");
        require(items.length === part.value.length, `$.digests.${name}`, `The bundle has ${part.value.length} parts.`);
        part.value.forEach((item, i) => require(isDigest(items[i], item), `$.${name}[${i}]`, "The part does not match its digest."));
    }
}
