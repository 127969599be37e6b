// What waits for a person, and what was decided. a and r decide the call that is chosen.
import { get, getExact, pages as paged, path, post } from "../api.js";
import { h, replace } from "../dom.js";
import { argumentsOf } from "../exact.js";
import { age, left, person, shortId, time, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { go, setQuery, to } from "../router.js";
import { isCut } from "../run-steps.js";
import { isOfApproval, me, resource } from "../store.js";
import { badge, mark } from "../ui/badge.js";
import { block, digest } from "../ui/copy.js";
import { diff } from "../ui/diff.js";
import { empty, fault } from "../ui/empty.js";
import { growing } from "../ui/growing.js";
import { jsonBlock } from "../ui/json.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";

const PageRows = 100;
// Of those that wait, a host gives so many at once.
const WaitingRows = 1_000;

// All calls that wait, the oldest first: it is on the last page. ask: get or getExact.
export async function waitingCalls(ask, signal) {
    const rows = [];
    for (let cursor; ;) {
        const answer = await ask("/approvals", { cursor, limit: WaitingRows }, signal);
        rows.push(...answer.approvals);
        cursor = answer.next_cursor;
        if (!cursor) {
            return rows.toReversed();
        }
    }
}

// Tools that change no file.
const Reading = new Set(["read_file", "list_files", "search_files", "recall", "remember", "query_connector"]);

// Decides a call. Answers whether it is decided.
export async function decide(approval, approved, note) {
    try {
        await post(path`/approvals/${approval}/decision`, { approved, ...(note ? { note } : {}) });
        toast(approved ? "Approved: the call is made" : "Rejected: the model is told");
        return true;
    } catch (error) {
        toast(error.message, { bad: true });
        return false;
    }
}

export default async function page({ root, signal, query }) {
    const isHistory = query.get("show") === "history";
    const list = h("div");
    const count = h("span.muted");
    const tab = (name, words, isOn) => h("a.chip.button", { href: to("approvals", name ? { show: name } : {}), "aria-current": isOn ? "page" : null, class: isOn ? "on" : "" }, words);
    replace(root, h("div.head", h("h1", "Approvals"), count, h("span.actions", tab("", "Waiting", !isHistory), tab("history", "Decided", isHistory))), list);
    if (isHistory) {
        history(list, count, signal);
    } else {
        inbox(list, count, query, signal);
    }
}

function inbox(list, count, query, signal) {
    const cards = new Map();
    let order = [];
    let at = query.get("at");
    const frame = h("div.inbox");
    const mayDecide = me.may("decideApproval");
    const cardOf = step => {
        const i = order.findIndex(row => row.approval_id === at);
        return order[Math.max(0, Math.min(order.length - 1, i + step))];
    };

    function choose(row, { focus = true } = {}) {
        if (!row) {
            return;
        }
        at = row.approval_id;
        setQuery({ at });
        for (const [key, card] of cards) {
            card.element.classList.toggle("at", key === at);
        }
        const { element } = cards.get(at);
        focus && element.focus({ preventScroll: true });
        element.scrollIntoView({ block: "nearest" });
    }

    async function settle(approved) {
        const row = cardOf(0);
        const card = row && cards.get(row.approval_id);
        if (!card || card.busy || !mayDecide) {
            return;
        }
        card.busy = true;
        if (await decide(row.approval_id, approved, card.note.value)) {
            source.soon();
        }
        card.busy = false;
    }

    const keys = {
        move: step => choose(at && cards.has(at) ? cardOf(step) : order[0]),
        open: () => {
            const row = cardOf(0);
            row && go(to("runs", row.run_id));
            return Boolean(row);
        },
    };
    listKeys(keys, signal);
    mayDecide && pageKeys([
        { key: "a", does: "Approve the call", run: () => cards.has(at) && settle(true) },
        { key: "r", does: "Reject the call", run: () => cards.has(at) && settle(false) },
        { key: "e", does: "Write why", run: () => cards.get(at)?.note.focus() },
    ], signal);

    function make(row) {
        const note = h("input", { placeholder: "Why (the model reads it)", "aria-label": "Note", maxlength: 2000 });
        const bar = h("i");
        const change = h("div");
        const paths = h("div", { style: { display: "contents" } });
        explain(row, change, paths, signal);
        const [from, until] = [Date.parse(row.created_at), Date.parse(row.expires_at)];
        const button = (approved, word, key, kind) => h("button", { type: "button", class: kind, on: { click: () => {
            choose(row, { focus: false });
            settle(approved);
        } } }, `${word} `, h("kbd.button-kbd", key));
        const actions = mayDecide ? h("div.actions", button(true, "Approve", "a", "primary"), button(false, "Reject", "r", "danger"), note) : h("p.muted", "To decide needs the role approver.");
        const shrink = () => bar.style.width = `${Math.max(0, Math.min(100, (until - Date.now()) / (until - from) * 100))}%`;
        shrink();
        const element = h("article.card.approval", { tabindex: "-1", "aria-label": `${row.tool_name}: ${row.reason}`, on: { click: event => !event.target.closest("button, a, input, summary") && choose(row, { focus: false }) } },
            h("div.approval-head", mark("person"), h("h2", row.tool_name), h("span.muted", row.reason), h("span.age.muted", "waits ", age(row.created_at, { suffix: "" }), ", ", left(row.expires_at))),
            h("div.bar", { "aria-hidden": "true" }, bar),
            h("div.approval-body",
                h("div", change, jsonBlock("For exactly these arguments", argumentsOf(row.tool_input)), actions),
                h("dl.facts",
                    h("dt", "Session"), h("dd", h("a", { href: to("sessions", row.session_id) }, row.session_id)),
                    h("dt", "Run"), h("dd", h("a.mono", { href: to("runs", row.run_id) }, shortId(row.run_id))),
                    h("dt", "Rule"), h("dd", h("code", row.rule)),
                    h("dt", "Digest"), h("dd", digest(row.args_digest, 20)),
                    h("dt", "Expires"), h("dd", time(row.expires_at)), paths)));
        return { element, note, shrink };
    }

    const source = resource({
        load: s => waitingCalls(getExact, s), when: isOfApproval, signal, gap: 200, fail: error => replace(list, fault(error, () => source.refresh())),
        show: rows => {
            const before = order.findIndex(row => row.approval_id === at);
            order = rows;
            replace(count, order.length === 0 ? "" : order.length === 1 ? "one waits" : `${order.length} wait, the oldest on top`);
            const ids = new Set(order.map(row => row.approval_id));
            const hadFocus = frame.contains(document.activeElement) || before >= 0;
            for (const [key, card] of cards) {
                if (!ids.has(key)) {
                    card.element.remove();
                    cards.delete(key);
                }
            }
            order.forEach((row, i) => {
                const card = cards.get(row.approval_id) ?? make(row);
                cards.set(row.approval_id, card);
                if (frame.children[i] !== card.element) {
                    frame.insertBefore(card.element, frame.children[i] ?? null);
                }
            });
            replace(list, order.length === 0 ? h("div.card", empty("Nothing waits for a person", "A call that policy wants confirmed waits here.",
                // A session of its own: what is asked next in it waits behind the call.
                ["POST", "/sessions", { session_id: "careful" }], ["POST", "/sessions/careful/turn", { message: '/tool write_file {"path":"plan.txt","content":"Hello"}', wait_for_completion: false }])) : frame);
            if (at && !ids.has(at)) {
                // The next one takes the place of the one that was decided.
                const next = order[Math.min(Math.max(0, before), order.length - 1)];
                next && hadFocus ? choose(next) : at = null;
            } else if (at && before < 0) {
                choose(cardOf(0), { focus: false });
            }
        },
    });
    const timer = setInterval(() => cards.forEach(card => card.shrink()), 10_000);
    signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

// What the call would touch, as the policy resolved it; and what it would change of a file, as far as the run has read or written that file itself.
async function explain(row, change, paths, signal) {
    try {
        const events = [];
        for (let since = 0, answer; ; since = answer.next_since_id) {
            answer = await get(path`/runs/${row.run_id}/events`, { since_id: since, limit: 1000 }, signal);
            events.push(...answer.events);
            if (!answer.has_more) {
                break;
            }
        }
        const asked = events.find(event => event.type === "approval_requested" && event.payload.approval_id === row.approval_id);
        const touched = asked?.payload.paths ?? [];
        replace(paths, touched.length > 0 && [h("dt", "Paths"), h("dd", touched.map(each => h("code", { style: { display: "block" } }, each)))]);
        const { path: file, content } = argumentsOf(row.tool_input) ?? {};
        if (typeof content !== "string" || typeof file !== "string") {
            return;
        }
        const decided = events.find(event => event.type === "policy_decision" && event.payload.tool_call_id === asked?.payload.tool_call_id);
        const isNew = decided?.payload.subject?.kind === "create";
        const before = isNew ? null : knownContent(events, file);
        if (before !== null) {
            replace(change, h("div.code-head", h("h3", `What would change since the run has seen ${file}`)), diff(before, content, `What would change of ${file}`));
            return;
        }
        // Without what is there now nobody can say what is added, and what is gone.
        replace(change, h("div.code-head", h("h3", "What would be written")),
            h("p.small.muted", isNew ? "No such file was there when the call was judged." : "Its present content is not shown here: the run has not seen the whole of it."),
            block(content, { label: `What would be written to ${file}` }));
    } catch (error) {
        error.name !== "AbortError" && replace(change, h("p.small.muted", error.message));
    }
}

// The whole content of a file when the run last read or wrote it; null: it never did, saw a part of it, or may have changed it by other means since.
function knownContent(events, file) {
    const calls = new Map(events.filter(event => event.type === "tool_call").map(event => [event.payload.id, event.payload]));
    for (const { payload } of events.filter(event => event.type === "tool_result" && !event.payload.is_error).reverse()) {
        const call = calls.get(payload.id);
        const isOfFile = typeof call?.input?.path === "string" && plainPath(call.input.path) === plainPath(file);
        if (call?.name === "write_file" && isOfFile) {
            return typeof call.input.content === "string" ? call.input.content : null;
        } else if (call?.name === "read_file" && isOfFile) {
            const { content_preview: text } = payload;
            const isPart = (call.input.offset ?? 1) !== 1 || (call.input.limit ?? null) !== null;
            return !isPart && typeof text === "string" && !isCut(text) ? text : null;
        } else if (call?.name !== "write_file" && !Reading.has(call?.name)) {
            return null;
        }
    }
    return null;
}

// ./a/../b.txt is b.txt.
function plainPath(path) {
    const parts = [];
    for (const part of path.split("/")) {
        if (part === ".." && parts.length > 0 && parts.at(-1) !== "..") {
            parts.pop();
        } else if (part !== "." && (part !== "" || parts.length === 0)) {
            parts.push(part);
        }
    }
    return parts.join("/");
}

function history(list, count, signal) {
    const view = table({
        label: "Decided approvals", id: row => row.approval_id, href: row => to("runs", row.run_id),
        columns: [
            { title: "Decision", show: row => badge(row.status) },
            { title: "Call", fill: true, link: true, show: row => [h("b", row.tool_name), " ", h("span.muted", row.reason)] },
            { title: "By", text: true, hide: true, show: row => person(row.decided_by, "code.muted") },
            { title: "Note", text: true, hide: true, show: row => h("span.muted", row.decision_note ?? "") },
            { title: "Rule", text: true, hide: true, show: row => h("code.muted", row.rule) },
            { title: "Session", text: true, hide: true, show: row => h("span.muted", row.session_id) },
            { title: "Decided", num: true, show: row => h("span.muted", time(row.decided_at ?? row.expires_at)) },
        ],
    });
    listKeys(view, signal);
    const decided = row => row.status !== "pending";
    const source = growing({
        view, place: list, count, key: "approval_id", when: isOfApproval, signal, load: s => paged("/approvals", "approvals", { status: "all", limit: PageRows }, s), matches: () => decided,
        told: (_, goesOn) => {
            const number = whole(source.rows.filter(decided).length);
            return goesOn ? `the newest ${number}` : number;
        },
        none: () => empty("Nothing was decided yet", "A call that waits is decided under Waiting, or by POST /approvals/{approval_id}/decision."),
    });
}
