// What a run is to do, read from its environment: how much load, for how long, and what must hold under it.

/**
 * @import { Options, Threshold } from "k6/options"
 *
 * @typedef {object} Plan
 * @property {string} url
 * @property {number} full requests a second of the whole load
 * @property {number} scale the part of it that is made
 * @property {number} rest requests a second over REST
 * @property {number} graphql requests a second over GraphQL
 * @property {number} seconds
 * @property {number} people
 * @property {number} peopleOfRoom
 * @property {number} sockets
 * @property {number} handshakesPerSecond
 * @property {number} pauseMs
 *
 * A limit on one statistic of one metric, as k6 names them.
 * @typedef {object} Limit
 * @property {string} says
 * @property {string} metric
 * @property {"p(95)" | "rate" | "count"} statistic
 * @property {"<" | ">" | ">="} sign
 * @property {number} bound
 * @property {string} unit
 */

const FULL_REQUESTS_PER_SECOND = 10_000;
const CACHED_P95_MS = 100;
const DATABASE_P95_MS = 500;
/** Of requests, of checks and of messages. A request that could not be begun in time is an error as well. */
const ERRORS_MAX = 0.001;
/** The share of requests that go over REST. */
const REST_SHARE = 0.6;
/** Half of what one account may ask in a second: chance must not bring one over its limit. */
const REQUESTS_OF_PERSON_PER_SECOND = 50;
const PEOPLE_MIN = 10;
const PEOPLE_OF_ROOM = 10;
const SOCKETS = 500;
/** How long what is under way at the end may take. */
const GRACE_SECONDS = 15;

/**
 * @param {{[name: string]: string | undefined}} environment
 * @returns {Plan}
 */
export function planOf(environment) {
  /**
   * @param {string} name
   * @param {number} otherwise
   * @param {number} least
   */
  const number = (name, otherwise, least) => {
    const text = environment[name];
    const value = text ? Number(text) : otherwise;
    if (!(value >= least)) throw new Error(`${name} must be a number from ${least} on, and is ${text}`);
    return value;
  };
  const full = number("RATE", FULL_REQUESTS_PER_SECOND, 2);
  const scale = number("SCALE", 1, 0);
  const requests = Math.max(2, Math.round(full * scale));
  const rest = Math.ceil(requests * REST_SHARE);
  const needed = Math.max(PEOPLE_MIN, Math.ceil(requests / REQUESTS_OF_PERSON_PER_SECOND));
  const seconds = number("DURATION_SECONDS", 60, 1);
  const sockets = Math.ceil(number("SOCKETS", SOCKETS, 0) * scale);
  const handshakesPerSecond = number("HANDSHAKES_PER_SECOND", 20, 1);
  if (sockets / handshakesPerSecond >= seconds) {
    const needs = Math.ceil(sockets / handshakesPerSecond);
    throw new Error(`${sockets} sockets take ${needs} s to connect: longer than the run, see HANDSHAKES_PER_SECOND`);
  }
  return {
    url: (environment["ROOST_URL"] || "http://127.0.0.1:8080").replace(/\/+$/, ""),
    full,
    scale,
    rest,
    graphql: Math.max(1, requests - rest),
    seconds,
    people: Math.ceil(number("PEOPLE", needed, 1)),
    peopleOfRoom: PEOPLE_OF_ROOM,
    sockets,
    handshakesPerSecond,
    pauseMs: number("SOCKET_PAUSE_MS", 1_000, 1),
  };
}

/**
 * What must hold. The rate is a count over the duration, because k6 divides by the time of the whole run, in which
 * `setup` is.
 *
 * @param {Plan} plan
 * @returns {Limit[]}
 */
export function limitsOf({ rest, graphql, seconds, sockets }) {
  /** @type {Limit[]} */
  const limits = [
    limit("cached reads, p95", "http_req_duration{kind:cached}", "p(95)", "<", CACHED_P95_MS, " ms"),
    limit("database reads, p95", "http_req_duration{kind:database}", "p(95)", "<", DATABASE_P95_MS, " ms"),
    // Nothing was promised of writes: the figure is wanted.
    limit("writes, p95", "http_req_duration{kind:write}", "p(95)", ">=", 0, " ms"),
  ];
  for (const [name, scenario, rate] of /** @type {const} */ ([
    ["REST", "rest", rest],
    ["GraphQL", "graphql", graphql],
  ])) {
    const least = Math.floor(rate * seconds * (1 - ERRORS_MAX));
    limits.push(
      limit(`${name}: requests`, `http_reqs{scenario:${scenario}}`, "count", ">=", least, ""),
      limit(`${name}: failed requests`, `http_req_failed{scenario:${scenario}}`, "rate", "<", ERRORS_MAX, ""),
      limit(`${name}: answers as they should be`, `checks{scenario:${scenario}}`, "rate", ">", 1 - ERRORS_MAX, ""),
    );
  }
  if (sockets > 0) {
    limits.push(
      limit("Socket.IO: failed messages", "roost_socket_failed", "rate", "<", ERRORS_MAX, ""),
      // A message is written to the database before anybody receives it.
      limit("Socket.IO: from command to event, p95", "roost_socket_received", "p(95)", "<", DATABASE_P95_MS, " ms"),
      limit("Socket.IO: from command to answer, p95", "roost_socket_acknowledged", "p(95)", "<", DATABASE_P95_MS, " ms"),
    );
  }
  return limits;
}

/**
 * @param {string} says
 * @param {string} metric
 * @param {Limit["statistic"]} statistic
 * @param {Limit["sign"]} sign
 * @param {number} bound
 * @param {string} unit
 * @returns {Limit}
 */
function limit(says, metric, statistic, sign, bound, unit) {
  return { says, metric, statistic, sign, bound, unit };
}

/**
 * The plan as k6 takes it.
 *
 * @param {Plan} plan
 * @returns {Options}
 */
export function optionsOf(plan) {
  const { rest, graphql, seconds, sockets, handshakesPerSecond } = plan;
  /** @type {{[metric: string]: Threshold[]}} */
  const thresholds = {};
  for (const { metric, statistic, sign, bound } of limitsOf(plan)) thresholds[metric] = [`${statistic}${sign}${bound}`];
  /** @type {Options} */
  const options = {
    scenarios: { rest: arrivals("rest", rest, seconds), graphql: arrivals("graphql", graphql, seconds) },
    thresholds,
    // Registering is slow on purpose: one password after the other is hashed.
    setupTimeout: "15m",
  };
  if (sockets > 0 && options.scenarios) {
    const connecting = Math.ceil(sockets / handshakesPerSecond);
    options.scenarios["socketio"] = {
      executor: "per-vu-iterations",
      exec: "socketio",
      vus: sockets,
      iterations: 1,
      maxDuration: `${seconds + connecting + GRACE_SECONDS}s`,
    };
  }
  return options;
}

/**
 * An open loop: requests begin at their rate, however slow the answers are. As many virtual users are made beforehand
 * as are busy when an answer takes 50 ms, at most as many as when it takes 500 ms.
 *
 * @param {string} exec
 * @param {number} rate
 * @param {number} seconds
 */
function arrivals(exec, rate, seconds) {
  return /** @type {const} */ ({
    executor: "constant-arrival-rate",
    exec,
    rate,
    timeUnit: "1s",
    duration: `${seconds}s`,
    preAllocatedVUs: Math.max(5, Math.ceil(rate * 0.05)),
    maxVUs: Math.max(20, Math.ceil(rate * 0.5)),
    gracefulStop: `${GRACE_SECONDS}s`,
  });
}

/**
 * Refuses a run that outlives its access tokens: from then on every request would be refused.
 *
 * @param {{expiresAt: string}[]} people
 * @param {Plan} plan
 * @param {number} now in milliseconds since 1970
 */
export function checkTokens(people, { seconds }, now) {
  const first = Math.min(...people.map(({ expiresAt }) => Date.parse(expiresAt)));
  const left = Math.floor((first - now) / 1_000);
  if (left < seconds + GRACE_SECONDS) {
    const needed = seconds + GRACE_SECONDS;
    throw new Error(
      `the run needs access tokens for ${needed} s, and the first ends in ${left} s: raise access_token_lifetime, or take a ` +
        "smaller DURATION_SECONDS",
    );
  }
}
