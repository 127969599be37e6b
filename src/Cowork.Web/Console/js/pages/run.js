// One run: what it did and when, what it said, and the proof of it. The slider shows it as it was after any event.
import { bytes as bytesOf, curl, get, getExact, path, post } from "../api.js";
import { debounce, grow, h, renew, replace } from "../dom.js";
import { argumentsOf } from "../exact.js";
import { age, bytes, cost, duration, isToday, person, roughly, shortHash, time, timeText, titleOf, whole } from "../format.js";
import { listKeys, pageKeys } from "../keys.js";
import { live } from "../live.js";
import { setQuery, to } from "../router.js";
import { axisOf, foldRun, isCut, verdictOf } from "../run-steps.js";
import { me, resource } from "../store.js";
import { brief, briefJson, wholeJson } from "../text.js";
import { badge, kindOf, mark, tag } from "../ui/badge.js";
import { ticks } from "../ui/charts.js";
import { block, copyButton, digest, id } from "../ui/copy.js";
import { confirm } from "../ui/dialog.js";
import { empty, fault, lost } from "../ui/empty.js";
import { jsonBlock } from "../ui/json.js";
import { reply } from "../ui/reply.js";
import { rows } from "../ui/rows.js";
import { toast } from "../ui/toast.js";
import { mountVerify } from "../verify/run.js";
import { decide } from "./approvals.js";
import { figuresOf } from "./run-figures.js";
import { sheetOf } from "./run-print.js";

const Page = 1_000;
// What stands in the place of a text that was erased.
const Erased = "[erased]";
const Marks = { queue: "wait", memory: "memory", model: "model", tool: "tool", retry: "wait", end: "refused" };
// States of a step that did not come to what it was for.
const Broken = new Set(["failed", "denied", "cancelled"]);

export default async function page({ root, signal, params, query, title }) {
    const run = params.run;
    let details = null;
    let events = [];
    let cursor = 0;
    let upTo = Number(query.get("at")) || null;
    let isFolded = query.get("waits") !== "1";
    let chosen = query.get("step");
    // Of an artifact: the step that wrote it is chosen.
    let wanted = query.get("sha");
    // An event that the address names is shown once it is there.
    let named = Number(query.get("event")) || null;
    let isPinned = false;
    let now = null;
    // Marks of the verifier, by hash: proven, or not.
    const marked = new Map();
    let artifacts = [];
    // Outputs of which the events that were asked for have the beginnings, by the hash of their event.
    const wholes = new Map();
    let isOpen = false;

    const crumbs = h("ol.crumbs");
    const head = h("div.head");
    const verdict = h("div.run-verdict", { "aria-live": "polite" });
    const givenUp = h("div", { role: "status" });
    const figures = h("dl.card.figures");
    const slider = h("input", { type: "range", min: 1, "aria-label": "Show the run as it was after an event", on: { input: () => scrub(Number(slider.value)) } });
    const sliderSays = h("output.muted");
    const fold = h("button", { type: "button", "aria-pressed": isFolded, on: { click: () => {
        isFolded = !isFolded;
        fold.setAttribute("aria-pressed", isFolded);
        setQuery({ waits: isFolded ? "" : "1" });
        draw();
    } } }, "Fold waits");
    // What goes off from the run, once it is there.
    const branches = [["createCounterfactual", "What if…", true], ["forkRun", "Fork…", false]].filter(([operation]) => me.may(operation))
        .map(([, word, isOtherwise]) => h("button", { type: "button", disabled: true, on: { click: () => branch(isOtherwise) } }, word));
    const waterfall = h("div.card.waterfall");
    const said = h("div");
    const made = h("div");
    const inspector = h("aside.inspector", { "aria-label": "The step", tabindex: "0" });
    const eventList = rows({ label: "Events of the run", render: renderEvent, open: index => showEvent(events[index]) });
    const eventsHead = h("div.section-head.section", h("h2", "Events"));
    eventList.classList.add("events-frame");
    replace(root, crumbs, head, givenUp, verdict, figures,
        h("div.scrub", h("span.muted", { id: "replay" }, "Replay"), slider, sliderSays, h("span.grow"),
            branches, fold),
        h("div.split", h("div",
            waterfall,
            h("section.section", { "aria-label": "Reply" }, h("div.section-head", h("h2", "Reply")), said),
            made,
            eventsHead, h("div.card", { style: { overflow: "hidden" } }, eventList)), inspector));

    const content = [...root.childNodes];

    // What the rest of the console needs of this page: js/verify marks events and says what it found.
    const context = { run, signal, verdict, get events() { return events; }, get details() { return details; }, refresh: load, mark: markAll, wholes, head, proof: null };

    const found = resource({
        load: s => get(path`/runs/${run}`, {}, s), when: event => event.run_id === run && event.type !== "output_delta", signal, gap: 300,
        // Of what does not exist nothing is offered.
        fail: error => lost(error, { root, head, crumbs: h("ol.crumbs", h("li", h("a", { href: to("runs") }, "Runs")), h("li", run)), word: "Run", again: () => found.refresh() }),
        // Members are not told of erased subjects.
        every: 15_000,
        show: value => {
            if (!head.isConnected) {
                replace(root, content);
                load();
            }
            details && details.message !== value.message && reread();
            details = value;
            title(brief(value.message ?? "Run", 60));
            drawHead();
            branches.forEach(button => button.disabled = events.length === 0);
        },
    });

    resource({
        load: s => get(path`/runs/${run}/artifacts`, {}, s), when: event => event.run_id === run && event.type.startsWith("artifact_"), signal, gap: 300,
        fail: error => replace(made, h("p.small.muted", error.message)),
        show: found => (artifacts = found.artifacts) && replace(made, artifacts.length > 0 && h("section.section", { "aria-label": "Artifacts" }, h("div.section-head", h("h2", "Artifacts"), h("span.muted", whole(artifacts.length))),
            h("ul.card.pad", artifacts.map(each => h("li", { style: { display: "flex", gap: "12px" } },
                h("a.grow.cut.mono", { href: to("artifacts", each.artifact_id, { version: each.version }) }, each.path), h("span.muted", `version ${whole(each.version)}`), h("span.muted", bytes(each.bytes)), digest(each.sha256, 12)))))),
    });

    // While it goes on, whether its job still is: one that has failed as often as it is tried says nothing of it in the run.
    let letter = null;
    const job = me.may("listDeadLetters") && resource({
        load: async s => !details || isOver() ? null
            : (await get("/engine/dead-letters", { kind: "run", run_id: run }, s)).dead_letters[0] ?? null,
        when: event => letter && event.run_id === run && event.type !== "output_delta", every: 10_000, signal, gap: 500,
        show: found => {
            letter = found;
            replace(givenUp, letter && h("p.note.bad", h("b", "Its job was given up"), ` after ${whole(letter.attempts)} tries: ${letter.message} `, h("span.muted", letter.exception), ". It goes on when the job is tried again: ",
                h("a", { href: to("health", { letter: letter.id }) }, "the job on Health"), "."));
            if (details && now) {
                draw();
            }
        },
    });

    const more = debounce(load, 120);
    // Who looks at what was does not see what comes.
    const slowly = debounce(load, 2_000);
    const again = debounce(reread, 300);
    live.on(news => {
        news.some(event => event.run_id === run) && (upTo === null ? more() : slowly());
        news.some(event => event.type.startsWith("subject_eras")) && again();
    }, signal);
    live.onState(state => state === "reset" && more(), signal);
    const clock = setInterval(() => {
        if (upTo === null && now && !now.ended && !letter && now.status !== "queued") {
            now.until = Math.max(now.last, Date.now());
            drawFigures(events.length);
            drawWaterfall();
        }
    }, 1_000);
    signal.addEventListener("abort", () => clearInterval(clock), { once: true });
    // The axis has as many marks as there is room for.
    let width = 0;
    const sight = new ResizeObserver(debounce(() => {
        fitTitle();
        if (now && waterfall.clientWidth !== width) {
            width = waterfall.clientWidth;
            drawWaterfall();
        }
    }, 100));
    sight.observe(waterfall);
    signal.addEventListener("abort", () => sight.disconnect(), { once: true });
    await load();
    await found.first;
    job && job.soon();

    async function load() {
        if (load.busy) {
            load.again = true;
        } else {
            load.busy = loadAll().finally(() => load.busy = null);
        }
        await load.busy;
    }

    async function loadAll() {
        try {
            do {
                load.again = false;
                for (let answer; ;) {
                    answer = await getExact(path`/runs/${run}/events`, { since_id: cursor, limit: Page }, signal);
                    events.push(...answer.events);
                    cursor = answer.next_since_id;
                    if (!answer.has_more) {
                        break;
                    }
                }
            } while (load.again);
            draw();
        } catch (error) {
            error.name !== "AbortError" && replace(waterfall, h("div.pad", fault(error, load)));
        }
    }

    // Texts may have been erased: then nothing stays of them, nor of what was proven of them.
    async function reread() {
        await load.busy;
        load.busy = rereadAll().finally(() => load.busy = null);
        await load.busy;
        load.again && await load();
    }

    async function rereadAll() {
        const fresh = [];
        let since = 0;
        try {
            for (let answer; !answer || answer.has_more; since = answer.next_since_id) {
                answer = await getExact(path`/runs/${run}/events`, { since_id: since, limit: Page }, signal);
                fresh.push(...answer.events);
            }
        } catch (error) {
            error.name !== "AbortError" && error.status !== 404 && toast(error.message, { bad: true });
            return;
        }
        const textOf = event => wholeJson(event.payload);
        if (fresh.every((event, i) => i >= events.length || event.hash === events[i].hash && textOf(event) === textOf(events[i]))) {
            return;
        }
        events = fresh;
        cursor = since;
        wholes.clear();
        marked.clear();
        Object.assign(context, { proof: null });
        replace(verdict);
        verifySlot.node = null;
        [inspect.of, isPinned] = [null, false];
        setQuery({ event: null });
        draw();
    }

    function scrub(count) {
        upTo = count >= events.length ? null : count;
        setQuery({ at: upTo });
        draw();
    }

    // From the event on that the slider is at, or from the step on that is chosen.
    async function branch(isOtherwise) {
        const { fork, whatIf } = await import("./run-branch.js");
        const step = now?.steps.find(each => each.key === chosen);
        if (isOtherwise) {
            await whatIf(details, events, upTo === null ? step?.events.find(event => event.type === "policy_decision") ?? step?.events[0] : events[upTo], signal);
        } else {
            fork(details, events, upTo === null ? null : events[upTo - 1]);
        }
    }

    function isOver() {
        return ["completed", "failed", "cancelled"].includes(details.status);
    }

    // The personal texts of the run were erased. A user may have written this word; of somebody whose texts cannot be erased it says nothing.
    function isErased() {
        return events.some(({ type, payload }) => type === "run_created" && payload.subject && payload.message === Erased) && [null, "", Erased].includes(details?.reply ?? null);
    }

    function drawHead() {
        const { status } = details;
        const hasTexts = !isErased();
        const shownStatus = upTo === null ? status : now?.status ?? status;
        replace(crumbs, h("li", h("a", { href: to("runs") }, "Runs")), h("li", h("a", { href: to("sessions", details.session_id) }, details.session_id)), h("li", id(run)));
        const hasEnded = isOver();
        const lineage = details.lineage;
        // What the host refuses of it is not offered.
        branches.forEach(button => button.classList.toggle("hidden", !hasTexts));
        renew(head, titleBar(), letter && upTo === null ? badge("failed", "given up") : badge(shownStatus), !hasTexts && tag("wait", "texts erased"),
            lineage && h("a.badge", { href: lineage.run_id ? to("runs", lineage.run_id) : to("sessions", lineage.session_id) }, lineage.kind === "counterfactual" ? "what if" : "forked"),
            lineage?.run_id && hasTexts && me.may("getRunDiff") && h("a.small", { href: to("compare", { left: lineage.run_id, right: run }) }, "Compare with its origin"),
            details.cancel_requested && !hasEnded && h("span.muted", "stopping…"),
            h("span.actions",
                !hasEnded && me.may("cancelRun") && h("button.danger", { type: "button", on: { click: cancel } }, "Stop"),
                hasTexts && me.may("getRunDiff") && h("a.button", { href: to("compare", { left: run }) }, "Compare with…"),
                h("button", { type: "button", on: { click: download } }, "Bundle"),
                h("button", { type: "button", on: { click: print } }, "Print"),
                verifySlot()));
    }

    // One line of the message; the rest is a button away, where there is any.
    function titleBar() {
        const message = details.message ?? "";
        const line = brief(message, 200) || "(no text)";
        titleBar.text = h("h1", { id: "whole-message", class: isOpen ? "whole" : "cut", tabindex: isOpen ? "0" : null }, isOpen ? message : line);
        titleBar.isLonger = line !== message;
        titleBar.more = h("button.icon.quiet.rest", { type: "button", "aria-expanded": isOpen, "aria-controls": "whole-message", "aria-label": "The whole message", title: "The whole message", on: { click: () => {
            isOpen = !isOpen;
            drawHead();
        } } }, isOpen ? "▴" : "▾");
        queueMicrotask(fitTitle);
        return [titleBar.text, titleBar.more];
    }

    function fitTitle() {
        const { text, more, isLonger } = titleBar;
        more?.classList.toggle("hidden", !isOpen && !isLonger && text.scrollWidth <= text.clientWidth);
    }

    // The head of the page is drawn again and again, and what stands here stays.
    function verifySlot() {
        if (!verifySlot.node) {
            verifySlot.node = h("span");
            mountVerify(verifySlot.node, context);
        }
        return verifySlot.node;
    }

    function draw() {
        if (events.length === 0) {
            replace(waterfall, empty("No events yet"));
            return;
        }
        const count = Math.min(upTo ?? events.length, events.length);
        now = foldRun(events, count);
        const writer = wanted && writerOf(wanted);
        if (writer) {
            setQuery({ step: chosen = writer.key, sha: null });
            wanted = null;
        }
        // Who opens a run that came to no good end looks for where it ended.
        if (!chosen && !isPinned && !named && now.broke) {
            chosen = now.broke.key;
        }
        // What goes on has lasted until now; what is shown of the past, until its last event.
        now.until = now.ended ?? (upTo === null && letter ? Math.max(now.last, Date.parse(letter.sent_at)) : upTo === null ? Math.max(now.last, Date.now()) : now.last);
        slider.max = events.length;
        slider.value = count;
        slider.setAttribute("aria-valuetext", `event ${count} of ${events.length}`);
        replace(sliderSays, upTo === null ? `${whole(events.length)} events` : h("b.kind-person", `as of event ${whole(count)} of ${whole(events.length)}, ${timeText(events[count - 1].ts, { milliseconds: true })}`));
        drawFigures(count);
        drawWaterfall();
        const text = upTo === null && now.ended && details?.reply ? details.reply : now.text;
        grow(said, h("div", now.error ? h("p.note.bad", h("b", now.error.code ?? "failed"), " ", now.error.message ?? "") : null,
            text ? reply(text, { typing: now.isTyping }) : h("p.muted", now.status === "queued" ? "It has not begun." : now.ended ? "It said nothing." : "Nothing was said yet.")));
        replace(eventsHead, h("h2", "Events"), h("span.muted", `${whole(count)} of the run's stream and those that belong to it`),
            h("span.actions", copyButton(() => curl("GET", path`/runs/${run}/events`), "Copy as curl")));
        eventList.style.height = `${Math.min(320, count * 28 + 1)}px`;
        eventList.update(count);
        details && drawHead();
        branches.forEach(button => button.disabled = !details);
        const event = named && events.find(each => each.gid === named);
        event ? showEvent(event) : inspect();
        named = null;
    }

    // The last call before an artifact was found that wrote its path; a cell names none.
    function writerOf(sha) {
        const i = events.findIndex(event => event.type === "artifact_discovered" && event.payload.sha256 === sha);
        const before = new Set(events.slice(0, i));
        const ended = i < 0 ? [] : now.steps.filter(step => step.kind === "tool" && step.result && before.has(step.events.at(-1)));
        return ended.findLast(step => step.input?.path === events[i].payload.path) ?? ended.at(-1);
    }

    function drawFigures(count) {
        renew(figures, figuresOf(now, events, count, now.until).map(figure => h("div.figure", h("dt", figure.name), h("dd", figure.parts.length === 0 ? figure.value
            : h("button.of-events", { type: "button", title: "The events behind it", on: { click: () => showFigure(figure) } }, figure.value)))));
    }

    // One event is shown; of several each has its part of the figure.
    function showFigure({ name, value, parts, format }) {
        if (parts.length === 1) {
            showEvent(parts[0].event);
            return;
        }
        pin();
        replace(inspector, h("div.inspector-title", h("h2.grow", name), h("b", value), back()),
            h("p.small.muted", format ? "The sum of what these events say:" : "Counted from these events:"),
            h("ul.parts", parts.map(({ event, name: of, part }) => h("li",
                h("button.digest.grow", { type: "button", on: { click: () => showEvent(event) } }, event.type), h("span.cut.muted", of), format && h("span.num", format(part))))));
    }

    // What is shown instead of a step stays until a step is chosen, whatever the run does meanwhile.
    function pin() {
        isPinned = true;
        inspect.of = null;
        chosen = null;
        paintChosen();
    }

    function back() {
        return h("button.icon.quiet", { type: "button", "aria-label": "Back to the step", on: { click: () => {
            isPinned = false;
            setQuery({ event: null });
            inspect();
        } } }, "×");
    }

    function drawWaterfall() {
        // What names and durations leave of the width.
        const room = waterfall.clientWidth < 560 ? waterfall.clientWidth * .48 - 62 : waterfall.clientWidth * .5;
        const axis = axisOf(now, isFolded, ticks, Math.max(1, Math.round(room / 84)));
        const percent = part => `${(part * 100).toFixed(3)}%`;
        const end = now.until;
        const bar = (kinds, from, until, isOpen) => h("span.wf-bar", {
            class: `${kinds}${isOpen ? " open" : ""}`, style: { left: percent(axis.place(from)), width: `max(2px, ${percent(axis.place(until) - axis.place(from))})` },
        });
        const line = step => {
            const until = step.to ?? end;
            const bars = [];
            if (step.wait) {
                bars.push(bar("person", step.wait.from, step.wait.to ?? end, false));
            }
            if (step.from !== null && !(step.wait && step.wait.to === null)) {
                const kind = Broken.has(step.state) ? "refused" : step.kind;
                bars.push(bar(kind, step.from, until, step.to === null));
                // From the first token on.
                step.first && kind === "model" && bars.push(bar("first", step.first, until, false));
            }
            const tookText = step.wait && step.wait.to === null ? "waits" : step.state === "unmade" ? "not made"
                : step.from === null || step.kind === "end" ? "–" : duration(Math.max(0, until - step.from));
            const hash = step.events.at(-1)?.hash;
            return h("button.wf-row", { type: "button", role: "option", "aria-selected": step.key === chosen, data: { key: step.key }, tabindex: "-1", on: { click: () => choose(step.key) } },
                h("span.wf-name", { class: step.depth ? "deep" : "" }, mark(Broken.has(step.state) ? "refused" : Marks[step.kind]), h("b", step.name), h("span.cut", step.error?.code ?? step.note)),
                h("span.wf-bars", bars), h("span.wf-took", tookText), h("span.wf-hash", { data: { hash } }, shortHash(hash)));
        };
        const hadFocus = waterfall.contains(document.activeElement);
        replace(waterfall,
            h("div.wf-head", { "aria-hidden": "true" }, h("span"), h("span.wf-axis",
                axis.ticks.map(tick => h("span.tick", { style: { left: percent(tick.at) } }, duration(tick.ms))),
                axis.folds.map(fold => h("span.fold", { style: { left: percent(fold.from), width: percent(fold.to - fold.from) } }, h("span", roughly(fold.ms)))))),
            h("div", { role: "listbox", "aria-label": "Steps", tabindex: "0", on: { keydown: stepKey } }, now.steps.map(line)));
        if (hadFocus) {
            (waterfall.querySelector(`[data-key="${CSS.escape(chosen ?? "")}"]`) ?? waterfall.querySelector("[role=listbox]")).focus({ preventScroll: true });
        }
        paintSteps();
    }

    const list = {
        move(step) {
            const i = now?.steps.findIndex(each => each.key === chosen) ?? -1;
            const next = now?.steps[i < 0 ? 0 : Math.max(0, Math.min(now.steps.length - 1, i + step))];
            if (next) {
                choose(next.key);
                waterfall.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
            }
        },
        open: () => {
            inspector.focus();
            return true;
        },
    };
    listKeys(list, signal);
    pageKeys([
        { key: "w", does: "Fold the waits", run: () => fold.click() },
        { key: "[", does: "One event back", run: () => scrub(Math.max(1, (upTo ?? events.length) - 1)) },
        { key: "]", does: "One event on", run: () => scrub((upTo ?? events.length) + 1) },
        { key: "Escape", does: "Back to now", run: () => scrub(events.length) },
    ], signal);

    function stepKey(event) {
        const steps = { ArrowDown: 1, ArrowUp: -1 };
        if (event.key in steps) {
            list.move(steps[event.key]);
            event.preventDefault();
        }
    }

    function choose(key) {
        chosen = key;
        isPinned = false;
        setQuery({ step: key, event: null });
        paintChosen();
        inspect();
    }

    function paintChosen() {
        for (const row of waterfall.querySelectorAll(".wf-row")) {
            row.setAttribute("aria-selected", row.dataset.key === chosen);
        }
    }

    function inspect() {
        if (isPinned) {
            return;
        }
        const step = now?.steps.find(each => each.key === chosen) ?? now?.steps.find(each => each.wait && each.wait.to === null) ?? now?.broke;
        if (!step) {
            replace(inspector, h("p.muted", "Choose a step: ", h("kbd", "j"), " ", h("kbd", "k")));
            return;
        }
        const signature = `${step.key} ${step.state} ${step.events.length} ${now.status} ${upTo}`;
        if (inspect.of === signature) {
            return;
        }
        inspect.of = signature;
        const { policy, approval, decision, response, result, error } = step;
        const verdict = verdictOf(step);
        const pending = step.wait && step.wait.to === null && upTo === null;
        replace(inspector,
            h("div.inspector-title", mark(Marks[step.kind]), h("h2.cut.grow", step.name), step.state !== "completed" && badge(verdict, verdict === "unmade" ? "not made" : null)),
            error && h("p.note.bad", h("b", error.code ?? "failed"), " ", error.message ?? ""),
            step.state === "unmade" && h("p.muted.small", "The run was over before this call was made."),
            pending && ask(step),
            h("dl.facts",
                step.from !== null && step.to !== null && step.kind !== "end" && [h("dt", "Took"), h("dd", duration(step.to - step.from))],
                step.first && [h("dt", "First token"), h("dd", `after ${duration(step.first - step.from)}`)],
                response && [h("dt", "Tokens"), h("dd", `${whole(response.input_tokens)} in${response.cached_tokens ? ` (${whole(response.cached_tokens)} cached)` : ""}, ${whole(response.output_tokens)} out`),
                    h("dt", "Cost"), h("dd", cost(response.cost_usd)), response.stop_reason && [h("dt", "Ended by"), h("dd.mono", response.stop_reason)],
                    response.request_sha256 && [h("dt", "Request"), h("dd", digest(response.request_sha256, 16))]],
                policy && [h("dt", "Policy"), h("dd", badge(policy.outcome), " ", h("code", policy.rule)), h("dt", "Because"), h("dd", policy.reason)],
                approval?.paths?.length > 0 && [h("dt", "Paths"), h("dd", approval.paths.map(each => h("code", { style: { display: "block" } }, each)))],
                approval?.args_digest && [h("dt", "Arguments"), h("dd", digest(approval.args_digest, 16))],
                decision && [h("dt", "Decided"), h("dd", decision.outcome, decision.by ? [" by ", person(decision.by, "span")] : "",
                    ` after ${duration(step.wait.to - step.wait.from)}`), (decision.note ?? decision.decision_note) && [h("dt", "Note"), h("dd", decision.note ?? decision.decision_note)]]),
            step.input !== undefined && jsonBlock("Input", argumentsOf(step.input)),
            step.text && [h("h3", { style: { margin: "14px 0 4px" } }, "Said"), block(step.text, { label: "Said" })],
            result && output(step, result),
            step.kind === "memory" && step.output && jsonBlock("Found", step.output),
            h("h3", { style: { margin: "14px 0 4px" } }, "Recorded as"),
            h("ul", recorded(step).map(({ event, times }) => h("li", { style: { display: "flex", gap: "8px" } },
                h("button.digest.grow", { type: "button", style: { "text-align": "left" }, on: { click: () => showEvent(event) } }, event.type, times > 1 ? ` × ${times}` : ""), digest(event.hash, 16)))));
    }

    function asText(value) {
        return typeof value === "string" ? value : wholeJson(value) ?? "(too deep to be written)";
    }

    // Pieces of text that follow each other are one line.
    function recorded(step) {
        const lines = [];
        for (const event of step.events) {
            if (lines.at(-1)?.event.type === event.type) {
                lines.at(-1).times++;
                lines.at(-1).event = event;
            } else {
                lines.push({ event, times: 1 });
            }
        }
        return lines;
    }

    function output(step, result) {
        const text = result.content_preview ?? result.content ?? "";
        const whole = h("div");
        replace(whole, block(asText(text), { label: "Output" }));
        return [h("div.code-head", h("h3", result.is_error ? "Output (an error)" : "Output"), h("span.actions",
            isCut(text) && h("button.quiet", { type: "button", title: "Asks for the run's bundle, which the audit trail records", on: { click: async event => {
                event.currentTarget.disabled = true;
                try {
                    const bundle = await getExact(path`/runs/${run}/trace`, {}, signal);
                    const full = bundle.events.find(each => each.hash === step.events.at(-1).hash);
                    const content = full?.data?.content ?? full?.payload?.content;
                    replace(whole, typeof content === "string" ? block(content, { label: "Output" }) : jsonBlock("As it is recorded", full?.data ?? full));
                } catch (error) {
                    toast(error.message, { bad: true });
                }
            } } }, "The whole"), copyButton(() => asText(text)))), whole];
    }

    function ask({ key, approval }) {
        const note = h("input", { placeholder: "Why (the model reads it)", "aria-label": "Note" });
        const buttons = me.may("decideApproval");
        // What came of it is shown where it was asked.
        const settle = isApproved => {
            isPinned = false;
            setQuery({ step: chosen = key });
            return decide(approval.approval_id, isApproved, note.value);
        };
        return h("div.ask", h("p", approval.reason), h("p.muted.small", "Rule ", h("code", approval.rule), ". For exactly these arguments: ", digest(approval.args_digest, 12), ". Waits ", age(events.find(e => e.type === "approval_requested" && e.payload.approval_id === approval.approval_id)?.ts, { suffix: "" }), "."),
            buttons ? [note, h("div.actions",
                h("button.primary", { type: "button", on: { click: () => settle(true) } }, "Approve this call"),
                h("button.danger", { type: "button", on: { click: () => settle(false) } }, "Reject"))] : h("p.muted", "To decide needs the role approver."));
    }

    // Of events that are not all of today each has its date.
    function isDated() {
        return !isToday(events[0].ts);
    }

    function renderEvent(index, row) {
        const event = events[index];
        row.append(h("span.gid.mono", whole(event.gid)),
            h("time.at-time.mono.narrow-hide", { datetime: event.ts, title: titleOf(event.ts), class: isDated() ? "dated" : "" }, timeText(event.ts, { milliseconds: true, dated: isDated() })),
            h("span.type.mono", { class: `kind-${kindOf(event.type)}` }, mark(kindOf(event.type)), h("span", event.type)), h("span.brief.mono.cut", briefJson(event.payload)),
            h("span.hash.mono", { data: { hash: event.hash } }, shortHash(event.hash, 8)));
        marked.size > 0 && paintCell(row.querySelector(".hash"), marked.get(event.hash));
    }

    function showEvent(event) {
        if (!event) {
            return;
        }
        pin();
        setQuery({ event: event.gid, step: null });
        replace(inspector, h("div.inspector-title", mark(kindOf(event.type)), h("h2.mono.grow", event.type), back()),
            h("dl.facts", h("dt", "Position"),
                h("dd", me.may("listTenantEvents") ? h("a.mono", { href: to("feed", { session: event.session_id, at: event.gid }) }, whole(event.gid)) : whole(event.gid)),
                h("dt", "Version"), h("dd", whole(event.version)), h("dt", "Time"), h("dd", time(event.ts, { milliseconds: true })), event.actor && [h("dt", "Actor"), h("dd", person(event.actor))],
                event.event_id && [h("dt", "Event"), h("dd", id(event.event_id))], h("dt", "Hash"), h("dd", digest(event.hash, 24))),
            jsonBlock("Payload", event.payload));
    }

    // [[hash, whether what is shown of the event is proven]]; what is not among them is neither.
    function markAll(marks) {
        marked.clear();
        marks.forEach(([hash, isGood]) => marked.set(hash, isGood));
        paintSteps();
        eventList.querySelectorAll(".hash").forEach(cell => paintCell(cell, marked.get(cell.dataset.hash)));
    }

    // A step is proven when each of its events is.
    function paintSteps() {
        for (const row of waterfall.querySelectorAll(".wf-row")) {
            const hashes = now.steps.find(step => step.key === row.dataset.key)?.events.map(event => event.hash) ?? [];
            paintCell(row.querySelector(".wf-hash"), hashes.some(hash => marked.get(hash) === false) ? false : hashes.length > 0 && hashes.every(hash => marked.get(hash)) ? true : undefined);
        }
    }

    function paintCell(cell, isGood) {
        cell.classList.toggle("kind-proven", isGood === true);
        cell.classList.toggle("kind-refused", isGood === false);
        const sign = isGood === undefined ? "" : isGood ? "◆ " : "✕ ";
        const text = cell.textContent.replace(/^[◆✕] /, "");
        if (cell.textContent !== sign + text) {
            cell.textContent = sign + text;
        }
    }

    async function cancel() {
        if (!await confirm("Stop this run?", "What it has done stays done. It cannot go on afterwards.", "Stop it")) {
            return;
        }
        try {
            toast((await post(path`/runs/${run}/cancel`)).message);
        } catch (error) {
            toast(error.message, { bad: true });
        }
    }

    // On paper the run is a record of its own, made when it is printed by whatever means.
    function toPaper() {
        root.querySelector(".sheet")?.remove();
        root.classList.toggle("printed", Boolean(details && now));
        if (details && now) {
            const count = Math.min(upTo ?? events.length, events.length);
            root.append(sheetOf({
                id: run, details, events: events.slice(0, count), isPast: upTo !== null, run: now, figures: figuresOf(now, events, count, now.until), artifacts, verdict, proof: context.proof, wholes,
            }));
        }
    }

    function offPaper() {
        root.querySelector(".sheet")?.remove();
        root.classList.remove("printed");
    }

    addEventListener("beforeprint", toPaper, { signal });
    addEventListener("afterprint", offPaper, { signal });

    // The outputs in full, of which the bundle is asked for once.
    async function print() {
        try {
            if (now.steps.some(({ result, events: of }) => result && isCut(result.content_preview) && !wholes.has(of.findLast(event => event.type === "tool_result")?.hash))) {
                const bundle = await getExact(path`/runs/${run}/trace`, {}, signal);
                for (const each of bundle.events) {
                    const content = each.data?.content ?? each.payload?.content;
                    typeof content === "string" && wholes.set(each.hash, content);
                }
            }
            window.print();
        } catch (error) {
            error.name !== "AbortError" && toast(error.message, { bad: true });
        }
    }

    async function download() {
        try {
            // As it came: a bundle that was written anew could not be told from a changed one.
            const url = URL.createObjectURL(await bytesOf(path`/runs/${run}/trace`, {}, signal));
            const link = h("a", { href: url, download: `${run}.json` });
            link.click();
            setTimeout(() => URL.revokeObjectURL(url), 10_000);
        } catch (error) {
            toast(error.message, { bad: true });
        }
    }

}
