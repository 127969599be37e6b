// What happens, as it happens: one stream of everything that the caller may see. Pages listen to it and load anew what it concerns.
import { address, session } from "./api.js";
import { read } from "./exact.js";
import { StreamSet } from "./live-core.js";
import { workerAddress } from "./workers.js";

const listeners = new Set();
const watchers = new Set();
let port = null;
let state = "off";

export const live = {
    get state() {
        return state;
    },

    // The position of the log up to which everything was seen; null: not known yet.
    cursor: null,

    // Calls with a list of events, as long as the signal is not aborted.
    on(listener, signal) {
        add(listeners, listener, signal);
    },

    // Calls with the state: off, connecting, live, stale, refused; and with "reset" when what was loaded may be old.
    onState(listener, signal) {
        add(watchers, listener, signal);
        listener(state);
    },

    start() {
        live.stop();
        use(connect());
    },

    // Goes on where it was, with the token as it is now.
    resume() {
        if (port) {
            open();
        } else {
            live.start();
        }
    },

    stop() {
        port?.postMessage({ close: true });
        port = null;
        change("off");
    },
};

function use(next) {
    port = next;
    port.onmessage = ({ data }) => hear(data);
    port.start?.();
    open();
}

function open() {
    port.postMessage({ open: { url: address("/stream", { named: "false" }).href, token: session.token, cursor: live.cursor } });
}

function add(set, listener, signal) {
    set.add(listener);
    signal?.addEventListener("abort", () => set.delete(listener), { once: true });
}

function hear(data) {
    if (data.cursor !== undefined && data.cursor !== null) {
        live.cursor = Math.max(live.cursor ?? 0, data.cursor);
    }
    if (data.state) {
        change(data.state);
    }
    if (data.reset) {
        live.cursor = null;
        watchers.forEach(watch => watch("reset"));
    }
    if (data.events) {
        const events = data.events.map(text => read(text));
        listeners.forEach(listen => listen(events));
    }
}

function change(next) {
    if (next === state) {
        return;
    }
    const was = state;
    state = next;
    watchers.forEach(watch => watch(state));
    if (was === "stale" && next === "live") {
        watchers.forEach(watch => watch("reset"));
    }
}

function connect() {
    if ("SharedWorker" in window) {
        try {
            const worker = new SharedWorker(workerAddress("live-worker.js"), { type: "module", name: "cowork-live" });
            // One that cannot be loaded, or falls down, is told of later.
            worker.addEventListener("error", () => port === worker.port && use(inPage()), { once: true });
            return worker.port;
        } catch {
            // A browser that has them may still refuse them, in a private window for example.
        }
    }
    return inPage();
}

function inPage() {
    const channel = new MessageChannel();
    new StreamSet().attach(channel.port1);
    return channel.port2;
}

setInterval(() => port?.postMessage({ alive: true }), 20_000);
addEventListener("pagehide", () => port?.postMessage({ close: true }));
addEventListener("pageshow", event => {
    if (event.persisted && port) {
        live.start();
        watchers.forEach(watch => watch("reset"));
    }
});
