// Names of streams and things, as the log makes them.

import { sha256 } from "./sha256.js";

const CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz";

/** A key that is the same for the same text: the first 128 bits of its SHA-256, without the highest, as a ULID is written. */
export function keyOf(text) {
    const hash = sha256(text);
    hash[0] &= 0x7f;
    let value = 0n;
    for (let i = 0; i < 16; i++) {
        value = (value << 8n) | BigInt(hash[i]);
    }
    let key = "";
    for (let i = 0; i < 26; i++) {
        key = CROCKFORD[Number(value & 31n)] + key;
        value >>= 5n;
    }
    return key;
}

/** The bare key of an id: without the prefix of its kind, where it has it. An id that is missing has an empty one. */
export const bare = (id, prefix) => (id?.startsWith(prefix) ? id.slice(prefix.length) : id ?? "");

/** A session's key: the ULID, or the id that the client chose. */
export const sessionKey = (id) => (/^sess_[0-7][0-9a-hjkmnp-tv-z]{25}$/.test(id) ? id.slice(5) : id ?? "");

export const runKey = (id) => bare(id, "run_");

export const streamOf = {
    run: (id) => `run-${runKey(id)}`,
    session: (id) => `session-${sessionKey(id)}`,
    memory: (id) => `memory-${bare(id, "mem_")}`,
    skill: (id) => `skill-${bare(id, "skill_")}`,
    schedule: (id) => `schedule-${bare(id, "sched_")}`,
    scratchpad: (id) => `scratchpad-${bare(id, "sp_")}`,
    subject: (name) => `subject-${keyOf(`data subject ${name}`)}`,
    artifact: (id) => `artifact-${bare(id, "art_")}`,
};
