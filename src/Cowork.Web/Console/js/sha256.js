// SHA-256 (FIPS 180-4). A page over plain HTTP has no crypto.subtle, unless it is on loopback.
const K = new Uint32Array(64);
const Start = new Uint32Array(8);

// The fractional parts of the cube and square roots of the first primes. Integers, so that no rounding counts.
(() => {
    const root = (n, degree) => {
        let [low, high] = [0n, 1n << 80n];
        const value = BigInt(n) << BigInt(32 * degree);
        while (low < high) {
            const middle = (low + high + 1n) >> 1n;
            if (middle ** BigInt(degree) <= value) {
                low = middle;
            } else {
                high = middle - 1n;
            }
        }
        return Number(low & 0xffffffffn);
    };
    for (let n = 2, found = 0; found < 64; n++) {
        let isPrime = true;
        for (let d = 2; d * d <= n; d++) {
            isPrime &&= n % d !== 0;
        }
        if (isPrime) {
            if (found < 8) {
                Start[found] = root(n, 2);
            }
            K[found++] = root(n, 3);
        }
    }
})();

// The digest of bytes, as bytes.
export function digestOf(bytes) {
    const length = bytes.length;
    const padded = new Uint8Array(((length + 72) >> 6) << 6);
    padded.set(bytes);
    padded[length] = 0x80;
    const view = new DataView(padded.buffer);
    view.setUint32(padded.length - 8, Math.floor(length / 0x20000000));
    view.setUint32(padded.length - 4, (length << 3) >>> 0);
    const state = Uint32Array.from(Start);
    const w = new Uint32Array(64);
    for (let at = 0; at < padded.length; at += 64) {
        block(view, at, state, w);
    }
    const out = new Uint8Array(32);
    const words = new DataView(out.buffer);
    state.forEach((word, i) => words.setUint32(i * 4, word));
    return out;
}

function block(view, at, state, w) {
    for (let i = 0; i < 16; i++) {
        w[i] = view.getUint32(at + i * 4);
    }
    for (let i = 16; i < 64; i++) {
        const [a, b] = [w[i - 15], w[i - 2]];
        const s0 = (a >>> 7 | a << 25) ^ (a >>> 18 | a << 14) ^ a >>> 3;
        const s1 = (b >>> 17 | b << 15) ^ (b >>> 19 | b << 13) ^ b >>> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1 | 0;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
        const s1 = (e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7);
        const t1 = h + s1 + (e & f ^ ~e & g) + K[i] + w[i] | 0;
        const s0 = (a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10);
        const t2 = s0 + (a & b ^ a & c ^ b & c) | 0;
        [h, g, f, e, d, c, b, a] = [g, f, e, d + t1 | 0, c, b, a, t1 + t2 | 0];
    }
    state[0] += a; state[1] += b; state[2] += c; state[3] += d; state[4] += e; state[5] += f; state[6] += g; state[7] += h;
}

export function hex(bytes) {
    return Array.from(bytes, b => b.toString(16).padStart(2, "0")).join("");
}
