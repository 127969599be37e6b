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

// Who is told, and what was found last: one request for the mark in the navigation and for the page that shows it.
const told = new Set();
let found = null;

const problemsNow = async signal => maySeeHealth() ? get("/engine/problems", {}, signal) : { parked: await parkedNow(signal), behind: [], dead_letters: 0, audit_fault: false };

// Asks while the console is open. The mark says that something is wrong, also to who does not see it.
export function healthMark(mark, signal) {
    found = null;
    resource({
        load: problemsNow, every: Every, signal,
        show: problems => {
            found = problems;
            const words = [
                problems.parked.length > 0 && (problems.parked.length === 1 ? "a projection is parked" : `${whole(problems.parked.length)} projections are parked`),
                problems.dead_letters > 0 && (problems.dead_letters === 1 ? "a job was given up" : `${whole(problems.dead_letters)} jobs were given up`),
                problems.behind.length > 0 && (problems.behind.length === 1 ? "a projection is behind" : `${whole(problems.behind.length)} projections are behind`),
                problems.audit_fault && "no head is signed",
            ].filter(Boolean);
            mark.classList.toggle("hidden", words.length === 0);
            replace(mark, words.length > 0 && [h("span", { "aria-hidden": true }, "!"), h("span.sr", ` ${words.join(", ")}`)]);
            mark.title = words.join(", ");
            told.forEach(tell => tell(problems));
        },
    });
}

// For a page that does not show it itself: what is wrong, with the way to Health for who may see it.
export function ailing(place, signal) {
    told.add(tell);
    signal.addEventListener("abort", () => told.delete(tell), { once: true });
    found && tell(found);

    function tell({ parked, dead_letters: total }) {
        replace(place, (parked.length > 0 || total > 0) && h("p.note.bad.section", { role: "status" },
            parked.length > 0 && [h("b", parked.length === 1 ? "A projection is parked: " : `${whole(parked.length)} projections are parked: `),
                `${parked.join(", ")}. What they feed is as old as that. `],
            total > 0 && h("b", total === 1 ? "One job was given up. " : `${whole(total)} jobs were given up. `), wayToHealth()));
    }
}
