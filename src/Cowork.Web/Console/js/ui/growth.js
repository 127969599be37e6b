// A list that grows at its end while its begin is kept new: no row is left out between two others, and none stays that is not so any more.

export const RowsMax = 5_000;
// Of a page that has again what is here: hosts give so many.
const AgainRows = 200;

// A fresh first page, and what is behind it until isEnough(rows) says that it reaches far enough. A row that moved between two pages is there once.
export async function reach(page, key, isEnough) {
    const rows = [...page.rows];
    let { next } = page;
    while (next && rows.length < RowsMax && !isEnough(rows)) {
        const more = await next(AgainRows);
        append(rows, more.rows, key);
        next = more.next;
    }
    return { rows, next };
}

// Takes the page that follows. Where the list came anew meanwhile, or is another one, the page that was asked for does not follow it, and that of the new one is asked for.
// next(): asks for the page; null: there is none. turn(): another number whenever the list came anew.
export async function follow({ next, turn, take }) {
    for (let mine = -1; next() && mine !== turn();) {
        mine = turn();
        const page = await next()();
        mine === turn() && take(page);
    }
}

// Rows of a further page.
export function append(rows, more, key) {
    const known = new Set(rows.map(row => row[key]));
    rows.push(...more.filter(row => !known.has(row[key])));
}
