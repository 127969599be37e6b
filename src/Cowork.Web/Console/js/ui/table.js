// A table whose rows stay where they are while their contents change. The first link of a row is the row's.
import { h, renew, set } from "../dom.js";
import { brief } from "../text.js";

// Of a title.
const TitleChars = 600;

// The element, or the card that it stands in, is put into the page once.
// columns: [{title, show(row) → node or text, …}]; id(row); href(row): where a row leads. choose(row): a click shows the row in this page, which href has the address of.
//   link: has the row's link; name: names the row by something else. Both keep a width that can be read. fill: takes the room that is left.
//   text: gives way to them: it is cut, and its whole is its title. nowrap: stands on one line, and num at its right, and neither is cut.
//   hide: true: not on a telephone; "early": nor beside something else on a small screen.
export function table({ label, columns, id, href, open, choose }) {
    const body = h("tbody");
    const shown = new Map();
    let shownKey = null;
    let order = [];
    let at = -1;
    const element = h("div.table-wrap", { tabindex: "0", role: "region", "aria-label": label }, h("table.table", h("caption.sr", label), h("thead", h("tr", columns.map(column =>
        h("th", { scope: "col", class: classOf(column) }, column.title || h("span.sr", "Actions"))))), body));

    function make(row) {
        const cells = columns.map(column => h("td", { class: classOf(column) }));
        const line = h("tr", cells);
        return { line, cells, text: null, row };
    }

    function fill(entry, row) {
        const text = JSON.stringify(row);
        if (entry.text === text) {
            return;
        }
        entry.text = text;
        entry.row = row;
        columns.forEach((column, i) => {
            const content = column.show(row);
            renew(entry.cells[i], column.link && href ? h("a.row-link", { href: href(row), class: column.cut === false ? "" : "cut", style: { display: "block" } }, content)
                : column.fill || column.name || column.text ? h("div.cut", content) : content);
        });
    }

    // The row that the page shows, whichever the reader is at.
    function markShown({ line, row }) {
        const isShown = shownKey !== null && id(row) === shownKey;
        line.classList.toggle("shown", isShown);
        set(line.querySelector(".row-link") ?? line, "aria-current", isShown ? "true" : null);
    }

    function mark(index) {
        order[at]?.line.classList.remove("at");
        at = index;
        order[at]?.line.classList.add("at");
        return order[at];
    }

    // What is cut says the whole of it where the pointer rests.
    body.addEventListener("pointerover", event => {
        const text = event.target.closest(".cut");
        text && set(text, "title", text.scrollWidth > text.clientWidth ? brief(text.textContent, TitleChars) : null);
    });
    // What has a title lies above the row's link, and leads where it leads.
    const linkBehind = target => target.closest("a, button, input, select, textarea, label, summary") || !getSelection().isCollapsed ? null : target.closest("tr")?.querySelector(".row-link");
    body.addEventListener("click", event => linkBehind(event.target)?.dispatchEvent(new MouseEvent("click", event)));
    body.addEventListener("auxclick", event => {
        const link = event.button === 1 ? linkBehind(event.target) : null;
        link?.href && window.open(link.href, "_blank", "noopener");
    });
    // A row that is opened is the one that the reader is at, also when they come back.
    body.addEventListener("click", event => {
        const link = event.target.closest("a.row-link");
        link && mark(order.findIndex(entry => entry.line.contains(link)));
    });
    choose && body.addEventListener("click", event => {
        const link = event.target.closest("a.row-link");
        if (link && event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
            event.preventDefault();
            choose(order.find(entry => entry.line.contains(link)).row);
        }
    });

    return {
        element,
        label,
        card: h("div.card", element),

        update(rows) {
            const ids = new Set();
            const current = order[at];
            order = rows.map(row => {
                const key = id(row);
                ids.add(key);
                const entry = shown.get(key) ?? make(row);
                shown.set(key, entry);
                fill(entry, row);
                return entry;
            });
            for (const [key, entry] of shown) {
                if (!ids.has(key)) {
                    entry.line.remove();
                    shown.delete(key);
                }
            }
            if (current) {
                // Of a row that is gone, the one that stands in its place comes next.
                const now = order.indexOf(current);
                at = now < 0 ? Math.min(at, order.length) - 1 : now;
            }
            order.forEach((entry, i) => {
                if (body.children[i] !== entry.line) {
                    body.insertBefore(entry.line, body.children[i] ?? null);
                }
                markShown(entry);
            });
        },

        // Of the rows one is shown in the page itself; null: none. j and k begin there.
        shows(key) {
            shownKey = key;
            order.forEach(markShown);
            const i = order.findIndex(entry => entry.line.classList.contains("shown"));
            if (i >= 0 && !body.contains(document.activeElement)) {
                order[at]?.line.classList.remove("at");
                at = i;
            }
        },

        get size() {
            return order.length;
        },

        isAtEnd: step => at >= 0 && at === (step > 0 ? order.length - 1 : 0),

        // Comes in from above, or from below.
        enter(step) {
            mark(-1);
            at = step > 0 ? -1 : order.length;
            this.move(step);
        },

        leave() {
            mark(-1);
        },

        move(step) {
            if (order.length === 0) {
                return;
            }
            const { line } = mark(Math.max(0, Math.min(order.length - 1, at + step)));
            line.querySelector(".row-link")?.focus({ preventScroll: true });
            line.scrollIntoView({ block: "nearest" });
        },

        // Goes to a row by its id, where it is there.
        choose(key) {
            const entry = shown.get(key);
            entry && mark(order.indexOf(entry)).line.querySelector(".row-link")?.focus({ preventScroll: true });
        },

        // The row that j and k are at: {line, row}; undefined: none.
        current: () => order[at],

        open() {
            if (at >= 0 && order[at]) {
                open ? open(order[at].row) : order[at].line.querySelector(".row-link")?.click();
                return true;
            }
            return false;
        },
    };
}

// Tables of one page as one list for j and k, in the order in which they stand. all(): those that are there.
export function inTurn(all) {
    let last = null;
    const here = () => {
        const filled = all().filter(view => view?.size > 0);
        last = filled.find(view => view.element.contains(document.activeElement)) ?? (filled.includes(last) ? last : filled[0]);
        return filled;
    };
    return {
        move(step) {
            const filled = here();
            const next = last?.isAtEnd(step) && filled[filled.indexOf(last) + step];
            if (next) {
                last.leave();
                last = next;
                next.enter(step);
            } else {
                last?.move(step);
            }
        },
        open() {
            here();
            return Boolean(last?.open());
        },
    };
}

function classOf({ num, fill, name, link, cut, text, hide, nowrap, class: own }) {
    return [num && "num", fill && "fill", (name || link) && "name", link && cut === false && "short", hide === "early" ? "early-hide" : hide && "narrow-hide", nowrap && "nowrap", text && "text", own].filter(Boolean).join(" ");
}
