// Measures completed three-step workflows per second of DBOS Transact, in this process, on PostgreSQL.
//
//   DBOS_SYSTEM_DATABASE_URL=postgresql://user:password@127.0.0.1:5432/postgres \
//     node dbos.mjs [seconds per level = 5] [levels = 1,64]
//
// One JSON line per level goes to standard output, everything else to standard error. The tables go
// into a database of their own, made on the server of the connection string (whose user must be
// allowed to make one) and dropped at the end, also on SIGTERM, SIGINT and SIGHUP. With PEER_POOL=n the
// pool has n connections instead of the SDK's own default.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { DBOS } from "@dbos-inc/dbos-sdk";
import pg from "pg";

const seconds = Number(process.argv[2] ?? 5);
const levels = (process.argv[3] ?? "1,64").split(",").map(Number);
const given = process.env.DBOS_SYSTEM_DATABASE_URL ?? process.env.DATABASE_URL;
if (!(seconds > 0) || !levels.every((n) => Number.isInteger(n) && n > 0) || !given) {
  console.error(
    "usage: DBOS_SYSTEM_DATABASE_URL=postgresql://… node dbos.mjs [seconds per level] [levels, such as 1,64]");
  process.exit(2);
}

// The package does not export its package.json, so that is read from where it was installed.
const version = JSON.parse(readFileSync(
  new URL("./node_modules/@dbos-inc/dbos-sdk/package.json", import.meta.url), "utf8")).version;
process.noDeprecation = true; // the SDK queries a connecting client in a way that pg warns of
const say = (text) => process.stderr.write(`dbos: ${text}\n`);

// ---- the database, and how it all ends -----------------------------------------------------------

const database = `peer_dbos_${process.pid}_${randomBytes(3).toString("hex")}`;
const ownUrl = new URL(given);
ownUrl.pathname = `/${database}`;
let starting; // settles when the database is made and DBOS is up
let ending;

async function onServer(statement) {
  const client = new pg.Client({ connectionString: given, connectionTimeoutMillis: 10_000 });
  client.on("error", () => {});
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

function end(code, why) {
  ending ??= (async () => {
    if (why) say(why);
    setTimeout(() => process.exit(1), 20_000).unref(); // a server that is gone must not hold us
    await starting?.catch(() => {}); // what is half made could not be dropped
    try {
      await DBOS.shutdown();
    } catch (error) {
      say(`shutting down: ${error.message}`);
    }
    if (starting) await onServer(`DROP DATABASE IF EXISTS "${database}" WITH (FORCE)`);
    process.exit(code);
  })().catch((error) => {
    console.error(error);
    process.exit(1);
  });
  return ending;
}

for (const [signal, number] of [["SIGHUP", 1], ["SIGINT", 2], ["SIGTERM", 15]])
  process.on(signal, () => end(128 + number, `ended by ${signal}`));
// Workflows that a signal interrupts lose their connections; that is not worth a word.
process.on("unhandledRejection", (error) => {
  if (!ending) {
    console.error(error);
    end(1, "failed");
  }
});

// ---- the workflow --------------------------------------------------------------------------------

const threeSteps = DBOS.registerWorkflow(async (run) => {
  const accepted = await DBOS.runStep(async () => ({ type: "accepted", run }), { name: "accepted" });
  const started = await DBOS.runStep(async () => ({ type: "started", run, attempt: 1 }), { name: "started" });
  const answered = await DBOS.runStep(async () => ({ type: "answered", run, text: "done" }), { name: "answered" });
  return { run, steps: [accepted, started, answered] };
}, { name: "threeSteps" });

// ---- the load ------------------------------------------------------------------------------------

let nextRun = 0;

async function invoke() {
  const run = `run-${++nextRun}`;
  const answer = await threeSteps(run);
  if (answer.run !== run || answer.steps.map((step) => step.type).join() !== "accepted,started,answered")
    throw new Error(`${run}: not its answer: ${JSON.stringify(answer)}`);
}

// Keeps `inFlight` workflows running until the time is up; each one's successor starts when it ends.
// Only what completed within the time counts.
async function closedLoop(inFlight, forSeconds) {
  const from = performance.now();
  const to = from + forSeconds * 1000;
  const took = [];
  await Promise.all(Array.from({ length: inFlight }, async () => {
    for (;;) {
      const began = performance.now();
      if (began >= to || ending) return;
      await invoke();
      const ended = performance.now();
      if (ended <= to) took.push(ended - began);
    }
  }));
  return took;
}

function quantile(sorted, q) {
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)];
}

const round = (value, digits) => Number(value.toFixed(digits));

try {
  // Nothing of the surroundings is to set DBOS up (its cloud mode, an application version and the like).
  for (const name of Object.keys(process.env)) if (name.startsWith("DBOS__")) delete process.env[name];
  const pool = process.env.PEER_POOL ? Number(process.env.PEER_POOL) : undefined;
  const quiet = () => {};
  DBOS.setConfig({
    name: "peer-dbos",
    systemDatabaseUrl: ownUrl.toString(),
    ...(pool ? { systemDatabasePoolSize: pool } : {}),
    enableOTLP: false,
    logger: {
      debug: quiet,
      info: quiet,
      warn: (entry) => ending || say(`warning: ${entry?.message ?? entry}`),
      error: (entry) => ending || say(`error: ${entry?.stack ?? entry}`),
    },
  });
  starting = (async () => {
    await onServer(`CREATE DATABASE "${database}"`);
    await DBOS.launch();
  })();
  await starting;

  await closedLoop(Math.max(...levels), Math.min(3, seconds));
  for (const inFlight of levels) {
    await closedLoop(inFlight, Math.min(1, seconds / 2));
    const took = (await closedLoop(inFlight, seconds)).sort((a, b) => a - b);
    if (ending) break;
    if (took.length === 0) throw new Error(`in flight ${inFlight}: nothing completed`);
    console.log(JSON.stringify({
      peer: "dbos",
      version,
      in_flight: inFlight,
      completed: took.length,
      per_second: round(took.length / seconds, 1),
      p50_ms: round(quantile(took, 0.5), 3),
      p99_ms: round(quantile(took, 0.99), 3),
    }));
  }
  await end(0);
} catch (error) {
  if (!ending) console.error(error);
  await end(1, "failed");
}
