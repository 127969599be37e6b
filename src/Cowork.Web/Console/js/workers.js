// The console's own workers. Their addresses are the only ones of scripts that are made here, and the only ones that the policy lets through.

const address = file => new URL(`./worker/${file}`, import.meta.url).href;
const own = new Set(["live-worker.js", "verify-worker.js"].map(address));

const policy = window.trustedTypes?.createPolicy("cowork-worker", {
    createScriptURL(given) {
        if (!own.has(given)) {
            throw new TypeError("Only the console's own workers are started.");
        }
        return given;
    },
});

export function workerAddress(file) {
    return policy ? policy.createScriptURL(address(file)) : address(file);
}
