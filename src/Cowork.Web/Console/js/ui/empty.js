// What stands where nothing is, and what went wrong.
import { curl } from "../api.js";
import { h } from "../dom.js";
import { copyButton } from "./copy.js";

// empty("No runs yet", "A turn of a session starts one.", ["POST", "/sessions", {…}]): with commands, as curl() of api.js takes them, that fill the place.
export function empty(title, text, ...calls) {
    const line = calls.map(call => curl(...call)).join("\n");
    return h("div.empty", h("strong", title), text && h("p", text), line && h("div.code", { tabindex: "0", role: "group", "aria-label": "A command that can be copied" }, h("pre", line), copyButton(line)));
}

// The call that makes the session which others on an empty host are about, unless one is named already.
export const firstSession = session => session ? [] : [["POST", "/sessions", { session_id: "first" }]];

export function fault(error, again) {
    return h("div.fault", { role: "alert" }, h("span.grow", error.message, " ", h("span.muted", error.code ? `(${error.code})` : "")),
        again && h("button", { type: "button", on: { click: again } }, "Try again"));
}
