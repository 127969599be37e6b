// Events of a bundle by themselves, and each against the one before it in its stream.

import { Fault } from "./json.js";
import { integer, list, member, object, quoted, require, requireMembers, text } from "./members.js";
import { read } from "./events.js";
import { open } from "./seal.js";
import { digestOf, unhex } from "./sha256.js";
import { readTombstone, standsFor } from "./tombstone.js";

const EARLIER_MEMBERS = ["actor", "data", "feed_id", "gid", "hash", "id", "prev_hash", "stream_id", "tenant_id", "ts", "type", "version"];
const MEMBERS = [...EARLIER_MEMBERS, "event_type", "payload", "session_id"];
const RELATED_MEMBERS = EARLIER_MEMBERS.filter((name) => name !== "feed_id");

const GUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const HASH = /^[0-9a-f]{64}$/;

/** The member of an event that no reader sees, by the event's type. Without it the event's hash is what the bundle says. */
const HIDDEN = new Map([
    ["session_created.v1", "auth_context"], ["token_issued.v1", "secret_sha256"], ["token_rotated.v1", "secret_sha256"], ["idempotency_key_claimed.v1", "answer"],
    ["idempotency_key_claimed.v2", "answer"],
]);

/** What stands before version 1. */
const ROOT = "0".repeat(64);

const isTime = (value) => TIME.test(value) && !value.startsWith("0000") && new Date(value).getTime() === new Date(value).getTime()
    && new Date(value).toISOString() === value;

/** The hash of contracts/decisions.md ("Hash chain"). @param {Uint8Array} data The canonical bytes of the event's data. */
export function chainHash(previous, e, data) {
    return digestOf(
        unhex(previous), `{"actor":${JSON.stringify(e.actor)},"data":`, data,
        `,"id":"${e.id}","stream_id":${JSON.stringify(e.stream)},"tenant_id":${JSON.stringify(e.org)},"ts":"${e.ts}","type":${JSON.stringify(e.type)},"version":${e.version}}`);
}

/**
 * An event by itself: its members, their form, and its hash. Of one whose data expired the hash is what the bundle says.
 * @param isRelated An event of the run speaks of another stream's, and names it. The text of a memory that expired is in the run that was told of it.
 */
function hashed(bytes, at, part, members, isRelated) {
    object(part, at);
    const hasCorrelation = part.get("correlation_id") !== undefined;
    const isWithheld = part.get("withheld") !== undefined;
    const hasKey = part.get("content_key") !== undefined;
    requireMembers(part, at, [...members, ...(hasKey ? ["content_key"] : []), ...(hasCorrelation ? ["correlation_id"] : []), ...(isWithheld ? ["withheld"] : [])]);
    const correlation = hasCorrelation ? text(part, "correlation_id", at) : null;
    require(correlation !== "", `${at}.correlation_id`, "It is empty.");
    const e = { org: text(part, "tenant_id", at), stream: text(part, "stream_id", at), type: text(part, "type", at), actor: text(part, "actor", at) };
    e.version = integer(part, "version", at);
    e.hash = text(part, "hash", at);
    e.previous = text(part, "prev_hash", at);
    const id = text(part, "id", at).trim();
    require(GUID.test(id), `${at}.id`, "It is not an event id.");
    e.id = id.toLowerCase();
    e.ts = text(part, "ts", at);
    require(isTime(e.ts), `${at}.ts`, "It is not a timestamp.");
    require(HASH.test(e.previous), `${at}.prev_hash`, "It is not a hash.");
    const data = member(part, "data", at);
    if (isWithheld) {
        const hidden = HIDDEN.get(e.type);
        require(hidden !== undefined && text(part, "withheld", at) === hidden, `${at}.withheld`, "No such member of this type of event is left out.");
        require(object(data, `${at}.data`).get(hidden) === undefined, `${at}.data`, `It has ${hidden}, which is said to be left out.`);
        require(HASH.test(e.hash), `${at}.hash`, "It is not a hash.");
    }
    e.isExpired = isRelated && e.stream.startsWith("memory-") && standsFor(bytes, data);
    if (e.isExpired) {
        require(HASH.test(e.hash), `${at}.hash`, "It is not a hash.");
        readTombstone(data, `${at}.data`);
    }
    require(
        isWithheld || e.isExpired || chainHash(e.previous, e, bytes.subarray(data.start, data.end)) === e.hash, at,
        () => `Event ${e.version} of ${quoted(e.stream)} (${quoted(e.type)}) does not have the hash ${quoted(e.hash)}: its content, its predecessor or the hash was changed.`);
    require(e.version >= 1, `${at}.version`, "Versions begin at 1.");
    require(e.version > 1 || e.previous === ROOT, `${at}.prev_hash`, "Version 1 must have a previous hash of zeros.");
    e.gid = integer(part, "gid", at);
    e.correlation = correlation;
    return e;
}

/** An event by itself and against the last one of its stream that the list has. */
function checked(bytes, at, part, members, heads, ownStream, isRelated = false) {
    const e = hashed(bytes, at, part, members, isRelated);
    const before = heads.get(e.stream);
    if (before !== undefined) {
        require(e.version > before.version, `${at}.version`, `The event before it has version ${before.version}.`);
        require(e.version - 1 > before.version || e.previous === before.hash, `${at}.prev_hash`, "It is not the hash of the event before it.");
    }
    const opened = open(at, e, part, bytes);
    try {
        e.data = e.isExpired ? null : read(e.type, opened.part);
    } catch (fault) {
        throw fault instanceof Fault ? fault : new Fault(at, `The event cannot be read: ${quoted(fault.message)}`);
    }
    return { ...e, at, part, opened, subject: opened.subject, isErased: opened.isErased, isOwn: e.stream === ownStream };
}

/** Each event's hash against its predecessor, and that positions ascend. The run's own stream has no gap. */
export function checkChain(bytes, root, ownStream, isEarlier, tick) {
    const entries = [];
    const heads = new Map();
    let gid = 0;
    let feed = 0;
    list(root, "events", "$").forEach((part, i) => {
        tick("events", i);
        const at = `$.events[${i}]`;
        const entry = checked(bytes, at, part, isEarlier ? EARLIER_MEMBERS : MEMBERS, heads, ownStream);
        const next = (heads.get(entry.stream)?.version ?? 0) + 1;
        require(entry.stream !== ownStream || entry.version === next, at, `Version ${next} of the run's stream is missing.`);
        heads.set(entry.stream, entry);
        entry.feedId = integer(part, "feed_id", at);
        require(entry.gid > gid, `${at}.gid`, `The event before it has position ${gid}.`);
        require(entry.feedId > feed, `${at}.feed_id`, `The event before it has feed id ${feed}.`);
        // Both are dense, and each number in the feed is of an event with a position of its own.
        require(
            entry.gid - gid >= entry.feedId - feed, `${at}.gid`,
            `The feed has ${entry.feedId - feed} events after the one before it, and the log ${entry.gid - gid}.`);
        gid = entry.gid;
        feed = entry.feedId;
        entries.push(entry);
    });
    return entries;
}

/** The same of events of other streams, of which the bundle has some. */
export function checkRelatedChain(bytes, root, tick) {
    const heads = new Map();
    let gid = 0;
    return list(root, "related", "$").map((part, i) => {
        tick("related", i);
        const entry = checked(bytes, `$.related[${i}]`, part, RELATED_MEMBERS, heads, "", true);
        require(entry.gid > gid, `${entry.at}.gid`, `The event before it has position ${gid}.`);
        heads.set(entry.stream, entry);
        gid = entry.gid;
        return entry;
    });
}
