// A table of things, the newest first, that goes on by a button at its foot. Its first page is kept new; what was loaded behind it stays.
import { h, renew, replace } from "../dom.js";
import { whole } from "../format.js";
import { resource } from "../store.js";
import { fault } from "./empty.js";

const RowsMax = 5_000;

// view: the table(); place: where it stands, or what is said instead; count: where the number of rows is said.
// load(signal): {rows, next} as pages() answers. key, at: the members of a row that name it and that it is sorted by.
// matches(): whether a row is to be shown; null: all are. none(hasRows): what is said where no row is; hasRows: the reader's words leave none.
// told(number, goesOn): the number of rows in words. again: what to try where the next page cannot be loaded; undefined: the same page.
// The rest is resource()'s.
export function growing({ view, place, count, load, key, at = "created_at", matches = () => null, none, told, again, signal, ...rest }) {
    let rows = [];
    let next = null;
    let turn = 0;
    const foot = h("div.more");
    view.card.append(foot);

    function draw() {
        const isShown = matches();
        const shown = isShown ? rows.filter(isShown) : rows;
        view.update(shown);
        replace(count, rows.length === 0 ? "" : told?.(rows.length, next !== null) ?? (next ? `the newest ${whole(rows.length)}` : whole(rows.length)));
        renew(foot, h("button.quiet", { type: "button", on: { click: more } }, "More"));
        foot.classList.toggle("hidden", !next);
        // What is looked for may be on a page that is not here yet.
        const isLooking = shown.length === 0 && next !== null && rows.length < RowsMax;
        replace(place, shown.length > 0 ? view.card : h("div.card", isLooking ? h("p.pad.muted", rows.length > 0 && `Not among the newest ${whole(rows.length)}. `, "Looking further…")
            : none(rows.length > 0)));
        isLooking && more();
    }

    async function more() {
        if (more.busy || !next) {
            return;
        }
        more.busy = true;
        try {
            const mine = turn;
            const page = await next();
            // Another question may have been asked meanwhile.
            if (mine === turn) {
                const known = new Set(rows.map(row => row[key]));
                next = page.next;
                rows.push(...page.rows.filter(row => !known.has(row[key])));
            }
        } catch (error) {
            if (error.name !== "AbortError") {
                replace(view.card.isConnected ? foot : place, fault(error, again ?? more));
            }
            return;
        } finally {
            more.busy = false;
        }
        draw();
    }

    const first = resource({
        ...rest, load, signal, fail: error => replace(place, fault(error, () => first.refresh())),
        show: page => {
            const fresh = new Set(page.rows.map(row => row[key]));
            const oldest = page.rows.at(-1)?.[at] ?? "";
            // Behind the last page there is nothing: what is not in it is gone.
            const kept = page.next ? rows.filter(row => !fresh.has(row[key]) && row[at] < oldest) : [];
            next = kept.length === 0 ? page.next : next;
            rows = [...page.rows, ...kept].slice(0, RowsMax);
            draw();
        },
    });
    return {
        draw,
        refresh: first.refresh,

        // Another question was asked: nothing of the answer before is kept.
        restart() {
            turn++;
            rows = [];
            next = null;
            return first.refresh();
        },
    };
}
