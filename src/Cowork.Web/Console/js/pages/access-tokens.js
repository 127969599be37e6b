// API tokens: a list without secrets, a new one, other roles, another secret, the end of one.
import { call, get, path, post, remove } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { age, left, person, personText, time, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { setQuery } from "../router.js";
import { me, resource } from "../store.js";
import { tag } from "../ui/badge.js";
import { copyButton, id } from "../ui/copy.js";
import { confirm, dialog } from "../ui/dialog.js";
import { empty, fault } from "../ui/empty.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";

const Roles = [["member", "asks agents, makes sessions, skills and schedules"], ["approver", "decides approvals"], ["auditor", "reads everything, changes nothing"],
    ["admin", "does all of it, and issues tokens"]];
const ListMax = 1_000;

export default async function show({ content, count, actions, signal, query }) {
    const mayIssue = me.may("issueToken");
    const list = h("div");
    const search = h("input", { type: "search", placeholder: "Name or user", "aria-label": "Name or user", value: query.get("q") ?? "", data: { search: "" } });
    search.addEventListener("input", debounce(() => {
        setQuery({ q: search.value.trim() });
        source.refresh();
    }, 150));
    replace(content, h("div.filters", { role: "search" }, search), list);
    mayIssue && replace(actions, h("button", { type: "button", on: { click: issue } }, "New token ", h("kbd.button-kbd", "n")));
    mayIssue && pageKeys([{ key: "n", does: "New token", run: issue }], signal);
    const view = table({
        label: "API tokens", id: row => row.token_id, open,
        columns: [
            { title: "Name", name: true, show: row => h("button.quiet.row-link.cut", { type: "button", on: { click: () => open(row) } }, row.name) },
            { title: "User", text: true, hide: true, show: row => person(row.user, "span") },
            { title: "Roles", fill: true, show: row => row.roles.map(role => h("span.role", role)) },
            { title: "From", hide: true, text: true, show: row => row.addresses
                ? h("code.muted", row.addresses.length === 1 ? row.addresses[0] : `${row.addresses.length} networks`) : h("span.faint", "anywhere") },
            { title: "By", hide: true, text: true, show: row => person(row.created_by, "code.muted") },
            { title: "Used", num: true, hide: true, show: row => row.last_used_at ? h("span.muted", age(row.last_used_at)) : h("span.faint", "never") },
            { title: "Ends", num: true, show: row => endOf(row) },
        ],
    });
    listKeys(view, signal);
    let wanted = query.get("token");
    const source = resource({
        load: s => get("/tokens", { q: search.value.trim(), limit: ListMax }, s), when: event => event.type.startsWith("token_"), every: 60_000, signal, isLate: () => search.value.trim() !== "",
        fail: error => replace(list, fault(error, () => source.refresh())),
        show: async ({ tokens, next_cursor: next }) => {
            replace(count, next ? `the newest ${whole(tokens.length)}` : whole(tokens.length));
            view.update(tokens);
            replace(list, tokens.length === 0 ? h("div.card", search.value.trim() ? empty("No token is like that") : empty("No tokens", "Who calls from elsewhere needs one.",
                ...me.may("issueToken") ? [["POST", "/tokens", { name: "ci", user: "ci-bot", roles: ["member"], expires_in_days: 30 }]] : [])) : view.card);
            const named = wanted && (tokens.find(token => token.token_id === wanted) ?? await get(path`/tokens/${wanted}`, {}, signal).catch(() => null));
            wanted = null;
            named && open(named);
        },
    });

    function issue() {
        const name = h("input", { id: "token-name", required: true, maxlength: 128, placeholder: "What it is for" });
        const user = h("input", { id: "token-user", placeholder: me.user, pattern: "[A-Za-z0-9._%\\-]{1,128}" });
        const days = h("input", { id: "token-days", type: "number", min: 1, max: 3660, placeholder: "90" });
        const addresses = h("input", { id: "token-addresses", placeholder: "anywhere" });
        const roles = roleBoxes(["member"]);
        const problem = h("div");
        const field = (input, words) => h("label.field", { for: input.id }, h("span", words), input);
        const box = dialog("New token", h("form.form", { on: { submit: async event => {
            event.preventDefault();
            const networks = addresses.value.split(/[\s,]+/).filter(Boolean);
            try {
                const made = await post("/tokens", {
                    name: name.value, roles: roles.chosen(), ...(user.value ? { user: user.value } : {}), ...(days.value ? { expires_in_days: Number(days.value) } : {}),
                    ...(networks.length > 0 ? { addresses: networks } : {}),
                });
                box.close();
                secret(made);
            } catch (error) {
                replace(problem, fault(error));
            }
        } } },
            field(name, "Name"), field(user, "User that it acts as"), roles.element,
            h("div.pair", field(days, "Days until it ends"), field(addresses, "Only from, such as 10.0.0.0/8")), problem,
            h("div", h("button.primary", { type: "submit" }, "Issue it"))));
    }

    // The only sight of a secret.
    function secret(made) {
        const box = dialog("Copy the token now", h("div.form", h("p", "It acts as ", person(made.user, "b"), " and is not shown again: the host keeps only its SHA-256."),
            h("div.code.secret", { tabindex: "0", role: "group", "aria-label": "The token" }, h("pre.grow", made.token), copyButton(made.token))));
        box.addEventListener("close", () => source.refresh());
    }

    function open(row) {
        setQuery({ token: row.token_id });
        const fact = (name, value) => [h("dt", name), h("dd", value)];
        const mayChange = me.may("changeToken") && (!row.operator || me.is_operator);
        const act = (words, kind, run) => h("button", { type: "button", class: kind, on: { click: () => {
            box.close();
            run();
        } } }, words);
        const box = dialog(row.name, h("dl.facts",
            fact("Id", id(row.token_id)), fact("User", person(`user:${row.user}`)), fact("Roles", row.roles.map(role => h("span.role", role))),
            row.operator && fact("Operator", "It sees all tenants, and may issue tokens for them."),
            fact("Issued", [time(row.created_at), " by ", person(row.created_by)]),
            row.issuers.length > 0 && fact("Behind it", row.issuers.map(actor => h("div", h("code", actor)))),
            fact("Ends", endOf(row, true)), fact("Last used", row.last_used_at ? time(row.last_used_at) : "never"),
            fact("From", row.addresses ? row.addresses.map(address => h("div", h("code", address))) : "any address"),
            row.rotated_at && fact("New secret", time(row.rotated_at)), row.previous_until && fact("Old secret", [left(row.previous_until)])),
        mayChange ? [act("Other roles", "", () => change(row)), act("New secret", "", () => rotate(row)), act("Revoke", "danger", () => revoke(row))] : []);
        box.addEventListener("close", () => setQuery({ token: null }));
    }

    function change(row) {
        const roles = roleBoxes(row.roles);
        const problem = h("div");
        const box = dialog(`Roles of ${row.name}`, h("form.form", { on: { submit: async event => {
            event.preventDefault();
            try {
                await call("PATCH", path`/tokens/${row.token_id}`, { body: { roles: roles.chosen() } });
                box.close();
                source.refresh();
            } catch (error) {
                replace(problem, fault(error));
            }
        } } }, roles.element, problem, h("div", h("button.primary", { type: "submit" }, "Change"))));
    }

    async function rotate(row) {
        if (await confirm("Another secret?", `${row.name} gets a new secret. The old one works as long as the host's overlap says, usually an hour.`, "Make it")) {
            await settle(async () => secret(await post(path`/tokens/${row.token_id}/rotate`)));
        }
    }

    async function revoke(row) {
        if (await confirm("Revoke the token?", `${row.name} of ${personText(row.user)} is worth nothing any more, and what it has opened ends.`, "Revoke")) {
            await settle(async () => {
                await remove(path`/tokens/${row.token_id}`);
                toast("The token is revoked");
                await source.refresh();
            });
        }
    }

    async function settle(action) {
        try {
            await action();
        } catch (error) {
            toast(error.message, { bad: true });
        }
    }
}

function endOf(row, isLong) {
    return !row.expires_at ? h("span.muted", "never")
        : Date.parse(row.expires_at) <= Date.now() ? tag("wait", "ended")
        : isLong ? [time(row.expires_at), ", ", left(row.expires_at)] : h("span.muted", left(row.expires_at));
}

function roleBoxes(chosen) {
    const boxes = Roles.map(([role, does]) => ({ role, does, box: h("input", { type: "checkbox", id: `role-${role}`, checked: chosen.includes(role) }) }));
    return {
        element: h("fieldset.plain", h("legend.small.muted", "Roles"),
            boxes.map(({ role, does, box }) => h("label.check", { for: box.id }, box, h("span", h("b", role), h("span.muted", `, ${does}`))))),
        chosen: () => boxes.filter(({ box }) => box.checked).map(({ role }) => role),
    };
}
