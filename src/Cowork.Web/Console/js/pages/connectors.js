// Connections to sources outside: what state they are in, and when they were asked last. Credentials are never shown: the host does not answer them.
import { call, get, path, post, remove, rowsUpTo } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { age, left, time, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { setQuery } from "../router.js";
import { me, resource } from "../store.js";
import { tag } from "../ui/badge.js";
import { choice } from "../ui/chips.js";
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
    const bar = h("div.filters", { role: "search" });
    const mayMake = me.may("createConnection");
    let spec = query.get("spec");
    let at = query.get("at");
    replace(root, h("div.head", h("h1", "Connectors"), head, mayMake && h("span.actions",
        h("button", { type: "button", on: { click: () => make() } }, "New connection ", h("kbd.button-kbd", "n")))),
        bar, list);
    mayMake && pageKeys([{ key: "n", does: "New connection", run: () => make() }], signal);
    const { data: specs } = await get("/api/v1/connectors/specs", { limit: 100 }, signal);
    const nameOf = id => specs.find(each => each.id === id)?.name ?? id;

    const view = table({
        label: "Connections", id: row => row.id, open,
        columns: [
            { title: "Connection", name: true, show: row => h("button.quiet.row-link.cut", { type: "button", on: { click: () => open(row) } }, row.name) },
            { title: "Source", text: true, hide: true, show: row => nameOf(row.spec_id) },
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

    const search = h("input", { type: "search", placeholder: "Part of the name", "aria-label": "Part of the name", value: query.get("q") ?? "", data: { search: "" } });
    search.addEventListener("input", debounce(() => {
        shown = PageRows;
        setQuery({ q: search.value.trim() });
        connections.refresh();
    }, 150));
    replace(bar, search, choice({ label: "Kinds of sources", choices: specs.map(each => [each.id, each.name]), at: spec, choose: chosen => {
        spec = chosen;
        setQuery({ spec });
        connections.refresh();
    } }));

    const connections = resource({
        load: s => rowsUpTo(shown, (offset, limit) => get("/api/v1/connectors/connections", { spec_id: spec, q: search.value.trim(), limit, offset }, s)),
        when: event => event.type.startsWith("connection_"), every: 30_000, signal, isLate: () => search.value.trim() !== "", fail: error => replace(list, fault(error, () => connections.refresh())),
        show: ({ rows: found, total }) => {
            rows = found;
            view.update(rows);
            replace(head, total > rows.length ? `the newest ${whole(rows.length)} of ${whole(total)}` : whole(total));
            replace(foot, h("button.quiet", { type: "button", on: { click: () => {
                shown += PageRows;
                connections.refresh();
            } } }, "More"));
            foot.classList.toggle("hidden", total <= rows.length);
            replace(list, rows.length > 0 ? view.card : h("div.card", search.value.trim() ? empty("No connection is like that") : spec
                ? empty(`No connection to ${nameOf(spec)}`, "Take the filter away, or make one.", callFor(specs.find(each => each.id === spec)))
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
        await connections.refresh();
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
            about?.auth_type === "oauth2" && me.may("createConnectorAuthorization")
                && act(row.status === "pending" ? "Ask for consent" : "Ask for consent again", "", () => make(row)),
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
        await connections.refresh();
    }

    // A new connection, or other credentials for one; of a source that asks its users itself, the way there.
    function make(row) {
        const about = () => specs.find(each => each.id === source.value);
        const isAsked = () => about().auth_type === "oauth2";
        const source = h("select", { id: "spec", disabled: Boolean(row) },
            specs.filter(each => each.auth_type !== "oauth2" || me.may("createConnectorAuthorization")).map(each => h("option", { value: each.id }, each.name)));
        source.value = row?.spec_id ?? (specs.some(each => each.id === spec) ? spec : source.value);
        const name = h("input", { id: "connection-name", maxlength: 200, required: true, value: row?.name ?? "" });
        const named = h("label.field", { for: name.id }, h("span", "Name"), name);
        const fields = h("div.form");
        const problem = h("div");
        const word = h("button.primary", { type: "submit" });
        const inputs = new Map();
        const build = () => {
            const { description, fields: wanted, name: called } = about();
            inputs.clear();
            replace(problem);
            // The connection keeps its name when its user agrees again.
            named.classList.toggle("hidden", Boolean(row) && isAsked());
            replace(word, isAsked() ? `Ask ${called}` : row ? "Change and try" : "Connect");
            replace(fields, h("p.small.muted", description),
                isAsked() && h("p.small.muted", `${called} asks you itself. The tokens that it gives are kept encrypted, and shown to nobody.`), wanted.map(field => {
                const input = h("input", { id: `field-${field.key}`, type: field.secret ? "password" : "text", required: field.required, autocomplete: "off",
                    spellcheck: "false" });
                inputs.set(field.key, input);
                return h("label.field", { for: input.id }, h("span", field.label, !field.required && " (may be left out)"), input);
            }));
        };
        source.addEventListener("change", build);
        build();
        const box = dialog(row ? isAsked() ? `Consent for ${row.name}` : `Other credentials for ${row.name}` : "New connection", h("form.form", { on: { submit: async event => {
            event.preventDefault();
            const credentials = Object.fromEntries([...inputs].filter(([, input]) => input.value).map(([key, input]) => [key, input.value]));
            try {
                if (isAsked()) {
                    const begun = await get(path`/api/v1/connectors/oauth/${source.value}/start`, row ? { connection_id: row.id } : { name: name.value }, signal);
                    replace(form, wayTo(about().name, begun));
                    form.querySelector("a").focus();
                    return;
                }
                const made = row ? await (await call("PATCH", path`/api/v1/connectors/connections/${row.id}`, { body: { name: name.value, credentials } })).json()
                    : await post("/api/v1/connectors/connections", { spec_id: source.value, name: name.value, credentials });
                box.close();
                toast(made.status === "connected" ? `${made.name} answers` : made.status_detail ?? made.status, { bad: made.status === "error" });
                await connections.refresh();
            } catch (error) {
                replace(problem, fault(error));
            }
        } } }, h("label.field", { for: source.id }, h("span", "Source"), source), named, fields, problem, h("div", word)));
        const form = box.querySelector("form");
        box.addEventListener("close", () => connections.soon());
    }
}

// The call that makes a connection to a source, or leads to where the source asks its user.
// What a host takes at least, in the place of what a source really has.
const Example = { port: 5432, host: "db.example", base_url: "https://api.example", url: "https://mcp.example" };

function callFor(about) {
    return about?.auth_type === "oauth2" ? ["GET", `${path`/api/v1/connectors/oauth/${about.id}/start`}?name=${encodeURIComponent(about.name)}`]
        : ["POST", "/api/v1/connectors/connections", { spec_id: about?.id ?? "…", name: about?.name ?? "…",
            credentials: about?.id === "mcp" ? { url: Example.url } : Object.fromEntries((about?.fields ?? []).filter(field => field.required).map(field => [field.key, Example[field.key] ?? "…"])) }];
}

// Where a source asks its user. The address works once, and for some minutes.
function wayTo(name, { url, expires_at: until }) {
    return [h("p", `${name} asks for your consent on a page of its own, at `, h("code", new URL(url).host), ". The connection comes by itself when you have agreed there."),
        h("p.small.muted", "The link is good once, ", left(until), "."),
        h("div", h("a.button.primary", { href: url, target: "_blank", rel: "noreferrer noopener" }, `Go on to ${name}`))];
}
