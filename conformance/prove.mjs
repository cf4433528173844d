// The stock JavaScript clients of `cargo xtask prove order`: senders and readers on socket.io-client. Lines of JSON on
// standard input say what to do; the results are lines of JSON on standard output.

import { randomUUID } from "node:crypto";
import http from "node:http";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { io } from "socket.io-client";

const WINDOW = 4; // writes one sender has under way at once
const RETRY_MS = 150;
const ANSWER_MS = 10_000;
const TRANSPORTS = [["polling", "websocket"], ["websocket"], ["polling"]];

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
process.on("uncaughtException", (error) => {
  say({ type: "failed", message: String(error?.stack ?? error) });
  process.exit(1);
});
process.on("unhandledRejection", (error) => {
  throw error;
});

// A person's access token, renewed over REST from the person's own address.
class Person {
  constructor(url, { accessToken, refreshToken, expiresAt, address }) {
    Object.assign(this, { url, accessToken, refreshToken, address });
    this.expiresAt = Date.parse(expiresAt);
  }

  async token() {
    while (this.expiresAt - Date.now() < 30_000) {
      try {
        const renewed = await this.post("/api/v1/auth/refresh", { refreshToken: this.refreshToken });
        this.accessToken = renewed.accessToken;
        this.refreshToken = renewed.refreshToken;
        this.expiresAt = Date.parse(renewed.accessExpiresAt);
      } catch {
        await sleep(RETRY_MS);
      }
    }
    return this.accessToken;
  }

  post(path, body) {
    return new Promise((resolve, reject) => {
      const options = {
        method: "POST",
        localAddress: this.address,
        headers: { "content-type": "application/json" },
      };
      const request = http.request(new URL(path, this.url), options, (response) => {
        let text = "";
        response.on("data", (chunk) => (text += chunk));
        response.on("end", () =>
          response.statusCode < 300 ? resolve(JSON.parse(text)) : reject(new Error(text)),
        );
      });
      request.on("error", reject);
      request.end(JSON.stringify(body));
    });
  }

  connect(transports) {
    return io(this.url, {
      transports,
      agent: new http.Agent({ keepAlive: true, localAddress: this.address }),
      forceNew: true,
      reconnectionDelayMax: 500,
      auth: (give) => this.token().then((token) => give({ token })),
    });
  }
}

// The error codes after which a sender tries again; any other is final.
const RETRYABLE = ["timeout", "rate_limited", "overloaded", "unavailable", "outcome_unknown"];

async function send(person, transports, rooms, take, paceMs, ledger) {
  const socket = person.connect(transports);
  const own = new Map(rooms.map((room) => [room, []]));
  const worker = async () => {
    for (let room = take(); room; room = take()) {
      const opId = randomUUID();
      const messages = own.get(room);
      const dice = Math.random();
      let event = "message:send";
      let payload = { room, text: `${opId} ${"y".repeat(dice * 200)}`, opId };
      let expected = null;
      if (dice < 0.02) {
        [event, payload, expected] = ["item:delete", { room, item: randomUUID(), opId }, "not_found"];
      } else if (dice < 0.22 && messages.length > 0) {
        const body = { text: payload.text };
        [event, payload] = ["item:put", { room, kind: "message", item: messages.shift(), body, opId }];
      } else if (dice < 0.32 && messages.length > 0) {
        [event, payload] = ["item:delete", { room, item: messages.shift(), opId }];
      }
      ledger.operations[opId] = await repeat(socket, event, payload, expected, ledger, (answer) => {
        if (event !== "item:delete") messages.push(answer.id ?? answer.item);
      });
      await sleep(paceMs);
    }
  };
  await Promise.all(Array.from({ length: WINDOW }, worker));
  socket.disconnect();
}

async function repeat(socket, event, payload, expected, ledger, done) {
  for (;;) {
    let answer;
    try {
      answer = await socket.timeout(ANSWER_MS).emitWithAck(event, payload);
    } catch {
      ledger.retries += 1; // no answer in time, or the connection broke
      await sleep(RETRY_MS);
      continue;
    }
    const code = answer?.error?.code;
    if (!code) {
      ledger.acknowledged += 1;
      done(answer);
      return "acknowledged";
    }
    if (!RETRYABLE.includes(code)) return code === expected ? `refused ${code}` : `${code}: ${answer.error.message}`;
    ledger.retries += 1;
    await sleep(answer.error.retryAfterMs ?? RETRY_MS);
  }
}

// JSON with the keys of every object in order.
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const keys = Object.keys(value).sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(",")}}`;
}

const seqOf = (position) => Number(position.split(".")[1]);

// One reader of one room on its own socket. It closes its transport every `cutEveryMs` when that is not 0.
function read(person, name, transports, room, cutEveryMs) {
  const reading = {
    reader: `${name} (${transports}${cutEveryMs ? ", cut" : ""})`,
    room,
    position: null,
    items: new Map(),
    seen: new Set(),
    delivered: 0,
    duplicates: 0,
    inversions: 0,
    passed: [],
    resets: 0,
  };
  const socket = person.connect(transports);
  socket.on("connect", async () => {
    if (reading.position === null) {
      const joined = await socket.emitWithAck("room:join", { room }).catch(() => null);
      if (!joined || joined.error) return void socket.io.engine?.close();
      await socket.emitWithAck("room:leave", { room }).catch(() => null);
      // Read the room from its beginning: seq 0 of the present epoch.
      reading.position = `${joined.position.split(".")[0]}.0`;
    }
    const joined = await socket.emitWithAck("room:join", { room, after: reading.position }).catch(() => null);
    if (joined?.error) socket.io.engine?.close();
  });
  socket.on("room:events", (frame) => {
    if (frame.room === room && reading.position !== null) apply(reading, frame);
  });
  if (cutEveryMs) setInterval(() => socket.io.engine?.close(), cutEveryMs).unref();
  return reading;
}

function apply(reading, frame) {
  let last = seqOf(reading.position);
  if (frame.reset) {
    reading.resets += 1;
    reading.items.clear();
    last = 0;
  }
  for (const event of frame.events) {
    reading.delivered += 1;
    if (reading.seen.has(event.seq)) reading.duplicates += 1;
    reading.seen.add(event.seq);
    if (event.seq <= last) reading.inversions += 1;
    if (frame.live) pass(reading, last, event.seq - 1, frame);
    last = event.seq;
    if (event.seq > (reading.items.get(event.item)?.[0] ?? 0)) {
      reading.items.set(event.item, [event.seq, event.op, canonical(event.body)]);
    }
  }
  if (frame.live) pass(reading, last, seqOf(frame.position), frame);
  reading.position = frame.position;
}

// Notes the seqs between `after` and `upTo` that a live frame left out. The proof judges them by the journal at the
// end.
function pass(reading, after, upTo, frame) {
  for (let seq = after + 1; seq <= upTo; seq += 1) reading.passed.push([seq, seqOf(frame.position)]);
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const next = async () => JSON.parse((await lines.next()).value);

const { url, rooms, writes, paceMs, senders, readers } = await next();
const readings = readers.map((person, number) => {
  const room = number % 2 === 0 ? rooms[0] : rooms[1 + number];
  const cutEveryMs = number % 3 === 2 ? 2_000 : 0;
  return read(new Person(url, person), `javascript reader ${number}`, TRANSPORTS[number % 3], room, cutEveryMs);
});

const ledger = { acknowledged: 0, retries: 0, operations: {} };
let number = 0;
const take = () => {
  if (number >= writes) return null;
  number += 1;
  return number % 2 === 0 ? rooms[0] : rooms[1 + (Math.floor(number / 2) % (rooms.length - 1))];
};
const progress = setInterval(() => say({ type: "progress", acknowledged: ledger.acknowledged }), 100);
await Promise.all(
  senders.map((person, index) => send(new Person(url, person), TRANSPORTS[index % 3], rooms, take, paceMs, ledger)),
);
clearInterval(progress);
say({ type: "sent", operations: ledger.operations, retries: ledger.retries });

const { heads } = await next();
const isBehind = (reading) => reading.position === null || seqOf(reading.position) < heads[reading.room];
while (readings.some(isBehind)) await sleep(50);
const report = readings.map((reading) => ({
  ...reading,
  items: [...reading.items].map(([item, state]) => [item, ...state]),
  seen: [...reading.seen],
}));
process.stdout.write(JSON.stringify({ type: "report", readings: report }) + "\n", () => process.exit(0));
