// The keyboard. A page says what its own keys do; lists hear j, k and Enter.
import { h } from "./dom.js";
import { dialog } from "./ui/dialog.js";

const always = [
    { keys: ["/"], does: "Search or filter" },
    { keys: ["Ctrl", "k"], does: "Search everything" },
    { keys: ["j", "k"], does: "Next, previous row" },
    { keys: ["↵"], does: "Open the row" },
    { keys: ["g", "…"], does: "Go to a page" },
    { keys: ["t"], does: "Light or dark" },
    { keys: ["?"], does: "This list" },
];

let own = [];
let lists = [];
let offered = () => [];
let after = 0;
// What is typed while the search comes; null: it does not come.
let early = null;

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
    offered = all;
    document.addEventListener("keydown", event => {
        // At the door nothing is done in a page that waits behind it.
        if (document.querySelector("main.door")) {
            return;
        }
        if (early !== null) {
            early += event.key.length === 1 ? event.key : "";
            event.preventDefault();
            return;
        }
        if ((event.ctrlKey || event.metaKey) && event.key === "k" && !document.querySelector("dialog[open]")) {
            search();
            event.preventDefault();
            return;
        }
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
        const page = offered().find(page => page.key === key);
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
            // A page without a field of its own has the search over everything.
            const field = document.querySelector("[data-search]");
            if (field) {
                field.focus();
                field.select?.();
            } else {
                search();
            }
            return true;
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

// Keys that go from version to version, for pageKeys(). versions(): all, the newest first; at(): the one that is shown; choose(version): shows another.
export function versionKeys(versions, at, choose) {
    const step = by => {
        const all = versions();
        const next = all[Math.max(0, Math.min(all.length - 1, all.findIndex(row => row.version === at()) + by))];
        next && choose(next.version);
    };
    return [{ key: "[", does: "The version before", run: () => step(1) }, { key: "]", does: "The next version", run: () => step(-1) }];
}

// The search over everything.
export async function search() {
    early = "";
    try {
        const { palette } = await import("./ui/palette.js");
        palette(offered().filter(page => page.key), early);
    } finally {
        early = null;
    }
}

function help() {
    const row = (keys, does) => [h("dt", keys.map(key => h("kbd", key))), h("dd", does)];
    dialog("Keys", h("dl.keys", [
        always.map(entry => row(entry.keys, entry.does)),
        own.map(entry => row([entry.key], entry.does)),
        offered().filter(page => page.key).map(page => row(["g", page.key], page.title)),
    ]));
}
