// Measures completed three-step invocations per second of a Restate server started for the purpose.
//
//   node restate.mjs [seconds per level = 5] [levels = 1,16,64]
//
// One JSON line per level goes to standard output, everything else to standard error. The server
// listens on free loopback ports and keeps its data in a temporary directory (under $TMPDIR) that is
// removed at the end, also on SIGTERM, SIGINT and SIGHUP.
import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { measure, plan, say } from "../load.mjs";

const asked = plan(process.argv.slice(2), "1,16,64");
if (!asked) {
  console.error("usage: node restate.mjs [seconds per level] [levels, such as 1,16,64]");
  process.exit(2);
}
const { seconds, levels } = asked;

const require = createRequire(import.meta.url);

// ---- what is started, and how it ends ------------------------------------------------------------

let dataDir, server, serverGone, worker, agent;
let ending;

async function stopServer() {
  if (!server) return;
  server.kill("SIGTERM");
  // Nothing of the data is kept, so a server that is slow to drain may as well be killed.
  const gone = await Promise.race([serverGone.then(() => true), sleep(5000, false)]);
  if (!gone) server.kill("SIGKILL");
  await serverGone;
}

function end(code, why) {
  ending ??= (async () => {
    if (why) say("restate", why);
    agent?.destroy();
    await worker?.terminate(); // before the server, or its handlers would complain of being left
    await stopServer();
    if (dataDir) fs.rmSync(dataDir, { recursive: true, force: true, maxRetries: 5 });
    process.exit(code);
  })().catch((error) => {
    server?.kill("SIGKILL");
    console.error(error);
    process.exit(1);
  });
  return ending;
}

for (const [signal, number] of [["SIGHUP", 1], ["SIGINT", 2], ["SIGTERM", 15]])
  process.on(signal, () => end(128 + number, `ended by ${signal}`));

// ---- HTTP ----------------------------------------------------------------------------------------

function call(method, port, where, body) {
  return new Promise((resolve, reject) => {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const headers = payload === undefined ? {} : {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(payload),
    };
    const options = { host: "127.0.0.1", port, path: where, method, agent, headers, timeout: 15_000 };
    const request = http.request(options, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode, text: Buffer.concat(parts).toString() }));
    });
    request.on("error", reject);
    request.on("timeout", () => request.destroy(new Error(`no answer in time: ${method} ${where}`)));
    request.end(payload);
  });
}

async function freePorts(count) {
  const holders = [];
  for (let i = 0; i < count; i++) {
    const holder = net.createServer();
    await new Promise((resolve, reject) => holder.once("error", reject).listen(0, "127.0.0.1", resolve));
    holders.push(holder);
  }
  const ports = holders.map((holder) => holder.address().port);
  await Promise.all(holders.map((holder) => new Promise((resolve) => holder.close(resolve))));
  return ports;
}

async function until(what, probe, limitMs) {
  const limit = performance.now() + limitMs;
  let lastError;
  for (;;) {
    if (ending) return new Promise(() => {});
    if (server.exitCode !== null || server.signalCode !== null) throw new Error("the server ended at its start");
    try {
      if (await probe()) return;
      lastError = undefined;
    } catch (error) {
      lastError = error; // most likely not listening yet
    }
    if (performance.now() > limit) throw new Error(`${what}: not within ${limitMs} ms`, { cause: lastError });
    await sleep(50);
  }
}

// ---- the server ----------------------------------------------------------------------------------

async function startServer() {
  const binary = require.resolve(
    `@restatedev/restate-server-${os.platform()}-${os.arch()}/bin/restate-server`,
    { paths: [path.dirname(require.resolve("@restatedev/restate-server/package.json"))] },
  );
  dataDir = fs.mkdtempSync(path.join(os.tmpdir(), "peer-restate-"));
  const [fabric, ingress, admin] = await freePorts(3);
  if (ending) await ending;
  // Every setting is the server's own default but for where it listens, where it stores, what it logs
  // and that it reports nothing home. The environment is made from nothing, since the server reads
  // RESTATE_*, RUST_LOG, HTTP_PROXY and MEMORY_LIMIT from it.
  const environment = {
    PATH: process.env.PATH,
    HOME: dataDir,
    TMPDIR: dataDir,
    DO_NOT_TRACK: "1",
    RESTATE_DISABLE_TELEMETRY: "true",
    RESTATE_NODE_NAME: "peer",
    RESTATE_LISTEN_MODE: "tcp",
    RESTATE_BIND_IP: "127.0.0.1",
    RESTATE_BIND_PORT: String(fabric),
    RESTATE_INGRESS__BIND_PORT: String(ingress),
    RESTATE_ADMIN__BIND_PORT: String(admin),
    RESTATE_LOG_FILTER: "warn",
    RESTATE_LOG_FORMAT: "compact",
    RESTATE_LOG_DISABLE_ANSI_CODES: "true",
  };
  let command = binary;
  let args = ["--no-logo", "--base-dir", path.join(dataDir, "data")];
  // Should this process be killed outright, the kernel then ends the server too.
  if (os.platform() === "linux" && fs.existsSync("/usr/bin/setpriv")) {
    args = ["--pdeathsig", "KILL", "--", command, ...args];
    command = "/usr/bin/setpriv";
  }
  server = spawn(command, args, { cwd: dataDir, env: environment, stdio: ["ignore", "pipe", "pipe"] });
  let lastWords = "";
  for (const stream of [server.stdout, server.stderr])
    stream.on("data", (part) => { lastWords = (lastWords + part).slice(-4000); });
  serverGone = new Promise((resolve) => server.once("close", resolve).once("error", resolve));
  serverGone.then(() => {
    if (!ending) {
      process.stderr.write(lastWords);
      end(1, "the server ended unasked");
    }
  });
  await until("ingress and admin", async () =>
    (await call("GET", admin, "/health")).status === 200 &&
    (await call("GET", ingress, "/restate/health")).status === 200, 60_000);
  return { ingress, admin };
}

function startService() {
  return new Promise((resolve, reject) => {
    worker = new Worker(new URL("./service.mjs", import.meta.url));
    worker.once("message", ({ port }) => resolve(port));
    worker.once("error", reject);
  });
}

// ---- the load ------------------------------------------------------------------------------------

let nextRun = 0;

async function invoke(ingress) {
  const run = `run-${++nextRun}`;
  const { status, text } = await call("POST", ingress, "/ThreeSteps/run", { run });
  if (status !== 200) throw new Error(`${run}: ${status} ${text}`);
  const answer = JSON.parse(text);
  if (answer.run !== run || answer.steps.map((step) => step.type).join() !== "accepted,started,answered")
    throw new Error(`${run}: not its answer: ${text}`);
}

try {
  agent = new http.Agent({ keepAlive: true, noDelay: true });
  const { ingress, admin } = await startServer();
  const port = await startService();
  const registered = await call("POST", admin, "/deployments", { uri: `http://127.0.0.1:${port}` });
  if (registered.status >= 300) throw new Error(`registering the service: ${registered.status} ${registered.text}`);
  await until("a first invocation", async () => { await invoke(ingress); return true; }, 30_000);

  const version = require("@restatedev/restate-server/package.json").version;
  await measure({ peer: "restate", version, seconds, levels, invoke: () => invoke(ingress), isEnding: () => ending !== undefined });
  await end(0);
} catch (error) {
  if (ending) await ending;
  console.error(error);
  await end(1, "failed");
}
