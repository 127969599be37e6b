// Opens the texts of data subjects (docs/privacy.md). In the log each is {ciphertext, enc, subject}, AES-256-GCM under the key of its stream's contents, which is
// `content_key` of an event as long as the subject's own key is there. Without it the texts are erased, which the event that
// erased the subject says: it is among the related ones.

import { canonical, Fault, LIST, OBJECT, parse, TEXT } from "./json.js";
import { fromBase64, require, text } from "./members.js";
import { Gcm } from "./gcm.js";
import { ERASED, EVENTS, SHAPES } from "./shapes.js";

const ENCRYPTION = "A256GCM";
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const DEPTH_MAX = 64;
const ERASED_TEXT = "[erased]";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The last key that was used, which many events have in common. */
let last = { key: null, opens: null };

/**
 * An event's data with what is sealed in it opened, or with what stands for erased texts.
 * @param e Its tenant, stream, version and type.
 * @returns {{part: object, bytes: Uint8Array, subject: ?string, isErased: boolean}} The data and the bytes that they lie in: those of the bundle, when nothing is sealed.
 */
export function open(at, e, part, bytes) {
    const data = part.get("data");
    const key = part.get("content_key") === undefined ? null : text(part, "content_key", at);
    const subject = subjectOf(data);
    require(key === null || subject !== null, `${at}.content_key`, "Nothing in the event is sealed.");
    if (subject === null) {
        return { part: data, bytes, subject, isErased: false };
    }
    const raw = key === null ? null : base64(key);
    require(key === null || raw?.length === KEY_BYTES, `${at}.content_key`, "It is not base64 of 32 bytes.");
    if (raw !== null && last.key !== key) {
        last = { key, opens: new Gcm(raw) };
    }
    const shape = Object.hasOwn(EVENTS, e.type) ? { name: EVENTS[e.type] } : null;
    const opened = encoder.encode(textOf(data, shape, ""));
    return { part: parse(opened, DEPTH_MAX), bytes: opened, subject, isErased: key === null };

    function textOf(value, known, path) {
        if (isClosed(value)) {
            return key === null ? JSON.stringify(known?.erased ?? ERASED_TEXT) : openedText(value, path);
        }
        switch (value.kind) {
            case OBJECT:
                return `{${[...value.value].map(([name, member]) => `${JSON.stringify(name)}:${textOf(member, memberOf(known, name), `${path}/${name}`)}`).join(",")}}`;
            case LIST:
                return `[${value.value.map((item, i) => textOf(item, known, `${path}/${i}`)).join(",")}]`;
            default:
                return decoder.decode(bytes.subarray(value.start, value.end));
        }
    }

    function openedText(value, path) {
        const all = base64(stringOf(value, "ciphertext"));
        const fault = (message) => new Fault(`${at}.data`, `${path} of version ${e.version} of ${e.stream} ${message}`);
        if (all === null || all.length < NONCE_BYTES + TAG_BYTES) {
            throw fault("is not sealed as it should be.");
        }
        const place = encoder.encode(`cowork content\n${e.org}\n${e.stream}\n${e.version}\n${path}`);
        const plain = last.opens.open(all.subarray(0, NONCE_BYTES), all.subarray(NONCE_BYTES), place);
        if (plain === null) {
            throw fault("was changed, or sealed for another place.");
        }
        return canonical(JSON.parse(decoder.decode(plain)));
    }
}

/** What a member's shape is called, and what stands in its place when it was erased. */
function memberOf(known, name) {
    const members = known?.name !== undefined && Object.hasOwn(SHAPES, known.name) ? SHAPES[known.name] : {};
    if (!Object.hasOwn(members, name)) {
        return null;
    }
    return { name: /^[[{]*@(\w+)/.exec(members[name])?.[1], erased: ERASED[`${known.name}.${name}`] };
}

/** Whose texts are sealed in the data; null: nobody's. */
function subjectOf(part) {
    if (isClosed(part)) {
        return stringOf(part, "subject");
    }
    const below = part.kind === OBJECT ? [...part.value.values()] : part.kind === LIST ? part.value : [];
    return below.reduce((found, item) => subjectOf(item) ?? found, null);
}

const isValue = (part) => part !== undefined && part.kind !== OBJECT && part.kind !== LIST && part.value !== null;

const isClosed = (part) => part.kind === OBJECT && part.value.size >= 3 && part.value.size <= 5 && part.get("enc")?.kind === TEXT && part.get("enc").value === ENCRYPTION
    && isValue(part.get("ciphertext")) && isValue(part.get("subject"));

function stringOf(part, name) {
    const found = part.get(name);
    if (found.kind !== TEXT) {
        throw new Error(`The ${name} of a sealed text is no string.`);
    }
    return found.value;
}

/** The bytes of base64, in which white space says nothing; null: it is none. */
const base64 = (encoded) => fromBase64(encoded.replace(/[ \t\r\n]/g, ""));
