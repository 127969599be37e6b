// Texts that were typed and not sent: who would lose them by leaving is asked before.
import { confirm } from "./ui/dialog.js";

// What is typed to find things, or to ask a question of a page, is typed again in a moment.
const Fields = "textarea, input:not([type]), input[type=text]";
const Questions = "[role=search], [data-question]";

// Each field that was typed into, with what stood in it before.
const typed = new Map();

// What stood in a field before is put into it again by the console; it is as unsent as it was.
export function noteTyped(field, before = "") {
    if (field.matches?.(Fields) && !field.closest(Questions)) {
        typed.has(field) || typed.set(field, before);
        addEventListener("beforeunload", ask);
    }
}

// What is being sent is as good as sent, and what is gone from the page cannot be lost any more.
export function isAnythingUnsent() {
    for (const field of [...typed.keys()]) {
        field.isConnected || typed.delete(field);
    }
    return [...typed].some(([field, before]) => field.value.trim() && field.value !== before && !field.disabled && !field.closest("[aria-busy=true]"));
}

// The host has taken what a form sends.
export function noteSent() {
    [...typed.keys()].filter(field => field.closest("form[aria-busy=true]")).forEach(field => typed.delete(field));
}

// Whether the reader leaves the page: true where nothing would be lost, else a promise of their answer.
export function mayLeave() {
    return !isAnythingUnsent() || confirm("Leave what you were writing?", "It was not sent, and is lost when you leave.", "Leave it").then(leaves => {
        leaves && typed.clear();
        return leaves;
    });
}

// A browser keeps no page that listens for this in its memory, so nobody does while nothing was typed.
function ask(event) {
    if (isAnythingUnsent()) {
        event.preventDefault();
    } else {
        removeEventListener("beforeunload", ask);
    }
}

export function watchDrafts() {
    const before = new WeakMap();
    document.addEventListener("focusin", ({ target }) => before.has(target) || before.set(target, target.value), true);
    document.addEventListener("input", ({ target }) => noteTyped(target, before.get(target)), true);
}
