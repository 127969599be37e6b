// Kinds: a colour, a shape and a word that say the same.
import { h } from "../dom.js";

const Statuses = {
    queued: ["wait", "queued"], running: ["model working", "running"], approval_required: ["person", "needs a person"], completed: ["proven", "completed"],
    failed: ["refused", "failed"], cancelled: ["wait", "cancelled"],
    pending: ["person", "pending"], approved: ["proven", "approved"], rejected: ["refused", "rejected"], expired: ["wait", "expired"],
    active: ["proven", "active"], archived: ["wait", "archived"], paused: ["wait", "paused"],
    allow: ["proven", "allow"], confirm: ["person", "confirm"], deny: ["refused", "deny"],
    fired: ["proven", "fired"], caught_up: ["proven", "caught up"], skipped: ["wait", "skipped"],
};

// badge("running"): a status in its colour; a word that is none of these stands as it is.
export function badge(status, word) {
    const [kind, usual] = Statuses[status] ?? ["wait", String(status).replaceAll("_", " ")];
    return h("span.badge", { class: kind, data: { status } }, word ?? usual);
}

export function tag(kind, word) {
    return h("span.badge", { class: kind }, word);
}

// mark("tool"): the shape of a kind. What it says stands beside it in words.
export function mark(kind) {
    return h("i.mark", { class: kind, "aria-hidden": "true" });
}

// The kind of an event, by its type.
export function kindOf(type) {
    return type === "llm_response" || type === "output_delta" || type.startsWith("model_") || type === "step_started" ? "model"
        : type.startsWith("tool") ? "tool"
        : type.startsWith("memory") || type.startsWith("learning") ? "memory"
        : type.startsWith("approval") ? "person"
        : type === "policy_decision" ? "person"
        : /_failed$|_refused$|_denied$|_rejected$/.test(type) ? "refused"
        : /_completed$|^head_signed$|^heads?_/.test(type) ? "proven"
        : "wait";
}
