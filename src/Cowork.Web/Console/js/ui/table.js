// A table whose rows stay where they are while their contents change. The first link of a row is the row's.
import { h, renew } from "../dom.js";

// The element, or the card that it stands in, is put into the page once.
// columns: [{title, show(row) → node or text, num, fill, hide (below 760 px)}]; id(row); href(row): where a row leads. choose(row): a click shows the row in this page, which
// href has the address of.
export function table({ label, columns, id, href, open, choose }) {
    const body = h("tbody");
    const shown = new Map();
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
                : column.fill ? h("div.cut", content) : content);
        });
    }

    function mark(index) {
        order[at]?.line.classList.remove("at");
        at = index;
        order[at]?.line.classList.add("at");
        return order[at];
    }

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
            });
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

function classOf(column) {
    return [column.num ? "num" : "", column.fill ? "fill" : "", column.hide ? "narrow-hide" : "", column.nowrap ? "nowrap" : "", column.class ?? ""].filter(Boolean).join(" ");
}
