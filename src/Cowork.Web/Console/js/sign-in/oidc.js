// OpenID Connect's authorization code flow with PKCE (RFC 7636): the console is a public client, and the code is worth nothing without what stays in this tab.
import { ownName } from "../api.js";
import { sha256 } from "../verify/sha256.js";

const Pending = ownName("cowork.sign-in");
const SignedOut = ownName("cowork.signed-out");
const Channel = "cowork.sign-in";
// Of a state whose answer belongs to the page that opened this window.
const OfWindow = "window-";
const TokenMax = 15_000;
const TakenMax = 3_000;
// Of prompt=none: the authority would have to ask something.
const Asks = new Set(["login_required", "interaction_required", "consent_required", "account_selection_required"]);
const redirect = () => new URL("./", document.baseURI).href;
export const hostOf = oidc => new URL(oidc.authority).host;

function base64url(bytes) {
    return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function chance() {
    return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

// prompt: none (it asks nothing), login (it asks who that is, also whom it knows).
function request(oidc, verifier, state, prompt = sessionStorage.getItem(SignedOut) ? "login" : null) {
    const url = new URL(oidc.authorization_endpoint);
    const challenge = base64url(sha256(new TextEncoder().encode(verifier)));
    for (const [name, value] of Object.entries({
        response_type: "code", client_id: oidc.client_id, redirect_uri: redirect(), scope: oidc.scope, state, code_challenge: challenge, code_challenge_method: "S256",
        ...(prompt ? { prompt } : {}),
    })) {
        url.searchParams.set(name, value);
    }
    return url;
}

// To the authority. Where the reader was is shown again afterwards.
export function leave(oidc) {
    const [verifier, state] = [chance(), chance()];
    sessionStorage.setItem(Pending, JSON.stringify({ verifier, state, back: location.href }));
    location.assign(request(oidc, verifier, state));
}

// The same without a question, for who asked for that: the authority lets in whom it knows. False: it was just asked, and this page is Back's.
export function leaveUnasked(oidc) {
    if (sessionStorage.getItem(Pending)) {
        return false;
    }
    const [verifier, state] = [chance(), chance()];
    sessionStorage.setItem(Pending, JSON.stringify({ verifier, state, back: location.href, isUnasked: true }));
    location.replace(request(oidc, verifier, state, "none"));
    return true;
}

export function comesBack() {
    const given = new URLSearchParams(location.search);
    return given.has("state") && (given.has("code") || given.has("error"));
}

// From the authority: what it grants (tokensOf). Null: the reader does not come from there, or it asks nothing and does not know the reader.
export async function comeBack(oidc) {
    if (!comesBack()) {
        return null;
    }
    const given = new URLSearchParams(location.search);
    const kept = JSON.parse(sessionStorage.getItem(Pending) ?? "null");
    sessionStorage.removeItem(Pending);
    // The code is used once, and does not stay in the address.
    history.replaceState({}, "", kept?.state === given.get("state") && kept.back.startsWith(redirect()) ? kept.back : redirect());
    if (kept?.state !== given.get("state")) {
        throw new Error("The answer of the authority belongs to another attempt to sign in. Try again.");
    }
    if (kept.isUnasked && Asks.has(given.get("error"))) {
        return null;
    }
    return redeem(oidc, Object.fromEntries(given), kept.verifier);
}

// Signs in through a window of its own: this page keeps what stands in it. Null: signal was aborted before.
export function ask(oidc, signal) {
    const [verifier, state] = [chance(), OfWindow + chance()];
    if (!open(request(oidc, verifier, state), "_blank", "popup,width=520,height=700")) {
        throw new Error("The browser opened no window for the authority. Let this page open one, and try again.");
    }
    const channel = new BroadcastChannel(Channel);
    return new Promise((resolve, reject) => {
        signal.addEventListener("abort", () => {
            channel.close();
            resolve(null);
        }, { once: true });
        channel.addEventListener("message", ({ data }) => {
            if (data.given?.state === state) {
                channel.postMessage({ taken: state });
                redeem(oidc, data.given, verifier).then(resolve, reject);
            }
        });
    });
}

// In such a window: gives the answer of the authority to the page that waits for it. False: this is no such window, or nobody waits.
export async function handOver() {
    const given = Object.fromEntries(new URLSearchParams(location.search));
    if (!comesBack() || !given.state.startsWith(OfWindow)) {
        return false;
    }
    history.replaceState({}, "", redirect());
    const channel = new BroadcastChannel(Channel);
    const taken = await new Promise(resolve => {
        channel.addEventListener("message", ({ data }) => data.taken === given.state && resolve(true));
        setTimeout(resolve, TakenMax, false);
        channel.postMessage({ given });
    });
    channel.close();
    taken && close();
    return taken;
}

function redeem(oidc, given, verifier) {
    if (given.error) {
        throw new Error(given.error_description ? `${hostOf(oidc)} refused: ${given.error_description}` : `${hostOf(oidc)} refused: ${given.error}.`);
    }
    return tokensOf(oidc, { grant_type: "authorization_code", code: given.code, redirect_uri: redirect(), code_verifier: verifier });
}

// Another token for the same person, without a question.
export async function refresh(oidc, grant) {
    const next = await tokensOf(oidc, { grant_type: "refresh_token", refresh_token: grant.refresh });
    return { ...next, refresh: next.refresh ?? grant.refresh, id: next.id ?? grant.id };
}

// {token, refresh, id, at, until}: at: when it came; until: when it ends, by this computer's clock, where the authority says so.
async function tokensOf(oidc, fields) {
    const at = Date.now();
    let response;
    try {
        response = await fetch(oidc.token_endpoint, {
            method: "POST", credentials: "omit", cache: "no-store", signal: AbortSignal.timeout(TokenMax), body: new URLSearchParams({ ...fields, client_id: oidc.client_id }),
        });
    } catch (error) {
        throw new Error(error.name === "TimeoutError" ? `${hostOf(oidc)} did not give a token within ${TokenMax / 1000} seconds. Try again.`
            : `${hostOf(oidc)} could not be asked for a token: it does not answer, or does not let pages of ${location.origin} ask (CORS).`);
    }
    const answer = await response.json().catch(() => null);
    if (!response.ok || typeof answer?.access_token !== "string") {
        const said = typeof answer?.error_description === "string" ? answer.error_description : typeof answer?.error === "string" ? answer.error : `its answer (${response.status}) holds none`;
        // 4xx: the same again would be refused again.
        throw Object.assign(new Error(`${hostOf(oidc)} gave no token: ${said}`), { isRefused: response.status >= 400 && response.status < 500 });
    }
    sessionStorage.removeItem(SignedOut);
    return {
        token: answer.access_token, refresh: answer.refresh_token ?? null, id: answer.id_token ?? null,
        at, until: answer.expires_in > 0 ? at + answer.expires_in * 1000 : null,
    };
}

// Where the authority signs its user out, too (OpenID Connect RP-Initiated Logout). Where it has no such place, it is told to ask who signs in next.
export function farewell(oidc, id) {
    if (!oidc.end_session_endpoint) {
        sessionStorage.setItem(SignedOut, "1");
        return redirect();
    }
    const url = new URL(oidc.end_session_endpoint);
    for (const [name, value] of Object.entries({ client_id: oidc.client_id, post_logout_redirect_uri: redirect(), ...(id ? { id_token_hint: id } : {}) })) {
        url.searchParams.set(name, value);
    }
    return url.href;
}
