// One group: what was said in it, live, who is in it and who is there, its agents, and its end.
import { bytes, get, newKey, path, post, remove } from "../api.js";
import { grow, h, renew, replace } from "../dom.js";
import { person, personText, time, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { live } from "../live.js";
import { to } from "../router.js";
import { isErasing, isOfApproval, me, resource } from "../store.js";
import { brief } from "../text.js";
import { badge, mark, tag } from "../ui/badge.js";
import { id } from "../ui/copy.js";
import { dialog } from "../ui/dialog.js";
import { empty, fault, lost } from "../ui/empty.js";
import { reply } from "../ui/reply.js";
import { toast } from "../ui/toast.js";

const PageMessages = 300;
// Of the messages that are kept in the page.
const KeptMax = 20_000;
// Of those that are shown before the one that the address names.
const Before = 50;

export default async function page({ root, signal, params, query, title }) {
    const group = params.group;
    const crumbs = h("ol.crumbs", h("li", h("a", { href: to("groups") }, "Groups")), h("li", id(group)));
    const head = h("div");
    const earlier = h("div.more.hidden");
    const talk = h("div.talk", { role: "log", "aria-label": "Messages" });
    const none = h("div");
    const composer = h("div");
    const side = h("div");
    const waiting = h("div.stack");
    replace(root, crumbs, head, waiting, h("div.split", h("div", h("div.card", earlier, talk, none), composer),
        h("aside.inspector", { "aria-label": "Members and agents" }, side)));

    const session = `sess_${group.replace(/^grp_/, "")}`;
    let details = null;
    resource({
        load: s => get("/approvals", { session_id: session, limit: 20 }, s), when: event => event.session_id === session && isOfApproval(event), signal,
        // Who sees no approvals is told of none.
        fail: () => replace(waiting),
        show: ({ approvals }) => replace(waiting, approvals.map(row => h("p.note.ask-note", mark("person"), " ", h("b", row.tool_name), " waits for a person: ", row.reason, " ",
            h("a.button", { href: to("approvals", { at: row.approval_id }) }, "Decide")))),
    });
    const found = resource({
        load: s => get(path`/groups/${group}`, {}, s), when: event => event.session_id === session && event.type.startsWith("group_"),
        every: 5_000, signal,
        fail: error => lost(error, { root, head, crumbs, word: "Group", again: () => found.refresh() }),
        show: value => {
            const was = details?.status;
            details = value;
            title(brief(value.title, 60));
            drawHead();
            drawSide();
            if (was !== value.status || !composer.hasChildNodes()) {
                drawComposer();
            }
        },
    });

    function drawHead() {
        const isOver = details.status !== "active";
        const mayArchive = me.may("archiveGroup") && !isOver && (me.roles.includes("admin") || mine()?.role === "admin");
        renew(head, h("div.head", h("h1", details.title), badge(details.status), details.is_private && tag("person", "members only"), h("span.actions",
            h("a.button", { href: to("runs", { session_id: details.session_id }) }, "Its runs"),
            me.may("listTenantEvents") && h("a.button", { href: to("feed", { session: details.session_id }) }, "Its events"),
            details.status === "archived" && h("button", { type: "button", on: { click: download } }, "Download the archive"),
            mayArchive && h("button.danger", { type: "button", on: { click: archive } }, "Archive"))));
    }

    const mine = () => details.members.find(member => member.user_id === me.user);

    // As the server has it: a group's administrators, and the tenant's; and everybody may leave.
    const mayRule = () => me.may("addGroupMember") && details.status === "active" && (me.roles.includes("admin") || mine()?.role === "admin");
    const mayLeave = member => me.may("deleteGroupMember") && details.status === "active" && member.user_id === me.user;

    function drawSide() {
        const here = details.members.filter(member => member.connected);
        renew(side,
            h("div.inspector-title", h("h2", "Members"), h("span.small.muted.grow",
                `${whole(details.members.length)}, ${here.length === 0 ? "nobody is connected" : here.length === 1 ? "one is connected" : `${whole(here.length)} are connected`}`),
            mayRule() && h("button", { type: "button", on: { click: add } }, "Add")),
            h("ul.people", details.members.map(member => h("li", h("i.presence", { class: member.connected ? "here" : "", "aria-hidden": "true" }),
                h("span.cut.grow", person(member.user_id, "span"), member.user_id === me.user && h("span.faint", " (you)")),
                member.role === "admin" && h("span.role", "admin"), // A page of the console reads without a connection to the group.
                h("span.small.muted", member.connected ? "connected" : member.user_id === me.user ? "in the console" : "not connected"),
                (mayRule() || mayLeave(member)) && h("button.icon.quiet", { type: "button", "aria-label": `Change ${personText(member.user_id)}`, on: { click: () => change(member) } }, "⋯")))),
            h("div.inspector-title.apart", h("h2", "Agents")),
            h("ul.people", details.agents.map((agent, i) => h("li", h("code.grow", agent.nickname ? `@${agent.nickname}` : agent.agent_id),
                h("span.small.muted", agent.nickname === null ? "not on this host" : i === 0 ? "answers what names none" : agent.model ?? "")))),
            h("dl.facts.apart", h("dt", "Session"), h("dd", h("a.mono", { href: to("sessions", details.session_id), title: details.session_id }, brief(details.session_id, 32))),
                h("dt", "Made"), h("dd", time(details.created_at), " by ", person(details.created_by)), h("dt", "Changed"), h("dd", time(details.updated_at))));
    }

    const text = h("textarea", { rows: 2, "aria-label": "Message", placeholder: "Say something; @agent addresses one", data: { search: "" } });
    text.addEventListener("keydown", event => event.key === "Enter" && (event.ctrlKey || event.metaKey) && text.form.requestSubmit());
    const unsent = h("div.stack");

    // What was not sent stays, with its key: a message whose answer was lost is said once, however often it is sent.
    async function speak(message) {
        try {
            await post(path`/groups/${group}/messages`, { text: message.said }, { key: message.key });
            message.note?.remove();
            messages.soon();
        } catch (error) {
            if (error.name === "AbortError") {
                return;
            }
            message.note?.remove();
            message.note = h("p.note.bad.after", { role: "alert" }, `Not sent: ${error.message} `, h("span.as-is", message.said), " ",
                h("button", { type: "button", on: { click: () => speak(message) } }, "Send again"),
                h("button.quiet", { type: "button", on: { click: () => message.note.remove() } }, "Discard"));
            unsent.append(message.note);
        }
    }

    function drawComposer() {
        if (details.status !== "active") {
            replace(composer, h("p.note.after", details.status === "archived" ? "The group is archived: nothing is said in it any more." : "The group is being archived: nothing is said in it any more."));
            return;
        }
        if (!me.may("createGroupMessage") || !mine()) {
            replace(composer, h("div.after", me.may("addGroupMember") && !details.is_private ? h("button", { type: "button", on: { click: join } }, "Join the group")
                : h("p.muted", "Members speak here.")));
            return;
        }
        replace(composer, unsent, h("form.card.pad.after", { "aria-label": "A message", on: { submit: event => {
            event.preventDefault();
            const said = text.value;
            text.value = "";
            // Not waited for: somebody goes on talking meanwhile.
            said.trim() && speak({ said, key: newKey() });
        } } }, text, h("div.filters.below", h("button.primary", { type: "submit" }, "Send ", h("kbd.button-kbd", "Ctrl ↵")))));
    }

    // Messages by their seq, which is dense from 1: a reader sees that none is missing.
    const bySeq = new Map();
    let first = null;
    let last = 0;
    // One that the address names is shown when the page is.
    let wanted = Number(query.get("seq")) || null;
    let drawn = new Map();
    let at = -1;

    // What is here may read otherwise.
    let isOld = false;
    live.on(events => isOld ||= events.some(isErasing), signal);
    const messages = resource({
        load: async s => {
            if (first === null && wanted === null) {
                return get(path`/groups/${group}/messages`, { limit: PageMessages }, s);
            }
            const all = { messages: [] };
            const from = first === null ? Math.max(0, wanted - Before) : isOld ? first - 1 : last;
            isOld = false;
            for (let answer; ;) {
                answer = await get(path`/groups/${group}/messages`, { since: from + all.messages.length, limit: PageMessages }, s);
                all.messages.push(...answer.messages);
                if (!answer.has_more) {
                    return all;
                }
            }
        },
        when: event => event.session_id === session, every: 5_000, signal, gap: 150,
        // That there is no such group is said above.
        fail: error => error.status === 404 || replace(none, h("div.pad", fault(error, () => messages.refresh()))),
        show: page => {
            take(page.messages);
            earlier.classList.toggle("hidden", !(first > 1));
            draw();
            const named = wanted !== null && talk.querySelector(`[data-seq="${wanted}"]`);
            if (named) {
                wanted = null;
                at = [...talk.querySelectorAll("article")].indexOf(named);
                named.focus({ preventScroll: true });
                named.scrollIntoView({ block: "center" });
            }
        },
    });
    replace(earlier, h("button.quiet", { type: "button", on: { click: older } }, "Earlier"));

    function take(some) {
        for (const message of some) {
            bySeq.set(message.seq, message);
            first = Math.min(first ?? message.seq, message.seq);
            last = Math.max(last, message.seq);
        }
        first ??= 1;
    }

    async function older() {
        try {
            const page = await get(path`/groups/${group}/messages`, { before: first, limit: PageMessages }, signal);
            const height = document.documentElement.scrollHeight;
            take(page.messages);
            earlier.classList.toggle("hidden", !(first > 1) || bySeq.size > KeptMax);
            draw();
            scrollBy(0, document.documentElement.scrollHeight - height);
        } catch (error) {
            error.name !== "AbortError" && toast(error.message, { bad: true });
        }
    }

    // What is shown: each thing said, and each answer with what its agent does on the way.
    function entries() {
        const list = [];
        const runs = new Map();
        for (let seq = first ?? 1; seq <= last; seq++) {
            const message = bySeq.get(seq);
            if (!message) {
                list.push({ key: `gap-${seq}`, kind: "gap" });
                continue;
            }
            if (message.type === "user_message_stored") {
                list.push({ key: `said-${seq}`, kind: "said", seq, message });
            } else if (message.run_id) {
                let answer = runs.get(message.run_id);
                if (!answer) {
                    answer = { key: message.run_id, kind: "answer", seq, agent: message.agent_id, run: message.run_id, at: message.ts, text: "", sure: "", status: "running",
                        tools: [], error: null };
                    runs.set(message.run_id, answer);
                    list.push(answer);
                }
                fold(answer, message);
            } else {
                list.push({ key: `note-${seq}`, kind: "note", seq, message });
            }
        }
        return list;
    }

    function fold(answer, message) {
        switch (message.type) {
            case "agent_start":
                // It begins anew behind the last call of a tool.
                Object.assign(answer, { nickname: message.nickname, text: answer.sure, error: null });
                break;
            case "text_delta":
                answer.text += message.text;
                break;
            case "tool_call":
                answer.tools.push(message.name);
                answer.sure = answer.text;
                break;
            case "tool_result":
                answer.sure = answer.text;
                break;
            case "agent_message":
                answer.text = message.text;
                break;
            case "agent_error":
                answer.error = { code: message.code, message: message.message };
                break;
            case "done":
                answer.status = message.status;
                break;
        }
    }

    function draw() {
        const list = entries();
        const isAtEnd = innerHeight + scrollY > document.documentElement.scrollHeight - 80;
        const next = new Map();
        list.forEach((entry, i) => {
            const text = JSON.stringify(entry);
            const known = drawn.get(entry.key);
            const element = known?.text === text ? known.element : known && entry.kind === "answer" ? grow(known.element, show(entry)) : show(entry);
            next.set(entry.key, { text, element });
            if (talk.children[i] !== element) {
                known && known.element !== element && known.element.remove();
                talk.insertBefore(element, talk.children[i] ?? null);
            }
        });
        for (const [key, { element }] of drawn) {
            if (next.get(key)?.element !== element) {
                element.remove();
            }
        }
        drawn = next;
        replace(none, list.length === 0 ? empty("Nothing was said yet", "The addressed agents answer.", ["POST", path`/groups/${group}/messages`, { text: "@assistant Hello" }])
            : "");
        isAtEnd && wanted === null && last > PageMessages / 10 && scrollTo(0, document.documentElement.scrollHeight);
    }

    function show(entry) {
        const head = (who, more) => h("div.said-head", who, more, h("span.grow"),
            entry.seq && h("a.seq.small.faint", { href: to("groups", group, { seq: entry.seq }), title: "Place among the group's messages" }, `#${entry.seq}`));
        switch (entry.kind) {
            case "gap":
                return h("p.note.bad", "A message is missing here.");
            case "said":
                return h("article.said", { tabindex: "-1", data: { seq: entry.seq }, "aria-label": `${personText(entry.message.user_id)} said` }, head(person(entry.message.user_id, "b"), [time(entry.message.ts)]),
                    h("div.reply", h("p.as-is", entry.message.text)));
            case "answer":
                return h("article.said.of-agent", { tabindex: "-1", data: { seq: entry.seq }, "aria-label": `${entry.nickname ?? entry.agent} answered` },
                    head(h("b.kind-model", `@${entry.nickname ?? entry.agent}`),
                        [time(entry.at), entry.status !== "completed" && badge(entry.status), h("a.small.muted", { href: to("runs", entry.run) }, "run")]),
                    entry.tools.length > 0 && h("p.small.muted", "used ", [...new Set(entry.tools)].map((tool, i) => [i > 0 && ", ", h("code", tool)])),
                    entry.text ? reply(entry.text, { below: 1 }) : entry.status === "running" && h("p.muted", "…"),
                    entry.error && h("p.kind-refused", entry.error.message, " ", h("code.muted", entry.error.code)));
            default:
                return h("p.small.muted.said", noteOf(entry.message), " ", time(entry.message.ts));
        }
    }

    listKeys({
        move(step) {
            const list = [...talk.querySelectorAll("article")];
            if (list.length > 0) {
                at = at < 0 ? step > 0 ? 0 : list.length - 1 : Math.max(0, Math.min(list.length - 1, at + step));
                list[at].focus({ preventScroll: true });
                list[at].scrollIntoView({ block: "nearest" });
            }
        },
        open() {
            const link = [...talk.querySelectorAll("article")][at]?.querySelector("a:not(.seq)");
            link?.click();
            return Boolean(link);
        },
    }, signal);
    pageKeys([{ key: "l", does: "To the latest message", run: () => scrollTo(0, document.documentElement.scrollHeight) }], signal);

    async function settle(action) {
        try {
            await action();
            await found.refresh();
            drawComposer();
        } catch (error) {
            toast(error.message, { bad: true });
        }
    }

    const join = () => settle(() => post(path`/groups/${group}/members`, {}));

    function add() {
        const user = h("input", { id: "member-user", required: true, maxlength: 128 });
        const isAdmin = h("input", { id: "member-admin", type: "checkbox" });
        const problem = h("div");
        const box = dialog("Add a member", h("form.form", { on: { submit: async event => {
            event.preventDefault();
            try {
                await post(path`/groups/${group}/members`, { user_id: user.value.trim(), role: isAdmin.checked ? "admin" : "member" });
                box.close();
                await found.refresh();
            } catch (error) {
                replace(problem, fault(error));
            }
        } } }, h("label.field", { for: user.id }, h("span", "User"), user), h("label.check", { for: isAdmin.id }, isAdmin, "May add, remove and archive, too"), problem,
            h("div", h("button.primary", { type: "submit" }, "Add them"))));
    }

    function change(member) {
        const isMe = member.user_id === me.user;
        const other = member.role === "admin" ? "member" : "admin";
        const act = (words, kind, action) => h("button", { type: "button", class: kind, on: { click: () => {
            box.close();
            settle(action);
        } } }, words);
        const box = dialog(personText(member.user_id), h("dl.facts", h("dt", "Role"), h("dd", h("span.role", member.role)), h("dt", "Joined"), h("dd", time(member.joined_at)),
            h("dt", "Now"), h("dd", member.connected ? "connected" : "away")),
        [mayRule() && act(`Make them ${other}`, "", () => post(path`/groups/${group}/members`, { user_id: member.user_id, role: other })),
            act(isMe ? "Leave the group" : "Remove", "danger", () => remove(path`/groups/${group}/members/${member.user_id}`))]);
    }

    function archive() {
        const reason = h("textarea", { id: "archive-reason", rows: 2, maxlength: 4000 });
        const box = dialog("Archive the group?", h("form.form", { on: { submit: async event => {
            event.preventDefault();
            try {
                await post(path`/groups/${group}/archive`, reason.value.trim() ? { reason: reason.value } : {});
                box.close();
                toast("The group is archived");
                await found.refresh();
            } catch (error) {
                toast(error.message, { bad: true });
            }
        } } }, h("p", "Nothing is said in it any more, what runs in it is cancelled, and members are disconnected."),
            h("label.field", { for: reason.id }, h("span", "Why (may be left out)"), reason),
            h("div", h("button.danger", { type: "submit" }, "Archive it"))));
    }

    async function download() {
        try {
            const url = URL.createObjectURL(await bytes(path`/groups/${group}/archive`, {}, signal));
            h("a", { href: url, download: `${group}.json` }).click();
            setTimeout(() => URL.revokeObjectURL(url), 10_000);
        } catch (error) {
            toast(error.message, { bad: true });
        }
    }
}

function noteOf(message) {
    return [h("code", message.type), message.user_id ? [" ", person(message.user_id, "span")] : ""];
}
