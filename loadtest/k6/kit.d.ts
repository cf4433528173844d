// What a scenario is given: the parts of k6 that it uses, and the people and rooms that `setup` made.
//
// The types are k6's own. A scenario imports nothing, so that a runner without k6 can execute the same file with parts
// of its own.

import type { check } from "k6";
import type * as http from "k6/http";
import type { Rate, Trend } from "k6/metrics";
import type * as timers from "k6/timers";
import type { WebSocket } from "k6/websockets";

export interface Kit {
  http: Pick<typeof http, "asyncRequest">;
  check: typeof check;
  WebSocket: typeof WebSocket;
  setTimeout: typeof timers.setTimeout;
  clearTimeout: typeof timers.clearTimeout;
  metrics: SocketMetrics;
  /** The number of this iteration within its scenario, counted from 0 over all virtual users. */
  iteration: number;
}

export interface SocketMetrics {
  /** Milliseconds from a command to its acknowledgement. */
  acknowledged: Pick<Trend, "add">;
  /** Milliseconds from a command to its event, as its own author receives it. */
  received: Pick<Trend, "add">;
  /** One for each connection and each message: 1 when it failed, else 0. */
  failed: Pick<Rate, "add">;
}

export type Response = Awaited<ReturnType<Kit["http"]["asyncRequest"]>>;

/** What a request is made of, and how its samples are told apart. */
export interface Call {
  /** The operation, without ids: k6 keeps one time series for each name. */
  name: string;
  /** Where the answer comes from; the thresholds are for each kind. */
  kind: Kind;
  method: string;
  url: string;
  token?: string;
  headers?: { [name: string]: string };
  body?: unknown;
}

export type Kind = "setup" | "cached" | "database" | "write";

export interface Room {
  id: string;
  /** A message of the room that nobody changes. */
  message: string;
  /** Its version. */
  seq: number;
}

export interface Person {
  id: string;
  token: string;
  /** When the token ends, in RFC 3339. */
  expiresAt: string;
  room: Room;
}

/** What `setup` gives to every iteration. k6 hands it on as JSON. */
export interface Load {
  /** Where the deployment is, without a slash at its end. */
  url: string;
  people: Person[];
  sockets: {
    /** How many may connect in a second. */
    handshakesPerSecond: number;
    /** How long each waits between two messages. */
    pauseMs: number;
    /** When they fall silent, in milliseconds since 1970. */
    endsAt: number;
  };
}
