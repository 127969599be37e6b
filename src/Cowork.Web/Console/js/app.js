// The shell: signs in, shows the navigation, and the page of the address.
import { ApiError, get, session } from "./api.js";
import { canSignOut, door, mark, signIn, signOut } from "./auth.js";
import { h, replace, say } from "./dom.js";
import { zone } from "./format.js";
import { search, startKeys } from "./keys.js";
import { live } from "./live.js";
import { find, pages } from "./pages.js";
import { backTo, go, here, startRouter, to } from "./router.js";
import "./print.js";
import { isOfApproval, me, resource } from "./store.js";
import { fault } from "./ui/empty.js";
import { toast } from "./ui/toast.js";

const Themes = ["auto", "light", "dark"];
// Roles change seldom, and not everybody is told.
const RolesEvery = 15_000;
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
    const links = pages.filter(page => page.key && offered(page)).map(page => {
        const link = h("a.nav-link", { href: to(...page.path.split("/").filter(Boolean)), data: { path: page.path } }, page.title, page.path === "approvals" && counter);
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
                canSignOut() && h("button.quiet", { type: "button", on: { click: () => { live.stop(); signOut(); } } }, "Sign out"),
                h("p.who.zone.faint", "Times of ", zone),
                h("p.who.small.faint.cut", { title: `${me.actor}, ${me.roles.join(", ")}` }, me.user, " · ", me.org_id))),
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
    const rights = () => JSON.stringify([me.actor, me.roles, me.operations]);
    const had = rights();
    const roles = resource({
        load: me.load, when: event => event.type.startsWith("token_"), every: RolesEvery, signal, gap: 500,
        show: () => rights() !== had && redraw(),
    });
    session.onForbidden = roles.soon;
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

// What stands in the page's fields and is not sent, taken down before the page goes; answers what puts it back, where it still can be sent.
function written() {
    const texts = [...main.querySelectorAll("textarea[id]")].filter(field => field.value).map(field => [field.id, field.value, field === document.activeElement]);
    return () => {
        for (const [id, value, isActive] of texts) {
            const field = document.getElementById(id);
            if (field && !field.value) {
                field.value = value;
                isActive && field.focus();
            }
        }
    };
}

async function begin() {
    session.onRefused = async () => {
        session.onRefused = () => { };
        live.stop();
        leaving.abort();
        const [putBack, who] = [written(), me.actor + me.org_id];
        await door(document.body, "The token is not valid any more.");
        await me.load();
        await begin();
        // Somebody else does not get to read it.
        me.actor + me.org_id === who && putBack();
    };
    replace(document.body, frame());
    live.start();
    await show({ isNew: false });
}

// Who is signed in may do more, or less, than before.
async function redraw() {
    const putBack = written();
    const y = scrollY;
    replace(document.body, frame());
    live.start();
    toast(`Your roles are others now: ${me.roles.join(", ")}`);
    await show({ isNew: false });
    putBack();
    scrollTo(0, y);
}

startRouter(show);
startKeys({ all: () => pages.filter(offered), go: path => go(to(...path.split("/").filter(Boolean))), theme: theme.next });
start();
