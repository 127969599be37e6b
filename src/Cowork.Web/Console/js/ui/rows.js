// A list of any length in rows of one height, of which only those in sight are built. It is one stop of the Tab key, and j, k, the arrows, Page, Home and End move in it.
import { h } from "../dom.js";
import { whole } from "../format.js";

const Row = 28;
// Browsers lose count past some 33 million pixels.
const HeightMax = 24_000_000;
const Beyond = 12;
// On paper, where all are built.
const PaperMax = 3_000;

class Rows extends HTMLElement {
    #count = 0;
    #render = () => { };
    #rows = new Map();
    #space = h("div.space");
    #at = -1;
    #frame = 0;
    #free = [];
    #paper = null;
    #print = () => this.#toPaper();
    #printed = () => this.#paper?.remove();

    connectedCallback() {
        addEventListener("beforeprint", this.#print);
        addEventListener("afterprint", this.#printed);
    }

    disconnectedCallback() {
        removeEventListener("beforeprint", this.#print);
        removeEventListener("afterprint", this.#printed);
    }

    // count(): how many; render(i, row): fills a row; open(i): Enter or a click; moved(i): another row is chosen; near(first, last): which are in sight.
    setup({ label, render, open, moved, near }) {
        this.#render = render;
        Object.assign(this, { onOpen: open, onMoved: moved, onNear: near });
        this.tabIndex = 0;
        this.setAttribute("role", "listbox");
        this.setAttribute("aria-label", label);
        this.append(this.#space);
        this.addEventListener("scroll", () => this.#schedule(), { passive: true });
        this.addEventListener("keydown", event => this.#key(event));
        this.addEventListener("click", event => {
            const row = event.target.closest(".vrow");
            if (row && !event.target.closest("a, button")) {
                this.choose(Number(row.dataset.index));
                this.onOpen?.(this.#at);
            }
        });
        new ResizeObserver(() => this.#schedule()).observe(this);
        return this;
    }

    get count() {
        return this.#count;
    }

    get at() {
        return this.#at;
    }

    get #scale() {
        return Math.max(1, this.#count * Row / HeightMax);
    }

    // As many rows as there are now. shift: so many came at the begin, and what is in sight stays there.
    update(count, shift = 0) {
        const kept = this.scrollTop > Row / 2 && shift > 0;
        this.#count = count;
        if (this.#at >= 0) {
            this.#at = Math.min(count - 1, this.#at + shift);
        }
        this.#space.style.height = `${Math.min(HeightMax, count * Row)}px`;
        if (kept) {
            this.scrollTop += shift * Row / this.#scale;
        }
        this.#recycle();
        this.#schedule();
    }

    redraw() {
        this.#recycle();
        this.#schedule();
    }

    choose(index, { scroll = true } = {}) {
        if (this.#count === 0) {
            return;
        }
        this.#at = Math.max(0, Math.min(this.#count - 1, index));
        if (scroll) {
            const top = this.#at * Row / this.#scale;
            if (top < this.scrollTop) {
                this.scrollTop = top;
            } else if (top + Row > this.scrollTop + this.clientHeight) {
                this.scrollTop = top + Row - this.clientHeight;
            }
        }
        this.#draw();
        this.onMoved?.(this.#at);
    }

    move(step) {
        this.choose(this.#at < 0 ? Math.floor(this.scrollTop * this.#scale / Row) : this.#at + step);
    }

    open() {
        if (this.#at < 0) {
            return false;
        }
        this.onOpen?.(this.#at);
        return true;
    }

    #key(event) {
        const page = Math.max(1, Math.floor(this.clientHeight / Row) - 1);
        const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page };
        if (event.key in steps) {
            this.move(steps[event.key]);
        } else if (event.key === "Home" || event.key === "End") {
            this.choose(event.key === "Home" ? 0 : this.#count - 1);
        } else if (event.key !== "Enter" || event.target !== this || !this.open()) {
            return;
        }
        event.preventDefault();
    }

    #recycle() {
        for (const row of this.#rows.values()) {
            this.#free.push(row);
        }
        this.#rows.clear();
    }

    // There is nothing to scroll on paper: all of them, one below the other.
    #toPaper() {
        this.#paper?.remove();
        const count = Math.min(PaperMax, this.#count);
        this.#paper = h("div.paper", Array.from({ length: count }, (_, i) => {
            const row = h("div.vrow");
            this.#render(i, row);
            return row;
        }), count < this.#count && h("p.more", `${whole(this.#count - count)} rows more`));
        this.append(this.#paper);
    }

    #schedule() {
        this.#frame ||= requestAnimationFrame(() => this.#draw());
    }

    #draw() {
        cancelAnimationFrame(this.#frame);
        this.#frame = 0;
        const scale = this.#scale;
        const offset = this.scrollTop * scale;
        const first = Math.max(0, Math.floor(offset / Row) - Beyond);
        const last = Math.min(this.#count - 1, Math.ceil((offset + this.clientHeight) / Row) + Beyond);
        for (const [index, row] of this.#rows) {
            if (index < first || index > last) {
                this.#rows.delete(index);
                this.#free.push(row);
            }
        }
        for (let i = first; i <= last; i++) {
            let row = this.#rows.get(i);
            if (!row) {
                row = this.#free.pop() ?? this.appendChild(h("div.vrow", { role: "option", id: `${this.id || "rows"}-${++made}` }));
                row.replaceChildren();
                row.dataset.index = i;
                row.setAttribute("aria-setsize", this.#count);
                row.setAttribute("aria-posinset", i + 1);
                this.#render(i, row);
                this.#rows.set(i, row);
            }
            row.style.transform = `translateY(${Math.round(i * Row - offset + this.scrollTop)}px)`;
            row.classList.toggle("at", i === this.#at);
            row.setAttribute("aria-selected", i === this.#at);
        }
        for (const row of this.#free.splice(0)) {
            row.remove();
        }
        const chosen = this.#rows.get(this.#at);
        if (chosen) {
            this.setAttribute("aria-activedescendant", chosen.id);
        } else {
            this.removeAttribute("aria-activedescendant");
        }
        this.onNear?.(Math.floor(offset / Row), Math.min(this.#count - 1, Math.floor((offset + this.clientHeight) / Row)));
    }
}

let made = 0;
customElements.define("cw-rows", Rows);

export function rows(options) {
    return h("cw-rows").setup(options);
}
