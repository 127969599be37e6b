// The reader's works, by bucket and words, the last changed first.
import { get } from "../api.js";
import { debounce, h, replace } from "../dom.js";
import { time, whole } from "../format.js";
import { listKeys } from "../keys.js";
import { setQuery, to } from "../router.js";
import { resource } from "../store.js";
import { brief } from "../text.js";
import { empty, fault } from "../ui/empty.js";
import { table } from "../ui/table.js";

const PageRows = 100;
const RowsMax = 5_000;
const Buckets = { brand_assets: "brand assets", listings: "listings", transactions: "transactions" };

export const bucketBadge = bucket => h("span.role", Buckets[bucket] ?? bucket);

export default async function page({ root, signal, query }) {
    const state = { bucket: Buckets[query.get("bucket")] ? query.get("bucket") : null, q: query.get("q") ?? "" };
    const head = h("span.muted");
    const list = h("div");
    const search = h("input", { type: "search", placeholder: "Words of labels, previews and tags", "aria-label": "Words of labels, previews and tags", value: state.q,
        data: { search: "" } });
    const chips = h("div.chips", { role: "group", "aria-label": "Buckets" });
    replace(root, h("div.head", h("h1", "Works"), head), h("div.filters", { role: "search" }, search, chips), list);

    const view = table({
        label: "Works", id: row => row.work_id, href: row => to("works", row.work_id),
        columns: [
            { title: "Bucket", nowrap: true, show: row => bucketBadge(row.bucket) },
            { title: "Label", link: true, nowrap: true, show: row => brief(row.label, 60) },
            { title: "Preview", fill: true, hide: true, show: row => h("span.muted", brief(row.preview ?? "", 300)) },
            { title: "Tags", hide: true, nowrap: true, show: row => tagsOf(row, 4) },
            { title: "Changed", num: true, show: row => h("span.muted", time(row.updated_at)) },
        ],
    });
    listKeys(view, signal);
    const foot = h("div.more");
    view.card.append(foot);
    let rows = [];
    let cursor = null;

    function controls() {
        replace(chips, Object.entries(Buckets).map(([bucket, words]) => h("button.chip", { type: "button", "aria-pressed": state.bucket === bucket, on: { click: () => {
            state.bucket = state.bucket === bucket ? null : bucket;
            apply();
        } } }, words)));
    }

    function apply() {
        setQuery({ q: state.q, bucket: state.bucket });
        controls();
        rows = [];
        cursor = null;
        source.refresh();
    }

    search.addEventListener("input", debounce(() => {
        state.q = search.value.trim();
        apply();
    }, 250));
    controls();

    const ask = (more, s) => get("/myworks", { bucket: state.bucket, q: state.q, limit: PageRows, ...more }, s);
    const source = resource({
        load: async s => (await ask({}, s)).data, when: event => event.type.startsWith("work_"), every: 30_000, signal, gap: 800,
        fail: error => replace(list, fault(error, () => source.refresh())),
        show: page => {
            const fresh = new Set(page.list.map(row => row.work_id));
            const oldest = page.next_cursor ? page.list.at(-1)?.updated_at ?? "" : "";
            const kept = page.next_cursor ? rows.filter(row => !fresh.has(row.work_id) && row.updated_at < oldest) : [];
            cursor = kept.length === 0 ? page.next_cursor : cursor;
            rows = [...page.list, ...kept].slice(0, RowsMax);
            draw();
        },
    });

    function draw() {
        view.update(rows);
        replace(head, rows.length === 0 ? "" : cursor ? `the last changed ${whole(rows.length)}` : whole(rows.length));
        replace(foot, cursor && h("button.quiet", { type: "button", on: { click: more } }, "More"));
        foot.classList.toggle("hidden", !cursor);
        replace(list, rows.length > 0 ? view.card : h("div.card", state.q || state.bucket ? empty("No work is like that", "Take a filter away.")
            : empty("No works yet", "Tools keep what they make here, as you.",
                ["POST", "/myworks", { bucket: "listings", label: "12 Elm Street", payload: { price: 420000 }, tags: ["house"] }])));
    }

    async function more() {
        try {
            const { data } = await ask({ cursor }, signal);
            const known = new Set(rows.map(row => row.work_id));
            cursor = data.next_cursor;
            rows.push(...data.list.filter(row => !known.has(row.work_id)));
            draw();
        } catch (error) {
            // A cursor is worth an hour.
            error.name !== "AbortError" && replace(foot, fault(error, apply));
        }
    }
}

export function tagsOf(work, max) {
    const tags = work.tags ?? [];
    return [tags.slice(0, max).map(word => h("span.role", brief(word, 24))), tags.length > max && h("span.faint", `+${tags.length - max}`)];
}
