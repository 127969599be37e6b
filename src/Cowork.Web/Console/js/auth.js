// Who the console is for. In local mode everybody who reaches the host; else who has a token, which stays in this page, or in this tab when that is asked for.
import { get, session } from "./api.js";
import { h, replace } from "./dom.js";

const Kept = "cowork.token";

let config = null;

// Answers when somebody is signed in.
export async function signIn(body) {
    config = await get("/console/config.json");
    if (config.auth === "none") {
        return;
    }
    const kept = read();
    if (kept && await works(kept)) {
        return;
    }
    if (config.oidc) {
        const { comeBack } = await import("./sign-in/oidc.js");
        const found = await comeBack(config.oidc).catch(error => ({ error }));
        if (found?.token && await works(found.token)) {
            return;
        }
        await door(body, found?.error?.message ?? (found?.token ? "The host does not take the token of the authority." : null));
        return;
    }
    await door(body, null);
}

export function signOut() {
    session.token = null;
    forget();
    location.assign(document.baseURI);
}

export const canSignOut = () => session.token !== null;

// Whether a token lets its bearer in.
async function works(token) {
    session.token = token;
    try {
        await get("/me");
        return true;
    } catch (error) {
        if (error.status === 401 || error.status === 403) {
            session.token = null;
            forget();
            return false;
        }
        throw error;
    }
}

// Shows the form until a token works.
export function door(body, why) {
    return new Promise(resolve => {
        const field = h("input", { type: "password", name: "token", id: "token", autocomplete: "off", spellcheck: "false", placeholder: "cowork_…", required: true });
        const keep = h("input", { type: "checkbox", name: "keep" });
        const said = h("p.kind-refused", { role: "alert" }, why ?? "");
        const form = h("form", { on: { submit: async event => {
            event.preventDefault();
            replace(said);
            const token = field.value.trim();
            const isGood = await works(token).catch(error => {
                replace(said, error.message);
                return null;
            });
            if (isGood) {
                if (keep.checked) {
                    write(token);
                }
                resolve();
            } else if (isGood === false) {
                replace(said, "The host does not know this token, or it has expired.");
                field.select();
            }
        } } },
            h("h1", h("img", { src: mark(), alt: "" }), "Cowork"),
            config?.oidc && h("button.primary", { type: "button", on: { click: async () => (await import("./sign-in/oidc.js")).leave(config.oidc) } }, "Sign in"),
            config?.oidc && h("p.muted", `with ${new URL(config.oidc.authority).host}, or with an API token:`),
            !config?.oidc && h("p.muted", "This host wants an API token. It stays in this page and is sent to this host only."),
            h("label.field", { for: "token" }, h("span", "Token"), field),
            h("label.check", keep, "Keep it until this tab is closed"),
            h("button", { type: "submit", class: config?.oidc ? "" : "primary" }, "Enter"),
            said,
            h("p.faint.small", "./cowork up prints the first token; admin-token in the data directory has it too."));
        replace(body, h("main.door", form));
        (config?.oidc ? form.querySelector("button") : field).focus();
    });
}

export function mark() {
    return new URL("../mark.svg", import.meta.url).href;
}

function read() {
    try {
        return sessionStorage.getItem(Kept);
    } catch {
        return null;
    }
}

function write(token) {
    try {
        sessionStorage.setItem(Kept, token);
    } catch {
        // A browser may keep nothing; the token is in the page all the same.
    }
}

function forget() {
    try {
        sessionStorage.removeItem(Kept);
    } catch {
        // Nothing was kept.
    }
}

