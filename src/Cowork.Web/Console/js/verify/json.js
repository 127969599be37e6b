// JSON by its bytes. A bundle is in canonical form (RFC 8785), so each of its parts is, too: a digest of a part is one of a slice of the file, and nothing is written again.

export const OBJECT = "object";
export const LIST = "array";
export const TEXT = "string";
export const NUMBER = "number";
export const WORD = "word";

/** A value with its place in the file: bytes[start, end). */
class Part {
    /**
     * @param kind OBJECT, LIST, TEXT, NUMBER or WORD (true, false, null).
     * @param value A Map of members, an array of parts, a string, the number as it is written, or true, false, null.
     */
    constructor(kind, start, end, value) {
        this.kind = kind;
        this.start = start;
        this.end = end;
        this.value = value;
    }

    /** The member of an object; undefined: it has none of the name, or the part is no object. */
    get(name) {
        return this.kind === OBJECT ? this.value.get(name) : undefined;
    }

    /** What a JSON reader makes of it. */
    plain() {
        switch (this.kind) {
            case OBJECT: {
                // No prototype: a member may have any name.
                const object = Object.create(null);
                this.value.forEach((part, name) => { object[name] = part.plain(); });
                return object;
            }
            case LIST:
                return this.value.map((part) => part.plain());
            case NUMBER:
                return Number(this.value);
            default:
                return this.value;
        }
    }
}

/** The first fault of a file, which ends its check. Both texts may repeat what the file says. */
export class Fault extends Error {
    constructor(location, message) {
        super(message);
        this.location = location;
    }
}

const SPACE = 0x20;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const WORDS = [["true", true], ["false", false], ["null", null]].map(([text, value]) => ({ bytes: [...text].map((c) => c.charCodeAt(0)), value }));

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const isSpace = (byte) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
const isDigit = (byte) => byte >= 0x30 && byte <= 0x39;

/**
 * The canonical form of a plain value. Numbers and texts are written as RFC 8785 takes them over from ECMAScript.
 */
export function canonical(value) {
    if (Array.isArray(value)) {
        return `[${value.map(canonical).join(",")}]`;
    }
    if (value !== null && typeof value === "object") {
        return `{${Object.keys(value).sort(byCodeUnits).map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
    }
    return JSON.stringify(value);
}

const byCodeUnits = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/**
 * Reads a file of one JSON value in canonical form. One pass, in which a file costs no more than it is long.
 * @param {Uint8Array} bytes
 * @param {number} depthMax Objects and lists within each other.
 * @throws {Fault} Where it is no JSON, or the first byte that is not what the canonical form has there.
 */
export function parse(bytes, depthMax) {
    try {
        strict.decode(bytes);
    } catch {
        throw new Fault("$", "The file is not valid JSON of a bundle: The text is not UTF-8.");
    }
    const reader = new Reader(bytes, depthMax);
    const root = reader.value(0);
    reader.end();
    return root;
}

class Reader {
    constructor(bytes, depthMax) {
        this.bytes = bytes;
        this.depthMax = depthMax;
        this.at = 0;
    }

    invalid(at, message) {
        let line = 1;
        let begin = 0;
        for (let i = this.bytes.indexOf(0x0a); i >= 0 && i < at; i = this.bytes.indexOf(0x0a, i + 1)) {
            line++;
            begin = i + 1;
        }
        return new Fault(`line ${line}, byte ${at - begin}`, `The file is not valid JSON of a bundle: ${message}`);
    }

    deviate(at) {
        throw new Fault(`byte ${at}`, "From here on the file is not in canonical form (RFC 8785).");
    }

    /** Passes white space, which the canonical form has nowhere, and answers where it began; -1: there was none. */
    space() {
        const from = this.at;
        while (isSpace(this.bytes[this.at])) {
            this.at++;
        }
        return this.at > from ? from : -1;
    }

    value(depth) {
        const space = this.space();
        const start = this.at;
        const byte = this.bytes[start];
        let part;
        switch (byte) {
            case 0x7b:
            case 0x5b:
                if (depth >= this.depthMax) {
                    throw this.invalid(start, `It is deeper than ${this.depthMax}.`);
                }
                if (space >= 0) {
                    this.deviate(space);
                }
                this.at++;
                part = byte === 0x7b ? this.object(start, depth) : this.list(start, depth);
                break;
            case QUOTE: {
                const text = this.text();
                if (space >= 0) {
                    this.deviate(space);
                }
                this.requireText(start, text);
                part = new Part(TEXT, start, this.at, text.value);
                break;
            }
            default:
                part = byte === 0x2d || isDigit(byte) ? this.number(start, space) : this.word(start, space);
        }
        return part;
    }

    object(start, depth) {
        const members = new Map();
        let before = null;
        for (;;) {
            let space = this.space();
            if (this.bytes[this.at] === 0x7d && members.size === 0) {
                if (space >= 0) {
                    this.deviate(space);
                }
                this.at++;
                return new Part(OBJECT, start, this.at, members);
            }
            if (members.size > 0) {
                if (this.bytes[this.at] === 0x7d) {
                    if (space >= 0) {
                        this.deviate(space);
                    }
                    this.at++;
                    return new Part(OBJECT, start, this.at, members);
                }
                if (this.bytes[this.at] !== 0x2c) {
                    throw this.invalid(this.at, "A comma or the end of the object is missing.");
                }
                this.at++;
                const more = this.space();
                space = space >= 0 ? space : more;
            }
            if (this.bytes[this.at] !== QUOTE) {
                throw this.invalid(this.at, "The name of a member is missing.");
            }
            const nameAt = this.at;
            const name = this.text();
            // The reader that others use reads a name and its colon as one token.
            const behind = this.space();
            if (this.bytes[this.at] !== 0x3a) {
                throw this.invalid(this.at, "A colon is missing.");
            }
            if (space >= 0) {
                this.deviate(space);
            }
            this.requireText(nameAt, name);
            if (before !== null && before === name.value) {
                throw new Fault("$", `The file is not valid JSON of a bundle: The member "${name.value}" stands twice.`);
            }
            if (before !== null && before > name.value) {
                this.deviate(nameAt);
            }
            before = name.value;
            if (behind >= 0) {
                this.deviate(behind);
            }
            this.at++;
            members.set(name.value, this.value(depth + 1));
        }
    }

    list(start, depth) {
        const items = [];
        for (;;) {
            const space = this.space();
            if (this.bytes[this.at] === 0x5d) {
                if (space >= 0) {
                    this.deviate(space);
                }
                this.at++;
                return new Part(LIST, start, this.at, items);
            }
            if (items.length > 0) {
                if (this.bytes[this.at] !== 0x2c) {
                    throw this.invalid(this.at, "A comma or the end of the list is missing.");
                }
                this.at++;
                if (this.bytes[this.at] === 0x5d) {
                    throw this.invalid(this.at, "An item is missing.");
                }
            }
            const from = this.at;
            const item = this.value(depth + 1);
            if (space >= 0) {
                this.deviate(space);
            }
            items.push(item);
            if (item.start > from) {
                this.deviate(from);
            }
        }
    }

    /** A string; the reader stands behind it afterwards. */
    text() {
        const { bytes } = this;
        const start = this.at++;
        let isEscaped = false;
        for (;;) {
            const byte = bytes[this.at];
            if (byte === undefined) {
                throw this.invalid(bytes.length, "A string does not end.");
            }
            if (byte === QUOTE) {
                this.at++;
                break;
            }
            if (byte < SPACE) {
                throw this.invalid(this.at, "A string has a control character.");
            }
            if (byte === BACKSLASH) {
                isEscaped = true;
                this.at++;
                const escaped = bytes[this.at];
                if (escaped === 0x75) {
                    for (let i = 1; i <= 4; i++) {
                        if (!/^[0-9a-fA-F]$/.test(String.fromCharCode(bytes[this.at + i] ?? 0))) {
                            throw this.invalid(this.at + i, "An escape is incomplete.");
                        }
                    }
                    this.at += 5;
                    continue;
                }
                if (escaped === undefined || !"\"\\/bfnrt".includes(String.fromCharCode(escaped))) {
                    throw this.invalid(this.at, "There is no such escape.");
                }
            }
            this.at++;
        }
        const raw = strict.decode(bytes.subarray(start + 1, this.at - 1));
        return { isEscaped, raw, value: isEscaped ? JSON.parse(`"${raw}"`) : raw };
    }

    /** Where an escaped string differs from its canonical form. */
    requireText(start, text) {
        if (!text.isEscaped) {
            return;
        }
        if (!text.value.isWellFormed()) {
            throw new Fault("$", "The file is not valid JSON of a bundle: A string holds a lone surrogate.");
        }
        this.requireBytes(start, new TextEncoder().encode(JSON.stringify(text.value)));
    }

    requireBytes(start, expected) {
        const length = this.at - start;
        for (let i = 0; i < length || i < expected.length; i++) {
            if (i >= length || i >= expected.length || this.bytes[start + i] !== expected[i]) {
                this.deviate(start + i);
            }
        }
    }

    number(start, space) {
        const { bytes } = this;
        if (bytes[this.at] === 0x2d) {
            this.at++;
        }
        if (!isDigit(bytes[this.at])) {
            throw this.invalid(this.at, "A digit is missing.");
        }
        const isZero = bytes[this.at++] === 0x30;
        if (isZero && isDigit(bytes[this.at])) {
            throw this.invalid(this.at, "A number begins with a zero.");
        }
        while (isDigit(bytes[this.at])) {
            this.at++;
        }
        if (bytes[this.at] === 0x2e) {
            this.digits();
        }
        if (bytes[this.at] === 0x65 || bytes[this.at] === 0x45) {
            if (bytes[this.at + 1] === 0x2b || bytes[this.at + 1] === 0x2d) {
                this.at++;
            }
            this.digits();
        }
        const next = bytes[this.at];
        if (next !== undefined && !isSpace(next) && next !== 0x2c && next !== 0x5d && next !== 0x7d) {
            throw this.invalid(this.at, "A number does not end.");
        }
        if (space >= 0) {
            this.deviate(space);
        }
        const raw = String.fromCharCode(...bytes.subarray(start, this.at));
        const value = Number(raw);
        if (!Number.isFinite(value)) {
            throw new Fault("$", "The file is not valid JSON of a bundle: A number is out of range.");
        }
        this.requireBytes(start, new TextEncoder().encode(JSON.stringify(value)));
        return new Part(NUMBER, start, this.at, raw);
    }

    digits() {
        this.at++;
        if (!isDigit(this.bytes[this.at])) {
            throw this.invalid(this.at, "A digit is missing.");
        }
        while (isDigit(this.bytes[this.at])) {
            this.at++;
        }
    }

    word(start, space) {
        const word = WORDS.find(({ bytes }) => bytes[0] === this.bytes[start]);
        if (word === undefined) {
            throw this.invalid(start, start < this.bytes.length ? "No value begins like this." : "The file ends too early.");
        }
        for (let i = 1; i < word.bytes.length; i++) {
            if (this.bytes[start + i] !== word.bytes[i]) {
                throw this.invalid(start + i, "There is no such word.");
            }
        }
        this.at += word.bytes.length;
        if (space >= 0) {
            this.deviate(space);
        }
        return new Part(WORD, start, this.at, word.value);
    }

    end() {
        const space = this.space();
        if (this.at < this.bytes.length) {
            throw this.invalid(this.at, "There is more than one value.");
        }
        if (space >= 0) {
            this.deviate(space);
        }
    }
}
