// SHA-256 (FIPS 180-4). crypto.subtle is missing on plain HTTP off loopback, and answers each of the many small inputs of a bundle by a promise.

const K = new Uint32Array(64);
const START = new Uint32Array(8);

{
    // The constants are the first 32 bits of the fractional parts of the roots of the first primes (FIPS 180-4, 4.2.2 and 5.3.3). In integers, so that no rounding counts.
    const fraction = (n, degree) => {
        const value = BigInt(n) << BigInt(32 * degree);
        let [low, high] = [0n, 1n << 40n];
        while (low < high) {
            const middle = (low + high + 1n) >> 1n;
            [low, high] = middle ** BigInt(degree) <= value ? [middle, high] : [low, middle - 1n];
        }
        return Number(low & 0xffffffffn);
    };
    for (let n = 2, found = 0; found < 64; n++) {
        if (Array.from({ length: n - 2 }, (_, i) => i + 2).every((divisor) => n % divisor !== 0)) {
            START[found] = found < 8 ? fraction(n, 2) : START[found];
            K[found++] = fraction(n, 3);
        }
    }
}

const schedule = new Uint32Array(64);

/** Hashes what comes in pieces. */
export class Sha256 {
    #state = START.slice();
    #block = new Uint8Array(64);
    #filled = 0;
    #length = 0;

    /** @param {Uint8Array} bytes */
    add(bytes) {
        this.#length += bytes.length;
        let from = 0;
        if (this.#filled > 0) {
            from = Math.min(64 - this.#filled, bytes.length);
            this.#block.set(bytes.subarray(0, from), this.#filled);
            this.#filled += from;
            if (this.#filled < 64) {
                return this;
            }
            this.#compress(this.#block, 0);
            this.#filled = 0;
        }
        for (; from + 64 <= bytes.length; from += 64) {
            this.#compress(bytes, from);
        }
        this.#block.set(bytes.subarray(from), 0);
        this.#filled = bytes.length - from;
        return this;
    }

    /** The 32 bytes of the digest. Nothing can be added after it. */
    digest() {
        const block = this.#block;
        block[this.#filled++] = 0x80;
        if (this.#filled > 56) {
            block.fill(0, this.#filled);
            this.#compress(block, 0);
            this.#filled = 0;
        }
        block.fill(0, this.#filled, 56);
        const view = new DataView(block.buffer);
        view.setUint32(56, Math.floor(this.#length / 2 ** 29));
        view.setUint32(60, this.#length << 3);
        this.#compress(block, 0);
        const digest = new Uint8Array(32);
        const out = new DataView(digest.buffer);
        this.#state.forEach((word, i) => out.setUint32(4 * i, word));
        return digest;
    }

    #compress(bytes, from) {
        const w = schedule;
        for (let i = 0, at = from; i < 16; i++, at += 4) {
            w[i] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
        }
        for (let i = 16; i < 64; i++) {
            const x = w[i - 15];
            const y = w[i - 2];
            const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
            const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
            w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
        }
        let [a, b, c, d, e, f, g, h] = this.#state;
        for (let i = 0; i < 64; i++) {
            const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
            const t1 = (h + s1 + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
            const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
            const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
            h = g;
            g = f;
            f = e;
            e = (d + t1) | 0;
            d = c;
            c = b;
            b = a;
            a = (t1 + t2) | 0;
        }
        const s = this.#state;
        s[0] += a;
        s[1] += b;
        s[2] += c;
        s[3] += d;
        s[4] += e;
        s[5] += f;
        s[6] += g;
        s[7] += h;
    }
}

const encoder = new TextEncoder();

/** @param {...(Uint8Array|string)} parts Texts are hashed as UTF-8. */
export function sha256(...parts) {
    const hash = new Sha256();
    for (const part of parts) {
        hash.add(typeof part === "string" ? encoder.encode(part) : part);
    }
    return hash.digest();
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Lower-case hex. */
export function hex(bytes) {
    let text = "";
    for (const byte of bytes) {
        text += HEX[byte];
    }
    return text;
}

/** The bytes of lower-case hex, or null. */
export function unhex(text) {
    if (text.length % 2 !== 0 || !/^[0-9a-f]*$/.test(text)) {
        return null;
    }
    const bytes = new Uint8Array(text.length / 2);
    for (let i = 0; i < bytes.length; i++) {
        bytes[i] = parseInt(text.slice(2 * i, 2 * i + 2), 16);
    }
    return bytes;
}

/** Hex SHA-256. */
export const digestOf = (...parts) => hex(sha256(...parts));
