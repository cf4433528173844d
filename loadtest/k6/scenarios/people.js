// Makes the people and rooms of a run through the API: nothing is written past the server.
//
// One request follows the other, and one that is refused for now is made again when the answer says. So the limits on
// an address need not be raised for this part.

import { bodyOf, newOperationId, pause, request } from "./check.js";

/**
 * @import { Call, Kit, Person, Room } from "../kit.d.ts"
 */

const PASSWORD = "correct horse battery";
/** Messages of each room before the load begins: a page of them is read. */
const MESSAGES = 20;
/** A server that refuses for longer than this is not there. */
const PATIENCE_MS = 120_000;
const RETRY_MS = 1_000;
/** `rate_limited`, and all that is `503`. */
const AGAIN = [429, 503];

/**
 * @param {Kit} kit
 * @param {{url: string, people: number, peopleOfRoom: number}} plan
 * @returns {Promise<Person[]>}
 */
export async function makePeople(kit, { url, people, peopleOfRoom }) {
  const made = [];
  /** @type {Person | undefined} */
  let owner;
  for (let number = 0; number < people; number += 1) {
    const person = await register(kit, url, number);
    if (!owner || number % peopleOfRoom === 0) {
      owner = { ...person, room: await makeRoom(kit, url, person.token) };
      made.push(owner);
      continue;
    }
    const invitation = { userId: person.id, role: "editor" };
    await post(kit, url, { path: "/rooms/{roomId}/members", room: owner.room.id, body: invitation, token: owner.token });
    made.push({ ...person, room: owner.room });
  }
  return made;
}

/**
 * @param {Kit} kit
 * @param {string} url
 * @param {number} number
 * @returns {Promise<Omit<Person, "room">>}
 */
async function register(kit, url, number) {
  const opId = newOperationId();
  const body = { email: `${opId}@example.org`, password: PASSWORD, name: `k6 ${number}`, opId };
  const signedIn = await post(kit, url, { path: "/auth/register", body });
  return { id: signedIn.user.id, token: signedIn.accessToken, expiresAt: signedIn.accessExpiresAt };
}

/**
 * A board with messages.
 *
 * @param {Kit} kit
 * @param {string} url
 * @param {string} token
 * @returns {Promise<Room>}
 */
async function makeRoom(kit, url, token) {
  const { id } = await post(kit, url, { path: "/boards", body: { title: "Load" }, token });
  const text = "A message as long as many are: a sentence, and then another one.";
  const ops = Array.from({ length: MESSAGES }, () => ({ op: "put", kind: "message", body: { text } }));
  const batch = { path: "/rooms/{roomId}/items/batch", room: id, body: { ops }, token };
  const { outcomes } = await post(kit, url, batch);
  const { item, seq } = outcomes[0];
  return { id, message: item, seq };
}

/**
 * Makes a request until it is done, under one operation id, so that it has one effect.
 *
 * @param {Kit} kit
 * @param {string} url
 * @param {{path: string, room?: string, body: unknown, token?: string}} what the path as the documents write it
 * @returns {Promise<any>} the answer
 */
async function post(kit, url, { path, room = "", body, token }) {
  const name = `POST ${path}`;
  const headers = { "Idempotency-Key": newOperationId() };
  const address = `${url}/api/v1${path.replace("{roomId}", room)}`;
  /** @type {Call} */
  const call = { name, kind: "setup", method: "POST", url: address, body, headers };
  if (token) call.token = token;
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const response = await request(kit, call);
    const answer = bodyOf(response);
    if (response.status >= 200 && response.status < 300) return answer;
    if (!AGAIN.includes(response.status) || Date.now() > end) {
      throw new Error(`${name} answered ${response.status}: ${response.body ?? response.error}`);
    }
    await pause(kit, answer.retryAfterMs ?? RETRY_MS);
  }
}
