// npm graphql-ws: operations over WebSocket, and the close codes of the graphql-transport-ws protocol.

import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { ask, board, login, register, URL, within } from "./fixture.mjs";

const ADDRESS = `${URL.replace("http", "ws")}/graphql`;
const SUBSCRIPTION = `subscription ($room: RoomId!, $after: Position) {
  roomEvents(room: $room, after: $after) { position live events { seq op kind body } }
}`;
const SEND = "mutation ($room: RoomId!, $text: String!) { sendMessage(room: $room, input: {text: $text}) { seq } }";
const MESSAGES = 20;

const connect = (token, more = {}) =>
  createClient({
    url: ADDRESS,
    webSocketImpl: WebSocket,
    connectionParams: token && { Authorization: `Bearer ${token}` },
    retryAttempts: 0,
    ...more,
  });

// The answers of an operation that ends by itself.
async function run(client, query, variables) {
  const answers = [];
  for await (const answer of client.iterate({ query, variables })) answers.push(answer);
  return answers;
}

describe("graphql-ws", { timeout: 60_000 }, () => {
  test("queries and mutates", async () => {
    const alice = await register("alice");
    const room = await board(alice, []);
    const client = connect(alice.token);
    const [{ data }] = await run(client, "{ me { id email } }");
    assert.deepEqual(data.me, { id: alice.id, email: alice.email });
    const [sent] = await run(client, SEND, { room, text: "hello" });
    assert.ok(sent.data.sendMessage.seq > 0);
    const [refused] = await run(client, SEND, { room: alice.id, text: "hello" });
    assert.equal(refused.errors[0].extensions.code, "not_found");
    await client.dispose();
  });

  test("follows a room in order, and resumes after a position", async () => {
    const [alice, bob] = await Promise.all([register("alice"), register("bob")]);
    const room = await board(alice, [bob]);
    const writer = connect(alice.token);
    const texts = Array.from({ length: MESSAGES }, (_, number) => `message ${number}`);

    // Reads until it has `count` messages.
    const read = async (client, after, count) => {
      const events = [];
      let position = after;
      for await (const { data, errors } of client.iterate({ query: SUBSCRIPTION, variables: { room, after } })) {
        assert.equal(errors, undefined);
        events.push(...data.roomEvents.events.filter((event) => event.kind === "message"));
        position = data.roomEvents.position;
        if (events.length >= count) break;
      }
      return { events, position };
    };
    const { position: start } = await ask("GET", `/rooms/${room}/messages`, undefined, alice);
    const reader = connect(bob.token);
    const reading = read(reader, start, MESSAGES);
    const seqs = [];
    for (const text of texts) seqs.push((await run(writer, SEND, { room, text }))[0].data.sendMessage.seq);
    const { events, position } = await within("messages", reading);
    assert.deepEqual(events.map((event) => event.body.text), texts);
    assert.deepEqual(events.map((event) => event.seq), seqs);
    await reader.dispose();

    await run(writer, SEND, { room, text: "missed" });
    const again = connect(bob.token);
    const missed = await within("the missed message", read(again, position, 1));
    assert.deepEqual(missed.events.map((event) => event.body.text), ["missed"]);
    await again.dispose();
    await writer.dispose();
  });

  test("a subscription without the right to it ends with an error", async () => {
    const [alice, stranger] = await Promise.all([register("alice"), register("stranger")]);
    const client = connect(stranger.token);
    const room = await board(alice, []);
    const ended = run(client, SUBSCRIPTION, { room });
    const errors = await within("error", ended.then(() => assert.fail("it was allowed"), (errors) => errors));
    assert.equal(errors[0].extensions.code, "not_found");
    await client.dispose();
  });

  test("a token that is not good closes with 4403", async () => {
    const client = connect("forged");
    const closed = await within("close", run(client, "{ me { id } }").then(() => assert.fail("it was allowed"), (event) => event));
    assert.equal(closed.code, 4403);
  });

  test("a session that is revoked closes with 4403", async () => {
    const alice = await register("alice");
    const other = await login(alice);
    const revoke = () => ask("DELETE", `/me/sessions/${alice.session}`, undefined, other);
    let client;
    const closing = new Promise((resolve) => {
      client = connect(alice.token, { lazy: false, on: { closed: resolve, connected: revoke }, onNonLazyError: () => {} });
    });
    try {
      assert.equal((await within("close", closing)).code, 4403);
    } finally {
      // An open client would keep this program from ending.
      await client.dispose();
    }
  });
});

// What a client sends, and the code with which the server closes the socket.
const keeper = await register("keeper");
const INIT = { type: "connection_init", payload: { Authorization: `Bearer ${keeper.token}` } };
const subscribe = (id, query) => ({ type: "subscribe", id, payload: { query } });
const ENDINGS = [
  [4400, "no JSON", ["nonsense"]],
  [4400, "an unknown type", [{ type: "start" }]],
  [4400, "a subscription without an id", [INIT, { type: "subscribe", payload: { query: "{ __typename }" } }]],
  [4400, "a binary frame", [Buffer.from(JSON.stringify(INIT))]],
  [4401, "a subscription before the acknowledgement", [subscribe("1", "{ __typename }")]],
  [4403, "a forged token", [{ type: "connection_init", payload: { Authorization: "Bearer forged" } }]],
  [4408, "no connection_init in time", []],
  [4429, "a second connection_init", [INIT, INIT]],
];

describe("close codes", { concurrency: true, timeout: 60_000 }, () => {
  const open = async (protocol = "graphql-transport-ws") => {
    const socket = new WebSocket(ADDRESS, protocol);
    await once(socket, "open");
    return socket;
  };
  const say = (socket, message) =>
    socket.send(typeof message === "string" || Buffer.isBuffer(message) ? message : JSON.stringify(message));
  const ending = (socket) => within("close", once(socket, "close").then(([code]) => code), 30_000);

  for (const [code, what, messages] of ENDINGS) {
    test(`${what}: ${code}`, async () => {
      const socket = await open();
      const ended = ending(socket);
      messages.forEach((message) => say(socket, message));
      assert.equal(await ended, code);
    });
  }

  test("another subprotocol: 4406", async () => {
    const socket = new WebSocket(ADDRESS, "graphql-ws");
    // The server names no subprotocol, so this client ends the connection before it receives the code.
    const [error] = await within("error", once(socket, "error"));
    assert.match(error.message, /subprotocol/);
    const indifferent = new WebSocket(ADDRESS);
    assert.equal(await ending(indifferent), 4406);
  });

  test("a second subscription of the same id: 4409", async () => {
    const room = await board(keeper, []);
    const socket = await open();
    const ended = ending(socket);
    say(socket, INIT);
    for (let number = 0; number < 2; number += 1) {
      const payload = { query: SUBSCRIPTION, variables: { room } };
      say(socket, { type: "subscribe", id: "same", payload });
    }
    assert.equal(await ended, 4409);
  });
});
