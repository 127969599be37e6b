// Addresses of pages, without a load of the document.
const base = new URL(document.baseURI);

let show = () => { };
let mayLeave = () => true;
// Where the page stands among those that Back and Forward lead to.
let index = 0;
// What a page keeps of its place, by name: see keepPlace.
const keepers = new Map();
let place = null;

// The address of a page: to("runs", id) or to("runs", { status: "failed" }).
export function to(...parts) {
    const query = typeof parts.at(-1) === "object" ? parts.pop() : {};
    const url = new URL(parts.map(part => encodeURIComponent(part)).join("/") || "./", base);
    for (const [name, value] of Object.entries(query)) {
        if (value !== null && value !== undefined && value !== "") {
            url.searchParams.set(name, value);
        }
    }
    return url.pathname + url.search;
}

// A page that is left by a link is found again by Back where it was: keep() answers what placeOf(name) is to know then, beside y, how far it was scrolled.
export function keepPlace(name, keep, signal) {
    keepers.set(name, keep);
    signal.addEventListener("abort", () => keepers.get(name) === keep && keepers.delete(name), { once: true });
}

// null: the page was not left from here.
export function placeOf(name) {
    const kept = place?.lists[name];
    return kept ? { ...kept, y: place.y } : null;
}

// Where a page was scrolled to when it was left, and Back led to it again.
export function backTo() {
    place && scrollTo(0, place.y);
}

function placeNow() {
    return { y: scrollY, lists: Object.fromEntries([...keepers].map(([name, keep]) => [name, keep()])) };
}

// signal: of the page that leads on; whose reader has left it meanwhile stays where they are.
export function go(href, signal) {
    if (signal?.aborted) {
        return;
    }
    history.replaceState({ place: placeNow(), index }, "");
    place = null;
    index++;
    history.pushState({ index }, "", href);
    show({ isNew: true });
}

// The same for a reader who chose to leave, and may want to keep what they were writing.
export async function leave(href) {
    await mayLeave() && go(href);
}

// The page of the address once more, where the reader was in it.
export function showAnew() {
    place = placeNow();
    show({ isNew: false, isSame: true });
}

// The page's own path, below /console/.
export function here() {
    return location.pathname.slice(base.pathname.length);
}

// Filters stand in the address, so that a page can be linked; the page itself is not shown anew.
export function setQuery(values) {
    const url = new URL(location.href);
    for (const [name, value] of Object.entries(values)) {
        if (value === null || value === undefined || value === "") {
            url.searchParams.delete(name);
        } else {
            url.searchParams.set(name, value);
        }
    }
    history.replaceState(history.state, "", url);
}

// onLeave(): whether the reader leaves the page, or a promise of that.
export function startRouter(onShow, onLeave) {
    show = onShow;
    mayLeave = onLeave;
    index = history.state?.index ?? 0;
    history.replaceState({ ...history.state, index }, "");
    // The rows that a browser would scroll to are not there yet.
    history.scrollRestoration = "manual";
    let isDecided = false;
    let isBack = false;
    addEventListener("popstate", async event => {
        if (isBack) {
            isBack = false;
            return;
        }
        const to = event.state?.index ?? index;
        const answer = isDecided || to === index || mayLeave();
        isDecided = false;
        if (answer instanceof Promise) {
            // The browser is there already: it stays here until the reader has said whether.
            const steps = to - index;
            isBack = true;
            history.go(-steps);
            if (await answer) {
                isDecided = true;
                history.go(steps);
            }
            return;
        }
        index = to;
        place = event.state?.place ?? null;
        show({ isNew: false });
    });
    document.addEventListener("click", event => {
        const link = event.target.closest?.("a[href]");
        if (!link || event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || link.target || link.hasAttribute("download")) {
            return;
        }
        // Of an SVG link, href is an object.
        const url = new URL(typeof link.href === "string" ? link.href : link.href.baseVal, base);
        if (url.origin !== location.origin || !url.pathname.startsWith(base.pathname) || url.pathname.startsWith(`${base.pathname}-/`)) {
            return;
        }
        event.preventDefault();
        if (url.pathname === location.pathname && url.search === location.search && url.hash) {
            location.hash = url.hash;
            return;
        }
        leave(url.href);
    });
}
