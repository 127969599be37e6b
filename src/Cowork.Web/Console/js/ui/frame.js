// What somebody else wrote as a page, in a frame that may do nothing: no script, no form, no address of its own, nothing from elsewhere. Styles are none of its own, either.
import { h } from "../dom.js";

export function frame(html, label, signal) {
    const url = URL.createObjectURL(new Blob([html], { type: "text/html;charset=utf-8" }));
    signal.addEventListener("abort", () => URL.revokeObjectURL(url), { once: true });
    return h("iframe.foreign", { src: url, sandbox: "", title: label, referrerpolicy: "no-referrer" });
}

// Whether a text is meant as HTML.
export function isHtml(text) {
    return typeof text === "string" && /^\s*(<!doctype html|<[a-z][a-z0-9]*[\s>/])/i.test(text);
}
