// Who the console is for. In local mode everybody who reaches the host; else who has a token, which stays in this page, or in this tab when that is asked for.
import { call, ownName, session } from "./api.js";
import { h, replace } from "./dom.js";

const Kept = ownName("cowork.token");
// Who signs in at the authority by itself: a wish, and no token.
const Unasked = ownName("cowork.unasked");
const ConfigAgain = 3_000;
// The authority is not asked for another token more often.
const RenewAgain = 5_000;
// A token that lasts for long is renewed so long before its end.
const RenewBefore = 60_000;

let config = null;
// What the authority granted: {token, refresh, id, at, until}. It is in the memory of this page and nowhere else.
let grant = null;
// The document was served before the authority's address was known: its policy does not let this page ask there.
let isLate = false;
let renewing = null;
let renewedAt = 0;

const oidcWay = () => import("./sign-in/oidc.js");

async function askConfig() {
    config = await (await call("GET", "/console/config.json", { atDoor: true })).json();
}

// Answers when somebody is signed in.
export async function signIn(body) {
    await askConfig();
    if (config.auth === "none") {
        return;
    }
    let why = null;
    // The host could not say of this one whether it is worth something; its code is used up.
    if (grant) {
        why = await refusal(grant.token);
        if (!why) {
            return;
        }
    }
    const kept = read(Kept);
    if (kept && !await refusal(kept)) {
        return;
    }
    if (!grant && config.oidc) {
        const way = await oidcWay();
        const isBack = way.comesBack();
        isBack && replace(body, h("main.door", h("div.box", h("p.muted", { role: "status" }, `Signing in with ${way.hostOf(config.oidc)}…`))));
        try {
            grant = await way.comeBack(config.oidc);
            why = grant && await refusal(grant.token);
            if (grant && !why) {
                return;
            }
            if (!isBack && isUnasked() && way.leaveUnasked(config.oidc)) {
                await new Promise(() => { });
            }
        } catch (error) {
            if (grant) {
                throw error;
            }
            why = error;
        }
    }
    const text = why && whyOf(why, grant !== null);
    grant = null;
    await door(body, text);
}

export async function signOut() {
    const [was, { oidc }] = [grant, config];
    session.token = null;
    grant = null;
    write(Kept, null);
    write(Unasked, null, true);
    location.assign(was && oidc ? (await oidcWay()).farewell(oidc, was.id) : document.baseURI);
}

export const canSignOut = () => session.token !== null;

// Why a token does not let its bearer in; null: it does. What is thrown says that the host cannot tell.
async function refusal(token) {
    // Of such a text no header is made.
    const odd = [...token].find(sign => sign < "!" || sign > "~");
    if (odd) {
        return { code: "odd", message: `A token has no ${odd < "!" ? "white space or control characters" : `“${odd}”`} in it.` };
    }
    const before = session.token;
    session.token = token;
    try {
        await call("GET", "/me", { atDoor: true });
        return null;
    } catch (error) {
        session.token = before;
        if (error.status === 401 || error.status === 403) {
            session.token = null;
            write(Kept, null);
            return error;
        }
        throw error;
    }
}

function whyOf(why, isOfAuthority) {
    return why.code === "odd" && isOfAuthority ? `The host cannot be sent the token of ${new URL(config.oidc.authority).host}. ${why.message}`
        : !why.status ? why.message
        : isOfAuthority ? `${new URL(config.oidc.authority).host} let you in, and this host does not: ${why.message} (${why.code})`
        : why.status === 401 ? "The host does not know this token, or it has expired."
        : `The host knows this token, and does not let it in: ${why.message} (${why.code})`;
}

// When the stay ends: {at, isOfAuthority, isRenewed, renewAt}; null: it does not, as far as this page knows. isRenewed: the authority gives another token by itself.
export function endOfStay(me) {
    const at = grant?.until ?? (me.expires_at ? Date.parse(me.expires_at) : null);
    return at === null ? null : { at, isOfAuthority: grant !== null, isRenewed: Boolean(grant?.refresh), renewAt: grant ? at - Math.min(RenewBefore, (at - grant.at) / 3) : at };
}

// Another token of the authority for the same person, without a question. False: it gives none.
export function renew() {
    return renewing ??= renewNow().finally(() => renewing = null);
}

async function renewNow() {
    const was = grant;
    if (!was?.refresh || !config.oidc || Date.now() - Math.max(renewedAt, was.at) < RenewAgain) {
        return false;
    }
    renewedAt = Date.now();
    try {
        const next = await (await oidcWay()).refresh(config.oidc, was);
        if (grant !== was) {
            return false;
        }
        grant = next;
        session.token = next.token;
        return true;
    } catch (error) {
        if (error.isRefused) {
            was.refresh = null;
        }
        return false;
    }
}

// The same where the authority wants to see its user: in a window of its own. Answers whether somebody signed in there.
export async function signInAgain(signal) {
    const next = await (await oidcWay()).ask(config.oidc, signal);
    if (!next) {
        return false;
    }
    const before = session.token;
    const no = await refusal(next.token);
    if (no) {
        session.token = before;
        throw new Error(whyOf(no, true));
    }
    grant = next;
    return true;
}

// Shows the form until a token works. isOver: a page is kept for who comes back, so that this document stays.
export function door(body, why, { isOver = false } = {}) {
    return new Promise(resolve => {
        const leaving = new AbortController();
        const { signal } = leaving;
        let attempt = new AbortController();
        const enter = () => {
            leaving.abort();
            attempt.abort();
            resolve();
        };
        const field = h("input", { type: "password", name: "token", id: "token", autocomplete: "off", spellcheck: "false", placeholder: "cowork_…", required: true });
        const keep = h("input", { type: "checkbox", name: "keep" });
        const unasked = h("input", { type: "checkbox", name: "unasked", checked: isUnasked(), on: { change: () => write(Unasked, unasked.checked ? "1" : null, true) } });
        const said = h("p.kind-refused", { role: "alert" }, why ?? "");
        const place = h("div.box");
        // Not a promise: the window may be closed by hand, and the button pressed again.
        const atAuthority = () => {
            attempt.abort();
            attempt = new AbortController();
            replace(said);
            (isOver && !isLate ? signInAgain(attempt.signal).then(isIn => isIn && enter()) : oidcWay().then(way => way.leave(config.oidc))).catch(error => replace(said, error.message));
        };
        const form = h("form", { on: { submit: async event => {
            event.preventDefault();
            replace(said);
            try {
                const token = field.value.trim();
                const no = await refusal(token);
                if (no) {
                    replace(said, whyOf(no, false));
                    field.select();
                    return;
                }
                grant = null;
                keep.checked && write(Kept, token);
                enter();
            } catch (error) {
                replace(said, error.message);
            }
        } } },
            h("h1", h("img", { src: mark(), alt: "" }), "Cowork"), place,
            h("label.field", { for: "token" }, h("span", "Token"), field),
            h("label.check", keep, "Keep it until this tab is closed"),
            h("button", { type: "submit", class: config?.oidc ? "" : "primary" }, "Enter"),
            said,
            // Of a company's users few have that folder.
            !config?.oidc && !config?.authority_away && h("p.faint.small", "./cowork up prints the first token; admin-token in the data directory has it too."));
        const show = () => {
            replace(place, config?.oidc ? [
                h("button.primary", { type: "button", on: { click: atAuthority } }, "Sign in"),
                h("label.check", unasked, "Sign me in by itself in this browser"),
                h("p.muted", `with ${new URL(config.oidc.authority).host}, or with an API token:`),
            ] : config?.authority_away ? h("p.muted", { role: "status" }, "People sign in at an authority, which does not answer at the moment. It is asked again. An API token works meanwhile:")
                : h("p.muted", "This host wants an API token. It stays in this page and is sent to this host only."));
        };
        show();
        const again = setInterval(async () => {
            if (!config?.oidc && config?.authority_away) {
                await askConfig().catch(() => { });
                isLate = config.oidc !== null;
                !signal.aborted && isLate && show();
            }
        }, ConfigAgain);
        signal.addEventListener("abort", () => clearInterval(again), { once: true });
        replace(body, h("main.door", form));
        (config?.oidc ? form.querySelector("button") : field).focus();
    });
}

export function mark() {
    return new URL("../mark.svg", import.meta.url).href;
}

const isUnasked = () => read(Unasked, true) !== null;

// Of this tab; isOfBrowser: of all of them. A browser may keep nothing; what is kept is a convenience.
function read(name, isOfBrowser = false) {
    try {
        return (isOfBrowser ? localStorage : sessionStorage).getItem(name);
    } catch {
        return null;
    }
}

// null: forgets it.
function write(name, value, isOfBrowser = false) {
    try {
        const store = isOfBrowser ? localStorage : sessionStorage;
        value === null ? store.removeItem(name) : store.setItem(name, value);
    } catch {
        // Then it is in the page all the same.
    }
}
