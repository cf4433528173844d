// The scenarios of `loadtest/k6`, executed in Node as k6 would: a small load over REST, GraphQL and Socket.IO, of which
// no answer may be wrong. Before that they meet servers that answer wrongly, and must notice. How long answers take is
// shown and not judged: this is the server as tests build it, on a machine with other work.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { checkTokens, limitsOf, optionsOf, planOf } from "../loadtest/k6/plan.js";
import { graphql } from "../loadtest/k6/scenarios/graphql.js";
import { makePeople } from "../loadtest/k6/scenarios/people.js";
import { rest } from "../loadtest/k6/scenarios/rest.js";
import { socketio } from "../loadtest/k6/scenarios/socketio.js";
import { summaryOf } from "../loadtest/k6/summary.js";
import { URL } from "./fixture.mjs";
import { kitOf, Samples } from "./k6-kit.mjs";

const SCENARIOS = { rest, graphql, socketio };
// All requests come from one address, which may make 100 a second.
const LOAD = { SCALE: "0.008", DURATION_SECONDS: "2", PEOPLE: "12", SOCKET_PAUSE_MS: "200" };
const ERRORS_MAX = 0.001;
const END_MS = 120_000;
const MIX = 10; // operations after which each of a scenario had its turn

// Each iteration of a scenario when k6 would begin it.
async function run(samples, name, { executor, rate, duration, vus }, load) {
  const isOpen = executor === "constant-arrival-rate";
  const iterations = isOpen ? rate * Number.parseInt(duration, 10) : vus;
  const iterate = async (iteration) => {
    if (isOpen) await sleep((iteration / rate) * 1_000);
    await SCENARIOS[name](kitOf(samples, name, iteration), load);
  };
  await Promise.all(Array.from({ length: iterations }, (_, iteration) => iterate(iteration)));
}

const loadOf = ({ url, seconds, handshakesPerSecond, pauseMs }, people) => {
  return { url, people, sockets: { handshakesPerSecond, pauseMs, endsAt: Date.now() + seconds * 1_000 } };
};

const nobody = { id: "nobody", token: "none", expiresAt: "", room: { id: "nowhere", message: "none", seq: 1 } };

// Every check of every operation fails when the server answers so.
async function noticesAnswer(status, body) {
  const answer = { status, body, headers: {}, error: "", json: () => JSON.parse(body) };
  const http = { asyncRequest: async () => answer };
  for (const name of ["rest", "graphql"]) {
    const samples = new Samples();
    const load = loadOf(planOf({}), [nobody]);
    for (let iteration = 0; iteration < MIX; iteration += 1) {
      await SCENARIOS[name](kitOf(samples, name, iteration, { http, isQuiet: true }), load);
    }
    const checks = samples.of("checks");
    assert.equal(checks.length, 2 * MIX);
    const passed = checks.filter(Boolean).length;
    // A status may be the right one; what is in the answer is not.
    assert.ok(passed <= (status === 200 ? MIX : 0), `${name} takes ${status} ${body} for an answer`);
  }
}

// A server of one socket: gives the frames that follow on one of the client's.
function socketServer(answer) {
  return class {
    readyState = 1;
    #listeners = {};
    constructor() {
      this.#tell("message", "0{}");
    }
    #tell(type, data) {
      queueMicrotask(() => this.#listeners[type]?.({ type, data }));
    }
    addEventListener(type, listener) {
      this.#listeners[type] = listener;
    }
    send(frame) {
      for (const data of answer(frame)) this.#tell("message", data);
    }
    close() {
      this.#tell("close");
    }
  };
}

const message = (frame) => {
  const [, number, text] = /^42(\d+)(.*)$/.exec(frame);
  const [command, body] = JSON.parse(text);
  return { number, command, body };
};
const acknowledges = ({ number }, body) => `43${number}[${JSON.stringify(body)}]`;
const happens = (text, seq) => `42["room:events",{"events":[{"seq":${seq},"body":{"text":${JSON.stringify(text)}}}]}]`;

// What each of these servers answers to a sign-in, to `room:join` and to `message:send`; the first does as it should.
const JOINED = { position: "f.1", role: "owner", presence: [] };
const SERVERS = {
  sound: {},
  "that refuses the token": { signIn: () => ['44{"message":"{\\"code\\":\\"unauthenticated\\"}"}'] },
  "that refuses to join": { join: (asked) => [acknowledges(asked, { error: { code: "not_found" } })] },
  "that refuses a message": {
    send: (asked) => [acknowledges(asked, { error: { code: "forbidden" } }), happens(asked.body.text, 2)],
  },
  "that loses an event": { send: (asked) => [acknowledges(asked, { text: asked.body.text, seq: 2 })] },
  "that gives an event another seq": {
    send: (asked) => [happens(asked.body.text, 3), acknowledges(asked, { text: asked.body.text, seq: 2 })],
  },
  "that says goodbye": { send: () => ["1"] },
  "that ends the socket": { send: () => ["41"] },
  "that talks nonsense": { send: () => ["42nonsense"] },
  "that does not answer": { signIn: () => [] },
};

async function meets(server, isSound) {
  let pongs = 0;
  const answer = (frame) => {
    if (frame === "3") pongs += 1;
    if (frame.startsWith("40")) return server.signIn?.() ?? ['40{"sid":"x"}', "2"];
    if (!frame.startsWith("42")) return [];
    const asked = message(frame);
    if (asked.command === "room:join") return server.join?.(asked) ?? [acknowledges(asked, JOINED)];
    const sound = () => [happens(asked.body.text, 2), acknowledges(asked, { text: asked.body.text, seq: 2 })];
    return (server.send ?? sound)(asked);
  };
  const samples = new Samples();
  // Patience is a hundredth of what it is.
  const hasten = (done, delay) => setTimeout(done, delay / 100);
  const parts = { WebSocket: socketServer(answer), setTimeout: hasten, isQuiet: true };
  const load = loadOf({ ...planOf({}), seconds: 0.05 }, [nobody]);
  await socketio(kitOf(samples, "socketio", 0, parts), load);
  const failed = samples.of("roost_socket_failed").filter(Boolean).length;
  assert.equal(failed > 0, !isSound, `${failed} failures were counted`);
  if (isSound) {
    assert.equal(pongs, 1);
    assert.ok(samples.of("roost_socket_received").length > 0);
  }
}

setTimeout(() => assert.fail("the load does not end"), END_MS).unref();
for (const refused of [{ RATE: "many" }, { SCALE: "-1" }, { SOCKETS: "2000" }]) assert.throws(() => planOf(refused), /RATE|SCALE|sockets/);

await noticesAnswer(500, "a fault");
await noticesAnswer(0, "");
await noticesAnswer(200, "{}");
for (const [what, server] of Object.entries(SERVERS)) {
  await meets(server, what === "sound").catch((error) => assert.fail(`a server ${what}: ${error.message}`));
}
console.log(`servers that answer wrongly: ${3 + Object.keys(SERVERS).length - 1} noticed`);

const plan = planOf({ ...LOAD, ROOST_URL: URL });
const samples = new Samples();
const people = await makePeople(kitOf(samples, "setup", 0), plan);
checkTokens(people, plan, Date.now());
assert.throws(() => checkTokens(people, { ...plan, seconds: 24 * 3_600 }, Date.now()), /access_token_lifetime/);
const load = loadOf(plan, people);
const { scenarios } = optionsOf(plan);
await Promise.all(Object.entries(scenarios).map(([name, scenario]) => run(samples, name, scenario, load)));

const limits = limitsOf(plan);
const rate = (metric) => {
  const values = samples.of(metric);
  return values.reduce((sum, value) => sum + value, 0) / values.length;
};
console.log(summaryOf(plan, samples.summary(limits)), "(Times are not judged here.)\n");
for (const { metric, statistic, bound } of limits) {
  const least = statistic === "count" ? bound : 1;
  assert.ok(samples.of(metric).length >= least, `too little was measured of ${metric}`);
}
const checks = samples.of("checks");
const failed = checks.filter((isHeld) => !isHeld).length;
const errors = Math.max(...["http_req_failed{scenario:rest}", "http_req_failed{scenario:graphql}", "roost_socket_failed"].map(rate));
const requests = samples.of("http_reqs").length;
const messages = samples.of("roost_socket_received").length;
const operations = samples.operations("rest").size + samples.operations("graphql").size;
const made = `${requests} requests of ${operations} operations, ${messages} messages, ${(errors * 100).toFixed(1)} % errors`;
console.log(`${checks.length - failed} passed, ${failed} failed; ${made}`);
process.exit(failed === 0 && errors < ERRORS_MAX ? 0 : 1);
