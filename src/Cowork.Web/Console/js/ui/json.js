// JSON as a tree that is folded: what is not open is not built, however deep or long it is.
import { h } from "../dom.js";
import { whole } from "../format.js";
import { wholeJson } from "../text.js";
import { copyButton } from "./copy.js";

const MembersShown = 100;
const CharsShown = 2_000;
const OpenDepth = 2;

class Json extends HTMLElement {
    // Any JSON value.
    set value(value) {
        this.tabIndex = 0;
        this.setAttribute("role", "group");
        if (!this.hasAttribute("aria-label")) {
            this.setAttribute("aria-label", "JSON");
        }
        const isOpen = value !== null && typeof value === "object" && Object.keys(value).length <= 40 && Object.keys(value).length > 0;
        this.replaceChildren(isOpen ? members(value, Array.isArray(value) ? null : Object.keys(value), 0) : h("div.root", node(value, 0)));
    }
}

customElements.define("cw-json", Json);

export function json(value, label = "JSON") {
    const view = h("cw-json", { "aria-label": label });
    view.value = value;
    return view;
}

// A heading with a button that copies the value.
export function jsonBlock(title, value) {
    return [h("div.code-head", h("h3", title), h("span.actions", copyButton(() => typeof value === "string" ? value : wholeJson(value) ?? ""))), json(value, title)];
}

function node(value, depth, key) {
    const label = key === undefined ? null : [h("span.k", String(key)), ": "];
    if (value === null || typeof value !== "object") {
        return h("div", label, leaf(value));
    }
    const isList = Array.isArray(value);
    const keys = isList ? null : Object.keys(value);
    const count = isList ? value.length : keys.length;
    if (count === 0) {
        return h("div", label, isList ? "[]" : "{}");
    }
    const details = h("details", h("summary", label, h("span.faint", isList ? `[${whole(count)}]` : `{${whole(count)}}`)));
    const build = () => {
        if (details.childElementCount === 1) {
            details.append(members(value, keys, depth));
        }
    };
    details.addEventListener("toggle", build);
    if (depth < OpenDepth && count <= 40) {
        build();
        details.open = true;
    }
    return details;
}

function members(value, keys, depth) {
    const list = h("ul");
    const length = keys?.length ?? value.length;
    const add = start => {
        const end = Math.min(length, start + MembersShown);
        for (let i = start; i < end; i++) {
            const key = keys ? keys[i] : i;
            list.append(h("li", node(value[key], depth + 1, key)));
        }
        if (end < length) {
            const more = h("li", h("button", { type: "button", on: { click: () => { more.remove(); add(end); } } }, `${whole(length - end)} more`));
            list.append(more);
        }
    };
    add(0);
    return list;
}

function leaf(value) {
    if (typeof value === "string") {
        return value.length <= CharsShown ? h("span.s", value === "" ? '""' : value) : long(value);
    }
    return h("span", { class: typeof value === "number" ? "n" : "b" }, String(value));
}

function long(value) {
    const text = h("span.s", value.slice(0, CharsShown));
    let shown = CharsShown;
    const more = h("button", { type: "button", on: { click: () => {
        const next = value.slice(shown, shown + 20_000);
        text.append(h("span", next));
        shown += next.length;
        say();
    } } });
    const say = () => shown < value.length ? more.textContent = `${whole(value.length - shown)} characters more` : more.remove();
    say();
    return h("span", text, " ", more);
}
