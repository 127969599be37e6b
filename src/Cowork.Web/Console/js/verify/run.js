// How a run is proven, for the page of a run: its bundle is fetched and checked in this browser, and each row says whether it stood.
import { address, bytes, path } from "../api.js";
import { h, replace } from "../dom.js";
import { read } from "../exact.js";
import { bytes as size, duration, whole } from "../format.js";
import { copyButton, digest } from "../ui/copy.js";
import { dialog } from "../ui/dialog.js";
import { workerAddress } from "../workers.js";
import { compare } from "./shown.js";

// Events that are named of those of which something else is shown.
const NamedMax = 5;
const Ended = ["completed", "failed", "cancelled"];

// slot: an element of the page's head. context: {run, signal, details, events, refresh() (loads events that are not there yet), verdict (an element below the head), mark([[hash, isGood]]), wholes (a Map of outputs in full, by the hash of their event), proof ({at}: when it was judged; null: it was not)}.
export function mountVerify(slot, context) {
    const button = h("button", { type: "button", on: { click: () => run() } }, "Verify");
    slot.append(button);

    async function run() {
        button.disabled = true;
        replace(button, "Verifying…");
        try {
            const had = context.events.length;
            const bundle = await (await bytes(path`/runs/${context.run}/trace`, {}, context.signal)).arrayBuffer();
            const length = bundle.byteLength;
            const verdict = await checked(bundle, context.signal, (part, done) => replace(button, `Verifying ${part} ${whole(done)}…`));
            context.proof = { at: Date.now() };
            // The bundle may be younger than what the page had.
            await context.refresh();
            show(verdict, length, had);
        } catch (error) {
            if (error.name === "AbortError") {
                return;
            }
            button.className = "";
            replace(button, "Verify");
            context.mark([]);
            replace(context.verdict, h("p.note.bad", "The bundle could not be checked: ", error.message));
        } finally {
            button.disabled = false;
        }
    }

    function refuse(marks, ...why) {
        button.className = "kind-refused";
        replace(button, "✕ Not sound");
        context.mark(marks);
        replace(context.verdict, h("div.note.bad", h("b", "Not sound. "), why, " ", byWhom()));
    }

    function show({ report, fault }, length, had) {
        if (fault) {
            refuse(marksOf(context.events, fault), h("code", fault.location), " ", fault.message);
            return;
        }
        if (report.runId !== context.run) {
            refuse([], "The host gave the bundle of another run, ", h("code", report.runId), ". Nothing is proven of this one.");
            return;
        }
        const found = compare(context.events, report.rows, had);
        if (found.fault) {
            refuse([], found.fault, " Nothing on this page is proven.");
            return;
        }
        const others = new Set(found.others.map(({ event }) => event));
        const marks = report.rows.map(({ hash }, i) => [hash, !others.has(context.events[i])]);
        const summary = summaryOf(context.details, report.run);
        if (others.size > 0 || summary.length > 0) {
            refuse(marks, "The bundle is sound, and this page shows something else than it: ", [
                ...summary.map(name => [h("code", name), " of the run"]),
                ...found.others.slice(0, NamedMax).map(({ event, names }) => [names.map((name, i) => [i > 0 ? ", " : "", h("code", name)]), ` of event ${whole(event.gid)} (${event.type})`]),
                ...(others.size > NamedMax ? [`${whole(others.size - NamedMax)} events more`] : []),
            ].map((each, i) => [i > 0 ? "; " : "", each]), ".");
            return;
        }
        button.className = "kind-proven";
        context.mark(marks);
        for (const { hash, type, payload } of report.rows) {
            const content = type === "tool_result" ? read(payload)?.content : null;
            typeof content === "string" && context.wholes.set(hash, content);
        }
        replace(button, `◆ ${whole(report.events)} events, ${whole(report.streams)} chains: intact`);
        const { signature } = report;
        replace(context.verdict, h("div.note.good",
            `Recomputed here in ${duration(report.milliseconds)} from ${size(length)}: canonical form, ${whole(report.events + report.related)} hashes of events, the run's summary, `
            + `${whole(report.blobs + report.artifacts)} contents and all digests; what this page shows of the events is what they say. ${report.erased > 0 ? `Texts of ${whole(report.erased)} events were erased: the events stand, and nobody reads them. ` : ""}`
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

// The event that did not stand. Of a bundle with a fault nothing is compared with what is shown.
function marksOf(events, { location }) {
    const event = events[Number(/^\$\.events\[(\d+)\]/.exec(location)?.[1] ?? -1)];
    return event ? [[event.hash, false]] : [];
}

// What the page shows of the run itself; texts that the bundle has elsewhere, or nowhere any more, are in its events.
function summaryOf(details, run) {
    const names = ["reply", "message"].filter(name => typeof run[name] === "string" && typeof details?.[name] === "string" && details[name] !== run[name]);
    const hasOther = details && Ended.includes(details.status) && Ended.includes(run.status) && details.status !== run.status;
    return hasOther ? ["status", ...names] : names;
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
