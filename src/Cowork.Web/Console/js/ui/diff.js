// Two texts, line by line. Lines that are only in one of them have a sign as well as a colour.
import { h } from "../dom.js";
import { whole } from "../format.js";

// Past so many lines that differ the middle is one block: who reads it needs no shortest path.
const StepsMax = 2_000;
const Around = 3;
const LineMax = 2_000;
const LinesShown = 1_500;

// [{sign: " ", "-" or "+", text}], by the greedy algorithm of Myers (1986).
export function diffLines(before, after) {
    const [a, b] = [split(before), split(after)];
    let [start, endA, endB] = [0, a.length, b.length];
    while (start < endA && start < endB && a[start] === b[start]) {
        start++;
    }
    while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) {
        endA--;
        endB--;
    }
    const same = lines => lines.map(text => ({ sign: " ", text }));
    return [...same(a.slice(0, start)), ...middle(a.slice(start, endA), b.slice(start, endB)), ...same(a.slice(endA))];
}

function split(text) {
    return text === "" ? [] : text.replaceAll("\r\n", "\n").replace(/\n$/, "").split("\n");
}

function middle(a, b) {
    const all = () => [...a.map(text => ({ sign: "-", text })), ...b.map(text => ({ sign: "+", text }))];
    const max = a.length + b.length;
    if (a.length === 0 || b.length === 0) {
        return all();
    }
    const trace = [];
    let ends = new Map([[1, 0]]);
    for (let d = 0; d <= max; d++) {
        if (d > StepsMax) {
            return all();
        }
        trace.push(new Map(ends));
        for (let k = -d; k <= d; k += 2) {
            let x = k === -d || (k !== d && (ends.get(k - 1) ?? -1) < (ends.get(k + 1) ?? -1)) ? ends.get(k + 1) ?? 0 : (ends.get(k - 1) ?? 0) + 1;
            while (x < a.length && x - k < b.length && a[x] === b[x - k]) {
                x++;
            }
            ends.set(k, x);
            if (x >= a.length && x - k >= b.length) {
                return back(trace, a, b);
            }
        }
    }
    return all();
}

function back(trace, a, b) {
    const lines = [];
    let [x, y] = [a.length, b.length];
    for (let d = trace.length - 1; d >= 0; d--) {
        const ends = trace[d];
        const k = x - y;
        const before = k === -d || (k !== d && (ends.get(k - 1) ?? -1) < (ends.get(k + 1) ?? -1)) ? k + 1 : k - 1;
        const [fromX, fromY] = d === 0 ? [0, 0] : [ends.get(before) ?? 0, (ends.get(before) ?? 0) - before];
        while (x > fromX && y > fromY) {
            lines.push({ sign: " ", text: a[--x] });
            y--;
        }
        if (d > 0) {
            lines.push(x > fromX ? { sign: "-", text: a[--x] } : { sign: "+", text: b[--y] });
        }
    }
    return lines.reverse();
}

// What differs, with some lines around it; the rest is folded.
export function diff(before, after, label = "What would change") {
    const lines = diffLines(before, after);
    const near = new Set();
    lines.forEach((line, i) => {
        for (let j = i - Around; line.sign !== " " && j <= i + Around; j++) {
            near.add(j);
        }
    });
    const out = [];
    for (let i = 0; i < lines.length;) {
        if (out.length >= LinesShown) {
            out.push(h("div.diff-line.faint", `⋯ ${whole(lines.length - i)} lines more`));
            break;
        }
        if (near.has(i)) {
            const { sign, text } = lines[i++];
            out.push(h("div.diff-line", { class: sign === "+" ? "added" : sign === "-" ? "gone" : "" },
                h("span.diff-sign", { "aria-hidden": "true" }, sign), sign !== " " && h("span.sr", sign === "+" ? "added: " : "gone: "),
                text.length > LineMax ? [text.slice(0, LineMax), h("span.faint", ` … ${whole(text.length - LineMax)} characters more`)] : text));
        } else {
            const from = i;
            while (i < lines.length && !near.has(i)) {
                i++;
            }
            out.push(h("div.diff-line.faint", `⋯ ${whole(i - from)} ${i - from === 1 ? "line" : "lines"} as before`));
        }
    }
    const count = sign => lines.filter(line => line.sign === sign).length;
    // Lines are compared without their ends.
    const others = before !== after && !lines.some(line => line.sign !== " ") && ": only ends of lines differ";
    return h("div", h("p.small.muted", `${whole(count("+"))} added, ${whole(count("-"))} gone`, others), h("div.code.diff", { tabindex: "0", role: "group", "aria-label": label }, out));
}
