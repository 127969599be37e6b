// Sentences that go away by themselves. A screen reader says them.
import { h } from "../dom.js";

let room = null;

// stays: until it is taken away: what is answered is an element.
export function toast(text, { bad = false, stays = false, action, run } = {}) {
    // Who signs in again has another document.
    room = room?.isConnected ? room : document.body.appendChild(h("div.toasts", { role: "status", "aria-live": "polite" }));
    const note = h("div.toast", { class: bad ? "bad" : "" }, h("span", text),
        action && h("button", { type: "button", on: { click: () => { note.remove(); run(); } } }, action));
    room.append(note);
    stays || setTimeout(() => note.remove(), bad ? 9_000 : 4_000);
    return note;
}
