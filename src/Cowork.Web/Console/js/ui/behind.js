// What does not do its work: projections that stand before an event, and jobs that were given up. Health has all of it.
import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { whole } from "../format.js";
import { to } from "../router.js";
import { me, resource } from "../store.js";

const Every = 30_000;

const maySeeHealth = () => me.may("listDeadLetters");
const wayToHealth = () => maySeeHealth() && h("a", { href: to("health") }, "Health");

// The names of the projections that are parked. Where it cannot be asked, nothing is said.
export async function parkedNow(signal) {
    try {
        return (await get("/health/ready", {}, signal)).parked ?? [];
    } catch (error) {
        if (error.name === "AbortError") {
            throw error;
        }
        return [];
    }
}

// Beside what was found: what was said since is not among it. Null: the search has all.
export async function searchIsBehind(upTo, signal) {
    const parked = await parkedNow(signal);
    return parked.includes("messages") || parked.includes("memory_words")
        ? h("p.note", h("b", "The search is behind: "), `it knows nothing that was said after event ${whole(upTo)}.`, " ", wayToHealth()) : null;
}

// Says of a page's figures that their projection stands.
export function standing(place, name, signal) {
    resource({
        load: parkedNow, every: Every, signal,
        show: parked => replace(place, parked.includes(name) && h("p.note.bad", { role: "status" }, h("b", "These figures stand still: "), `the projection ${name} is parked. `, wayToHealth())),
    });
}

// For a page that does not show it itself: what is wrong, with the way to Health for who may see it.
export function ailing(place, signal) {
    resource({
        load: async s => ({ parked: await parkedNow(s), total: maySeeHealth() ? (await get("/engine/dead-letters", {}, s)).total : 0 }), every: Every, signal,
        show: ({ parked, total }) => replace(place, (parked.length > 0 || total > 0) && h("p.note.bad.section", { role: "status" },
            parked.length > 0 && [h("b", parked.length === 1 ? "A projection is parked: " : `${whole(parked.length)} projections are parked: `),
                `${parked.join(", ")}. What they feed is as old as that. `],
            total > 0 && h("b", total === 1 ? "One job was given up. " : `${whole(total)} jobs were given up. `), wayToHealth())),
    });
}
