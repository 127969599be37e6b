// JSON as a tree that is folded: what is not open is not built, however deep or long it is.
import { h } from "../dom.js";
import { membersOf } from "../exact.js";
import { whole } from "../format.js";
import { wholeJson } from "../text.js";
import { copyButton } from "./copy.js";

const MembersShown = 100;
const CharsShown = 2_000;
const OpenDepth = 2;

// A name that says by itself where it ends.
const Plain = /^[\w.$@/-]+$/;

class Json extends HTMLElement {
    // Any JSON value.
    set value(value) {
        this.show(value);
    }

    // number: what is shown of a number that was written otherwise than this browser writes it.
    show(value, number) {
        this.tabIndex = 0;
        this.setAttribute("role", "group");
        if (!this.hasAttribute("aria-label")) {
            this.setAttribute("aria-label", "JSON");
        }
        const isOpen = value !== null && typeof value === "object" && Object.keys(value).length <= 40 && Object.keys(value).length > 0;
        this.replaceChildren(isOpen ? members(value, 0) : h("div.root", node(value, 0, undefined, number)));
    }
}

customElements.define("cw-json", Json);

export function json(value, label = "JSON", number) {
    const view = h("cw-json", { "aria-label": label });
    view.show(value, number);
    return view;
}

// A heading with a button that copies the value.
export function jsonBlock(title, value) {
    return [h("div.code-head", h("h3", title), h("span.actions", copyButton(() => typeof value === "string" ? value : wholeJson(value) ?? ""))), json(value, title)];
}

function node(value, depth, key, number) {
    const label = key === undefined ? null : [h("span.k", typeof key === "number" || Plain.test(key) ? String(key) : ['"', escaped(key), '"']), ": "];
    if (value === null || typeof value !== "object") {
        return h("div.leaf", label, leaf(value, number));
    }
    const isList = Array.isArray(value);
    const count = isList ? value.length : membersOf(value).length;
    if (count === 0) {
        return h("div", label, isList ? "[]" : "{}");
    }
    const details = h("details", h("summary", label, h("span.faint", isList ? `[${whole(count)}]` : `{${whole(count)}}`)));
    const build = () => {
        if (details.childElementCount === 1) {
            details.append(members(value, depth));
        }
    };
    details.addEventListener("toggle", build);
    if (depth < OpenDepth && count <= 40) {
        build();
        details.open = true;
    }
    return details;
}

function members(value, depth) {
    const list = h("ul");
    const all = membersOf(value);
    const { length } = all;
    const add = start => {
        const end = Math.min(length, start + MembersShown);
        for (let i = start; i < end; i++) {
            const [key, member, number] = all[i];
            list.append(h("li", node(member, depth + 1, key, number)));
        }
        if (end < length) {
            const more = h("li", h("button", { type: "button", on: { click: () => { more.remove(); add(end); } } }, `${whole(length - end)} more`));
            list.append(more);
        }
    };
    add(0);
    return list;
}

function leaf(value, number) {
    if (typeof value === "string") {
        return value.length <= CharsShown ? h("span.s", '"', escaped(value), '"') : long(value);
    }
    return h("span", { class: typeof value === "number" ? "n" : "b" }, number ?? String(value));
}

// A text as JSON has it, but with its lines as lines: each says at its end that it is none of the value's own, and stands further in than names do (console.css).
function escaped(text) {
    return text.replace(/["\\]/g, "\\$&").replaceAll("\r", "\\r").split("\n").flatMap((line, i) => i === 0 ? [line] : [h("span.nl", "\\n"), "\n", line]);
}

function long(value) {
    const text = h("span.s", '"', escaped(value.slice(0, CharsShown)));
    let shown = CharsShown;
    const more = h("button", { type: "button", on: { click: () => {
        const next = value.slice(shown, shown + 20_000);
        text.append(h("span", escaped(next)));
        shown += next.length;
        say();
    } } });
    const say = () => {
        if (shown < value.length) {
            more.textContent = `${whole(value.length - shown)} characters more`;
        } else {
            text.append('"');
            more.remove();
        }
    };
    say();
    return h("span", text, " ", more);
}
