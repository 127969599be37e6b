// Checks one bundle beside the page, which stays quick however large the bundle is.
import { verify } from "../verify/verify.js";

// Events between two reports of how far it is.
const Every = 500;

onmessage = async ({ data }) => {
    const onProgress = (part, done) => done % Every === 0 && postMessage({ part, done });
    postMessage({ verdict: await verify(new Uint8Array(data), { onProgress, hasRows: true }) });
};
