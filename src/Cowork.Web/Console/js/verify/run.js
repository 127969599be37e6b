// How a run is proven, for the page of a run: its bundle is fetched and checked in this browser, and each row says whether it stood.
import { address, bytes, path } from "../api.js";
import { h, replace } from "../dom.js";
import { bytes as size, duration, whole } from "../format.js";
import { copyButton, digest } from "../ui/copy.js";
import { dialog } from "../ui/dialog.js";
import { workerAddress } from "../workers.js";

// slot: an element of the page's head. context: {run, signal, events, verdict (an element below the head), markRow(hash, isGood)}.
export function mountVerify(slot, context) {
    const button = h("button", { type: "button", on: { click: () => run() } }, "Verify");
    slot.append(button);

    async function run() {
        button.disabled = true;
        replace(button, "Verifying…");
        try {
            const bundle = await (await bytes(path`/runs/${context.run}/trace`, {}, context.signal)).arrayBuffer();
            const length = bundle.byteLength;
            const verdict = await checked(bundle, context.signal, (part, done) => replace(button, `Verifying ${part} ${whole(done)}…`));
            show(verdict, length);
        } catch (error) {
            if (error.name === "AbortError") {
                return;
            }
            replace(button, "Verify");
            replace(context.verdict, h("p.note.bad", "The bundle could not be checked: ", error.message));
        } finally {
            button.disabled = false;
        }
    }

    function show({ report, fault }, length) {
        button.className = report ? "kind-proven" : "kind-refused";
        if (fault) {
            replace(button, "✕ Not sound");
            marksOf(context.events, fault).forEach(([hash, isGood]) => context.markRow(hash, isGood));
            replace(context.verdict, h("div.note.bad", h("b", "Not sound. "), h("code", fault.location), " ", fault.message, " ", byWhom()));
            return;
        }
        report.hashes.forEach(({ hash }) => context.markRow(hash, true));
        replace(button, `◆ ${whole(report.events)} events, ${whole(report.streams)} chains: intact`);
        const { signature } = report;
        replace(context.verdict, h("div.note.good",
            `Recomputed here in ${duration(report.milliseconds)} from ${size(length)}: canonical form, ${whole(report.events + report.related)} hashes of events, the run's summary, `
            + `${whole(report.blobs + report.artifacts)} contents and all digests. ${report.erased > 0 ? `Texts of ${whole(report.erased)} events were erased: the events stand, and nobody reads them. ` : ""}`
            + `${report.expired > 0 ? `${whole(report.expired)} events of memories expired: their texts are in the run. ` : ""}Hash of the run's last event `, digest(report.head, 16), ". ",
            signature === null ? "No signed head covers it yet. "
                : [signature.isSigned ? `Signed head ${whole(signature.number)} covers all of it, key ` : `Signed head ${whole(signature.number)} covers all of it; its signature needs HTTPS to be checked here, key `,
                    digest(signature.kid, 12), ". "],
            byWhom()));
    }

    // The page comes from the host that it judges.
    function byWhom() {
        return h("button.quiet", { type: "button", on: { click: () => explain(context.run) } }, "By whom?");
    }
}

// What stood before the fault, and the event that did not.
function marksOf(events, { location }) {
    const at = /^\$\.events\[(\d+)\]/.exec(location);
    return at ? events.slice(0, Number(at[1]) + 1).map((event, i) => [event.hash, i < Number(at[1])]) : [];
}

function checked(bundle, signal, onProgress) {
    return new Promise((resolve, reject) => {
        const worker = new Worker(workerAddress("verify-worker.js"), { type: "module" });
        const end = (settle, value) => {
            worker.terminate();
            settle(value);
        };
        signal.addEventListener("abort", () => end(reject, signal.reason), { once: true });
        worker.onmessage = ({ data }) => data.verdict ? end(resolve, data.verdict) : onProgress(data.part, data.done);
        worker.onerror = event => end(reject, new Error(event.message || "The worker that checks it did not start."));
        worker.postMessage(bundle, [bundle]);
    });
}

function explain(run) {
    const commands = [
        `curl -s '${address(path`/runs/${run}/trace`).href}' -o ${run}.json`,
        `curl -s '${address("/infra/jwks.json").href}' -o jwks.json`,
        `./cowork verify --jwks jwks.json ${run}.json`,
    ].join("\n");
    dialog("By whom is it judged?", h("div",
        h("p", "By this browser, with a program that comes from the very host that is judged. A host that lies can send a page that lies. On a machine of yours, with the program that you trust:"),
        h("div.code", { tabindex: "0", role: "group", "aria-label": "Commands", style: { margin: "12px 0 0" } }, h("pre", commands))), copyButton(commands));
}
