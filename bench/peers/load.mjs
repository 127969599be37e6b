// What the peers' programs share: a closed loop of operations, and a JSON line for each level of it on standard output.

export const say = (peer, text) => process.stderr.write(`${peer}: ${text}\n`);

// What the arguments ask for; null: they are not understood.
export function plan(args, levels) {
  const seconds = Number(args[0] ?? 5);
  const asked = (args[1] ?? levels).split(",").map(Number);
  return seconds > 0 && asked.every((n) => Number.isInteger(n) && n > 0) ? { seconds, levels: asked } : null;
}

// Keeps `inFlight` operations open until the time is up; each one's successor starts when it ends.
// Only what completed within the time counts. Answers how long each took, in milliseconds.
async function closedLoop(invoke, inFlight, forSeconds, isEnding) {
  const from = performance.now();
  const to = from + forSeconds * 1000;
  const took = [];
  await Promise.all(Array.from({ length: inFlight }, async () => {
    for (;;) {
      const began = performance.now();
      if (began >= to || isEnding()) return;
      await invoke();
      const ended = performance.now();
      if (ended <= to) took.push(ended - began);
    }
  }));
  return took;
}

// Warms up, then measures each level and prints it.
export async function measure({ peer, version, seconds, levels, invoke, isEnding }) {
  const quantile = (sorted, q) => sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)];
  const round = (value, digits) => Number(value.toFixed(digits));
  await closedLoop(invoke, Math.max(...levels), Math.min(3, seconds), isEnding);
  for (const inFlight of levels) {
    await closedLoop(invoke, inFlight, Math.min(1, seconds / 2), isEnding);
    const took = (await closedLoop(invoke, inFlight, seconds, isEnding)).sort((a, b) => a - b);
    if (isEnding()) return;
    if (took.length === 0) throw new Error(`in flight ${inFlight}: nothing completed`);
    console.log(JSON.stringify({
      peer,
      version,
      in_flight: inFlight,
      completed: took.length,
      per_second: round(took.length / seconds, 1),
      p50_ms: round(quantile(took, 0.5), 3),
      p99_ms: round(quantile(took, 0.99), 3),
    }));
  }
}
