// Who may do what: tokens, roles, and the rules that calls of agents are held against.
import { h, replace } from "../dom.js";
import { to } from "../router.js";
import { me } from "../store.js";

const Parts = [
    { name: "tokens", words: "Tokens", needs: "listTokens", load: () => import("./access-tokens.js") },
    { name: "roles", words: "Roles", needs: "listRoles", load: () => import("./access-roles.js") },
    { name: "rules", words: "Rules", needs: "getPolicy", load: () => import("./access-rules.js") },
];

export default async function page({ root, signal, query, title }) {
    const offered = Parts.filter(part => me.may(part.needs));
    const part = offered.find(part => part.name === query.get("show")) ?? offered[0];
    const count = h("span.muted");
    const actions = h("span.actions");
    const content = h("div");
    replace(root, h("div.head", h("h1", "Access"), count, actions), h("nav.tabs", { "aria-label": "Parts" }, offered.map(each =>
        h("a.chip.button", { href: to("access", { show: each.name }), "aria-current": each === part ? "page" : null, class: each === part ? "on" : "" }, each.words))), content);
    title(`${part.words}, access`);
    const { default: show } = await part.load();
    await show({ content, count, actions, signal, query });
}
