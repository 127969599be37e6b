// The measured handler: one durable run of three journalled steps. It lives in a worker thread of
// restate.mjs so that the load generator and the handler do not share one event loop.
import http2 from "node:http2";
import { parentPort } from "node:worker_threads";
import * as restate from "@restatedev/restate-sdk";

// The SDK calls this from Node 22 on; without it under Node 20 an invocation never gets an answer.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new this((yes, no) => { resolve = yes; reject = no; });
  return { promise, resolve, reject };
};

const threeSteps = restate.service({
  name: "ThreeSteps",
  handlers: {
    run: async (ctx, input) => {
      const accepted = await ctx.run("accepted", () => ({ type: "accepted", run: input.run }));
      const started = await ctx.run("started", () => ({ type: "started", run: input.run, attempt: 1 }));
      const answered = await ctx.run("answered", () => ({ type: "answered", run: input.run, text: "done" }));
      return { run: input.run, steps: [accepted, started, answered] };
    },
  },
});

// Only what went wrong is told, and on standard error, since standard output holds the figures. That
// requests carry no signature is as it should be on loopback.
const logger = ({ level }, ...words) => {
  const text = words.join(" ");
  if ((level === "warn" || level === "error") && !text.startsWith("Accepting requests without"))
    process.stderr.write(`service: ${text}\n`);
};
const server = http2.createServer(restate.createEndpointHandler({ services: [threeSteps], logger }));
server.listen(0, "127.0.0.1", () => parentPort.postMessage({ port: server.address().port }));
