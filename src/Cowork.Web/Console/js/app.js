// The shell: signs in, shows the navigation, and the page of the address.
import { ApiError, get, session } from "./api.js";
import { canSignOut, door, endOfStay, mark, renew, signIn, signInAgain, signOut } from "./auth.js";
import { h, replace, say } from "./dom.js";
import { mayLeave, noteSent, noteTyped, watchDrafts } from "./drafts.js";
import { left, personText, zone } from "./format.js";
import { search, startKeys } from "./keys.js";
import { live } from "./live.js";
import { find, pages } from "./pages.js";
import { backTo, here, leave, startRouter, to } from "./router.js";
import "./print.js";
import { isOfApproval, me, resource } from "./store.js";
import { healthMark } from "./ui/behind.js";
import { fault } from "./ui/empty.js";
import { toast } from "./ui/toast.js";

const Themes = ["auto", "light", "dark"];
// Roles change seldom, and not everybody is told.
const RolesEvery = 15_000;
// Who has to do something so that their stay does not end is told so long before, or in the last third of a short one.
const WarnBefore = 300_000;
const LookEvery = 1_000;
const States = { off: "not connected", connecting: "connecting", live: "live", stale: "stale", refused: "not allowed" };

let leaving = new AbortController();
// Of what belongs to who is signed in.
let staying = new AbortController();
let main = null;

const theme = {
    get value() {
        try {
            return localStorage.getItem("cowork.theme") ?? "auto";
        } catch {
            return "auto";
        }
    },

    show() {
        const { value } = theme;
        if (value === "auto") {
            delete document.documentElement.dataset.theme;
        } else {
            document.documentElement.dataset.theme = value;
        }
    },

    next() {
        const value = Themes[(Themes.indexOf(theme.value) + 1) % Themes.length];
        try {
            localStorage.setItem("cowork.theme", value);
        } catch {
            // It is the reader's until the page is loaded again.
        }
        theme.show();
        toast(value === "auto" ? "The theme is that of your system" : `The theme is ${value}`);
    },
};

const offered = page => !page.needs || me.may(page.needs);

function frame() {
    staying.abort();
    staying = new AbortController();
    const { signal } = staying;
    const counter = h("span.count.hidden");
    const wrong = h("span.count.wrong.hidden");
    const links = pages.filter(page => page.key && offered(page)).map(page => {
        const link = h("a.nav-link", { href: to(...page.path.split("/").filter(Boolean)), data: { path: page.path } }, page.title, page.path === "approvals" && counter, page.path === "health" && wrong);
        return h("li", { class: page.isApart ? "apart" : "" }, link);
    });
    const states = [h("span.live"), h("span.live")];
    live.onState(state => {
        if (States[state]) {
            states.forEach(shown => {
                shown.dataset.state = state;
                say(shown, States[state]);
            });
        }
        // Whether the token is worth nothing any more is asked at once, and not when somebody clicks.
        state === "refused" && get("/me").catch(() => { });
    }, signal);
    const menu = h("button.icon.quiet", { type: "button", "aria-label": "Menu", "aria-expanded": "false", "aria-controls": "side", on: { click: () => toggle() } }, "☰");
    const brand = () => h("a.brand", { href: to() }, h("img", { src: mark(), alt: "" }), "Cowork");
    main = h("main.main", { id: "main", tabindex: "-1" });
    const shell = h("div.shell",
        h("a.skip", { href: "#main", on: { click: event => { event.preventDefault(); main.focus(); } } }, "Skip to the content"),
        h("header.top", menu, brand(), states[0]),
        h("nav.side", { id: "side", "aria-label": "Pages" }, brand(), h("ul", links),
            h("div.side-foot", states[1],
                h("button.quiet", { type: "button", on: { click: search } }, "Search"),
                h("button.quiet", { type: "button", on: { click: theme.next } }, "Theme"),
                canSignOut() && h("button.quiet", { type: "button", on: { click: () => { live.stop(); return signOut(); } } }, "Sign out"),
                h("p.who.zone.faint", "Times of ", zone),
                h("p.who.small.faint.cut", { title: `${me.actor}, ${me.roles.join(", ")}` }, personText(me.user), " · ", me.org_id))),
        main);
    const toggle = (isOpen = !shell.classList.contains("menu")) => {
        shell.classList.toggle("menu", isOpen);
        menu.setAttribute("aria-expanded", isOpen);
    };
    shell.addEventListener("click", event => event.target.closest("a") && toggle(false));
    resource({
        load: signal => get("/approvals", { limit: 100 }, signal),
        when: isOfApproval,
        signal,
        show: ({ approvals }) => {
            counter.classList.toggle("hidden", approvals.length === 0);
            replace(counter, approvals.length === 100 ? "99+" : approvals.length, h("span.sr", " waiting"));
        },
    });
    healthMark(wrong, signal);
    const rights = () => JSON.stringify([me.actor, me.roles, me.operations]);
    const had = rights();
    const roles = resource({
        load: () => me.load(), when: event => event.type.startsWith("token_"), every: RolesEvery, signal, gap: 500,
        show: () => rights() !== had && redraw(),
    });
    session.onForbidden = roles.soon;
    session.onSent = noteSent;
    watchEnd(signal);
    return shell;
}

async function show({ isNew }) {
    leaving.abort();
    leaving = new AbortController();
    const { signal } = leaving;
    const address = here();
    const found = find(address);
    for (const link of document.querySelectorAll(".nav-link")) {
        const isHere = found && (link.dataset.path === found.page.path || link.dataset.path === found.page.under);
        if (isHere) {
            link.setAttribute("aria-current", "page");
        } else {
            link.removeAttribute("aria-current");
        }
    }
    const title = text => document.title = `${text} · Cowork`;
    if (!found || !offered(found.page)) {
        title("Not found");
        replace(main, h("div.head", h("h1", found ? "Not for your role" : "There is no such page")),
            h("p.muted", found ? "What this page shows needs a role that you do not have." : "The address may be of another version. ", h("a", { href: to() }, "Overview")));
        return;
    }
    title(found.page.title);
    try {
        const { default: page } = await found.page.load().catch(async () => {
            // Says of itself whether the host answers; if so, it has no such module.
            await get("/console/config.json", {}, signal);
            throw new ApiError(0, "outdated", "The host has another version than this console. Load it again in the browser.");
        });
        if (signal.aborted) {
            return;
        }
        const root = h("div");
        replace(main, root);
        if (isNew) {
            scrollTo(0, 0);
            main.focus({ preventScroll: true });
        }
        await page({ root, signal, params: found.params, query: new URLSearchParams(location.search), title });
        isNew || signal.aborted || backTo();
    } catch (error) {
        if (!signal.aborted) {
            replace(main, fault(error, () => show({ isNew: false })));
            // When the host is back, so is the page.
            live.onState(state => state === "reset" && error.isAway && show({ isNew: false }), signal);
        }
    }
}

async function start() {
    theme.show();
    // The page's modules come while it is found out who asks.
    find(here())?.page.load().catch(() => { });
    if (new URLSearchParams(location.search).has("state") && await (await import("./sign-in/oidc.js")).handOver()) {
        replace(document.body, h("main.door", h("div.box", h("p", "You are signed in. This window can be closed."))));
        return;
    }
    for (; ;) {
        try {
            await signIn(document.body);
            await me.load();
            break;
        } catch (error) {
            await new Promise(resolve => replace(document.body, h("main.door", h("div.box", fault(error, resolve)))));
        }
    }
    begin();
}

function begin() {
    session.onRefused = comeBack;
    live.cursor = null;
    replace(document.body, frame());
    live.start();
    return show({ isNew: false });
}

const who = () => `${me.actor} ${me.org_id}`;

// The token is worth nothing any more: another one is asked for, without a question where the authority gives one. Answers as onRefused says (api.js).
// What was on the page, with what stands in its fields and dialogs, is as it was when the same person is back; somebody else does not get to see it.
async function comeBack() {
    if (await renew()) {
        live.resume();
        return "renewed";
    }
    live.stop();
    const [was, putBack] = [who(), setAside()];
    await door(document.body, "The token is not valid any more. What you were writing is kept for you.", { isOver: true });
    while (!await me.load({ atDoor: true }).then(() => true, () => false)) {
        await door(document.body, "The host did not answer.", { isOver: true });
    }
    if (who() === was) {
        putBack();
        live.resume();
        return "back";
    }
    leaving.abort();
    setTimeout(begin);
    return "other";
}

// Takes the page down as it is. Answers what puts it back.
function setAside() {
    const active = document.activeElement;
    const scrolled = [...document.querySelectorAll("*")].filter(each => each.scrollTop > 0 || each.scrollLeft > 0).map(each => [each, each.scrollTop, each.scrollLeft]);
    const nodes = [...document.body.childNodes];
    return () => {
        replace(document.body, nodes);
        for (const box of document.querySelectorAll("dialog[open]")) {
            // Only what was closed is opened as a modal.
            box.removeAttribute("open");
            box.showModal();
        }
        scrolled.forEach(([each, top, left]) => each.scrollTo(left, top));
        active?.focus({ preventScroll: true });
    };
}

// Renews the token before its end, and tells those who have to do it themselves.
function watchEnd(signal) {
    let told = null;
    const look = async () => {
        if (!main.isConnected) {
            return;
        }
        const end = endOfStay(me);
        const rest = end ? end.at - Date.now() : Infinity;
        if (end?.isRenewed && Date.now() >= end.renewAt && await renew()) {
            live.resume();
        } else if (end && !end.isRenewed && rest > 0 && rest < WarnBefore && (!end.isOfAuthority || Date.now() >= end.renewAt)) {
            told ??= toast([end.isOfAuthority ? "Your sign-in ends soon: " : "Your token ends soon: ", left(new Date(end.at).toISOString()), ". What you are writing is kept."],
                { stays: true, ...(end.isOfAuthority ? { action: "Stay signed in", run: stay } : { action: "Close", run: () => { } }) });
        } else if (told && rest > 0) {
            told.remove();
            told = null;
        } else if (told) {
            // A host takes it for a little longer, as far as clocks differ.
            say(told.querySelector("span"), end.isOfAuthority ? "Your sign-in has ended." : "Your token has ended.");
        }
    };
    const stay = async () => {
        told = null;
        const was = who();
        try {
            if (await signInAgain(signal)) {
                await me.load();
                who() === was ? live.resume() : (leaving.abort(), await begin());
            }
        } catch (error) {
            toast(error.message, { bad: true });
        }
    };
    const timer = setInterval(look, LookEvery);
    signal.addEventListener("abort", () => {
        clearInterval(timer);
        told?.remove();
    }, { once: true });
}

// What stands in the page's fields and is not sent, taken down before the page is drawn for other roles; answers what puts it back, where it still can be sent.
function written() {
    const texts = [...main.querySelectorAll("textarea[id], input[id]:not([type=checkbox], [type=radio], [type=range], [type=file]), select[id]")]
        .filter(field => field.value).map(field => [field.id, field.value, field === document.activeElement]);
    return () => {
        for (const [id, value, isActive] of texts) {
            const field = document.getElementById(id);
            if (field && (!field.value || field.localName === "select")) {
                field.value = value;
                noteTyped(field);
                isActive && field.focus();
            }
        }
    };
}

// Who is signed in may do more, or less, than before.
async function redraw() {
    const putBack = written();
    const y = scrollY;
    // Dialogs stay over it, with what stands in them.
    document.querySelector("body > .shell").replaceWith(frame());
    live.start();
    toast(`Your roles are others now: ${me.roles.join(", ")}`);
    await show({ isNew: false });
    putBack();
    scrollTo(0, y);
}

startRouter(way => {
    // What a page asked in a dialog goes with it.
    way.isSame || document.querySelectorAll("dialog[open]").forEach(box => box.remove());
    return show(way);
}, mayLeave);
watchDrafts();
startKeys({ all: () => pages.filter(offered), go: path => leave(to(...path.split("/").filter(Boolean))), theme: theme.next });
start();
