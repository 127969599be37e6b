// Charts, drawn here: bars, lines, and the axis of a waterfall. Each has its figures as a text for who does not see it.
import { h, svg } from "../dom.js";

// Round steps of a time axis, in ms.
const Steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 144e5, 216e5, 432e5, 864e5];

export function ticks(span, about) {
    const step = Steps.find(step => span / step <= about) ?? Math.ceil(span / about / 864e5) * 864e5;
    return Array.from({ length: Math.floor(span / step) + 1 }, (_, i) => i * step);
}

export function niceMax(value) {
    if (!(value > 0)) {
        return 1;
    }
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 2.5, 5, 10].map(n => n * power).find(n => n >= value);
}

// Draws anew when its width changes, so that texts and lines keep their size.
class Chart extends HTMLElement {
    draw(make) {
        this.make = make;
        // Not within the observation, which would have to be made once more.
        this.observer ??= new ResizeObserver(() => requestAnimationFrame(() => this.redraw()));
        this.observer.observe(this);
        this.redraw();
        return this;
    }

    // At once: nobody sees the place empty, and its size is known when others are laid out.
    connectedCallback() {
        this.make && this.redraw();
    }

    // Which of its points has the focus; set before it is drawn: which is to have it.
    get focusAt() {
        return [...this.querySelectorAll("a.point")].indexOf(document.activeElement);
    }

    set focusAt(at) {
        this.wanted = at;
    }

    redraw() {
        const width = Math.round(this.clientWidth);
        if (width > 0 && (width !== this.drawn || this.made !== this.make)) {
            const at = this.wanted ?? this.focusAt;
            [this.drawn, this.made, this.wanted] = [width, this.make, undefined];
            this.replaceChildren(this.make(width));
            this.querySelectorAll("a.point")[at]?.focus({ preventScroll: true });
        }
    }
}

customElements.define("cw-chart", Chart);

const chart = make => h("cw-chart").draw(make);
const [Bottom, Top] = [20, 18];
// So many points from one label to the next, and so many pixels at least.
const LabelEvery = [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 24, 30, 60, 120, 180, 360];
const LabelWidth = 72;
const LabelHalf = 20;
// Half of the piece of a line that a value without neighbours is.
const AloneHalf = 7;

// The labels below a chart. first: the number of the first point in its day, so that labels stand at round times.
function axis(labels, x, width, height, first) {
    const least = LabelWidth / (width / Math.max(1, labels.length));
    const every = LabelEvery.find(n => n >= least) ?? Math.ceil(least);
    return labels.map((text, i) => (first + i) % every === 0 && svg("text", {
        x: x(i) < LabelHalf ? 0 : Math.min(x(i), width), y: height - 4, "text-anchor": x(i) < LabelHalf ? "start" : x(i) > width - LabelHalf ? "end" : "middle",
    }, text));
}

// The points of a chart are one stop of the Tab key; the arrows, Home and End lead from one to the next.
function arrows(links) {
    links.forEach((link, i) => {
        link.setAttribute("tabindex", i === links.length - 1 ? "0" : "-1");
        link.addEventListener("keydown", event => {
            const to = { ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: links.length - 1 }[event.key];
            if (links[to]) {
                link.setAttribute("tabindex", "-1");
                links[to].setAttribute("tabindex", "0");
                links[to].focus();
                event.preventDefault();
            }
        });
    });
}

function frame(width, height, max, format, attributes, ...shapes) {
    return svg("svg.chart", { viewBox: `0 0 ${width} ${height}`, width, height, ...attributes },
        svg("line.axis", { x1: 0, x2: width, y1: height - Bottom, y2: height - Bottom }), svg("line.axis", { x1: 0, x2: width, y1: Top, y2: Top }),
        max > 0 && svg("text", { x: width, y: Top - 5, "text-anchor": "end" }, format(max)), shapes);
}

// Stacked bars. points: [{label, tick, values: {kind: n}}]; kinds: [[kind, word]], from the bottom; href(point): where a bar leads.
export function bars({ label, points, kinds, height = 120, format = String, href, first = 0 }) {
    const total = point => kinds.reduce((sum, [kind]) => sum + (point.values[kind] ?? 0), 0);
    const greatest = Math.max(0, ...points.map(total));
    const max = greatest > 0 ? niceMax(greatest) : 0;
    return chart(width => {
        const slot = width / Math.max(1, points.length);
        const breadth = Math.min(18, Math.max(1, slot * .62));
        const links = [];
        const shapes = points.map((point, i) => {
            let y = height - Bottom;
            const middle = i * slot + slot / 2;
            const parts = kinds.map(([kind]) => {
                const size = (point.values[kind] ?? 0) / (max || 1) * (height - Bottom - Top);
                y -= size;
                return size > 0 && svg("rect", { class: `fill-${kind}`, x: middle - breadth / 2, y, width: breadth, height: Math.max(1, size - 1) });
            });
            const text = `${point.label}: ${kinds.map(([kind, word]) => `${word} ${format(point.values[kind] ?? 0)}`).join(", ")}`;
            const isLink = href && total(point) > 0;
            const shape = svg(isLink ? "a.point" : "g", isLink ? { href: href(point), "aria-label": text } : {},
                svg("title", text), svg("rect.slot", { x: i * slot, y: Top, width: slot, height: height - Bottom - Top }), parts);
            isLink && links.push(shape);
            return shape;
        });
        arrows(links);
        return frame(width, height, max, format, { role: href ? "group" : "img", "aria-label": `${label}. The greatest is ${format(greatest)}.` },
            shapes, axis(points.map(point => point.tick ?? point.label), i => i * slot + slot / 2, width, height, first));
    });
}

// Lines. series: [{kind, word, values: [n or null], dash}]; labels: one for each value; texts: of each value, for who points at it; href(i): where it leads.
export function lines({ label, series, labels, texts = labels, height = 120, format = String, max: given, href, first = 0 }) {
    const greatest = Math.max(0, ...series.flatMap(s => s.values.filter(v => v !== null)));
    const max = given ?? (greatest > 0 ? niceMax(greatest) : 0);
    return chart(width => {
        const slot = width / Math.max(1, labels.length);
        const x = i => i * slot + slot / 2;
        const y = v => height - Bottom - v / (max || 1) * (height - Bottom - Top);
        const path = values => values.map((v, i) => v === null ? "" : `${i === 0 || values[i - 1] === null ? "M" : "L"}${x(i).toFixed(1)} ${y(v).toFixed(1)}`).join("");
        const links = [];
        const points = labels.map((_, i) => {
            const there = series.filter(s => s.values[i] !== null);
            if (there.length === 0) {
                return null;
            }
            const text = `${texts[i]}: ${there.map(s => `${s.word} ${format(s.values[i])}`).join(", ")}`;
            // A value without neighbours has no line: a piece of one, by which it is known, stands there.
            const isAlone = s => (s.values[i - 1] ?? null) === null && (s.values[i + 1] ?? null) === null;
            const shape = svg(href ? "a.point" : "g.point", href ? { href: href(i), "aria-label": text } : {}, svg("title", text),
                svg("rect.slot", { x: i * slot, y: Top, width: slot, height: height - Bottom - Top }),
                there.map(s => [svg("circle", { class: `fill-${s.kind}`, cx: x(i), cy: y(s.values[i]), r: 2.5 }),
                    isAlone(s) && svg("path", { class: `stroke-${s.kind}`, d: `M${x(i) - AloneHalf} ${y(s.values[i])}h${2 * AloneHalf}`, "stroke-width": 2, "stroke-dasharray": s.dash })]));
            links.push(shape);
            return shape;
        });
        href && arrows(links);
        return frame(width, height, max, format, { role: href ? "group" : "img", "aria-label": label },
            series.map(({ kind, word, values, dash }) => svg("path", { class: `stroke-${kind}`, d: path(values), fill: "none", "stroke-width": 1.5, "stroke-dasharray": dash, "stroke-linejoin": "round" },
                svg("title", word))),
            points, axis(labels, x, width, height, first));
    });
}

export function sparkline(values, kind = "model", label = "") {
    const max = Math.max(1e-9, ...values);
    const d = values.map((v, i) => `${i ? "L" : "M"}${(i * 100 / Math.max(1, values.length - 1)).toFixed(1)} ${(19 - v / max * 18).toFixed(1)}`).join("");
    return svg("svg.chart", { viewBox: "0 0 100 20", width: 100, height: 20, role: "img", "aria-label": label }, svg("path", { class: `stroke-${kind}`, fill: "none", "stroke-width": 1.2, d }));
}

// kinds: [[kind, word]]; mark(kind): its shape (ui/badge.js).
export function legend(kinds, mark) {
    return h("ul.legend", kinds.map(([kind, word]) => h("li", mark(kind), word)));
}
