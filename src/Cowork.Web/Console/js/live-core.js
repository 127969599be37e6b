// A stream of events that is resumed. It runs in the worker of all tabs, or in the page where a browser has no shared workers.

// A stream that sends nothing for so long is dead: a host sends something every 15 s.
const SilenceMax = 40_000;
const FlushAfter = 40;
const BatchMax = 2_000;
// A page tells that it is there every 20 s; a browser slows the timers of a hidden one down to one a minute.
const PortSilenceMax = 180_000;

export class StreamSet {
    constructor() {
        this.streams = new Map();
    }

    // A page, by its port: it sends {open: {url, token, cursor}}, {alive} and {close}, and receives {state}, {cursor} and {events}.
    attach(port) {
        let stream = null;
        const leave = () => {
            stream?.leave(port);
            if (stream && stream.isUnused) {
                this.streams.delete(stream.key);
            }
            stream = null;
        };
        port.onmessage = ({ data }) => {
            if (data.open) {
                leave();
                // Who has another token sees other things.
                const key = `${data.open.url} ${data.open.token ?? ""}`;
                stream = this.streams.get(key) ?? new Stream(key, data.open);
                this.streams.set(key, stream);
                stream.join(port);
            } else if (data.close) {
                leave();
                port.close?.();
            } else {
                stream?.alive(port);
            }
        };
        port.start?.();
    }
}

class Stream {
    // cursor: what the page that opens it has seen already.
    constructor(key, { url, token, cursor = null }) {
        Object.assign(this, { key, url, token, cursor, ports: new Map(), state: "connecting", batch: [], flushing: 0, retry: 250 });
        this.stopping = new AbortController();
        this.watch = setInterval(() => this.look(), 5_000);
        this.run();
    }

    get isUnused() {
        return this.ports.size === 0;
    }

    join(port) {
        this.ports.set(port, Date.now());
        port.postMessage({ state: this.state, cursor: this.cursor });
    }

    leave(port) {
        this.ports.delete(port);
        if (this.isUnused) {
            clearInterval(this.watch);
            this.stopping.abort();
        }
    }

    alive(port) {
        this.ports.set(port, Date.now());
    }

    look() {
        const now = Date.now();
        for (const [port, seen] of this.ports) {
            if (now - seen > PortSilenceMax) {
                this.leave(port);
            }
        }
        if (this.heard && now - this.heard > SilenceMax) {
            this.heard = 0;
            this.tell("stale");
            this.connection?.abort();
        }
    }

    tell(state) {
        if (this.state !== state) {
            this.state = state;
            this.send({ state });
        }
    }

    send(message) {
        for (const port of this.ports.keys()) {
            port.postMessage(message);
        }
    }

    async run() {
        while (!this.stopping.signal.aborted) {
            let pause = this.retry * (0.75 + Math.random() / 2);
            try {
                const status = await this.read();
                if (status === 401 || status === 403) {
                    this.tell("refused");
                    return;
                }
                if (status === 422) {
                    // The log is another one than that of the cursor: a database was put back, for example.
                    this.cursor = null;
                    this.send({ reset: true });
                }
            } catch {
                // The connection broke off, or was never made.
            }
            this.flush();
            if (this.stopping.signal.aborted) {
                return;
            }
            this.tell("stale");
            this.retry = Math.min(10_000, this.retry * 2);
            await new Promise(resolve => setTimeout(resolve, pause));
        }
    }

    // Reads until the stream ends. Answers the status of one that was refused.
    async read() {
        this.connection = new AbortController();
        const stop = () => this.connection.abort();
        this.stopping.signal.addEventListener("abort", stop, { once: true });
        try {
            const headers = { accept: "text/event-stream" };
            if (this.token) {
                headers.authorization = `Bearer ${this.token}`;
            }
            if (this.cursor !== null) {
                headers["last-event-id"] = String(this.cursor);
            }
            this.heard = Date.now();
            const response = await fetch(this.url, { headers, signal: this.connection.signal, cache: "no-store", credentials: "omit" });
            if (!response.ok) {
                return response.status;
            }
            const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
            const parser = new Parser((name, id, data) => this.take(name, id, data));
            for (; ;) {
                const { value, done } = await reader.read();
                if (done) {
                    return 200;
                }
                this.heard = Date.now();
                this.retry = 250;
                this.tell("live");
                parser.add(value);
            }
        } finally {
            this.stopping.signal.removeEventListener("abort", stop);
            this.heard = 0;
        }
    }

    take(name, id, data) {
        if (id !== null) {
            this.cursor = Number(id);
        }
        if (name === "cursor") {
            this.send({ cursor: this.cursor });
            return;
        }
        // As a text: a page may not be able to take over what lies deep in itself.
        this.batch.push(data);
        if (this.batch.length >= BatchMax) {
            this.flush();
        } else {
            this.flushing ||= setTimeout(() => this.flush(), FlushAfter);
        }
    }

    flush() {
        clearTimeout(this.flushing);
        this.flushing = 0;
        if (this.batch.length > 0) {
            this.send({ events: this.batch, cursor: this.cursor });
            this.batch = [];
        }
    }
}

// Server-sent events (WHATWG HTML, section 9.2), as this host writes them.
export class Parser {
    constructor(dispatch) {
        Object.assign(this, { dispatch, rest: "", name: "", id: null, data: [] });
    }

    add(text) {
        const lines = (this.rest + text).split("\n");
        this.rest = lines.pop();
        for (const raw of lines) {
            this.line(raw.endsWith("\r") ? raw.slice(0, -1) : raw);
        }
    }

    line(line) {
        if (line === "") {
            if (this.data.length > 0) {
                this.dispatch(this.name, this.id, this.data.join("\n"));
            }
            [this.name, this.data] = ["", []];
            return;
        }
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
        if (field === "data") {
            this.data.push(value);
        } else if (field === "event") {
            this.name = value;
        } else if (field === "id") {
            this.id = value;
        }
    }
}
