// The Socket.IO scenario: each virtual user holds one socket in its room and sends a message now and then; all of the
// room receive it. What is measured is the time from the command to its acknowledgement, and to the event as its author
// receives it, which is when the others do, too.

import { isTrue, newOperationId, pause, personOf } from "./check.js";
import { Socket } from "./engine.js";
import { Waiting } from "./waiting.js";

/**
 * @import { Kit, Load } from "../kit.d.ts"
 */

/**
 * @param {Kit} kit
 * @param {Load} load
 */
export async function socketio(kit, load) {
  const { handshakesPerSecond, pauseMs, endsAt } = load.sockets;
  const { token, room } = personOf(load, kit.iteration);
  // One address may open so many a second.
  await pause(kit, (kit.iteration / handshakesPerSecond) * 1_000);

  const events = new Waiting(kit);
  const socket = new Socket(kit, load.url, token, hearing(events), (error) => events.lose(error));
  try {
    await socket.signedIn;
    const joined = await socket.ask("room:join", { room: room.id });
    const isJoined = () => joined.position.length > 0 && joined.role.length > 0;
    count(kit, kit.check(joined, { "room:join: its answer": () => isTrue(isJoined) }));
    while (Date.now() < endsAt) {
      await send(kit, socket, events, room.id);
      await pause(kit, pauseMs);
    }
  } catch (error) {
    count(kit, kit.check(error, { [`socket: ${said(error)}`]: () => false }));
  }
  await socket.close();
}

/**
 * Tells of one's own messages by their text, which holds their operation id: when each came, and with which seq.
 *
 * @param {Waiting} events
 * @returns {(event: string, body: any) => void}
 */
function hearing(events) {
  return (event, frame) => {
    if (event !== "room:events") return;
    const at = Date.now();
    for (const { seq, body } of frame.events) events.settle(body?.text, { seq, at });
  };
}

/**
 * Sends a message; waits for its acknowledgement and its event, in whichever order they come.
 *
 * @param {Kit} kit
 * @param {Socket} socket
 * @param {Waiting} events
 * @param {string} room
 */
async function send(kit, socket, events, room) {
  const opId = newOperationId();
  const text = `Said on a socket, under load: ${opId}`;
  const begun = Date.now();
  const received = events.for(text, "event");
  const asked = socket.ask("message:send", { room, text, opId }).then((answer) => ({ answer, at: Date.now() }));
  const [{ answer, at }, event] = await Promise.all([asked, received]);
  const isDone = kit.check(answer, {
    "message:send: its answer": () => isTrue(() => answer.text === text && answer.seq > 0),
    "room:events: the message": () => isTrue(() => event.seq === answer.seq),
  });
  count(kit, isDone);
  if (!isDone) return;
  kit.metrics.acknowledged.add(at - begun);
  kit.metrics.received.add(event.at - begun);
}

/**
 * @param {Kit} kit
 * @param {boolean} isDone
 */
function count({ metrics }, isDone) {
  metrics.failed.add(isDone ? 0 : 1);
}

/** @param {unknown} error */
function said(error) {
  return error instanceof Error ? error.message : String(error);
}
