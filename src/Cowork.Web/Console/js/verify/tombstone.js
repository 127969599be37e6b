// What stands in place of an event's data that expired: numbers, and the event that let it expire (docs/retention.md).

import { NUMBER, OBJECT } from "./json.js";
import { isInteger, require } from "./members.js";

const BEGIN = new TextEncoder().encode('{"tombstone":');
const FIGURES = new Set(["by", "bytes", "blobs", "input_tokens", "output_tokens", "cost_micro_usd"]);

/** True: a tombstone stands there. No event of a host has such a member. */
export const standsFor = (bytes, data) => BEGIN.every((byte, i) => bytes[data.start + i] === byte);

/** Requires that nothing else is said in a tombstone. */
export function readTombstone(data, at) {
    const stone = data.get("tombstone");
    require(data.value.size === 1 && stone.kind === OBJECT, at, "It is no tombstone.");
    let by = 0;
    for (const [name, part] of stone.value) {
        require(part.kind === NUMBER && isInteger(part) && Number(part.value) >= 0, at, "A tombstone has numbers only.");
        require(FIGURES.has(name) || (name === "counterfactual" && Number(part.value) === 1), at, "A tombstone has no such member.");
        by = name === "by" ? Number(part.value) : by;
    }
    require(by > 0, at, "A tombstone names the event that let the data expire.");
}
