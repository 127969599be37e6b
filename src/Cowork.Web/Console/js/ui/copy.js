// What can be copied: digests, ids, commands.
import { h } from "../dom.js";
import { isErasedDigest, shortHash, shortId, whole } from "../format.js";
import { toast, topDialog } from "./toast.js";

// Of a text that is shown at once.
const BlockMax = 20_000;

export async function copy(text, what = "Copied") {
    if (await toClipboard(text)) {
        toast(`${what}.`);
    } else {
        toast("The browser did not let this page copy. Select the text, and copy it yourself.", { bad: true });
    }
}

async function toClipboard(text) {
    try {
        await navigator.clipboard.writeText(text);
        return true;
    } catch {
        // Without HTTPS a page has no clipboard, but a selection that can be copied. Beside a dialog nothing can be selected.
        const active = document.activeElement;
        const field = h("textarea.sr", { value: text, "aria-hidden": "true" });
        topDialog().append(field);
        field.focus({ preventScroll: true });
        field.select();
        const isCopied = document.execCommand("copy");
        field.remove();
        active?.focus({ preventScroll: true });
        return isCopied;
    }
}

export function copyButton(text, label = "Copy") {
    return h("button", { type: "button", class: "quiet", on: { click: () => copy(typeof text === "function" ? text() : text) } }, label);
}

// The beginning of a digest; a click copies the whole.
export function digest(hash, length = 12) {
    if (isErasedDigest(hash)) {
        return h("span.faint", "erased");
    }
    return hash ? h("button.digest", { type: "button", title: hash, "aria-label": `Copy the digest ${shortHash(hash, length)}…`, on: { click: () => copy(hash, "The digest is copied") } },
        shortHash(hash, length)) : h("span.faint", "–");
}

export function id(value) {
    return value ? h("button.digest", { type: "button", title: value, "aria-label": `Copy the id ${shortId(value)}`, on: { click: () => copy(value, "The id is copied") } }, shortId(value))
        : h("span.faint", "–");
}

// A text in a box, with a button that copies it.
export function block(text, { label, language } = {}) {
    const box = h("div.code", { tabindex: "0", role: "group", "aria-label": label ?? language ?? "Text" });
    let shown = 0;
    const more = () => {
        const part = text.slice(shown, shown + BlockMax);
        shown += part.length;
        box.append(h("pre.grow", part));
        if (shown < text.length) {
            box.append(h("button", { type: "button", on: { click: event => {
                event.currentTarget.remove();
                more();
            } } }, `${whole(text.length - shown)} characters more`));
        }
    };
    more();
    return box;
}
