// The keyboard. A page says what its own keys do; lists hear j, k and Enter.
import { h } from "./dom.js";
import { dialog } from "./ui/dialog.js";

const always = [
    { keys: ["/"], does: "Search or filter" },
    { keys: ["j", "k"], does: "Next, previous row" },
    { keys: ["↵"], does: "Open the row" },
    { keys: ["g", "…"], does: "Go to a page" },
    { keys: ["t"], does: "Light or dark" },
    { keys: ["?"], does: "This list" },
];

let own = [];
let lists = [];
let pages = [];
let after = 0;

// Keys of the page that is shown: [{key, does, run}]. They end with the signal.
export function pageKeys(entries, signal) {
    own.push(...entries);
    signal.addEventListener("abort", () => own = own.filter(entry => !entries.includes(entry)), { once: true });
}

// A list with move(step) and open(): the last one that was added hears the keys.
export function listKeys(list, signal) {
    lists.push(list);
    signal.addEventListener("abort", () => lists = lists.filter(other => other !== list), { once: true });
}

export function startKeys({ all, go, theme }) {
    pages = all.filter(page => page.key);
    document.addEventListener("keydown", event => {
        if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector("dialog[open]")) {
            return;
        }
        const typing = event.target.closest?.("input:not([type=range]):not([type=checkbox]), textarea, select");
        if (typing) {
            if (event.key === "Escape") {
                typing.blur();
            }
            return;
        }
        if (handle(event, go, theme)) {
            event.preventDefault();
        }
    });
}

function handle(event, go, theme) {
    const { key } = event;
    if (Date.now() < after) {
        after = 0;
        const page = pages.find(page => page.key === key);
        if (page) {
            go(page.path);
        }
        return Boolean(page);
    }
    const mine = own.findLast(entry => entry.key === key);
    if (mine) {
        mine.run(event);
        return true;
    }
    const list = lists.at(-1);
    switch (key) {
        case "g":
            after = Date.now() + 1_500;
            return true;
        case "/": {
            const field = document.querySelector("[data-search]");
            field?.focus();
            field?.select?.();
            return Boolean(field);
        }
        case "j":
        case "k":
            list?.move(key === "j" ? 1 : -1);
            return Boolean(list);
        case "Enter":
            return event.target === document.body || event.target.closest?.("main") === event.target ? Boolean(list?.open?.()) : false;
        case "t":
            theme();
            return true;
        case "?":
            help();
            return true;
        default:
            return false;
    }
}

function help() {
    const row = (keys, does) => [h("dt", keys.map(key => h("kbd", key))), h("dd", does)];
    dialog("Keys", h("dl.keys", [
        always.map(entry => row(entry.keys, entry.does)),
        own.map(entry => row([entry.key], entry.does)),
        pages.map(page => row(["g", page.key], page.title)),
    ]));
}
