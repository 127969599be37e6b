// Connections to sources outside: what state they are in, and when they were asked last. Credentials are never shown: the host does not answer them.
import { call, get, path, post, remove, rowsUpTo } from "../api.js";
import { h, replace } from "../dom.js";
import { age, time, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { setQuery } from "../router.js";
import { me, resource } from "../store.js";
import { tag } from "../ui/badge.js";
import { id } from "../ui/copy.js";
import { confirm, dialog } from "../ui/dialog.js";
import { empty, fault } from "../ui/empty.js";
import { table } from "../ui/table.js";
import { toast } from "../ui/toast.js";

const PageRows = 100;
const States = { connected: ["proven", "connected"], error: ["refused", "not reached"], pending: ["person", "waits for consent"] };

const stateOf = row => tag(...States[row.status] ?? ["wait", row.status]);

export default async function page({ root, signal, query }) {
    const head = h("span.muted");
    const list = h("div");
    const chips = h("div.chips", { role: "group", "aria-label": "Kinds of sources" });
    const mayMake = me.may("createConnection");
    let spec = query.get("spec");
    let at = query.get("at");
    replace(root, h("div.head", h("h1", "Connectors"), head, mayMake && h("span.actions",
        h("button", { type: "button", on: { click: () => make() } }, "New connection ", h("kbd.button-kbd", "n")))),
        h("div.filters", { role: "search" }, chips), list);
    mayMake && pageKeys([{ key: "n", does: "New connection", run: () => make() }], signal);
    const { data: specs } = await get("/api/v1/connectors/specs", { limit: 100 }, signal);
    const nameOf = id => specs.find(each => each.id === id)?.name ?? id;

    const view = table({
        label: "Connections", id: row => row.id, open,
        columns: [
            { title: "Connection", nowrap: true, show: row => h("button.quiet.row-link", { type: "button", on: { click: () => open(row) } }, row.name) },
            { title: "Source", nowrap: true, hide: true, show: row => nameOf(row.spec_id) },
            { title: "State", nowrap: true, show: stateOf },
            { title: "", fill: true, hide: true, show: row => h("span.muted", row.status_detail ?? "") },
            { title: "Asked", num: true, hide: true, show: row => row.checked_at ? h("span.muted", age(row.checked_at)) : h("span.faint", "never") },
            me.may("runConnectionTest") && { title: "", num: true, show: row => h("button.above",
                { type: "button", "aria-label": `Test ${row.name}`, on: { click: event => test(row, event.currentTarget) } }, "Test") },
        ].filter(Boolean),
    });
    listKeys(view, signal);
    const foot = h("div.more");
    view.card.append(foot);
    let rows = [];
    let shown = PageRows;

    function controls() {
        replace(chips, specs.map(each => h("button.chip", { type: "button", "aria-pressed": spec === each.id, on: { click: () => {
            spec = spec === each.id ? null : each.id;
            setQuery({ spec });
            controls();
            source.refresh();
        } } }, each.name)));
    }
    controls();

    const source = resource({
        load: s => rowsUpTo(shown, (offset, limit) => get("/api/v1/connectors/connections", { spec_id: spec, limit, offset }, s)),
        when: event => event.type.startsWith("connection_"), every: 30_000, signal, fail: error => replace(list, fault(error, () => source.refresh())),
        show: ({ rows: found, total }) => {
            rows = found;
            view.update(rows);
            replace(head, total > rows.length ? `the newest ${whole(rows.length)} of ${whole(total)}` : whole(total));
            replace(foot, h("button.quiet", { type: "button", on: { click: () => {
                shown += PageRows;
                source.refresh();
            } } }, "More"));
            foot.classList.toggle("hidden", total <= rows.length);
            replace(list, rows.length > 0 ? view.card : h("div.card", spec ? empty(`No connection to ${nameOf(spec)}`, "Take the filter away.")
                : empty("No connections yet", "A connection lets agents ask a database, an API or the tools of an MCP server.",
                    ["POST", "/api/v1/connectors/connections", { spec_id: "postgres", name: "Ledger",
                        credentials: { host: "db.example", port: 5432, database: "ledger", user: "reader", password: "…" } }])));
            const wanted = at && rows.find(row => row.id === at);
            at = null;
            wanted && open(wanted);
        },
    });

    async function test(row, button) {
        button.disabled = true;
        try {
            const after = await post(path`/api/v1/connectors/connections/${row.id}/test`);
            toast(after.status === "connected" ? `${row.name} answers` : after.status_detail ?? after.status, { bad: after.status !== "connected" });
        } catch (error) {
            toast(error.message, { bad: true });
        }
        button.disabled = false;
        await source.refresh();
    }

    function open(row) {
        setQuery({ at: row.id });
        const act = (words, kind, run) => h("button", { type: "button", class: kind, on: { click: () => {
            box.close();
            run();
        } } }, words);
        const about = specs.find(each => each.id === row.spec_id);
        const box = dialog(row.name, [h("dl.facts",
            h("dt", "State"), h("dd", stateOf(row)), row.status_detail && [h("dt", "Why"), h("dd", row.status_detail)],
            h("dt", "Asked"), h("dd", row.checked_at ? time(row.checked_at) : "never"),
            h("dt", "Source"), h("dd", nameOf(row.spec_id), about && h("div.small.muted", about.description)),
            h("dt", "Credentials"), h("dd", about?.auth_type === "oauth2" ? "by consent at the source"
                : ["sealed; the host answers none of them", h("div.small.muted", (about?.fields ?? []).map(field => field.label).join(", "))]),
            h("dt", "Id"), h("dd", id(row.id)), h("dt", "Made"), h("dd", time(row.created_at)), h("dt", "Changed"), h("dd", time(row.updated_at)))],
        [me.may("changeConnection") && about?.auth_type === "credentials" && act("Other credentials", "", () => make(row)),
            me.may("deleteConnection") && act("Delete", "danger", () => forget(row))]);
        box.addEventListener("close", () => setQuery({ at: null }));
    }

    async function forget(row) {
        if (!await confirm("Delete the connection?", `Runs cannot ask ${row.name} any more.`, "Delete")) {
            return;
        }
        try {
            await remove(path`/api/v1/connectors/connections/${row.id}`);
            toast("The connection is deleted");
        } catch (error) {
            toast(error.message, { bad: true });
        }
        await source.refresh();
    }

    // A new connection, or other credentials for one.
    function make(row) {
        const choice = h("select", { id: "spec", disabled: Boolean(row) },
            specs.filter(each => each.auth_type === "credentials").map(each => h("option", { value: each.id }, each.name)));
        choice.value = row?.spec_id ?? (specs.some(each => each.id === spec && each.auth_type === "credentials") ? spec : choice.value);
        const name = h("input", { id: "connection-name", maxlength: 200, required: true, value: row?.name ?? "" });
        const fields = h("div.form");
        const problem = h("div");
        const inputs = new Map();
        const build = () => {
            const about = specs.find(each => each.id === choice.value);
            inputs.clear();
            replace(fields, h("p.small.muted", about.description), about.fields.map(field => {
                const input = h("input", { id: `field-${field.key}`, type: field.secret ? "password" : "text", required: field.required, autocomplete: "off",
                    spellcheck: "false" });
                inputs.set(field.key, input);
                return h("label.field", { for: input.id }, h("span", field.label, !field.required && " (may be left out)"), input);
            }));
        };
        choice.addEventListener("change", build);
        build();
        const box = dialog(row ? `Other credentials for ${row.name}` : "New connection", h("form.form", { on: { submit: async event => {
            event.preventDefault();
            const credentials = Object.fromEntries([...inputs].filter(([, input]) => input.value).map(([key, input]) => [key, input.value]));
            try {
                const made = row ? await (await call("PATCH", path`/api/v1/connectors/connections/${row.id}`, { body: { name: name.value, credentials } })).json()
                    : await post("/api/v1/connectors/connections", { spec_id: choice.value, name: name.value, credentials });
                box.close();
                toast(made.status === "connected" ? `${made.name} answers` : made.status_detail ?? made.status, { bad: made.status === "error" });
                await source.refresh();
            } catch (error) {
                replace(problem, fault(error));
            }
        } } }, h("label.field", { for: choice.id }, h("span", "Source"), choice), h("label.field", { for: name.id }, h("span", "Name"), name), fields, problem,
            h("div", h("button.primary", { type: "submit" }, row ? "Change and try" : "Connect"))));
    }
}
