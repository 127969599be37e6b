// Who the reader is, and which roles each operation of the API needs.
import { get } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { left, person, time, whole } from "../format.js";
import { listKeys } from "../keys.js";
import { setQuery } from "../router.js";
import { me } from "../store.js";
import { mark } from "../ui/badge.js";
import { choice } from "../ui/chips.js";
import { id } from "../ui/copy.js";
import { empty } from "../ui/empty.js";
import { table } from "../ui/table.js";

const Ways = { local: "local mode, without a token", token: "an API token", oidc: "a token of your identity provider" };

export default async function show({ content, count, signal, query }) {
    const { roles, operations } = await get("/roles", {}, signal);
    const search = h("input", { type: "search", placeholder: "Words of operations", "aria-label": "Words of operations", value: query.get("q") ?? "", data: { search: "" } });
    const state = { role: roles.includes(query.get("role")) ? query.get("role") : null };
    const chips = choice({ label: "Roles", choices: roles.map(role => [role, `needs ${role}`]), at: state.role, choose: role => {
        state.role = role;
        setQuery({ role });
        draw();
    } });
    const list = h("div");
    replace(count, `${whole(operations.length)} operations`);
    replace(content,
        h("section", { "aria-label": "You" }, h("dl.facts.card.pad",
            h("dt", "You are"), h("dd", person(me.actor), " of ", h("b", me.org_id), me.is_operator && h("span.muted", ", an operator")),
            h("dt", "By"), h("dd", Ways[me.authentication] ?? me.authentication, me.token_id && [" ", id(me.token_id)],
                me.expires_at && h("span.muted", " ends ", time(me.expires_at), ", ", left(me.expires_at))),
            h("dt", "Roles"), h("dd", me.roles.length === 0 ? "none" : me.roles.map(role => h("span.role", role))),
            h("dt", "You may"), h("dd", `${whole(operations.filter(each => me.may(each.operation)).length)} of ${whole(operations.length)} operations`))),
        h("section.section", { "aria-labelledby": "matrix" }, h("div.section-head", h("h2", { id: "matrix" }, "What roles may do"),
            h("span.small.muted", "One of the marked roles is enough; a dot: everybody of the tenant may.")),
            h("div.filters", { role: "search" }, search, chips), list));

    const has = (row, role) => row.roles.length === 0 || row.roles.includes(role);
    const view = table({
        label: "Operations and the roles that they need", id: row => row.operation,
        columns: [
            { title: "Does", fill: true, show: row => [row.summary, row.for_operators && h("span.faint", " (of the operators' tenant)")] },
            { title: "Operation", hide: true, text: true, show: row => h("code.muted", row.operation) },
            { title: "Request", hide: true, text: true, show: row => h("code.muted", `${row.method} ${row.path}`) },
            ...roles.map(role => ({
                title: role, class: "tick", show: row => row.roles.length === 0 ? h("span.faint", h("span", { "aria-hidden": "true" }, "·"), h("span.sr", "everybody"))
                    : has(row, role) ? h("span.kind-proven", mark("proven"), h("span.sr", "yes")) : h("span.sr", "no"),
            })),
        ],
    });
    listKeys(view, signal);

    function draw() {
        const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
        const shown = operations.filter(row => (!state.role || row.roles.includes(state.role))
            && words.every(word => `${row.operation} ${row.method} ${row.path} ${row.summary} ${row.tag}`.toLowerCase().includes(word)));
        view.update(shown);
        replace(list, shown.length === 0 ? h("div.card", empty("No operation is like that", "Take a filter away.")) : view.card);
    }
    search.addEventListener("input", debounce(() => {
        setQuery({ q: search.value.trim() });
        draw();
    }, 150));
    draw();
}
