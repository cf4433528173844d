// The Node peer: Socket.IO and Fastify in one process, with PostgreSQL and Redis when they are given.

import { parseArgs } from "node:util";
import Fastify from "fastify";
import pg from "pg";
import { counted, stored } from "./messages.mjs";
import { connect as connectRedis } from "./redis.mjs";
import { routes } from "./rest.mjs";
import { attach } from "./sockets.mjs";
import { tokens } from "./tokens.mjs";

// As many as Roost has for its own pool.
const POOL_CONNECTIONS = "20";
const STOP_MS = 2_000;

const { values: options } = parseArgs({
  options: {
    listen: { type: "string", default: "127.0.0.1:4100" },
    database: { type: "string" },
    redis: { type: "string" },
    jwt: { type: "string", default: "hs256" },
    seq: { type: "string", default: "room" },
    pool: { type: "string", default: POOL_CONNECTIONS },
  },
});

const redis = options.redis && (await connectRedis(options.redis));
const pool = options.database && new pg.Pool({ connectionString: options.database, max: Number(options.pool) });
const messages = pool ? await stored(pool, options.seq) : counted(redis);
const signing = tokens(options.jwt);

const app = Fastify({ logger: false });
const io = attach(app.server, { messages, signing, redis });
app.get("/readyz", () => "ok");
if (pool) routes(app, { pool, messages, signing, io });

const [host, port] = options.listen.split(":");
const address = await app.listen({ host, port: Number(port) });
console.log(`peer-node listens on ${address.replace("http://", "")}`);

for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, stop);

async function stop() {
  setTimeout(() => process.exit(1), STOP_MS).unref();
  await io.close();
  await app.close();
  await pool?.end();
  redis?.close();
  process.exit();
}
