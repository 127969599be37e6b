// What the feed's page knows of the log: each event in short, in the order of the log, and whether anything is missing between them.
import { briefJson } from "../text.js";
import { kindOf } from "../ui/badge.js";

const BriefMax = 160;

export class FeedLog {
    // max: events that are kept; the oldest go first, and are loaded again when somebody scrolls to them.
    constructor(max) {
        Object.assign(this, { max, events: [], isBegun: false, faults: new Set(), tops: new Map(), foreign: 0, checked: 0 });
    }

    get first() {
        return this.events[0]?.gid ?? 0;
    }

    get last() {
        return this.events.at(-1)?.gid ?? 0;
    }

    // Events that follow. Answers those that were not there.
    add(events) {
        const news = [];
        for (const event of events) {
            if (event.gid > this.last) {
                const short = shorten(event);
                this.events.push(short);
                news.push(short);
            }
        }
        if (this.events.length > this.max * 1.1) {
            this.events.splice(0, this.events.length - this.max);
            this.isBegun = false;
            this.#forget();
        }
        this.#check();
        return news;
    }

    // What is here may read otherwise now.
    reread(events) {
        const briefs = new Map(events.map(event => [event.gid, shorten(event).brief]));
        for (const event of this.events) {
            event.brief = briefs.get(event.gid) ?? event.brief;
        }
    }

    // A page of what comes before, by ask(since, limit).
    async loadOlder(ask, limit) {
        const before = this.first || 1;
        for (let width = limit; ; width *= 4) {
            let since = Math.max(0, before - 1 - width);
            const isBegin = since === 0;
            const found = [];
            for (; ;) {
                const page = await ask(since, limit);
                const mine = page.filter(event => event.gid < before || this.events.length === 0);
                found.push(...mine);
                if (page.length < limit || mine.length < page.length) {
                    break;
                }
                since = page.at(-1).gid;
            }
            if (found.length > 0 || isBegin) {
                this.isBegun = isBegin;
                this.events = found.map(shorten).concat(this.events);
                this.#forget();
                this.#check();
                return;
            }
        }
    }

    // Between two events of the log, by their positions: nothing is missing.
    isWhole(older, newer) {
        for (const gid of this.faults) {
            if (gid >= older && gid < newer) {
                return false;
            }
        }
        return true;
    }

    // missing: positions after which events are missing. foreign: positions between the first and the last that are none of this tenant's.
    proof() {
        return { first: this.first, last: this.last, count: this.events.length, missing: [...this.faults].sort((a, b) => a - b), foreign: this.foreign, streams: this.tops.size };
    }

    #forget() {
        this.faults.clear();
        this.tops.clear();
        this.foreign = 0;
        this.checked = 0;
    }

    // Positions are dense over all tenants, versions within a stream: where a position is missing, it is another tenant's only if no stream of this one misses a version.
    #check() {
        for (; this.checked < this.events.length; this.checked++) {
            const event = this.events[this.checked];
            const before = this.events[this.checked - 1];
            if (before) {
                this.foreign += event.gid - before.gid - 1;
            }
            const top = this.tops.get(event.stream);
            if (top !== undefined && event.version !== top + 1) {
                this.faults.add(before.gid);
            }
            this.tops.set(event.stream, event.version);
        }
    }
}

function shorten(event) {
    return {
        gid: event.gid, type: event.type, kind: kindOf(event.type), ts: event.ts, session: event.session_id, run: event.run_id, actor: event.actor ?? "", hash: event.hash, stream: event.stream_id,
        version: event.version, brief: event.tombstone ? "expired" : briefJson(event.payload, BriefMax),
    };
}
