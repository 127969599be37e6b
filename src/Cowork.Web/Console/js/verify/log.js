// The part `log` of a bundle: the signed head that covers all of its events, the key that signed it, and one proof of all of them (RFC 6962, RFC 9162).

import { canonical, OBJECT, parse, TEXT } from "./json.js";
import { integer, isInteger, list, member, object, quoted, require, requireMembers, text } from "./members.js";
import { sessionKey } from "./keys.js";
import { hex, sha256, unhex } from "./sha256.js";

const LOG_MEMBERS = ["head", "key", "leaves", "proof"];
const LEAF_MEMBERS = ["causation_id", "feed_id", "run_id", "session_id"];
const FORBIDDEN_HEADERS = ["crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "zip", "enc"];
const HASH = /^[0-9a-f]{64}$/;
const SIGNATURE_BYTES = 64;

/** The bytes of base64url without padding (RFC 7515), of which no other text stands for the same; null: it is none. */
function fromBase64Url(encoded) {
    if (!/^[A-Za-z0-9_-]*$/.test(encoded) || encoded.length % 4 === 1) {
        return null;
    }
    const binary = atob(encoded.replaceAll("-", "+").replaceAll("_", "/"));
    return toBase64Url(binary) === encoded ? Uint8Array.from(binary, (c) => c.charCodeAt(0)) : null;
}

const toBase64Url = (binary) => btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

const thumbprint = (key) => toBase64Url(String.fromCharCode(...sha256(canonical({ crv: "P-256", kty: "EC", x: key.x, y: key.y }))));

/**
 * Checks the part against the events. Null: no head covers them.
 * @param {boolean} hasEnded The run has: nothing is stated of its end.
 * @param {string} headText The bundle's head, as it stands there.
 * @param {SubtleCrypto|undefined} subtle Missing on plain HTTP off loopback: the signature is left unchecked then, and `isSigned` is null.
 */
export async function checkLog(root, run, entries, hasEnded, headText, subtle) {
    const part = root.get("log");
    if (part === undefined) {
        return null;
    }
    const stated = object(part, "$.log").get("statement");
    requireMembers(part, "$.log", stated === undefined ? LOG_MEMBERS : [...LOG_MEMBERS, "statement", "through"]);
    const head = object(member(part, "head", "$.log"), "$.log.head");
    requireMembers(head, "$.log.head", ["kid", "number", "root_hash", "signature", "timestamp", "tree_size"]);
    const named = keyOf(part, "$.log");
    const signed = headOf(head);
    require(signed !== null, "$.log.head", "It is no head.");
    require(!Number.isNaN(Date.parse(signed.timestamp)) && new Date(signed.timestamp).toISOString() === signed.timestamp, "$.log.head.timestamp", "It is not a timestamp.");
    require(thumbprint(named) === signed.kid, "$.log.key", "It is not the key that the head names.");
    const isSigned = await checkSignature({
        signature: signed.signature, typ: "cowork-head+jws", kid: signed.kid, key: named, at: "$.log.head",
        payload: canonical({ root_hash: signed.rootHash, timestamp: signed.timestamp, tree_size: signed.treeSize }),
    }, subtle);

    const ordered = [...entries].sort((a, b) => a.gid - b.gid);
    const given = list(part, "leaves", "$.log");
    require(given.length === ordered.length, "$.log.leaves", `The bundle has ${ordered.length} events, not ${given.length}.`);
    const leaves = ordered.map((entry, i) => ({ index: entry.gid - 1, hash: leaf(entry, object(given[i], `$.log.leaves[${i}]`), `$.log.leaves[${i}]`, run) }));
    const proof = list(part, "proof", "$.log").map((hash, i) => {
        require(hash.kind === TEXT && HASH.test(hash.value), `$.log.proof[${i}]`, "It is not a hash.");
        return unhex(hash.value);
    });
    const made = rootOf(leaves, signed.treeSize, proof);
    require(
        made !== null && hex(made) === signed.rootHash, "$.log.proof",
        "The events and the proof do not make the root of the signed head: an event is not the one that the log has at its place, or its place is another one.");
    if (stated !== undefined) {
        await checkStatement(part, stated, ordered[ordered.length - 1].gid, hasEnded, headText, subtle);
    }
    return { number: signed.number, treeSize: signed.treeSize, timestamp: signed.timestamp, kid: signed.kid, isSigned };
}

function headOf(part) {
    const texts = ["kid", "root_hash", "signature", "timestamp"].map((name) => part.get(name));
    const numbers = ["number", "tree_size"].map((name) => part.get(name));
    if (!texts.every((found) => found.kind === TEXT) || !numbers.every(isInteger) || !numbers.every((found) => Number(found.value) > 0)) {
        return null;
    }
    const [kid, rootHash, signature, timestamp] = texts.map((found) => found.value);
    const [number, treeSize] = numbers.map((found) => Number(found.value));
    return { kid, rootHash, signature, timestamp, number, treeSize };
}

/** What the host said of the newest event of a run that has not ended. */
async function checkStatement(part, stated, lastGid, hasEnded, headText, subtle) {
    const at = "$.log.statement";
    require(!hasEnded, at, "The run has ended: nothing is said of its end.");
    const through = integer(part, "through", "$.log");
    require(through >= lastGid, "$.log.through", "It is before the last event.");
    requireMembers(object(stated, at), at, ["key", "signature"]);
    const key = keyOf(stated, at);
    const signature = text(stated, "signature", at);
    await checkSignature({
        signature, typ: "cowork-run+jws", kid: thumbprint(key), key, at: `${at}.signature`, payload: `{"head":${headText},"through":${through}}`,
    }, subtle);
}

function keyOf(part, of) {
    const at = `${of}.key`;
    const key = object(member(part, "key", of), at);
    requireMembers(key, at, ["crv", "kty", "x", "y"]);
    const [kty, crv, x, y] = ["kty", "crv", "x", "y"].map((name) => key.get(name));
    const isKey = [kty, crv, x, y].every((found) => found.kind === TEXT) && kty.value === "EC" && crv.value === "P-256" && isOnCurve(x.value, y.value);
    require(isKey, at, "It is no key of P-256.");
    return { x: x.value, y: y.value };
}

/** Whether two coordinates of 32 bytes are a point of P-256 (FIPS 186-5): y^2 = x^3 - 3x + b modulo p. */
function isOnCurve(...coordinates) {
    const bytes = coordinates.map(fromBase64Url);
    if (!bytes.every((coordinate) => coordinate?.length === 32)) {
        return false;
    }
    const [x, y] = bytes.map((coordinate) => BigInt(`0x${hex(coordinate)}`));
    const p = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
    const b = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;
    return x < p && y < p && (y * y - (x * x * x - 3n * x + b)) % p === 0n;
}

/** Whether the key signed the payload; null: this page cannot check it. */
async function checkSignature({ signature, typ, kid, key, at, payload: wanted }, subtle) {
    const parts = signature.split(".");
    const bytes = parts.map(fromBase64Url);
    const header = parts.length === 3 && bytes[0] ? jsonObject(bytes[0]) : null;
    const payload = header && bytes[1] ? jsonObject(bytes[1]) : null;
    require(
        payload && header.get("alg")?.value === "ES256" && header.get("typ")?.value === typ && header.get("kid")?.kind === TEXT
        && !FORBIDDEN_HEADERS.some((name) => header.get(name) !== undefined),
        at, "The signature is no JWS of this kind.");
    require(header.get("kid").value === kid, at, "The signature names another key than the head.");
    require(bytes[2]?.length === SIGNATURE_BYTES, at, `The signature is not that of the key ${quoted(kid)}.`);
    let isSigned = null;
    if (subtle) {
        try {
            const imported = await subtle.importKey("jwk", { kty: "EC", crv: "P-256", ...key }, { name: "ECDSA", namedCurve: "P-256" }, false, ["verify"]);
            isSigned = await subtle.verify({ name: "ECDSA", hash: "SHA-256" }, imported, bytes[2], new TextEncoder().encode(`${parts[0]}.${parts[1]}`));
        } catch {
            // No point of the curve.
            isSigned = false;
        }
        require(isSigned, at, `The signature is not that of the key ${quoted(kid)}.`);
    }
    const signed = new TextDecoder().decode(bytes[1]);
    require(signed === wanted, at, "The signature is over something else than what is here.");
    return isSigned;
}

function jsonObject(bytes) {
    try {
        const value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
        const part = parse(new TextEncoder().encode(canonical(value)), 8);
        return part.kind === OBJECT ? part : null;
    } catch {
        return null;
    }
}

/** The hash of a leaf: of where an event stands in the log, and of its own hash (docs/audit.md, "The leaf"). */
function leaf(entry, more, at, run) {
    const isOfRun = entry.feedId !== undefined;
    for (const name of more.value.keys()) {
        require(LEAF_MEMBERS.includes(name) && (!isOfRun || name === "causation_id"), `${at}.${quoted(name)}`, "The member is unknown.");
    }
    const optional = (name) => (more.get(name) === undefined ? undefined : text(more, name, at));
    const feedId = isOfRun ? entry.feedId : more.get("feed_id") === undefined ? 0 : integer(more, "feed_id", at);
    // Earlier formats have no session beside an event; they have no proof either.
    const session = isOfRun ? text(entry.part, "session_id", entry.at) : optional("session_id");
    const members = {
        causation_id: optional("causation_id"), correlation_id: entry.correlation ?? undefined, feed_id: feedId > 0 ? feedId : undefined, gid: entry.gid, hash: entry.hash,
        run_id: isOfRun ? run : optional("run_id"), session_id: session === undefined ? undefined : sessionId(session), stream_id: entry.stream, tenant_id: entry.org,
        version: entry.version,
    };
    Object.keys(members).forEach((name) => members[name] === undefined && delete members[name]);
    return sha256(Uint8Array.of(0), canonical(members));
}

const sessionId = (id) => (sessionKey(id) === id ? id : `sess_${sessionKey(id)}`);

/** The largest power of two below a number of leaves, which is at least 2. Logarithms of large numbers are not exact. */
function split(size) {
    let half = 1;
    while (half * 2 < size) {
        half *= 2;
    }
    return half;
}

/** The root that leaves and their common proof make; null: the proof has too few hashes, or too many. */
function rootOf(leaves, size, proof) {
    if (leaves.length === 0 || leaves[0].index < 0 || leaves[leaves.length - 1].index >= size || leaves.some((one, i) => i > 0 && leaves[i - 1].index >= one.index)) {
        return null;
    }
    let used = 0;
    // Goes through the tree from the left, and no further down than leaves are there.
    const descend = (first, end, from, to) => {
        if (first === end) {
            return used < proof.length ? proof[used++] : null;
        }
        if (to - from === 1) {
            return leaves[first].hash;
        }
        const middle = from + split(to - from);
        let half = first;
        for (let high = end; half < high;) {
            const between = (half + high) >>> 1;
            [half, high] = leaves[between].index < middle ? [between + 1, high] : [half, between];
        }
        const left = descend(first, half, from, middle);
        const right = descend(half, end, middle, to);
        return left && right ? sha256(Uint8Array.of(1), left, right) : null;
    };
    const root = descend(0, leaves.length, 0, size);
    return used === proof.length ? root : null;
}
