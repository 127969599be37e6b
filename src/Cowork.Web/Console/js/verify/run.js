// How a run is proven, for the page of a run.
import { address, path } from "../api.js";
import { h } from "../dom.js";
import { copyButton } from "../ui/copy.js";
import { dialog } from "../ui/dialog.js";

// slot: an element of the page's head. context: {run, signal, events, details, verdict (an element below the head), markRow(hash, isGood)}.
export function mountVerify(slot, { run }) {
    const commands = [
        `curl -s '${address(path`/runs/${run}/trace`).href}' -o ${run}.json`,
        `curl -s '${address("/infra/jwks.json").href}' -o jwks.json`,
        `./cowork verify --jwks jwks.json ${run}.json`,
    ].join("\n");
    slot.append(h("button", { type: "button", on: { click: () => dialog("Verify this run", h("div",
        h("p", "This page comes from the host that it would judge. On a machine of yours, with the program that you trust:"),
        h("div.code", { tabindex: "0", role: "group", "aria-label": "Commands", style: { margin: "12px 0 0" } }, h("pre", commands))), copyButton(commands)) } }, "Verify"));
}
