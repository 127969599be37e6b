// What a file holds, as far as it can be shown without trusting it: pages in a frame that runs no scripts and loads nothing, pictures as pictures, tables, JSON, text.
import { h, replace } from "../dom.js";
import { readRoot } from "../exact.js";
import { bytes as bytesText, whole } from "../format.js";
import { block } from "./copy.js";
import { json } from "./json.js";
import { reply } from "./reply.js";

const BytesMax = 4 * 1024 * 1024;
const RowsMax = 200;
const CellsMax = 40;
// What separates cells. A comma is in figures and sentences, too: it comes behind the semicolon.
const Separators = ["\t", ";", ",", "|"];
// Of which the separator is found out.
const SampleRows = 50;
// Of a page in its frame, in pixels.
const [HeightMin, HeightMax] = [40, 560];
const Pictures = /^image\/(png|jpeg|gif|webp|svg\+xml|bmp|avif)\b/;

// A page in a frame of its own origin (preview.html), which shows it in a further one without scripts.
export function htmlFrame(html, label) {
    const frame = h("iframe.preview-frame", { title: label, sandbox: "allow-scripts", referrerpolicy: "no-referrer", src: new URL("../../preview.html", import.meta.url).href });
    frame.addEventListener("load", () => {
        const port = new MessageChannel();
        // How high it is, about: preview.html sees the texts of the page, and not what its styles make of them.
        port.port1.onmessage = ({ data }) => {
            port.port1.close();
            if (Number.isFinite(data)) {
                frame.style.height = `${Math.round(Math.min(HeightMax, Math.max(HeightMin, data)))}px`;
            }
        };
        const { theme } = document.documentElement.dataset;
        const isDark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
        frame.contentWindow.postMessage({ html, isDark, port: port.port2 }, "*", [port.port2]);
    }, { once: true });
    return frame;
}

// Whether a text is meant as HTML.
export function isHtml(text) {
    return typeof text === "string" && /^\s*(<!doctype html|<[a-z][a-z0-9]*[\s>/])/i.test(text);
}

// A picture of bytes; an SVG image runs no scripts and loads nothing either.
export function picture(blob, label, signal) {
    const url = URL.createObjectURL(blob);
    signal.addEventListener("abort", () => URL.revokeObjectURL(url), { once: true });
    return h("img.preview-picture", { src: url, alt: label });
}

// Shows the bytes; what has a form and a source has a button for either. Whether there is anything to show.
export async function preview(slot, blob, { mediaType, name, signal }) {
    const type = mediaType.split(";")[0].trim().toLowerCase();
    if (blob.size > BytesMax) {
        replace(slot, h("p.muted", `${bytesText(blob.size)} are too many to be shown here.`));
        return false;
    }
    if (Pictures.test(type) && type !== "image/svg+xml") {
        replace(slot, picture(new Blob([blob], { type }), name, signal));
        return true;
    }
    const { text, encoding } = textOf(await blob.arrayBuffer(), type.startsWith("text/") || isTable(type, name));
    if (text === null) {
        replace(slot, h("p.muted", "There is nothing to show of bytes like these. They can be saved."));
        return false;
    }
    const form = formOf(type, name, text, signal);
    const told = encoding && h("p.small.muted.preview-note", `Its bytes are no UTF-8. They are read as ${encoding}.`);
    if (!form) {
        replace(slot, told, block(text, { label: name }));
        return true;
    }
    const body = h("div");
    const buttons = ["Shown", "Source"].map(word => h("button.chip", { type: "button", "aria-pressed": word === "Shown", on: { click: () => show(word) } }, word));
    function show(word) {
        buttons.forEach(button => button.setAttribute("aria-pressed", button.textContent === word));
        replace(body, word === "Shown" ? form : block(text, { label: `Source of ${name}` }));
    }
    replace(slot, h("div.chips.preview-chips", { role: "group", "aria-label": "How it is shown" }, buttons), told, body);
    show("Shown");
    return true;
}

function formOf(type, name, text, signal) {
    if (type === "text/html" || type === "application/xhtml+xml") {
        return htmlFrame(text, `Preview of ${name}`);
    }
    if (type === "image/svg+xml") {
        return picture(new Blob([text], { type }), name, signal);
    }
    if (type === "text/markdown" || /\.(md|markdown)$/i.test(name)) {
        return reply(text);
    }
    if (isTable(type, name)) {
        return grid(text, type === "text/tab-separated-values" || /\.(tsv|tab)$/i.test(name) ? "\t" : null, name);
    }
    if (type === "application/json" || type.endsWith("+json")) {
        try {
            const { value, number } = readRoot(text);
            return json(value, name, number);
        } catch {
            return null;
        }
    }
    return null;
}

function isTable(type, name) {
    return type === "text/csv" || type === "text/tab-separated-values" || /\.(csv|tsv|tab)$/i.test(name);
}

// The text of bytes; encoding: the one that was tried because they are no UTF-8. Of texts only: other bytes would be read as something, too.
function textOf(bytes, isText) {
    const read = (encoding, options) => {
        try {
            const text = new TextDecoder(encoding, options).decode(bytes);
            return /[\0-\x08\x0e-\x1a\x1c-\x1f]/.test(text) && encoding !== "utf-8" || text.includes("\0") ? null : text;
        } catch {
            return null;
        }
    };
    const [a, b] = new Uint8Array(bytes, 0, Math.min(2, bytes.byteLength));
    const wide = a === 0xff && b === 0xfe ? "UTF-16LE" : a === 0xfe && b === 0xff ? "UTF-16BE" : null;
    const text = wide ? read(wide, { fatal: true }) : read("utf-8", { fatal: true });
    if (text !== null || wide || !isText) {
        return { text, encoding: text === null ? null : wide };
    }
    return { text: read("windows-1252"), encoding: "Windows-1252" };
}

// separator: null: it is found out.
function grid(text, separator, name) {
    // Excel writes and reads a first line that says it.
    const [line, said] = /^"?sep=(.)"?\r?\n/i.exec(text) ?? ["", null];
    const body = text.slice(line.length);
    separator = said ?? separator ?? separatorOf(body);
    const rows = cellsOf(body, separator, RowsMax + 1);
    const [first = [], ...rest] = rows.slice(0, RowsMax);
    // Where no comma separates cells, it may be the decimal one.
    const isFigure = value => !Number.isNaN(Number(value)) || separator !== "," && /^[+-]?(\d+|\d{1,3}([. \u00a0\u202f']\d{3})+)(,\d+)?$/.test(value.trim());
    const kind = value => value?.trim() && isFigure(value) ? "num" : "";
    const cell = value => h("td", { class: kind(value) }, value);
    return h("div.card", h("div.table-wrap", { tabindex: "0", role: "region", "aria-label": name }, h("table.table", h("caption.sr", name),
        h("thead", h("tr", first.slice(0, CellsMax).map((value, i) => h("th", { scope: "col", class: kind(rest[0]?.[i]) }, value || h("span.sr", "no name"))))), h("tbody", rest.map(row => h("tr", row.slice(0, CellsMax).map(cell)))))),
    rows.length > RowsMax && h("div.more", `The first ${whole(RowsMax)} rows`));
}

// The separator by which the largest part of the rows has the same number of cells, more than one. A decimal comma loses: the head of "name;price" has none, and of two that are as good the semicolon is taken.
export function separatorOf(text) {
    let [best, most] = [",", 0];
    for (const separator of Separators) {
        const counts = new Map();
        const rows = cellsOf(text, separator, SampleRows);
        for (const row of rows) {
            row.length > 1 && counts.set(row.length, (counts.get(row.length) ?? 0) + 1);
        }
        const alike = Math.max(0, ...counts.values()) / rows.length;
        if (alike > most) {
            [best, most] = [separator, alike];
        }
    }
    return best;
}

// The cells of comma separated values, as RFC 4180 has them, of at most so many rows.
export function cellsOf(text, separator, max) {
    const rows = [];
    let row = [];
    let value = "";
    let isQuoted = false;
    for (let i = 0; i <= text.length && rows.length < max; i++) {
        const c = text[i];
        if (isQuoted && c !== undefined) {
            if (c === '"' && text[i + 1] === '"') {
                value += '"';
                i++;
            } else if (c === '"') {
                isQuoted = false;
            } else {
                value += c;
            }
        } else if (c === '"' && value === "") {
            isQuoted = true;
        } else if (c === separator) {
            row.push(value);
            value = "";
        } else if (c === "\n" || c === undefined || c === "\r" && text[i + 1] !== "\n") {
            if (c !== undefined || value !== "" || row.length > 0) {
                rows.push([...row, value]);
            }
            [row, value] = [[], ""];
        } else if (c !== "\r") {
            value += c;
        }
    }
    return rows;
}

// Saves bytes as a file of the reader's.
export function save(blob, name) {
    const url = URL.createObjectURL(blob);
    h("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
