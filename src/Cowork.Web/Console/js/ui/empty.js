// What stands where nothing is, and what went wrong.
import { curl } from "../api.js";
import { h, replace } from "../dom.js";
import { copyButton } from "./copy.js";

const PlacesMax = 20;

// empty("No runs yet", "A turn of a session starts one.", ["POST", "/sessions", {…}]): with commands, as curl() of api.js takes them, that fill the place.
export function empty(title, text, ...calls) {
    const line = calls.map(call => curl(...call)).join("\n");
    return h("div.empty", h("strong", title), text && h("p", text), line && h("div.code", { tabindex: "0", role: "group", "aria-label": "A command that can be copied" }, h("pre", line), copyButton(line)));
}

// The call that makes the session which others on an empty host are about, unless one is named already.
export const firstSession = session => session ? [] : [["POST", "/sessions", { session_id: "first" }]];

export function fault(error, again) {
    const places = error.places ?? [];
    // One place says what the error says, mostly.
    const isSame = places.length === 1 && places[0][1] === error.message;
    return h("div.fault", { role: "alert" },
        h("span.grow", isSame && [h("code", places[0][0]), ": "], error.message, " ", h("span.muted", error.code ? `(${error.code})` : ""),
            !isSame && places.length > 0 && h("ul.places", places.slice(0, PlacesMax).map(([place, text]) => h("li", h("code", place), ": ", text)))),
        again && h("button", { type: "button", on: { click: again } }, "Try again"));
}

// The page of one thing that cannot be shown: what leads back, what it would be, and why. Where there is no such thing, nothing else stands there.
// head: its head, where the rest can stay; more: what helps a reader who looks for what is not there.
export function lost(error, { root, head, crumbs, word, again, more }) {
    const isNowhere = error.status === 404;
    const isAbove = !isNowhere && crumbs.isConnected && !head.contains(crumbs);
    replace(isNowhere ? root : head, !isAbove && crumbs, h("div.head", h("h1", word)), fault(error, !isNowhere && again), isNowhere && more);
}
