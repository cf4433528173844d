// REST: accounts, conversations, messages.

import { v4 as random, v7 as uuid } from "uuid";
import { announce } from "./sockets.mjs";

const text = { type: "string" };
const id = { type: "string", format: "uuid" };
const orNull = (type) => ({ ...type, nullable: true });
const object = (properties) => ({ type: "object", properties, required: Object.keys(properties) });
// Fastify writes an answer several times as fast when it knows its shape.
const shape = (properties) => ({ type: "object", properties });
const MESSAGE = shape({
  id: text, roomId: text, seq: { type: "integer" }, authorId: text, text, createdAt: text, editedAt: orNull(text),
});
const PAGE = shape({ items: { type: "array", items: MESSAGE }, next: orNull(text), position: text });
const ME = shape({ id: text, email: text, name: text, roomId: text, createdAt: text });

const IN_ROOM = object({ room: id });
const LIST = shape({
  limit: { type: "integer", minimum: 1, maximum: 100, default: 50 },
  direction: { enum: ["older", "newer"], default: "older" },
  cursor: { type: "integer" },
});

class Refusal extends Error {
  constructor(statusCode, code, message) {
    super(message);
    Object.assign(this, { statusCode, code });
  }
}

export function routes(app, { pool, messages, signing, io }) {
  app.decorateRequest("user", null);
  app.setErrorHandler((error, request, reply) => {
    const status = error.statusCode ?? 500;
    if (status >= 500) console.error(error);
    const code = error instanceof Refusal ? error.code : status < 500 ? "malformed" : "internal";
    reply.code(status).type("application/problem+json").send({ status, code, title: error.message });
  });
  // Puts the signed-in user's id on the request.
  const signedIn = (request, reply, done) => {
    const [scheme, token] = (request.headers.authorization ?? "").split(" ");
    const claims = scheme === "Bearer" && signing.verify(token);
    if (!claims) return done(new Refusal(401, "unauthenticated", "there is no valid access token"));
    request.user = claims.sub;
    done();
  };
  const route = (method, url, schema, status, handler, onRequest = signedIn) =>
    app.route({ method, url: `/api/v1/${url}`, schema, onRequest, handler: async (request, reply) => {
      reply.code(status);
      return handler(request);
    } });

  const account = { body: object({ email: text, password: text, name: text }) };
  route("POST", "auth/register", account, 201, ({ body }) => register(pool, signing, body), []);
  route("GET", "me", { response: { 200: ME } }, 200, ({ user }) => me(pool, user));
  const conversation = { body: object({ userIds: { type: "array", items: id } }) };
  route("POST", "conversations", conversation, 201, ({ user, body }) => openRoom(pool, user, body));
  const invitation = { params: IN_ROOM, body: object({ userId: id, role: text }) };
  route("POST", "rooms/:room/members", invitation, 201, ({ body }) => invite(pool, body));
  const list = { params: IN_ROOM, querystring: LIST, response: { 200: PAGE } };
  route("GET", "rooms/:room/messages", list, 200, ({ params, query }) =>
    messages.page(params.room, query.direction, query.limit, query.cursor));
  const send = { params: IN_ROOM, body: object({ text }), response: { 201: MESSAGE } };
  route("POST", "rooms/:room/messages", send, 201, async ({ user, params, body }) => {
    const message = await messages.append(params.room, user, body.text);
    announce(io, message);
    return message;
  });
}

// No password is kept: accounts are only made so that there are people to measure with.
async function register(pool, signing, { email, name }) {
  const [userId, sessionId] = [uuid(), uuid()];
  const insert = "INSERT INTO peer_users (id, email, name) VALUES ($1, $2, $3) RETURNING created_at";
  const { rows } = await pool.query({ name: "register", text: insert, values: [userId, email, name] }).catch((error) => {
    if (error.constraint === "peer_users_email_key") throw new Refusal(409, "conflict", "this address has an account");
    throw error;
  });
  const createdAt = rows[0].created_at;
  const { token, expiresAt } = signing.issue(userId, sessionId);
  return {
    user: userOf({ id: userId, email, name, created_at: createdAt }),
    session: { id: sessionId, name: "peer", createdAt, lastUsedAt: createdAt, current: true },
    accessToken: token,
    accessExpiresAt: expiresAt,
    refreshToken: random(),
  };
}

async function me(pool, user) {
  const select = "SELECT id, email, name, created_at FROM peer_users WHERE id = $1";
  const { rows } = await pool.query({ name: "me", text: select, values: [user] });
  if (!rows.length) throw new Refusal(401, "unauthenticated", "this account is gone");
  return userOf(rows[0]);
}

// A person's own room has the id of the person as version 8, as in Roost.
const userOf = ({ id, email, name, created_at }) => ({
  id, email, name, roomId: `${id.slice(0, 14)}8${id.slice(15)}`, createdAt: created_at,
});

async function openRoom(pool, user, { userIds, title = null }) {
  const roomId = uuid();
  const insert = "INSERT INTO peer_rooms (id, title, created_by) VALUES ($1, $2, $3) RETURNING created_at";
  const { rows } = await pool.query({ name: "open", text: insert, values: [roomId, title, user] });
  const type = userIds.length === 1 && title === null ? "direct" : "group";
  return { id: roomId, type, title, archived: false, role: "owner", createdBy: user, createdAt: rows[0].created_at };
}

// Rooms have no members here, everybody may join: it is only answered, so that a large room can be prepared.
async function invite(pool, { userId, role }) {
  const { name, createdAt } = await me(pool, userId);
  return { userId, name, role, joinedAt: createdAt };
}
