// Filters of a list, as buttons.
import { h } from "../dom.js";
import { brief } from "../text.js";

// One of several, or none. choices: [[value, word]]; at: the one that is on; choose(value): called with the one that is on now; null: none is. isOne: one of them always is.
export function choice({ label, choices, at = null, choose, isOne = false }) {
    const buttons = choices.map(([value, word]) => h("button.chip", { type: "button", "aria-pressed": value === at, on: { click: () => {
        at = value === at && !isOne ? null : value;
        buttons.forEach((button, i) => button.setAttribute("aria-pressed", choices[i][0] === at));
        choose(at);
    } } }, word));
    return h("div.chips", { role: "group", "aria-label": label }, buttons);
}

// A filter that came with the address and goes by a click; null: there is none.
export function removable(name, value, remove) {
    return value ? h("button.chip", { type: "button", "aria-pressed": "true", title: value, on: { click: event => {
        event.currentTarget.remove();
        remove();
    } } }, h("span.cut", `${name}: ${brief(value, 40)}`), "×") : null;
}
