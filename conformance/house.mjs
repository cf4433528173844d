// What the JavaScript suites share: people who register over REST, waiting with a deadline, and a server to stop.

import { randomUUID } from "node:crypto";
import http from "node:http";
import { createInterface } from "node:readline";

export const URL = process.env.ROOST_URL;
const PASSWORD = "correct horse battery";
const PATIENCE_MS = 15_000;

// Everybody has an address of their own, as the limits are for each address; 127.3.0.1 is for what nobody in particular asks.
let addresses = 1;
const newAddress = () => `127.3.${(addresses += 1) >> 8}.${addresses & 255}`;

// An http.Agent whose connections come from the person's address.
export const agentOf = (person) => new http.Agent({ keepAlive: true, localAddress: person.address });

export function ask(method, path, body, person = { address: "127.3.0.1" }) {
  const headers = { "content-type": "application/json" };
  if (person.token) headers.authorization = `Bearer ${person.token}`;
  const options = { method, headers, localAddress: person.address };
  return new Promise((resolve, reject) => {
    const request = http.request(`${URL}/api/v1${path}`, options, async (response) => {
      let text = "";
      for await (const chunk of response.setEncoding("utf8")) text += chunk;
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

// What `make` promises, or an error that says what did not come in time.
export function within(what, promise, patience = PATIENCE_MS) {
  const stack = new Error(`no ${what} within ${patience} ms`);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(stack), patience);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

// The first event of this name for which `fits` holds.
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

// Has xtask stop the server ("SIGTERM") or kill it ("SIGKILL"), and start it again; `ready` is when it serves.
export function restart(signal) {
  const ready = within("restart", new Promise((resolve) => lines.once("line", resolve)), 60_000);
  process.stdout.write(`\nxtask: restart ${signal}\n`);
  return ready;
}
