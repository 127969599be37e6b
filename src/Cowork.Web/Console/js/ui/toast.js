// Sentences that go away by themselves. A screen reader says them.
import { h } from "../dom.js";

let room = null;

// Where a reader is: what is beside a modal dialog can be neither reached nor heard.
export const topDialog = () => [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;

// stays: until it is taken away: what is answered is an element.
export function toast(text, { bad = false, stays = false, action, run } = {}) {
    // Who signs in again has another document.
    room = room?.isConnected ? room : h("div.toasts", { role: "status", "aria-live": "polite" });
    const here = topDialog();
    if (room.parentNode !== here) {
        here.append(room);
        const { body } = document;
        const placed = room;
        here === body || here.addEventListener("close", () => placed === room && body.append(room), { once: true });
    }
    const note = h("div.toast", { class: bad ? "bad" : "" }, h("span", text),
        action && h("button", { type: "button", on: { click: () => { note.remove(); run(); } } }, action));
    room.append(note);
    stays || setTimeout(() => note.remove(), bad ? 9_000 : 4_000);
    return note;
}
