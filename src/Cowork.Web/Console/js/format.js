// Figures and times for readers. Times are those of the reader's zone; the title names it, and has UTC.
import { h } from "./dom.js";

const Thin = "\u202f";
// Browsers keep the names that zones had when they were listed first.
const Renamed = {
    "Africa/Asmera": "Africa/Asmara", "America/Buenos_Aires": "America/Argentina/Buenos_Aires", "America/Catamarca": "America/Argentina/Catamarca", "America/Coral_Harbour": "America/Atikokan",
    "America/Cordoba": "America/Argentina/Cordoba", "America/Godthab": "America/Nuuk", "America/Indianapolis": "America/Indiana/Indianapolis", "America/Jujuy": "America/Argentina/Jujuy",
    "America/Louisville": "America/Kentucky/Louisville", "America/Mendoza": "America/Argentina/Mendoza", "Asia/Calcutta": "Asia/Kolkata", "Asia/Katmandu": "Asia/Kathmandu", "Asia/Rangoon": "Asia/Yangon",
    "Asia/Saigon": "Asia/Ho_Chi_Minh", "Atlantic/Faeroe": "Atlantic/Faroe", "Europe/Kiev": "Europe/Kyiv", "Pacific/Enderbury": "Pacific/Kanton", "Pacific/Ponape": "Pacific/Pohnpei", "Pacific/Truk": "Pacific/Chuuk",
};
const own = new Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";
// The reader's.
export const zone = Renamed[own] ?? own;
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

// What stands in the place of a digest that was erased with its text.
export const isErasedDigest = hash => /^0{64}$/.test(hash ?? "");

// Letters, figures, and what stands in addresses.
const Named = /^[\p{L}\p{M}\p{N}@.+_'-]+( [\p{L}\p{M}\p{N}@.+_'-]+)*$/u;
const Latin = /\p{Script=Latin}/u;
const NotLatin = /(?!\p{Script=Latin})\p{L}/u;

// A user or a principal as people know them: user:ann%40example.com is ann@example.com's. Escaped is what a principal does not take; what could pass for another name stays so.
export function personText(name) {
    if (!name?.includes("%")) {
        return name;
    }
    const from = name.indexOf(":") + 1;
    try {
        const text = decodeURIComponent(name.slice(from));
        return Named.test(text) && !(Latin.test(text) && NotLatin.test(text)) ? name.slice(0, from) + text : name;
    } catch {
        return name;
    }
}

// The same as an element, whose title has the name as the log and the API have it.
export function person(name, kind = "code") {
    const text = personText(name);
    return h(kind, text === name ? {} : { title: name }, text ?? "–");
}

// The beginning of a hash.
export function shortHash(hash, length = 6) {
    return isErasedDigest(hash) ? "erased" : (hash ?? "").slice(0, length);
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

// What a time says on hover: with its date, by the reader's clock and by that of records.
export function titleOf(at) {
    return `${inZone(at)}, ${utc(new Date(at))}`;
}

// For paper, which is read on other days and elsewhere: with the year.
export function paperTime(at, { milliseconds = true } = {}) {
    const date = new Date(at);
    return `${year.format(date)} ${two(date, milliseconds)}`;
}

// What the reader's clock is from UTC then: UTC+05:45.
export function offsetOf(at) {
    const minutes = -new Date(at).getTimezoneOffset();
    const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60].map(n => String(n).padStart(2, "0"));
    return `UTC${minutes < 0 ? "−" : "+"}${hours}:${rest}`;
}

export function isToday(at) {
    return new Date(at).toDateString() === new Date().toDateString();
}

// The time as a reader writes it: today without the date, unless others beside it have theirs.
export function timeText(at, { milliseconds = false, dated = !isToday(at) } = {}) {
    const date = new Date(at);
    return dated ? `${(date.getFullYear() === new Date().getFullYear() ? day : year).format(date)} ${two(date, milliseconds)}` : two(date, milliseconds);
}

// today: it is shown without a date, and has one from tomorrow on.
export function time(at, options) {
    return at ? h("time", { datetime: at, title: titleOf(at), class: "nowrap", data: isToday(at) ? { today: "" } : {} }, timeText(at, options)) : h("span.faint", {}, "–");
}

// How long ago, counted on: one timer for all of them.
export function age(at, { prefix = "", suffix = " ago" } = {}) {
    return h("cw-age", { datetime: at, data: { prefix, suffix }, title: titleOf(at), class: "nowrap" });
}

// How long something still takes. prefix and suffix: what stands beside it says "Expires", and this "in 2 h".
export function left(at, { prefix = "", suffix = " left" } = {}) {
    return h("cw-age", { datetime: at, data: { left: "", prefix, suffix }, title: titleOf(at), class: "nowrap" });
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
        const text = left !== undefined ? (at <= now ? "over" : `${prefix}${roughly(at - now)}${suffix}`) : now - at < 1000 ? "now" : `${prefix}${roughly(now - at)}${suffix}`;
        if (this.textContent !== text) {
            this.textContent = text;
        }
    }
}

customElements.define("cw-age", Age);
let shownDay = new Date().toDateString();
setInterval(() => {
    const now = Date.now();
    for (const age of ages) {
        age.tick(now);
    }
    const today = new Date(now).toDateString();
    if (today !== shownDay) {
        shownDay = today;
        for (const shown of document.querySelectorAll("time[data-today]")) {
            shown.textContent = timeText(shown.getAttribute("datetime"), { milliseconds: shown.textContent.includes(".") });
            shown.classList.toggle("dated", shown.classList.contains("at-time"));
            shown.toggleAttribute("data-today", isToday(shown.getAttribute("datetime")));
        }
    }
}, 1000);
