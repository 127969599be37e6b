// Groups of members and agents: those of the reader, those that anyone may join, and for administrators all.
import { get, post, rowsUpTo } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { time, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { setQuery, to } from "../router.js";
import { me, resource } from "../store.js";
import { badge, tag } from "../ui/badge.js";
import { choice } from "../ui/chips.js";
import { dialog, leaveFor } from "../ui/dialog.js";
import { empty, fault } from "../ui/empty.js";
import { table } from "../ui/table.js";

const PageRows = 100;
const Scopes = [["mine", "Mine"], ["public", "Open to all"], ["all", "All"]];

export default async function page({ root, signal, query }) {
    const offered = Scopes.filter(([name]) => name !== "all" || me.roles.includes("admin"));
    const state = { scope: offered.some(([name]) => name === query.get("scope")) ? query.get("scope") : me.roles.includes("admin") ? "all" : "mine", shown: PageRows };
    const head = h("span.muted");
    const list = h("div");
    const chips = choice({ label: "Whose groups", choices: offered, at: state.scope, isOne: true, choose: scope => {
        Object.assign(state, { scope, shown: PageRows });
        setQuery({ scope });
        source.refresh();
    } });
    const search = h("input", { type: "search", placeholder: "Part of the title", "aria-label": "Part of the title", value: query.get("q") ?? "", data: { search: "" } });
    search.addEventListener("input", debounce(() => {
        state.shown = PageRows;
        setQuery({ q: search.value.trim() });
        source.refresh();
    }, 150));
    const mayMake = me.may("createGroup");
    replace(root, h("div.head", h("h1", "Groups"), head, mayMake && h("span.actions",
        h("button", { type: "button", on: { click: make } }, "New group ", h("kbd.button-kbd", "n")))), h("div.filters", { role: "search" }, search, chips), list);
    mayMake && pageKeys([{ key: "n", does: "New group", run: make }], signal);

    const view = table({
        label: "Groups", id: row => row.group_id, href: row => to("groups", row.group_id),
        columns: [
            { title: "State", show: row => badge(row.status) },
            { title: "Title", fill: true, link: true, show: row => row.title },
            { title: "Seen by", hide: true, nowrap: true, show: row => row.is_private ? tag("person", "members only") : h("span.muted", "anyone of the tenant") },
            { title: "Agents", hide: true, text: true, show: row => h("span.muted", row.agents.map(agent => `@${agent.nickname ?? agent.agent_id}`).join(" ")) },
            { title: "Members", num: true, show: row => whole(row.members.length) },
            { title: "Last change", num: true, hide: true, show: row => h("span.muted", time(row.updated_at)) },
        ],
    });
    listKeys(view, signal);
    const foot = h("div.more");
    view.card.append(foot);

    const source = resource({
        load: s => rowsUpTo(state.shown, (offset, limit) => get("/groups", { scope: state.scope, q: search.value.trim(), limit, offset }, s)),
        when: event => event.type.startsWith("group_"), every: 30_000, signal, gap: 1_000, isLate: () => search.value.trim() !== "", fail: error => replace(list, fault(error, () => source.refresh())),
        show: ({ rows, total }) => {
            view.update(rows);
            replace(head, total > rows.length ? `the newest ${whole(rows.length)} of ${whole(total)}` : whole(total));
            replace(foot, h("button.quiet", { type: "button", on: { click: () => {
                state.shown += PageRows;
                source.refresh();
            } } }, "More"));
            foot.classList.toggle("hidden", total <= rows.length);
            replace(list, rows.length > 0 ? view.card : h("div.card",
                search.value.trim() ? empty("No group is like that") : empty(state.scope === "mine" ? "You are in no group" : "No groups yet", "People and agents talk to each other in a group.",
                ["POST", "/groups", { title: "Launch room" }])));
        },
    });

    function make() {
        const name = h("input", { id: "group-title", maxlength: 200, required: true });
        const isPrivate = h("input", { id: "group-private", type: "checkbox" });
        const problem = h("div");
        const box = dialog("New group", h("form.form", { on: { submit: async event => {
            event.preventDefault();
            try {
                const made = await post("/groups", { title: name.value, is_private: isPrivate.checked });
                leaveFor(box, to("groups", made.group_id));
            } catch (error) {
                replace(problem, fault(error));
            }
        } } }, h("label.field", { for: name.id }, h("span", "Title"), name), h("label.check", { for: isPrivate.id }, isPrivate, "Nobody but its members knows of it"), problem,
            h("div", h("button.primary", { type: "submit" }, "Make it"))));
    }
}
