// Builds elements. Nothing here reads HTML: texts become text nodes, and what a text hides is written out (text.js).
import { parts, plain } from "./text.js";

const Svg = "http://www.w3.org/2000/svg";
const Addresses = new Set(["href", "src", "action"]);
const Focusable = "a[href], button, input, select, textarea, summary, [tabindex]";
const Texts = new Set(["title", "placeholder", "alt", "aria-label", "aria-description"]);

// h("a.row-link", { href, on: { click } }, "text", node, [more])
export function h(tag, props, ...children) {
    const [name, ...classes] = tag.split(".");
    const node = document.createElement(name || "div");
    if (classes.length > 0) {
        node.className = classes.join(" ");
    }
    return fill(node, props, children);
}

export function svg(tag, props, ...children) {
    const [name, ...classes] = tag.split(".");
    const node = document.createElementNS(Svg, name);
    if (classes.length > 0) {
        node.setAttribute("class", classes.join(" "));
    }
    return fill(node, props, children);
}

function fill(node, props, children) {
    if (props instanceof Node || typeof props === "string" || Array.isArray(props)) {
        children.unshift(props);
        props = null;
    }
    for (const [name, value] of Object.entries(props ?? {})) {
        set(node, name, value);
    }
    append(node, children);
    return node;
}

export function set(node, name, value) {
    if (name === "on") {
        for (const [type, listener] of Object.entries(value)) {
            node.addEventListener(type, (type === "submit" || type === "click") && (node.localName === "form" || node.localName === "button") ? once(node, listener) : listener);
        }
    } else if (name === "class") {
        for (const word of (value || "").split(" ").filter(Boolean)) {
            node.classList.add(word);
        }
    } else if (name === "style") {
        for (const [property, text] of Object.entries(value)) {
            node.style.setProperty(property, text);
        }
    } else if (name === "data") {
        Object.assign(node.dataset, value);
    } else if (["value", "checked", "selected", "disabled", "open", "indeterminate"].includes(name) && name in node) {
        node[name] = value ?? "";
    } else if (typeof value === "boolean" && name.startsWith("aria-")) {
        node.setAttribute(name, String(value));
    } else if (value === null || value === undefined || value === false) {
        node.removeAttribute(name);
    } else if (/^on/i.test(name) || name === "srcdoc") {
        throw new TypeError(`No element gets ${name} as an attribute.`);
    } else if (Addresses.has(name) && !isSafe(String(value))) {
        node.removeAttribute(name);
    } else {
        node.setAttribute(name, value === true ? "" : Texts.has(name) ? plain(value) : String(value));
    }
}

// A form, or a button, whose listener answers a promise is busy until that is settled: a second press is none.
function once(node, listener) {
    return event => {
        if (node.getAttribute("aria-busy") === "true") {
            event.preventDefault();
            return;
        }
        const done = listener.call(node, event);
        if (!(done instanceof Promise)) {
            return;
        }
        const texts = [...node.elements ?? []].filter(field => "readOnly" in field && !field.readOnly);
        const buttons = [...node.elements ?? []].filter(field => field.type === "submit");
        node.setAttribute("aria-busy", "true");
        // What is sent is what stands there. Nothing is disabled: that would take the focus away.
        texts.forEach(field => field.readOnly = true);
        buttons.forEach(button => button.setAttribute("aria-disabled", "true"));
        done.finally(() => {
            node.removeAttribute("aria-busy");
            texts.forEach(field => field.readOnly = false);
            buttons.forEach(button => button.removeAttribute("aria-disabled"));
        });
    };
}

// Only what a reader may be led to: pages of this host, and the web. blob: is of pages themselves.
export function isSafe(address) {
    try {
        return ["http:", "https:", "blob:"].includes(new URL(address, document.baseURI).protocol);
    } catch {
        return false;
    }
}

export function append(node, child) {
    if (child === null || child === undefined || child === false || child === true) {
        return node;
    }
    if (Array.isArray(child)) {
        for (const each of child) {
            append(node, each);
        }
    } else if (child instanceof Node) {
        node.append(child);
    } else {
        for (const part of parts(String(child))) {
            node.append(typeof part === "string" ? part : hidden(part));
        }
    }
    return node;
}

function hidden(part) {
    const mark = document.createElement("span");
    mark.className = "ctl";
    mark.title = "A character that cannot be seen, written out";
    mark.textContent = part.hidden;
    return mark;
}

// What is there already stays untouched: its focus and its scrolling are the reader's.
export function replace(node, ...children) {
    if (children.length === 1 && children[0] instanceof Node && node.childNodes.length === 1 && node.firstChild === children[0]) {
        return node;
    }
    node.replaceChildren();
    return append(node, children);
}

// Makes an element what another one is, where most of it is that already: what is the same stays, and a text that goes on grows, so that a reader keeps what they have selected.
// Buttons are those of the other one: what they do is not seen from outside.
export function grow(node, fresh) {
    for (const { name } of [...node.attributes]) {
        fresh.hasAttribute(name) || node.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
        node.getAttribute(name) === value || node.setAttribute(name, value);
    }
    const wanted = [...fresh.childNodes];
    wanted.forEach((next, i) => {
        const old = node.childNodes[i];
        if (!old) {
            node.append(next);
        } else if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName || next.nodeName === "BUTTON") {
            old.replaceWith(next);
        } else if (next.nodeType === Node.ELEMENT_NODE) {
            grow(old, next);
        } else if (next.data.startsWith(old.data)) {
            next.data === old.data || old.appendData(next.data.slice(old.data.length));
        } else {
            old.data = next.data;
        }
    });
    while (node.childNodes.length > wanted.length) {
        node.lastChild.remove();
    }
    return node;
}

// data-at: a name that stays while what it says changes.
const nameOf = node => node.dataset.at ?? `${node.localName} ${node.getAttribute("aria-label") ?? node.textContent} ${node.getAttribute("href") ?? ""}`;

// The same, where a reader may be at something in it: what stands in its place then has the focus.
export function renew(node, ...children) {
    const active = node.contains(document.activeElement) ? document.activeElement : null;
    const chart = active?.closest("cw-chart");
    const [all, within] = chart ? ["cw-chart", chart] : [Focusable, active];
    const before = active ? [...node.querySelectorAll(all)] : [];
    const at = before.indexOf(within);
    const name = active && nameOf(within);
    const point = chart?.focusAt;
    replace(node, ...children);
    const after = active ? [...node.querySelectorAll(all)] : [];
    // What is called so, at its place if there are several; what has another name now is known by its place.
    const same = at < 0 ? null : after[at] && nameOf(after[at]) === name ? after[at] : after.find(each => nameOf(each) === name) ?? (after.length === before.length ? after[at] : null);
    if (chart && same) {
        same.focusAt = point;
    } else {
        same?.focus({ preventScroll: true });
    }
    return node;
}

// A text node's content, when it differs: a screen reader is not told the same again.
export function say(node, text) {
    const shown = plain(text);
    if (node.textContent !== shown) {
        node.textContent = shown;
    }
    return node;
}

export function debounce(call, ms) {
    let timer = 0;
    let last = 0;
    return () => {
        if (timer === 0) {
            timer = setTimeout(() => {
                timer = 0;
                last = performance.now();
                call();
            }, Math.max(30, ms - (performance.now() - last)));
        }
    };
}

export function idOf(prefix) {
    return `${prefix}-${++count}`;
}

let count = 0;
