// JSON as it was written. A reader of this browser makes the nearest double of a number, keeps one of two members with the same name, and puts names that are numbers first.
// Here values are the same ones, and what of them is not what was written is kept beside them, for where they are shown, copied and measured.

// Of objects and lists that are not what was written: their members in order, each [name, value, the number as it was written, where that is another text].
const written = new WeakMap();

const Quote = 0x22;
const Backslash = 0x5c;
const Leaf = /[^\s,\]}]+/y;

// A value, as JSON.parse makes it. places: a WeakMap that takes up where each object and list stands in the text, [from, to].
export function read(text, places) {
    return readRoot(text, places).value;
}

// {value, number}: with the number as it was written, where the whole text is one.
export function readRoot(text, places) {
    // Says what is no JSON; what follows need not.
    JSON.parse(text);
    const root = frame(true, null, 0);
    let at = root;
    for (let i = 0; i < text.length;) {
        switch (text[i]) {
            case "{":
            case "[":
                at = frame(text[i] === "[", at, i);
                i++;
                break;
            case "}":
            case "]": {
                const value = close(at);
                i++;
                places?.set(value, [at.from, i]);
                at = at.outer;
                add(at, value);
                break;
            }
            case '"': {
                const end = endOf(text, i);
                // A copy: a piece of the text would keep all of the text in memory.
                const value = JSON.parse(text.slice(i, end + 1));
                if (at.isList || at.name !== null) {
                    add(at, value);
                } else {
                    at.name = value;
                }
                i = end + 1;
                break;
            }
            case ",": case ":": case " ": case "\n": case "\r": case "\t":
                i++;
                break;
            default: {
                Leaf.lastIndex = i;
                const [raw] = Leaf.exec(text);
                const value = raw === "true" ? true : raw === "false" ? false : raw === "null" ? null : Number(raw);
                add(at, value, typeof value === "number" && String(value) !== raw ? raw : undefined);
                i += raw.length;
            }
        }
    }
    const [[, value, number]] = root.members;
    return { value, number };
}

// The arguments of a call: where they hold a number that the host's own JSON has not, they come as the text that the model wrote.
export function argumentsOf(input) {
    try {
        return typeof input === "string" && input.startsWith("{") ? read(input) : input;
    } catch {
        return input;
    }
}

// JSON of an object, of which a member stays the text that somebody wrote: this browser would write other numbers, and one of two members with the same name.
// text: JSON of a value; throws a SyntaxError where it is none.
export function writeAround(object, name, text) {
    JSON.parse(text);
    return `${JSON.stringify(object).slice(0, -1)}${Object.keys(object).length > 0 ? "," : ""}${JSON.stringify(name)}:${text}}`;
}

function frame(isList, outer, from) {
    return { isList, outer, from, members: [], name: null, isOther: false };
}

function add(at, value, number) {
    at.isOther ||= number !== undefined;
    at.members.push([at.isList ? at.members.length : at.name, value, number]);
    at.name = null;
}

function close({ isList, members, isOther }) {
    if (isList) {
        const list = members.map(([, value]) => value);
        isOther && written.set(list, members);
        return list;
    }
    const object = {};
    for (const [name, value] of members) {
        isOther ||= Object.hasOwn(object, name) || /^\d+$/.test(name);
        if (name === "__proto__") {
            Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
        } else {
            object[name] = value;
        }
    }
    isOther && written.set(object, members);
    return object;
}

function endOf(text, start) {
    for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
        let before = end;
        while (text.charCodeAt(before - 1) === Backslash && before > start + 1) {
            before--;
        }
        if ((end - before) % 2 === 0 && text.charCodeAt(end) === Quote) {
            return end;
        }
    }
}

// [name or index, value, number as it was written] of each member, in the order in which they were written.
export function membersOf(value) {
    return written.get(value) ?? (Array.isArray(value) ? value.map((each, i) => [i, each]) : Object.entries(value));
}

// JSON with the numbers and members that were read. indent: spaces; 0: on one line. Throws a RangeError where it is too deep for this browser.
export function write(value, indent = 0, number = undefined, depth = 0) {
    if (value === null || typeof value !== "object") {
        return number ?? JSON.stringify(value);
    }
    const isList = Array.isArray(value);
    const inner = membersOf(value).filter(([, each]) => isList || each !== undefined)
        .map(([name, each, raw]) => `${isList ? "" : `${JSON.stringify(name)}:${indent ? " " : ""}`}${write(each, indent, raw, depth + 1) ?? "null"}`);
    const [open, shut] = isList ? "[]" : "{}";
    if (inner.length === 0 || indent === 0) {
        return open + inner.join(",") + shut;
    }
    const line = `\n${" ".repeat(indent * (depth + 1))}`;
    return `${open}${line}${inner.join(`,${line}`)}\n${" ".repeat(indent * depth)}${shut}`;
}
