// Calls of this host's API. Whatever the console shows comes from here, and is there for every client.
import { read } from "./exact.js";

// The host's address, with the prefix of a proxy: the document's base leads to /console/.
export const root = new URL("../", document.baseURI);

export class ApiError extends Error {
    constructor(status, code, detail, retryAfter) {
        super(detail);
        this.name = "ApiError";
        this.status = status;
        this.code = code;
        this.retryAfter = retryAfter;
    }

    // The host cannot be reached, or a proxy says so for it.
    get isAway() {
        return [0, 502, 503, 504].includes(this.status);
    }
}

let token = null;
let onRefused = () => { };
let onForbidden = () => { };

export const session = {
    get token() {
        return token;
    },
    set token(value) {
        token = value;
    },
    // What is called when the host says that the token is worth nothing.
    set onRefused(call) {
        onRefused = call;
    },
    // What is called when the host says that the token is not for this.
    set onForbidden(call) {
        onForbidden = call;
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

// form: a FormData that is sent instead of a body in JSON.
export async function call(method, where, { query, body, form, signal, headers, key } = {}) {
    const sent = { accept: "application/json", ...headers };
    if (token) {
        sent.authorization = `Bearer ${token}`;
    }
    if (body !== undefined) {
        sent["content-type"] = "application/json";
    }
    if (method === "POST" || method === "PATCH") {
        sent["idempotency-key"] = key ?? newKey();
    }
    let response;
    try {
        const bytes = form ?? (body === undefined ? undefined : JSON.stringify(body));
        response = await fetch(address(where, query), { method, headers: sent, body: bytes, signal, credentials: "omit", cache: "no-store" });
    } catch (error) {
        throw error.name === "AbortError" ? error : new ApiError(0, "unreachable", "The host does not answer.");
    }
    if (response.ok) {
        return response;
    }
    const problem = await response.json().catch(() => ({}));
    const failed = new ApiError(
        response.status, problem.code ?? problem.error?.code ?? "error", problem.detail ?? problem.error?.message ?? problem.title ?? `The host answered ${response.status}.`,
        Number(response.headers.get("retry-after")) || null);
    if (response.status === 401) {
        onRefused(failed);
    } else if (response.status === 403) {
        onForbidden();
    }
    throw failed;
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

function newKey() {
    return "console-" + Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, "0")).join("");
}

// A call as a line for a shell, without the token. form: the parts of a form that is sent instead of a body.
export function curl(method, where, body, form) {
    const quote = text => `'${text.replaceAll("'", "'\\''")}'`;
    return ["curl -s", method === "GET" || form ? "" : `-X ${method}`, quote(address(where).href), token ? `-H "Authorization: Bearer $COWORK_TOKEN"` : "",
        body === undefined ? "" : `-H 'content-type: application/json' -d ${quote(JSON.stringify(body))}`,
        ...Object.entries(form ?? {}).filter(([, value]) => value).map(([name, value]) => `-F ${quote(`${name}=${value}`)}`)].filter(Boolean).join(" ");
}
