// npm socket.io-client: with its defaults (polling, then upgrade), on WebSocket only, and on polling only; with cookies
// kept or not.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { io } from "socket.io-client";
import { agentOf, ask, board, COOKIES, login, newAddress, next, register, restart, URL, within } from "./fixture.mjs";

const MODES = {
  "default options": [{}, "websocket"],
  "WebSocket only": [{ transports: ["websocket"] }, "websocket"],
  "polling only": [{ transports: ["polling"] }, "polling"],
};
const MESSAGES = 30;
// The restart stories take as long as all others together, so they run on two of the four ways to connect (cookies or
// not, address or host name), which differ in both.
const SIGNALS = COOKIES === (new globalThis.URL(URL).hostname === "localhost") ? ["SIGTERM", "SIGKILL"] : [];
const ANSWER_MS = 3_000;
const PERSIST_MS = 30_000;
const RETRY_MS = 100;

// Repeats an attempt until it has an answer. The operation id makes the message's effect happen once.
async function persist(attempt) {
  const end = Date.now() + PERSIST_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > end) throw error;
      await sleep(RETRY_MS);
    }
  }
}

for (const [mode, [options, transport]] of Object.entries(MODES)) {
  describe(mode, { timeout: 120_000 }, () => {
    const open = [];
    const socketOf = (auth, person = { address: newAddress() }) => {
      const socket = io(URL, { ...options, forceNew: true, withCredentials: COOKIES, auth, agent: agentOf(person) });
      open.push(socket);
      return socket;
    };
    const connected = async (person) => {
      const socket = socketOf((give) => give({ token: person.token }), person);
      await next(socket, "connect");
      return socket;
    };
    const done = () => open.splice(0).forEach((socket) => socket.disconnect());
    const story = (name, tell) => test(name, () => tell().finally(done));

    story("connects, and ends up on its transport", async () => {
      const socket = await connected(await register("alice"));
      const { engine } = socket.io;
      if (engine.transport.name !== transport) await next(engine, "upgrade");
      assert.equal(engine.transport.name, transport);
    });

    for (const auth of [{ token: "forged" }, { token: 7 }, {}]) {
      story(`is refused for good with the code when its auth is ${JSON.stringify(auth)}`, async () => {
        const socket = socketOf(auth);
        const error = await next(socket, "connect_error");
        assert.equal(JSON.parse(error.message).code, "unauthenticated");
        assert.equal(socket.active, false);
      });
    }

    story("gets every message in order, acknowledged with its seq", async () => {
      const [alice, bob] = await Promise.all([register("alice"), register("bob")]);
      const room = await board(alice, [bob]);
      const [sender, reader] = await Promise.all([connected(alice), connected(bob)]);
      assert.equal((await sender.emitWithAck("room:join", { room })).role, "owner");
      const { position, role } = await reader.emitWithAck("room:join", { room });
      assert.equal(role, "editor");

      const events = [];
      reader.on("room:events", (frame) => events.push(...frame.events));
      const all = next(reader, "room:events", () => events.length >= MESSAGES);
      const texts = Array.from({ length: MESSAGES }, (_, number) => `message ${number}`);
      const answers = await Promise.all(texts.map((text) => sender.emitWithAck("message:send", { room, text })));
      await all;
      assert.deepEqual(events.map((event) => event.body.text), texts);
      assert.deepEqual(events.map((event) => event.seq), answers.map((answer) => answer.seq));
      const first = Number(position.split(".")[1]) + 1;
      assert.deepEqual(events.map((event) => event.seq), texts.map((_, number) => first + number));
      assert.ok(events.every((event) => event.kind === "message" && event.op === "put" && event.actor === alice.id));
    });

    story("edits, deletes and repeats", async () => {
      const alice = await register("alice");
      const room = await board(alice, []);
      const socket = await connected(alice);
      await socket.emitWithAck("room:join", { room });
      const opId = randomUUID();
      const sent = await socket.emitWithAck("message:send", { room, text: "one", opId });
      assert.deepEqual(await socket.emitWithAck("message:send", { room, text: "one", opId }), sent);
      const reused = await socket.emitWithAck("message:send", { room, text: "two", opId });
      assert.equal(reused.error.code, "op_id_reused");

      const heard = next(socket, "room:events", (frame) => frame.events.some((event) => event.op === "delete"));
      const put = { room, kind: "message", item: sent.id, body: { text: "edited" } };
      const stale = await socket.emitWithAck("item:put", { ...put, ifMatch: sent.seq - 1 });
      assert.equal(stale.error.code, "stale");
      const edited = await socket.emitWithAck("item:put", { ...put, ifMatch: sent.seq });
      assert.equal(edited.body.text, "edited");
      const deleted = await socket.emitWithAck("item:delete", { room, item: sent.id });
      assert.equal(deleted.body, null);
      const frame = await heard;
      assert.equal(frame.events.at(-1).seq, deleted.seq);
    });

    story("gets an error for what it may not do, and no reply is missing", async () => {
      const [alice, bob, stranger] = await Promise.all(["alice", "bob", "stranger"].map(register));
      const room = await board(alice, [bob], "viewer");
      const [viewer, outsider] = await Promise.all([connected(bob), connected(stranger)]);
      const refused = async (code, socket, ...event) => {
        const { error } = await within(`ack of ${event[0]}`, socket.emitWithAck(...event));
        assert.equal(error.code, code, `${JSON.stringify(event).slice(0, 80)}: ${error.message}`);
        assert.ok(error.message.length > 0);
      };
      await refused("not_found", outsider, "room:join", { room });
      await refused("not_found", outsider, "message:send", { room, text: "let me in" });
      await refused("not_found", viewer, "room:join", { room: randomUUID() });
      await viewer.emitWithAck("room:join", { room });
      await refused("forbidden", viewer, "message:send", { room, text: "may I?" });
      await refused("unsupported_kind", viewer, "item:put", { room, kind: "nonsense", body: {} });
      await refused("reload_required", viewer, "room:join", { room, after: "1.1" });
      for (const payload of [[], [7], [null], ["text"], [{}], [{ room, more: 1 }], [{ room }, { room }]]) {
        await refused("malformed", viewer, "room:join", ...payload);
      }
      await refused("malformed", viewer, "nonsense", { room });
    });

    story("is cut off when it sends binary data, and comes back by itself", async () => {
      const socket = await connected(await register("alice"));
      const lost = next(socket, "disconnect");
      socket.emit("message:send", Buffer.from("x"));
      assert.notEqual(await lost, "io server disconnect");
      await next(socket, "connect");
    });

    story("sees who is there and what they do", async () => {
      const [alice, bob] = await Promise.all([register("alice"), register("bob")]);
      const room = await board(alice, [bob]);
      const [first, second] = await Promise.all([connected(alice), connected(bob)]);
      await first.emitWithAck("room:join", { room });
      const came = next(first, "presence:changed", ({ userId, state }) => userId === bob.id && state === "here");
      const { presence } = await second.emitWithAck("room:join", { room });
      assert.deepEqual(presence.map(({ userId }) => userId).sort(), [alice.id, bob.id].sort());
      await came;

      const seen = next(first, "room:awareness", ({ people }) => people.some(({ userId, cursor }) => userId === bob.id && cursor));
      await second.emitWithAck("cursor:move", { room, x: 3, y: 4.5 });
      assert.deepEqual((await seen).people.find(({ userId }) => userId === bob.id).cursor, { x: 3, y: 4.5 });
      const typing = next(first, "room:awareness", ({ people }) => people.some((person) => person.userId === bob.id && person.typing));
      await second.emitWithAck("typing:start", { room });
      await typing;

      const gone = next(first, "presence:changed", ({ userId, state }) => userId === bob.id && state === "gone");
      second.disconnect();
      await gone;
    });

    story("hears nothing more of a room it left", async () => {
      const alice = await register("alice");
      const [left, kept] = [await board(alice, []), await board(alice, [])];
      const socket = await connected(alice);
      for (const room of [left, kept]) await socket.emitWithAck("room:join", { room });
      await socket.emitWithAck("room:leave", { room: left });
      const frames = [];
      socket.on("room:events", (frame) => frames.push(frame.room));
      const heard = next(socket, "room:events", (frame) => frame.room === kept);
      for (const room of [left, kept]) await ask("POST", `/rooms/${room}/messages`, { text: "anyone?" }, alice);
      await heard;
      assert.deepEqual(frames, [kept]);
    });

    // A client may poll several instances: when its instance stops being ready, its next poll goes to another one. Such
    // a client may miss `server:closing`, but is disconnected all the same.
    const hearsClosing = transport === "websocket" || process.env.ROOST_INSTANCES === "1";
    for (const signal of SIGNALS) {
      story(`comes back by itself after ${signal} and resumes without a gap`, async () => {
        const [alice, bob] = await Promise.all([register("alice"), register("bob")]);
        const room = await board(alice, [bob]);
        const socket = await connected(bob);
        let { position } = await socket.emitWithAck("room:join", { room });
        const seqs = [];
        socket.on("room:events", (frame) => {
          seqs.push(...frame.events.map((event) => event.seq));
          position = frame.position;
        });
        // Resumes as docs/protocol.md says. Without cookies a polling client moves twice: away, and back when its
        // instance is ready.
        socket.on("connect", () => socket.emit("room:join", { room, after: position }, () => {}));
        const before = next(socket, "room:events");
        const { seq } = await ask("POST", `/rooms/${room}/messages`, { text: "before" }, alice);
        await before;

        const closing = signal === "SIGTERM" && hearsClosing ? next(socket, "server:closing") : null;
        const lost = next(socket, "disconnect");
        const ready = restart(signal);
        if (closing) assert.equal((await closing).code, "unavailable");
        assert.notEqual(await lost, "io server disconnect");
        const caughtUp = next(socket, "room:events", () => seqs.at(-1) === seq + 2);
        for (const text of ["missed", "missed too"]) {
          const opId = randomUUID();
          await persist(() => ask("POST", `/rooms/${room}/messages`, { text, opId }, alice));
        }
        await caughtUp;
        await ready;
        const after = next(socket, "room:events", () => seqs.at(-1) === seq + 3);
        const message = { room, text: "after", opId: randomUUID() };
        const sent = await persist(() => socket.timeout(ANSWER_MS).emitWithAck("message:send", message));
        assert.equal(sent.seq, seq + 3);
        await after;
        assert.deepEqual(seqs, [seq, seq + 1, seq + 2, seq + 3]);
      });
    }

    story("renews its token on the same socket", async () => {
      const alice = await register("alice");
      const socket = await connected(alice);
      const other = await login(alice);
      const refused = await socket.emitWithAck("auth:refresh", { token: other.token });
      assert.equal(refused.error.code, "invalid");
      const renewed = await socket.emitWithAck("auth:refresh", { token: alice.token });
      assert.equal(renewed.sessionId, alice.session);
    });

    story("hears of another login, and is closed for good when its session is revoked", async () => {
      const alice = await register("alice");
      const socket = await connected(alice);
      const heard = next(socket, "user:loggedIn");
      const other = await login(alice);
      assert.equal((await heard).body.sessionId, other.session);
      const closed = next(socket, "disconnect");
      await ask("DELETE", `/me/sessions/${alice.session}`, undefined, other);
      assert.equal(await closed, "io server disconnect");
      assert.equal(socket.active, false);
      const again = socketOf({ token: alice.token }, alice);
      assert.equal(JSON.parse((await next(again, "connect_error")).message).code, "session_revoked");
    });
  });
}
