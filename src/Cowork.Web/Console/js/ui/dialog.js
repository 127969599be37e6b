// A modal dialog of the browser's own: it keeps the focus, and Escape closes it.
import { h, idOf } from "../dom.js";
import { go } from "../router.js";

export function dialog(title, content, actions = []) {
    const id = idOf("dialog");
    // A press beside it closes it. One that begins in it and ends there does not: so a text is selected to its end.
    let isBegunBeside = false;
    const isBeside = ({ target, clientX: x, clientY: y }) => {
        const { left, right, top, bottom } = box.getBoundingClientRect();
        return target === box && (x < left || x > right || y < top || y > bottom);
    };
    const box = h("dialog", { "aria-labelledby": id, on: {
        close: () => box.remove(), pointerdown: event => isBegunBeside = isBeside(event), click: event => isBegunBeside && isBeside(event) && box.close(),
    } },
        h("h2", { id }, title), content, h("div.actions", actions, h("button", { type: "button", on: { click: () => box.close() } }, "Close")));
    document.body.append(box);
    box.showModal();
    return box;
}

// Closes the dialog and goes on from it, if it leads anywhere; whose reader has closed or left it meanwhile stays where they are.
export function leaveFor(box, href) {
    const isThere = box.open && box.isConnected;
    box.close();
    isThere && href && go(href);
}

// Asks before something that cannot be undone. Answers true or false.
export function confirm(title, text, word) {
    return new Promise(resolve => {
        const box = dialog(title, h("p", text), h("button.danger", { type: "button", on: { click: () => { resolve(true); box.close(); } } }, word));
        box.addEventListener("close", () => resolve(false));
    });
}
