// Socket.IO: rooms, cursors, messages.

import { Server } from "socket.io";
import { v7 as uuid } from "uuid";
import { positionOf } from "./messages.mjs";

// `server`: the HTTP server of Fastify. Gives the Socket.IO server on it.
export function attach(server, { messages, signing, redis }) {
  const io = new Server(server, {
    transports: ["websocket"],
    perMessageDeflate: false,
    httpCompression: false,
    serveClient: false,
    adapter: redis?.adapter,
  });
  // The first request of each socket is of no use any more: Socket.IO's page on memory says to let go of it.
  io.engine.on("connection", (connection) => (connection.request = null));
  io.on("connection", (socket) => {
    const { token, userId } = socket.handshake.auth;
    const user = (token && signing.verify(token)?.sub) ?? userId ?? uuid();
    handle(io, socket, user, messages);
  });
  return io;
}

function handle(io, socket, user, messages) {
  socket.on("room:join", ({ room }, acknowledge) => {
    socket.join(room);
    acknowledge?.({ position: "1.0", role: "editor", presence: [] });
  });
  socket.on("cursor:move", ({ room, x, y }, acknowledge) => {
    socket.to(room).emit("room:awareness", { room, people: [{ userId: user, cursor: { x, y } }] });
    acknowledge?.({ room });
  });
  socket.on("message:send", async ({ room, text }, acknowledge) => {
    try {
      const message = await messages.append(room, user, text);
      announce(io, message);
      acknowledge?.(message);
    } catch (error) {
      console.error(error);
      acknowledge?.({ error: { code: "internal", message: error.message } });
    }
  });
}

// Tells everyone in the room of a new message.
export function announce(io, { id, roomId, seq, authorId, text, createdAt }) {
  const body = { authorId, createdAt, text };
  const event = { seq, item: id, kind: "message", op: "put", body, actor: authorId, at: createdAt };
  io.to(roomId).emit("room:events", { room: roomId, events: [event], position: positionOf(seq), live: true });
}
