// Figures and times for readers. Times are those of the reader's zone; the title has UTC.
import { h } from "./dom.js";

const Thin = "\u202f";
const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone;
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const year = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const full = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });

export function whole(n) {
    return n === null || n === undefined ? "–" : Math.trunc(n).toString().replace(/\B(?=(\d{3})+$)/g, Thin);
}

export function duration(ms) {
    if (ms === null || ms === undefined || Number.isNaN(ms)) {
        return "–";
    }
    const s = ms / 1000;
    return ms < 1000 ? `${Math.round(ms)} ms`
        : s < 10 ? `${s.toFixed(2)} s`
        : s < 60 ? `${s.toFixed(1)} s`
        : s < 3600 ? `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`
        : s < 86400 ? `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`
        : `${Math.floor(s / 86400)} d ${Math.floor(s % 86400 / 3600)} h`;
}

// One unit: 51 min.
export function roughly(ms) {
    const s = Math.max(0, ms) / 1000;
    return s < 1 ? "now" : s < 60 ? `${Math.floor(s)} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 86400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
}

export function cost(usd) {
    return usd === null || usd === undefined ? "–" : usd === 0 ? "$0" : usd < 1 ? `$${usd.toFixed(4)}` : usd < 1000 ? `$${usd.toFixed(2)}` : `$${whole(usd)}`;
}

export function percent(part) {
    return part === null || part === undefined ? "–" : `${(part * 100).toFixed(part > .995 && part < 1 ? 2 : part === 1 || part === 0 ? 0 : 1)} %`;
}

export function bytes(n) {
    if (n === null || n === undefined) {
        return "–";
    }
    let unit = 0;
    while (n >= 1024 && unit < 4) {
        n /= 1024;
        unit++;
    }
    return `${unit === 0 ? n : n.toFixed(n < 10 ? 1 : 0)} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}

// "appr_01m8…g0" is longer than a row; the end of an id is what differs.
export function shortId(id) {
    return id && id.length > 16 ? `${id.slice(0, id.indexOf("_") + 1)}…${id.slice(-6)}` : id ?? "–";
}

// The beginning of a hash.
export function shortHash(hash, length = 6) {
    return (hash ?? "").slice(0, length);
}

function two(date, milliseconds) {
    return clock.format(date) + (milliseconds ? `.${String(date.getMilliseconds()).padStart(3, "0")}` : "");
}

export function utc(date) {
    return date.toISOString().replace("T", " ").replace("Z", " UTC");
}

export function inZone(at) {
    return `${full.format(new Date(at))} (${zone})`;
}

// The time as a reader writes it: today without the date.
export function timeText(at, { milliseconds = false } = {}) {
    const date = new Date(at);
    const now = new Date();
    return date.toDateString() === now.toDateString() ? two(date, milliseconds)
        : `${(date.getFullYear() === now.getFullYear() ? day : year).format(date)} ${two(date, milliseconds)}`;
}

export function time(at, options) {
    return at ? h("time", { datetime: at, title: utc(new Date(at)), class: "nowrap" }, timeText(at, options)) : h("span.faint", {}, "–");
}

// How long ago, counted on: one timer for all of them.
export function age(at, { prefix = "", suffix = " ago" } = {}) {
    return h("cw-age", { datetime: at, data: { prefix, suffix }, title: `${inZone(at)}, ${utc(new Date(at))}`, class: "nowrap" });
}

// How long something still takes. suffix: " left" unless what stands beside it says so.
export function left(at, { suffix = " left" } = {}) {
    return h("cw-age", { datetime: at, data: { left: "", suffix }, title: `${inZone(at)}, ${utc(new Date(at))}`, class: "nowrap" });
}

const ages = new Set();

class Age extends HTMLElement {
    connectedCallback() {
        ages.add(this);
        this.tick(Date.now());
    }

    disconnectedCallback() {
        ages.delete(this);
    }

    tick(now) {
        const at = Date.parse(this.getAttribute("datetime"));
        const { prefix, suffix, left } = this.dataset;
        const text = left !== undefined ? (at <= now ? "over" : `${roughly(at - now)}${suffix}`) : now - at < 1000 ? "now" : `${prefix}${roughly(now - at)}${suffix}`;
        if (this.textContent !== text) {
            this.textContent = text;
        }
    }
}

customElements.define("cw-age", Age);
setInterval(() => {
    const now = Date.now();
    for (const age of ages) {
        age.tick(now);
    }
}, 1000);
