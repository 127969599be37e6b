// Calls of this host's API. Whatever the console shows comes from here, and is there for every client.
import { read } from "./exact.js";

// The host's address, with the prefix of a proxy: the document's base leads to /console/.
export const root = new URL("../", document.baseURI);

// What a browser keeps it keeps by the name of a host, which several hosts may share, behind prefixes of a proxy.
export const ownName = name => root.pathname === "/" ? name : `${name} ${root.pathname}`;

export class ApiError extends Error {
    // places: what is wrong where in what was sent, [["$.rules[0].reason", "It must be a text."], …].
    constructor(status, code, detail, retryAfter, places = []) {
        super(detail);
        this.name = "ApiError";
        this.status = status;
        this.code = code;
        this.retryAfter = retryAfter;
        this.places = places;
    }

    // The host cannot be reached, or a proxy says so for it.
    get isAway() {
        return [0, 502, 503, 504].includes(this.status);
    }
}

// So long a press that says the same again is taken for the same wish, where no answer came to the first.
const WishKept = 600_000;

let token = null;
let onRefused = async () => { };
let onForbidden = () => { };
let onSent = () => { };
// Pending: who sits there is signed in again, or somebody else is.
let returning = null;
// What is under way, by what it says; and, by where it was sent, what was sent and not answered.
const underWay = new Map();
const unanswered = new Map();

export const session = {
    get token() {
        return token;
    },
    set token(value) {
        token = value;
    },
    // What is called when the host says that the token is worth nothing. Answers "renewed" (by itself), "back" (the same person signed in), or "other".
    set onRefused(call) {
        onRefused = call;
    },
    // What is called when the host says that the token is not for this.
    set onForbidden(call) {
        onForbidden = call;
    },
    // What is called when the host has taken what was sent.
    set onSent(call) {
        onSent = call;
    },
};

export function address(path, query) {
    const url = new URL(path.replace(/^\//, ""), root);
    for (const [name, given] of Object.entries(query ?? {})) {
        const value = Array.isArray(given) ? given.join(",") : given;
        if (value !== null && value !== undefined && value !== "") {
            url.searchParams.set(name, value);
        }
    }
    return url;
}

// /runs/{id}: each part escaped.
export function path(strings, ...values) {
    return strings.reduce((whole, part, i) => whole + part + (i < values.length ? encodeURIComponent(values[i]) : ""), "");
}

// form: a FormData that is sent instead of a body in JSON. atDoor: by who signs in, while everything else waits for that.
// What writes is sent once, however often it is asked for while it is under way; and with the key of before where that was not answered, so that the host does it once.
export async function call(method, where, options = {}) {
    if (method === "GET" || options.signal) {
        return send(method, where, options);
    }
    const said = saidBy(method, where, options);
    const asked = underWay.get(said) ?? send(method, where, options).finally(() => underWay.delete(said));
    underWay.set(said, asked);
    const response = await asked;
    onSent();
    return response.clone();
}

async function send(method, where, { query, body, form, signal, headers, key, atDoor = false }) {
    const place = `${method} ${address(where, query).pathname}`;
    const said = saidBy(method, where, { query, body, form, key });
    const sent = { accept: "application/json", ...headers };
    if (body !== undefined) {
        sent["content-type"] = "application/json";
    }
    if (method === "POST" || method === "PATCH") {
        const before = unanswered.get(place);
        sent["idempotency-key"] = key ?? (before?.said === said && Date.now() - before.at < WishKept ? before.key : newKey());
    }
    const wish = () => sent["idempotency-key"] && unanswered.set(place, { said, key: sent["idempotency-key"], at: Date.now() });
    for (let isAgain = false; ; isAgain = true) {
        if (!atDoor && await returning === "other") {
            throw new DOMException("Somebody else is signed in.", "AbortError");
        }
        const by = token;
        if (by) {
            sent.authorization = `Bearer ${by}`;
        }
        let response;
        try {
            const bytes = form ?? (body === undefined ? undefined : JSON.stringify(body));
            response = await fetch(address(where, query), { method, headers: sent, body: bytes, signal, credentials: "omit", cache: "no-store" });
        } catch (error) {
            if (error.name === "AbortError") {
                throw error;
            }
            wish();
            throw new ApiError(0, "unreachable", "The host does not answer.");
        }
        if (response.ok) {
            unanswered.delete(place);
            return response;
        }
        const failed = await problemOf(response);
        unanswered.delete(place);
        if (failed.isAway || failed.code === "idempotency_in_flight") {
            wish();
        }
        if (response.status === 403) {
            onForbidden();
        }
        if (response.status !== 401 || atDoor) {
            throw failed;
        }
        const how = by !== token ? "renewed" : await (returning ??= onRefused(failed).finally(() => returning = null));
        // What reads goes on; what writes does so where nobody was asked in between.
        if (isAgain || !(how === "renewed" || (how === "back" && method === "GET"))) {
            throw how === "other" ? new DOMException("Somebody else is signed in.", "AbortError")
                : how === "back" ? new ApiError(401, "signed_in_again", "You are signed in again. This was not sent: press once more.") : failed;
        }
    }
}

function saidBy(method, where, { query, body, form, key = "" }) {
    const parts = form && [...form].map(([name, value]) => [name, value instanceof File ? [value.name, value.size, value.lastModified] : value]);
    return `${method} ${address(where, query)} ${key} ${JSON.stringify(parts ?? body ?? null)}`;
}

async function problemOf(response) {
    const problem = await response.json().catch(() => null) ?? {};
    return new ApiError(
        response.status, problem.code ?? problem.error?.code ?? "error", problem.detail ?? problem.error?.message ?? problem.title ?? `The host answered ${response.status}.`,
        Number(response.headers.get("retry-after")) || null,
        Object.entries(problem.errors ?? problem.error?.details?.errors ?? {}).flatMap(([place, texts]) => [texts].flat().map(text => [place, String(text)])));
}

export async function get(where, query, signal) {
    return (await call("GET", where, { query, signal })).json();
}

// The same where JSON of others is shown: with their numbers and members as they were written (exact.js).
export async function getExact(where, query, signal) {
    return read(await (await call("GET", where, { query, signal })).text());
}

export async function post(where, body = {}, options = {}) {
    const response = await call("POST", where, { body, ...options });
    return response.status === 204 ? null : response.json();
}

export async function remove(where) {
    await call("DELETE", where);
}

// The bytes of a file, for a download or a frame.
export async function bytes(where, query, signal) {
    return (await call("GET", where, { query, signal, headers: { accept: "*/*" } })).blob();
}

// A list with a cursor: {rows, next}, where next(limit) loads the page after, and is null behind the last one.
export async function pages(where, member, query, signal) {
    const answer = await get(where, query, signal);
    const next = answer.next_cursor ? (limit = query?.limit) => pages(where, member, { cursor: answer.next_cursor, limit }, signal) : null;
    return { rows: answer[member], next, answer };
}

// As many rows of a list with offsets as are wanted, by pages that the list allows: {rows, total}. page(offset, limit) asks for one.
export async function rowsUpTo(wanted, page) {
    const rows = [];
    for (let answer; ;) {
        answer = await page(rows.length, Math.min(100, wanted - rows.length));
        rows.push(...answer.data ?? answer.groups);
        if (!answer.has_more || rows.length >= wanted) {
            return { rows, total: answer.total };
        }
    }
}

// An Idempotency-Key, for who keeps what was not sent: post(path, body, { key }).
export function newKey() {
    return "console-" + Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, "0")).join("");
}

// A call as a line for a shell, without the token. form: the parts of a form that is sent instead of a body.
export function curl(method, where, body, form) {
    const quote = text => `'${text.replaceAll("'", "'\\''")}'`;
    return ["curl -s", method === "GET" || form ? "" : `-X ${method}`, quote(address(where).href), token ? `-H "Authorization: Bearer $COWORK_TOKEN"` : "",
        body === undefined ? "" : `-H 'content-type: application/json' -d ${quote(JSON.stringify(body))}`,
        ...Object.entries(form ?? {}).filter(([, value]) => value).map(([name, value]) => `-F ${quote(`${name}=${value}`)}`)].filter(Boolean).join(" ");
}
