// Shared by the JavaScript suites: people who register over REST, waiting with a deadline, and restarting the server.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import http from "node:http";
import { createInterface } from "node:readline";

export const URL = process.env.ROOST_URL;
const PASSWORD = "correct horse battery";
const PATIENCE_MS = 15_000;

// Whether clients keep the cookies that they get.
export const COOKIES = process.env.ROOST_COOKIES === "kept";

// Limits count by address, and a client without cookies gets its instance by address: people take sixteen addresses in
// turn.
const ADDRESSES = Array.from({ length: 16 }, (_, number) => `127.0.1.${number + 1}`);
let people = 0;
export const newAddress = () => ADDRESSES[people++ % ADDRESSES.length];

// The addresses are IPv4, and a host name may also resolve to IPv6.
const IPV4 = 4;

// Each connection comes from another address: only its cookie leads a client back to the instance that has its session.
class TravellingAgent extends http.Agent {
  createConnection(options, done) {
    return super.createConnection({ ...options, localAddress: newAddress() }, done);
  }
}

// An http.Agent whose connections come from the person's address, or from changing addresses when cookies are kept.
export const agentOf = (person) =>
  COOKIES
    ? new TravellingAgent({ family: IPV4 })
    : new http.Agent({ keepAlive: true, localAddress: person.address, family: IPV4 });

export function ask(method, path, body, person = { address: newAddress() }) {
  const headers = { "content-type": "application/json" };
  if (person.token) headers.authorization = `Bearer ${person.token}`;
  const options = { method, headers, localAddress: person.address, family: IPV4 };
  return new Promise((resolve, reject) => {
    const request = http.request(`${URL}/api/v1${path}`, options, async (response) => {
      let text = "";
      for await (const chunk of response.setEncoding("utf8")) text += chunk;
      // Only Socket.IO needs a cookie to stay on one instance.
      if (response.headers["set-cookie"]) return reject(new assert.AssertionError({ message: `${path} sets a cookie` }));
      if (response.statusCode < 300) resolve(text && JSON.parse(text));
      else reject(new Error(`${method} ${path} answered ${response.statusCode}: ${text}`));
    });
    request.on("error", reject);
    request.end(body && JSON.stringify(body));
  });
}

// A new person with one session.
export async function register(name) {
  const email = `${name}-${randomUUID()}@example.org`;
  const address = newAddress();
  const signedIn = await ask("POST", "/auth/register", { email, password: PASSWORD, name }, { address });
  return personOf(signedIn, address);
}

// The same person on another device.
export async function login({ email, address }) {
  const signedIn = await ask("POST", "/auth/login", { email, password: PASSWORD }, { address });
  return personOf(signedIn, address);
}

function personOf({ user, session, accessToken }, address) {
  return { id: user.id, email: user.email, address, session: session.id, token: accessToken };
}

// A board of the first person, in which the others are members.
export async function board(owner, members, role = "editor") {
  const { id } = await ask("POST", "/boards", { title: "Conformance" }, owner);
  for (const member of members) {
    await ask("POST", `/rooms/${id}/members`, { userId: member.id, role }, owner);
  }
  return id;
}

// Resolves as `promise` does, or rejects with an error that names what did not come in time.
export function within(what, promise, patience = PATIENCE_MS) {
  const stack = new Error(`no ${what} within ${patience} ms`);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(stack), patience);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

// Resolves to the first event of this name for which `fits` holds.
export function next(emitter, event, fits = () => true) {
  const arrival = new Promise((resolve) => {
    const listen = (...values) => {
      if (!fits(...values)) return;
      emitter.off(event, listen);
      resolve(values[0]);
    };
    emitter.on(event, listen);
  });
  return within(event, arrival);
}

const lines = createInterface({ input: process.stdin });
process.stdin.unref?.();

// Asks xtask to stop ("SIGTERM") or kill ("SIGKILL") the instances that hold sockets and to start them again. Resolves
// when all instances serve.
export function restart(signal) {
  const ready = within("restart", new Promise((resolve) => lines.once("line", resolve)), 60_000);
  process.stdout.write(`\nxtask: restart ${signal}\n`);
  return ready;
}
