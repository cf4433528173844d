// The REST scenario: each iteration makes one request, so that iterations a second are requests a second.

import { expect, newOperationId, personOf, turnOf } from "./check.js";

/**
 * @import { Kit, Load, Person } from "../kit.d.ts"
 * @typedef {(kit: Kit, base: string, person: Person) => Promise<void>} Operation
 */

const PAGE = 20;

/** The people in a room: an instance answers from its memory once it serves the room. @type {Operation} */
function presence(kit, base, { token, room }) {
  const name = "GET /rooms/{roomId}/presence";
  const url = `${base}/api/v1/rooms/${room.id}/presence`;
  return expect(kit, { name, kind: "cached", method: "GET", url, token }, 200, ({ items }) => Array.isArray(items));
}

/** The public keys, which an instance holds in memory. @type {Operation} */
function keys(kit, base) {
  const name = "GET /.well-known/jwks.json";
  const url = `${base}/.well-known/jwks.json`;
  return expect(kit, { name, kind: "cached", method: "GET", url }, 200, ({ keys }) => keys.length > 0);
}

/** The newest messages of a room. @type {Operation} */
function messages(kit, base, { token, room }) {
  const name = "GET /rooms/{roomId}/messages";
  const url = `${base}/api/v1/rooms/${room.id}/messages?limit=${PAGE}`;
  const call = /** @type {const} */ ({ name, kind: "database", method: "GET", url, token });
  return expect(kit, call, 200, ({ items }) => items.length === PAGE && items[0].roomId === room.id);
}

/** A person's rooms. @type {Operation} */
function rooms(kit, base, { token, room }) {
  const url = `${base}/api/v1/rooms?limit=${PAGE}`;
  const call = /** @type {const} */ ({ name: "GET /rooms", kind: "database", method: "GET", url, token });
  return expect(kit, call, 200, ({ items }) => items.some((/** @type {any} */ found) => found.id === room.id));
}

/**
 * A message that the reader has already. It is a read of the database all the same: the server looks up the version,
 * and saves the body only.
 *
 * @type {Operation}
 */
function knownMessage(kit, base, { token, room }) {
  const name = "GET /rooms/{roomId}/messages/{messageId}";
  const url = `${base}/api/v1/rooms/${room.id}/messages/${room.message}`;
  const headers = { "If-None-Match": `"${room.seq}"` };
  const call = /** @type {const} */ ({ name, kind: "database", method: "GET", url, token, headers });
  return expect(kit, call, 304, (_, response) => !response.body && response.headers["Etag"] === `"${room.seq}"`);
}

/** A message, as durable as every write is. @type {Operation} */
function send(kit, base, { id, token, room }) {
  const name = "POST /rooms/{roomId}/messages";
  const url = `${base}/api/v1/rooms/${room.id}/messages`;
  const headers = { "Idempotency-Key": newOperationId() };
  const body = { text: "Said over REST, under load." };
  const call = /** @type {const} */ ({ name, kind: "write", method: "POST", url, token, headers, body });
  return expect(kit, call, 201, (sent) => sent.text === body.text && sent.authorId === id);
}

/** Of ten requests five are cached reads, four are reads of the database, one is a write. */
const MIX = [presence, messages, keys, rooms, presence, knownMessage, presence, send, messages, presence];

/**
 * @param {Kit} kit
 * @param {Load} load
 */
export async function rest(kit, load) {
  const operation = turnOf(MIX, load, kit.iteration);
  await operation(kit, load.url, personOf(load, kit.iteration));
}
