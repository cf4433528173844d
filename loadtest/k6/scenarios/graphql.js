// The GraphQL scenario: each iteration makes one operation over HTTP, so that iterations a second are requests a second.

import { expect, newOperationId, personOf, turnOf } from "./check.js";

/**
 * @import { Kind, Kit, Load, Person } from "../kit.d.ts"
 *
 * @typedef {object} Operation
 * @property {string} name
 * @property {Kind} kind
 * @property {string} query
 * @property {(person: Person) => unknown} variables
 * @property {(data: any, person: Person) => boolean} holds
 */

const PAGE = 20;

/** @type {Operation} */
const PRESENCE = {
  name: "query presence",
  kind: "cached",
  query: "query ($room: RoomId!) { presence(room: $room) { userId state } }",
  variables: ({ room }) => ({ room: room.id }),
  holds: ({ presence }) => Array.isArray(presence),
};

/** @type {Operation} */
const MESSAGES = {
  name: "query messages",
  kind: "database",
  query: `query ($room: RoomId!, $limit: Int) {
    messages(room: $room, limit: $limit) { items { id seq text author { name } } position next }
  }`,
  variables: ({ room }) => ({ room: room.id, limit: PAGE }),
  holds: ({ messages }) => messages.items.length === PAGE && messages.items[0].author.name.length > 0,
};

/** @type {Operation} */
const ROOMS = {
  name: "query rooms",
  kind: "database",
  query: "query ($limit: Int) { me { id } rooms(limit: $limit) { items { id title role } } }",
  variables: () => ({ limit: PAGE }),
  holds: ({ me, rooms }, { id, room }) =>
    me.id === id && rooms.items.some((/** @type {any} */ found) => found.id === room.id),
};

/** @type {Operation} */
const SEND = {
  name: "mutation sendMessage",
  kind: "write",
  query: "mutation ($room: RoomId!, $input: SendMessage!) { sendMessage(room: $room, input: $input) { id seq authorId } }",
  variables: ({ room }) => ({ room: room.id, input: { text: "Said over GraphQL, under load.", opId: newOperationId() } }),
  holds: ({ sendMessage }, { id }) => sendMessage.seq > 0 && sendMessage.authorId === id,
};

/** Of ten operations five are cached reads, four are reads of the database, one is a write. */
const MIX = [PRESENCE, MESSAGES, PRESENCE, ROOMS, PRESENCE, MESSAGES, PRESENCE, SEND, ROOMS, PRESENCE];

/**
 * @param {Kit} kit
 * @param {Load} load
 */
export async function graphql(kit, load) {
  const person = personOf(load, kit.iteration);
  const { name, kind, query, variables, holds } = turnOf(MIX, load, kit.iteration);
  const body = { query, variables: variables(person) };
  const call = { name, kind, method: "POST", url: `${load.url}/graphql`, token: person.token, body };
  // A refusal has the status 200 too, and no data.
  await expect(kit, call, 200, ({ data, errors }) => !errors && holds(data, person));
}
