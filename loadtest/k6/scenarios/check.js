// Makes one request and checks its answer.
//
// It calls `http.asyncRequest`, never `http.get` or `http.post`: those wait within k6, which Node cannot do. A promise is
// the one form that both have.

/**
 * @import { Call, Kit, Load, Person, Response } from "../kit.d.ts"
 */

/**
 * @param {Kit} kit
 * @param {Call} call
 * @returns {Promise<Response>} also for a refusal, and, with status 0, when there was no answer
 */
export function request({ http }, { name, kind, method, url, token, headers, body }) {
  const all = { ...headers };
  if (token) all["Authorization"] = `Bearer ${token}`;
  if (body !== undefined) all["Content-Type"] = "application/json";
  const text = body === undefined ? null : JSON.stringify(body);
  return http.asyncRequest(method, url, text, { headers: all, tags: { name, kind } });
}

/**
 * Makes a request that must be answered with this status, by a body for which `holds` holds.
 *
 * @param {Kit} kit
 * @param {Call} call
 * @param {number} status
 * @param {(body: any, response: Response) => boolean} holds
 */
export async function expect(kit, call, status, holds) {
  const response = await request(kit, call);
  const checks = {
    [`${call.name}: ${status}`]: () => response.status === status,
    [`${call.name}: its content`]: () => isTrue(() => holds(bodyOf(response), response)),
  };
  kit.check(response, checks, { kind: call.kind });
}

/**
 * k6 ends an iteration whose check throws: an answer of another shape is a check that failed, no more.
 *
 * @param {() => boolean} test
 */
export function isTrue(test) {
  try {
    return test();
  } catch {
    return false;
  }
}

/**
 * @param {Response} response
 * @returns {any} an empty object for a body that is no JSON
 */
export function bodyOf(response) {
  try {
    return response.json() ?? {};
  } catch {
    return {};
  }
}

/**
 * The person whose turn it is: each makes as many requests as the others, so that no account meets its limit early.
 *
 * @param {Load} load
 * @param {number} iteration
 * @returns {Person}
 */
export function personOf({ people }, iteration) {
  const person = people[iteration % people.length];
  if (!person) throw new Error("setup made no people");
  return person;
}

/**
 * What the iteration does, in the proportions of `mix`. It shifts by one each time all people had their turn, or one
 * person would do the same for ever.
 *
 * @template T
 * @param {readonly T[]} mix
 * @param {Load} load
 * @param {number} iteration
 * @returns {T}
 */
export function turnOf(mix, { people }, iteration) {
  const laps = Math.floor(iteration / people.length);
  return /** @type {T} */ (mix[(iteration + laps) % mix.length]);
}

/** An operation id: of the letters it may have, and not used before. */
export function newOperationId() {
  const part = () => Math.floor(Math.random() * 2 ** 32).toString(36);
  return `k6-${Date.now().toString(36)}-${part()}-${part()}`;
}

/**
 * @param {Pick<Kit, "setTimeout">} kit
 * @param {number} milliseconds
 * @returns {Promise<void>}
 */
export function pause({ setTimeout }, milliseconds) {
  return new Promise((resolve) => void setTimeout(() => resolve(), milliseconds));
}
