// Reads the members of a bundle, or throws the fault that names the place. The wording is that of `cowork verify`.

import { Fault, LIST, NUMBER, OBJECT, TEXT } from "./json.js";

const QUOTED_MAX = 80;
const INTEGER = /^-?\d+$/;

/** A text of the bundle as a fault repeats it: its begin, when it is long. */
export const quoted = (text) => (text.length <= QUOTED_MAX ? text : `${text.slice(0, QUOTED_MAX)}…`);

export function require(holds, location, message) {
    if (!holds) {
        throw new Fault(location, typeof message === "function" ? message() : message);
    }
}

export function member(part, name, at) {
    const found = part.get(name);
    require(found !== undefined, `${at}.${name}`, "The member is missing.");
    return found;
}

export function text(part, name, at) {
    const found = part.get(name);
    require(found?.kind === TEXT, `${at}.${name}`, "It is not a string.");
    return found.value;
}

/** An integer of 64 bits. Past 2^53 it is as near as a double comes. */
export function integer(part, name, at) {
    const found = part.get(name);
    require(isInteger(found), `${at}.${name}`, "It is not an integer.");
    return Number(found.value);
}

export const isInteger = (part) => part?.kind === NUMBER && INTEGER.test(part.value) && Math.abs(Number(part.value)) < 2 ** 63;

export function object(part, at) {
    require(part.kind === OBJECT, at, "It is not an object.");
    return part;
}

export const objectAt = (root, name) => object(member(root, name, "$"), `$.${name}`);

export function list(part, name, at) {
    const found = part.get(name);
    require(found?.kind === LIST, `${at}.${name}`, "It is not an array.");
    return found.value;
}

/** Requires exactly these members. A canonical object has none twice. */
export function requireMembers(part, at, names) {
    const known = new Set(names);
    for (const name of part.value.keys()) {
        require(known.has(name), `${at}.${quoted(name)}`, "The member is unknown.");
    }
    if (part.value.size < known.size) {
        throw new Fault(`${at}.${names.find((name) => !part.value.has(name))}`, "The member is missing.");
    }
}

/** The bytes of a base64 text, which has no other spelling that is taken; null: it is none. */
export function fromBase64(encoded) {
    if (encoded.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(encoded)) {
        return null;
    }
    const binary = atob(encoded);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) {
        bytes[i] = binary.charCodeAt(i);
    }
    return bytes;
}

export function base64(part, at) {
    const found = member(part, "base64", at);
    const bytes = found.kind === TEXT ? fromBase64(found.value) : null;
    require(bytes !== null, `${at}.base64`, "It is not valid base64.");
    return bytes;
}
