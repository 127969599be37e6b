// A table of things, the newest first, that goes on by a button at its foot. It is kept new as far as it was loaded.
import { h, renew, replace } from "../dom.js";
import { whole } from "../format.js";
import { keepPlace, placeOf } from "../router.js";
import { resource } from "../store.js";
import { fault } from "./empty.js";
import { append, follow, reach, RowsMax } from "./growth.js";

// view: the table(); place: where it stands, or what is said instead; count: where the number of rows is said.
// load(signal): {rows, next} as pages() answers. key: the member of a row that names it.
// matches(): whether a row is to be shown; null: all are. none(hasRows): what is said where no row is; hasRows: the reader's words leave none.
// told(number, goesOn): the number of rows in words. again: what to try where the next page cannot be loaded; undefined: the same page.
// drawn(): called when the rows are others. The rest is resource()'s.
export function growing({ view, place, count, load, key, matches = () => null, none, told, again, drawn, signal, ...rest }) {
    let rows = [];
    let next = null;
    let turn = 0;
    let question = 0;
    // What was asked for when this place of the list was left.
    let back = placeOf(view.label);
    keepPlace(view.label, () => ({ rows: rows.length, at: view.current()?.row[key] }), signal);
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
        drawn?.();
        isLooking && more();
    }

    async function more() {
        if (more.busy || !next) {
            return;
        }
        more.busy = true;
        const asked = question;
        try {
            await follow({ next: () => next, turn: () => turn, take(page) {
                next = page.next;
                append(rows, page.rows, key);
            } });
        } catch (error) {
            if (error.name !== "AbortError") {
                replace(view.card.isConnected ? foot : place, fault(error, again ?? more));
            }
            return;
        } finally {
            more.busy = false;
        }
        asked === question && draw();
    }

    const first = resource({
        ...rest, signal, fail: error => replace(place, fault(error, () => first.refresh()), rows.length > 0 && view.card),
        load: async s => {
            const mine = question;
            const page = await reach(await load(s), key, fresh => mine !== question || fresh.length >= Math.max(rows.length, back?.rows ?? 0));
            return { ...page, question: mine };
        },
        show: page => {
            if (page.question !== question) {
                return;
            }
            turn++;
            ({ rows, next } = page);
            draw();
            if (back) {
                view.choose(back.at);
                scrollTo(0, back.y);
                back = null;
            }
        },
    });
    return {
        draw,
        refresh: first.refresh,
        get rows() {
            return rows;
        },

        // Another question was asked: nothing of the answer before is kept.
        restart() {
            question++;
            turn++;
            rows = [];
            next = null;
            back = null;
            return first.refresh();
        },
    };
}
