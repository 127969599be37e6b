// What more than one part of the console knows, and things that are loaded again when an event concerns them.
import { call } from "./api.js";
import { debounce } from "./dom.js";
import { live } from "./live.js";
import { showAnew } from "./router.js";
import { toast } from "./ui/toast.js";

// What could not be loaded again is tried once more after so many ms.
const AwayAgain = 3_000;
const LateAgain = 3_000;

// Who is signed in, and what they may do: {user, org_id, roles, operations, …} (GET /me).
export const me = {
    may(operation) {
        return me.operations?.includes(operation) ?? false;
    },

    async load({ atDoor = false } = {}) {
        Object.assign(me, { operations: [], roles: [] }, await (await call("GET", "/me", { atDoor })).json());
    },
};

// A thing that is shown and kept new.
//   load(signal): asks for it.
//   when(event): whether an event of the stream concerns it.
//   show(value), fail(error): called with what came.
//   It is asked for again when anything is erased or removed, too; where there is no such thing any more, the page is made anew, so that nothing stays of it.
//   Where the host is away when it is loaded again by itself, what is shown stays: the reader sees that the connection is stale.
//   every: so many ms after it was asked for it is again, while the page is in sight, and when it comes back into sight: for what no event tells of, or tells only some readers of.
//   isLate(): whether what it asks follows the log a little behind, as what finds names does: it is asked for once more after an event that concerns it.
export function resource({ load, when = () => false, show, fail, signal, gap = 400, every = 0, isLate = () => false }) {
    let asking = null;
    let again = false;
    let isShown = false;
    // Somebody waits for it, and is told when it fails.
    let isAsked = true;
    async function refresh() {
        isAsked = true;
        return reload();
    }

    async function reload() {
        if (asking) {
            again = true;
            return asking;
        }
        asking = (async () => {
            do {
                again = false;
                try {
                    const value = await load(signal);
                    if (!signal.aborted) {
                        [isShown, isAsked] = [true, false];
                        show(value);
                    }
                } catch (error) {
                    if (!signal.aborted && error.name !== "AbortError") {
                        if (error.isAway && isShown && !isAsked) {
                            setTimeout(() => signal.aborted || soon(), AwayAgain);
                        } else if (error.status === 404 && isShown) {
                            toast("What stood here is not there any more");
                            showAnew();
                        } else {
                            isAsked = false;
                            fail?.(error);
                        }
                    }
                }
            } while (again && !signal.aborted);
            asking = null;
        })();
        return asking;
    }
    const soon = debounce(reload, gap);
    const late = debounce(() => signal.aborted || reload(), LateAgain);
    live.on(events => {
        if (events.some(event => when(event) || isErasing(event))) {
            soon();
            isLate() && late();
        }
    }, signal);
    live.onState(state => state === "reset" && soon(), signal);
    if (every > 0) {
        const look = () => document.visibilityState === "visible" && soon();
        const timer = setInterval(look, every);
        document.addEventListener("visibilitychange", look, { signal });
        signal.addEventListener("abort", () => clearInterval(timer), { once: true });
    }
    const first = refresh();
    return { refresh, soon, first };
}

// From such an event on texts are not read any more, a session is not there, or what was erased is shown again without its texts. Auditors and administrators are told of subjects,
// and who sees a session of its end.
const Erasing = new Set(["subject_erased", "subject_erasure_completed", "session_deleted", "session_removed"]);
export const isErasing = event => Erasing.has(event.type);
export const isOfRun = event => event.run_id !== null && event.type !== "output_delta";
export const isOfApproval = event => event.type.startsWith("approval_") || event.type.startsWith("run_cancel");
