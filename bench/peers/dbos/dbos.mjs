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
import { measure, plan, say } from "../load.mjs";

const asked = plan(process.argv.slice(2), "1,64");
const given = process.env.DBOS_SYSTEM_DATABASE_URL ?? process.env.DATABASE_URL;
if (!asked || !given) {
  console.error(
    "usage: DBOS_SYSTEM_DATABASE_URL=postgresql://… node dbos.mjs [seconds per level] [levels, such as 1,64]");
  process.exit(2);
}
const { seconds, levels } = asked;

// The package does not export its package.json, so that is read from where it was installed.
const version = JSON.parse(readFileSync(
  new URL("./node_modules/@dbos-inc/dbos-sdk/package.json", import.meta.url), "utf8")).version;
process.noDeprecation = true; // the SDK queries a connecting client in a way that pg warns of

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
    if (why) say("dbos", why);
    setTimeout(() => process.exit(1), 20_000).unref(); // a server that is gone must not hold us
    await starting?.catch(() => {}); // what is half made could not be dropped
    try {
      await DBOS.shutdown();
    } catch (error) {
      say("dbos", `shutting down: ${error.message}`);
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
      warn: (entry) => ending || say("dbos", `warning: ${entry?.message ?? entry}`),
      error: (entry) => ending || say("dbos", `error: ${entry?.stack ?? entry}`),
    },
  });
  starting = (async () => {
    await onServer(`CREATE DATABASE "${database}"`);
    await DBOS.launch();
  })();
  await starting;

  await measure({ peer: "dbos", version, seconds, levels, invoke, isEnding: () => ending !== undefined });
  await end(0);
} catch (error) {
  if (!ending) console.error(error);
  await end(1, "failed");
}
