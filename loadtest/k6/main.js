// What k6 runs: it gives k6's own parts to the scenarios, which are plain modules. Nothing else here knows of k6.
//
//     k6 run -e ROOST_URL=https://roost.example.org -e RATE=1000 loadtest/k6/main.js

import { check } from "k6";
import exec from "k6/execution";
import http from "k6/http";
import { Rate, Trend } from "k6/metrics";
import { clearTimeout, setTimeout } from "k6/timers";
import { WebSocket } from "k6/websockets";
import { checkTokens, optionsOf, planOf } from "./plan.js";
import { graphql as useGraphql } from "./scenarios/graphql.js";
import { makePeople } from "./scenarios/people.js";
import { rest as useRest } from "./scenarios/rest.js";
import { socketio as useSocketio } from "./scenarios/socketio.js";
import { summaryOf } from "./summary.js";

/**
 * @import { Kit, Load } from "./kit.d.ts"
 */

const plan = planOf(__ENV);
export const options = optionsOf(plan);

const metrics = {
  acknowledged: new Trend("roost_socket_acknowledged", true),
  received: new Trend("roost_socket_received", true),
  failed: new Rate("roost_socket_failed"),
};

/**
 * @param {number} iteration
 * @returns {Kit}
 */
function kit(iteration) {
  return { http, check, WebSocket, setTimeout, clearTimeout, metrics, iteration };
}

/** @returns {Promise<Load>} */
export async function setup() {
  const people = await makePeople(kit(0), plan);
  checkTokens(people, plan, Date.now());
  const { url, seconds, handshakesPerSecond, pauseMs } = plan;
  return { url, people, sockets: { handshakesPerSecond, pauseMs, endsAt: Date.now() + seconds * 1_000 } };
}

/** @param {Load} load */
export const rest = (load) => useRest(kit(exec.scenario.iterationInTest), load);

/** @param {Load} load */
export const graphql = (load) => useGraphql(kit(exec.scenario.iterationInTest), load);

/** @param {Load} load */
export const socketio = (load) => useSocketio(kit(exec.scenario.iterationInTest), load);

/** @param {unknown} data */
export function handleSummary(data) {
  return { stdout: summaryOf(plan, data) };
}
