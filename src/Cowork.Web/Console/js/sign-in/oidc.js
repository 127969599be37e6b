// OpenID Connect's authorization code flow with PKCE (RFC 7636): the console is a public client, and the code is worth nothing without what stays in this tab.
import { sha256 } from "../verify/sha256.js";

const Pending = "cowork.sign-in";
const redirect = () => new URL("./", document.baseURI).href;

function base64url(bytes) {
    return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function chance() {
    return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

// To the authority. Where the reader was is shown again afterwards.
export function leave(oidc) {
    const [verifier, state] = [chance(), chance()];
    sessionStorage.setItem(Pending, JSON.stringify({ verifier, state, back: location.href }));
    const url = new URL(oidc.authorization_endpoint);
    const challenge = base64url(sha256(new TextEncoder().encode(verifier)));
    for (const [name, value] of Object.entries({
        response_type: "code", client_id: oidc.client_id, redirect_uri: redirect(), scope: oidc.scope, state, code_challenge: challenge, code_challenge_method: "S256",
    })) {
        url.searchParams.set(name, value);
    }
    location.assign(url);
}

// From the authority: {token}. Null: the reader does not come from there.
export async function comeBack(oidc) {
    const given = new URLSearchParams(location.search);
    if (!given.has("state") || !(given.has("code") || given.has("error"))) {
        return null;
    }
    const kept = JSON.parse(sessionStorage.getItem(Pending) ?? "null");
    sessionStorage.removeItem(Pending);
    // The code is used once, and does not stay in the address.
    history.replaceState({}, "", kept?.state === given.get("state") && kept.back.startsWith(redirect()) ? kept.back : redirect());
    if (kept?.state !== given.get("state")) {
        throw new Error("The answer of the authority belongs to another attempt to sign in. Try again.");
    }
    if (given.has("error")) {
        throw new Error(given.get("error_description") ?? `The authority refused: ${given.get("error")}.`);
    }
    const response = await fetch(oidc.token_endpoint, {
        method: "POST", credentials: "omit", cache: "no-store",
        body: new URLSearchParams({ grant_type: "authorization_code", code: given.get("code"), redirect_uri: redirect(), client_id: oidc.client_id, code_verifier: kept.verifier }),
    });
    const answer = await response.json().catch(() => ({}));
    if (!response.ok || !answer.access_token) {
        throw new Error(answer.error_description ?? "The authority gave no token.");
    }
    return { token: answer.access_token };
}
