// What a model wrote, as far as it is Markdown: headings, lists, quotes, tables, code, links. It becomes elements that are made here; HTML in it stays text, pictures are not loaded.
import { append, h, isSafe } from "../dom.js";
import { copyButton } from "./copy.js";

const CharsMax = 200_000;
const LineMax = 10_000;
const DepthMax = 4;

// below: the level of the heading that it stands below.
export function reply(text, { typing = false, below = 2 } = {}) {
    const box = h("div.reply", { class: typing ? "typing" : "" });
    const whole = text.length > CharsMax ? text.slice(0, CharsMax) : text;
    blocks(whole.replaceAll("\r\n", "\n").split("\n"), box, 0);
    // Whatever it begins with, and whatever it leaves out, no level is left out.
    let last = below;
    for (const heading of box.querySelectorAll(".h")) {
        last = Math.min(6, last + 1, below + Number(heading.ariaLevel));
        heading.ariaLevel = last;
    }
    if (whole.length < text.length) {
        box.append(h("p.muted", `${text.length - whole.length} characters more. `, copyButton(text, "Copy all")));
    }
    if (!box.hasChildNodes()) {
        box.append(h("p"));
    }
    return box;
}

function blocks(lines, into, depth) {
    let i = 0;
    while (i < lines.length) {
        const line = lines[i];
        const fence = /^ {0,3}(```+|~~~+) *([\w+#.-]{0,30})/.exec(line);
        if (fence) {
            const code = [];
            for (i++; i < lines.length && !lines[i].trimStart().startsWith(fence[1]); i++) {
                code.push(lines[i]);
            }
            i++;
            into.append(h("pre", { tabindex: "0", role: "group", "aria-label": fence[2] ? `Code, ${fence[2]}` : "Code" }, h("code", code.join("\n"))));
        } else if (/^\s*$/.test(line)) {
            i++;
        } else if (/^ {0,3}#{1,6}\s/.test(line)) {
            const level = /#+/.exec(line)[0].length;
            into.append(h("div.h", { role: "heading", "aria-level": level }, inline(line.replace(/^ {0,3}#{1,6}\s+/, ""))));
            i++;
        } else if (/^ {0,3}([-*_])( *\1){2,} *$/.test(line)) {
            into.append(h("hr"));
            i++;
        } else if (/^ {0,3}>/.test(line) && depth < DepthMax) {
            const inner = [];
            for (; i < lines.length && /^ {0,3}>/.test(lines[i]); i++) {
                inner.push(lines[i].replace(/^ {0,3}> ?/, ""));
            }
            const quote = h("blockquote");
            blocks(inner, quote, depth + 1);
            into.append(quote);
        } else if (itemOf(line) && depth < DepthMax) {
            i = list(lines, i, into, depth);
        } else if (line.includes("|") && /^[\s|:-]+$/.test(lines[i + 1] ?? "") && (lines[i + 1] ?? "").includes("-")) {
            i = grid(lines, i, into);
        } else {
            const paragraph = [];
            // Its first line is one, whatever it begins with: what is too deep for a quote or a list is text.
            do {
                paragraph.push(lines[i++]);
            } while (i < lines.length && !/^\s*$/.test(lines[i]) && !/^ {0,3}(```|~~~|#{1,6}\s|>)/.test(lines[i]) && !itemOf(lines[i]));
            into.append(h("p", paragraph.map((text, n) => [n > 0 && h("br"), inline(text.trim())])));
        }
    }
}

function itemOf(line) {
    const found = /^( {0,12})([-*+]|\d{1,9}[.)])\s+(.*)$/.exec(line.slice(0, LineMax));
    return found && { indent: found[1].length, isOrdered: /\d/.test(found[2]), start: parseInt(found[2], 10), text: found[3] + line.slice(LineMax) };
}

function list(lines, from, into, depth) {
    const first = itemOf(lines[from]);
    const element = h(first.isOrdered ? "ol" : "ul", { start: first.isOrdered && first.start !== 1 ? first.start : null });
    let i = from;
    while (i < lines.length) {
        const item = itemOf(lines[i]);
        if (!item || item.indent < first.indent || item.isOrdered !== first.isOrdered) {
            break;
        }
        const inner = [];
        for (i++; i < lines.length && (/^\s*$/.test(lines[i]) ? /^\s/.test(lines[i + 1] ?? "") : lines[i].startsWith(" ".repeat(first.indent + 2))); i++) {
            inner.push(lines[i].slice(first.indent + 2));
        }
        const entry = h("li", inline(item.text));
        if (inner.length > 0) {
            blocks(inner, entry, depth + 1);
        }
        element.append(entry);
    }
    into.append(element);
    return i;
}

function grid(lines, from, into) {
    const cells = line => line.trim().replace(/^\||\|$/g, "").split("|").slice(0, 50);
    const head = h("tr", cells(lines[from]).map(cell => h("th", { scope: "col" }, inline(cell.trim()))));
    const body = h("tbody");
    let i = from + 2;
    for (; i < lines.length && lines[i].includes("|"); i++) {
        body.append(h("tr", cells(lines[i]).map(cell => h("td", inline(cell.trim())))));
    }
    into.append(h("table", { tabindex: "0" }, h("thead", head), body));
    return i;
}

// Code, strong, emphasis and links, from the left to the right; what is none of these is text.
function inline(text) {
    if (text.length > LineMax) {
        return text;
    }
    const out = document.createDocumentFragment();
    const pattern = /(`+)([^`]{1,2000}?)\1(?!`)|\*\*([^*\n]{1,2000})\*\*|(?<![\w*])[*_](?=\S)([^*_\n]{1,2000})(?<=\S)[*_](?!\w)|!?\[([^\]\n]{0,500})\]\(([^()\s]{1,2000})\)|https?:\/\/[^\s<>"'`)\]]{1,2000}(?<![.,;:!?])/g;
    let from = 0;
    for (const match of text.matchAll(pattern)) {
        append(out, text.slice(from, match.index));
        const [whole, , code, strong, emphasis, label, target] = match;
        append(out, code !== undefined ? h("code", code.trim()) : strong !== undefined ? h("strong", strong) : emphasis !== undefined ? h("em", emphasis)
            : link(label !== undefined ? label || target : whole, target ?? whole));
        from = match.index + whole.length;
    }
    return append(out, text.slice(from));
}

// A link says where it leads: its text is somebody else's.
function link(label, target) {
    if (!/^https?:\/\//i.test(target) || !isSafe(target)) {
        return label === target ? label : `${label} (${target})`;
    }
    const host = new URL(target).host;
    return [h("a", { href: target, rel: "noreferrer noopener nofollow", target: "_blank", title: target }, label), !label.includes(host) && h("span.faint", ` (${host})`)];
}
