// AES-256-GCM (FIPS 197, SP 800-38D), to open what is sealed. Plain code: crypto.subtle is missing on plain HTTP off loopback.

const ROUNDS = 14;
const TAG_BYTES = 16;
const BLOCK_BYTES = 16;

const double = (byte) => ((byte << 1) ^ (byte & 0x80 ? 0x1b : 0)) & 0xff;
const rotated = (byte, by) => ((byte << by) | (byte >> (8 - by))) & 0xff;

/** The inverse in the field, by powers of three, and the affine map behind it. */
const SUBSTITUTE = (() => {
    const powers = new Uint8Array(255);
    const exponents = new Uint8Array(256);
    for (let i = 0, power = 1; i < 255; i++) {
        powers[i] = power;
        exponents[power] = i;
        power ^= double(power);
    }
    return Uint8Array.from({ length: 256 }, (_, byte) => {
        const inverse = byte === 0 ? 0 : powers[(255 - exponents[byte]) % 255];
        return inverse ^ rotated(inverse, 1) ^ rotated(inverse, 2) ^ rotated(inverse, 3) ^ rotated(inverse, 4) ^ 0x63;
    });
})();

/** The keys of all rounds, one after another. */
function expanded(key) {
    const keys = new Uint8Array((ROUNDS + 1) * BLOCK_BYTES);
    keys.set(key);
    let round = 1;
    for (let at = key.length; at < keys.length; at += 4) {
        const word = keys.slice(at - 4, at);
        if (at % key.length === 0) {
            word.set([SUBSTITUTE[word[1]] ^ round, SUBSTITUTE[word[2]], SUBSTITUTE[word[3]], SUBSTITUTE[word[0]]]);
            round = double(round);
        } else if (at % key.length === key.length / 2) {
            word.forEach((byte, i) => { word[i] = SUBSTITUTE[byte]; });
        }
        for (let i = 0; i < 4; i++) {
            keys[at + i] = keys[at + i - key.length] ^ word[i];
        }
    }
    return keys;
}

function encrypted(keys, block) {
    const state = block.map((byte, i) => byte ^ keys[i]);
    const moved = new Uint8Array(BLOCK_BYTES);
    for (let round = 1; round <= ROUNDS; round++) {
        for (let i = 0; i < BLOCK_BYTES; i++) {
            // Row r of the state, whose columns are four bytes each, moves by r columns.
            moved[i] = SUBSTITUTE[state[(i + 4 * (i % 4)) % BLOCK_BYTES]];
        }
        for (let column = 0; column < BLOCK_BYTES; column += 4) {
            const all = moved[column] ^ moved[column + 1] ^ moved[column + 2] ^ moved[column + 3];
            for (let row = 0; row < 4; row++) {
                const byte = moved[column + row];
                const mixed = round === ROUNDS ? byte : byte ^ all ^ double(byte ^ moved[column + (row + 1) % 4]);
                state[column + row] = mixed ^ keys[round * BLOCK_BYTES + column + row];
            }
        }
    }
    return state;
}

/** A key that opens. */
export class Gcm {
    #keys;
    #products;

    /** @param {Uint8Array} key 32 bytes. */
    constructor(key) {
        this.#keys = expanded(key);
        // The hash's key times each power of x, highest bit first.
        const first = new DataView(encrypted(this.#keys, new Uint8Array(BLOCK_BYTES)).buffer);
        let power = Uint32Array.from({ length: 4 }, (_, i) => first.getUint32(4 * i));
        this.#products = [];
        for (let i = 0; i < 128; i++) {
            this.#products.push(power);
            const next = power.map((word, at) => (word >>> 1) | (at > 0 ? power[at - 1] << 31 : 0));
            next[0] ^= power[3] & 1 ? 0xe1000000 : 0;
            power = next;
        }
    }

    /**
     * @param {Uint8Array} nonce 12 bytes.
     * @param {Uint8Array} sealed The ciphertext with its tag behind it.
     * @param {Uint8Array} associated What the tag covers besides.
     * @returns {Uint8Array|null} Null: it was not sealed so.
     */
    open(nonce, sealed, associated) {
        const ciphertext = sealed.subarray(0, sealed.length - TAG_BYTES);
        const counter = new Uint8Array(BLOCK_BYTES);
        counter.set(nonce);
        counter[BLOCK_BYTES - 1] = 1;
        const mask = encrypted(this.#keys, counter);
        const tag = this.#hash(associated, ciphertext);
        let difference = 0;
        for (let i = 0; i < TAG_BYTES; i++) {
            difference |= tag[i] ^ mask[i] ^ sealed[ciphertext.length + i];
        }
        if (difference !== 0) {
            return null;
        }
        const plain = new Uint8Array(ciphertext.length);
        const view = new DataView(counter.buffer);
        for (let at = 0, block = 2; at < plain.length; at += BLOCK_BYTES, block++) {
            view.setUint32(12, block);
            const stream = encrypted(this.#keys, counter);
            for (let i = at; i < Math.min(at + BLOCK_BYTES, plain.length); i++) {
                plain[i] = ciphertext[i] ^ stream[i - at];
            }
        }
        return plain;
    }

    #hash(associated, ciphertext) {
        const sum = new Uint8Array(BLOCK_BYTES);
        const words = new DataView(sum.buffer);
        const multiply = () => {
            let [a, b, c, d] = [0, 0, 0, 0];
            for (let i = 0; i < 128; i++) {
                if (sum[i >> 3] & (0x80 >> (i & 7))) {
                    const product = this.#products[i];
                    a ^= product[0];
                    b ^= product[1];
                    c ^= product[2];
                    d ^= product[3];
                }
            }
            [a, b, c, d].forEach((word, i) => words.setUint32(4 * i, word));
        };
        for (const part of [associated, ciphertext]) {
            for (let at = 0; at < part.length; at += BLOCK_BYTES) {
                for (let i = at; i < Math.min(at + BLOCK_BYTES, part.length); i++) {
                    sum[i - at] ^= part[i];
                }
                multiply();
            }
        }
        // The lengths in bits, as 64-bit numbers.
        for (const [at, bytes] of [[0, associated.length], [8, ciphertext.length]]) {
            words.setUint32(at, words.getUint32(at) ^ Math.floor(bytes / 2 ** 29));
            words.setUint32(at + 4, words.getUint32(at + 4) ^ (bytes << 3));
        }
        multiply();
        return sum;
    }
}
