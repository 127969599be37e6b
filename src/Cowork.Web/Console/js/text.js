// Texts as they are shown. What others wrote may hold characters that hide, move or colour what stands beside them: those are written out, so that nobody is shown what is not there.

import { membersOf, write as writeJson } from "./exact.js";

// Control characters (ANSI sequences begin with one), soft hyphens, fillers, marks of direction and invisible operators, tags, lone surrogates; joiners only where they join nothing.
const Hidden = new RegExp(
    "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0"
    + "\\ufff0-\\ufffb]|(?<=[\\x00-\\x7f]|^)[\\u200c\\u200d]|[\\u200c\\u200d](?=[\\x00-\\x7f]|$)|[\\u{e0000}-\\u{e0fff}]|[\\ud800-\\udfff]", "gu");

const Controls = "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US".split(" ");

function nameOf(character) {
    const code = character.codePointAt(0);
    return code < 0x20 ? Controls[code] : code === 0x7f ? "DEL" : "U+" + code.toString(16).toUpperCase().padStart(4, "0");
}

function lines(text) {
    return text.includes("\r\n") ? text.replaceAll("\r\n", "\n") : text;
}

// The parts of a text: strings to show as they are, and {hidden, code} for characters that are written out.
export function parts(text) {
    const whole = lines(text);
    Hidden.lastIndex = 0;
    if (!Hidden.test(whole)) {
        return [whole];
    }
    const found = [];
    let from = 0;
    Hidden.lastIndex = 0;
    for (const match of whole.matchAll(Hidden)) {
        if (match.index > from) {
            found.push(whole.slice(from, match.index));
        }
        found.push({ hidden: nameOf(match[0]) });
        from = match.index + match[0].length;
    }
    if (from < whole.length) {
        found.push(whole.slice(from));
    }
    return found;
}

// For attributes and titles, where nothing can be marked.
export function plain(text) {
    return parts(String(text)).map(part => typeof part === "string" ? part : `[${part.hidden}]`).join("");
}

// At most so many characters, on one line, never cut within one.
export function brief(text, max = 300) {
    const begin = text.length > max * 2 ? text.slice(0, max * 2) : text;
    const line = begin.replace(/\s+/g, " ").trim();
    if (line.length <= max && begin.length === text.length) {
        return line;
    }
    const cut = line.slice(0, max);
    return (/[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut) + "…";
}

// The beginning of a value as JSON, however deep or long the value is.
export function briefJson(value, max = 200) {
    const out = [];
    let room = max;
    const write = text => {
        out.push(text.length > room ? text.slice(0, room) : text);
        room -= text.length;
    };
    const walk = (each, depth, number) => {
        if (each === null || typeof each !== "object") {
            write(number ?? (typeof each === "string" ? JSON.stringify(each.length > max ? each.slice(0, max) : each) : String(each)));
            return;
        }
        const isList = Array.isArray(each);
        write(isList ? "[" : "{");
        if (depth > 8) {
            write("…");
        } else {
            let isFirst = true;
            for (const [key, member, as] of membersOf(each)) {
                if (room <= 0) {
                    break;
                }
                write(`${isFirst ? "" : ","}${isList ? "" : `${JSON.stringify(key.slice(0, max))}:`}`);
                walk(member, depth + 1, as);
                isFirst = false;
            }
        }
        write(isList ? "]" : "}");
    };
    walk(value, 0);
    return brief(out.join("") + (room < 0 ? "…" : ""), max);
}

// The whole of a value as JSON, with the numbers and members that were read, for a copy; null: it is too deep for this browser.
export function wholeJson(value, indent = 2) {
    try {
        return writeJson(value, indent);
    } catch {
        return null;
    }
}
