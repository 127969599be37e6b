// The reader's works, by bucket and words, the last changed first.
import { get } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { time, whole } from "../format.js";
import { listKeys } from "../keys.js";
import { setQuery, to } from "../router.js";
import { brief } from "../text.js";
import { choice } from "../ui/chips.js";
import { empty } from "../ui/empty.js";
import { growing } from "../ui/growing.js";
import { table } from "../ui/table.js";

const PageRows = 100;
const Buckets = { brand_assets: "brand assets", listings: "listings", transactions: "transactions" };

export const bucketBadge = bucket => h("span.role", Buckets[bucket] ?? bucket);

export default async function page({ root, signal, query }) {
    const state = { bucket: Buckets[query.get("bucket")] ? query.get("bucket") : null, q: query.get("q") ?? "" };
    const head = h("span.muted");
    const list = h("div");
    const search = h("input", { type: "search", placeholder: "Words of labels, previews and tags", "aria-label": "Words of labels, previews and tags", value: state.q,
        data: { search: "" } });
    const buckets = choice({ label: "Buckets", choices: Object.entries(Buckets), at: state.bucket, choose: bucket => {
        state.bucket = bucket;
        apply();
    } });
    replace(root, h("div.head", h("h1", "Works"), head), h("div.filters", { role: "search" }, search, buckets), list);

    const view = table({
        label: "Works", id: row => row.work_id, href: row => to("works", row.work_id),
        columns: [
            { title: "Bucket", nowrap: true, show: row => bucketBadge(row.bucket) },
            { title: "Label", link: true, show: row => row.label },
            { title: "Preview", fill: true, hide: true, show: row => h("span.muted", brief(row.preview ?? "", 300)) },
            { title: "Tags", hide: true, text: true, show: row => tagsOf(row, 4) },
            { title: "Changed", num: true, show: row => h("span.muted", time(row.updated_at)) },
        ],
    });
    listKeys(view, signal);

    function apply() {
        setQuery({ q: state.q, bucket: state.bucket });
        source.restart();
    }

    search.addEventListener("input", debounce(() => {
        state.q = search.value.trim();
        apply();
    }, 250));

    async function ask(more, s) {
        const { data } = await get("/myworks", { bucket: state.bucket, q: state.q, limit: PageRows, ...more }, s);
        return { rows: data.list, next: data.next_cursor && (() => ask({ cursor: data.next_cursor }, signal)) };
    }

    const source = growing({
        view, place: list, count: head, load: s => ask({}, s), key: "work_id", when: event => event.type.startsWith("work_"), every: 30_000, signal, gap: 800,
        told: (number, goesOn) => goesOn ? `the last changed ${whole(number)}` : whole(number),
        // A cursor is worth an hour.
        again: apply,
        none: () => state.q || state.bucket ? empty("No work is like that", "Take a filter away.") : empty("No works yet", "Tools keep what they make here, as you.",
            ["POST", "/myworks", { bucket: "listings", label: "12 Elm Street", payload: { price: 420000 }, tags: ["house"] }]),
    });
}

export function tagsOf(work, max) {
    const tags = work.tags ?? [];
    return [tags.slice(0, max).map(word => h("span.role", brief(word, 24))), tags.length > max && h("span.faint", `+${tags.length - max}`)];
}
