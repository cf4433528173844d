// The last words of a run: what was asked for, what came of it, and whether the load was scaled down.

import { limitsOf } from "./plan.js";

/**
 * @import { Limit, Plan } from "./plan.js"
 */

/**
 * @param {Plan} plan
 * @param {any} data what k6 gives to `handleSummary`
 * @returns {string}
 */
export function summaryOf(plan, data) {
  const { url, rest, graphql, seconds, sockets, people } = plan;
  const requests = `${rest + graphql} requests/s (${rest} REST, ${graphql} GraphQL) for ${seconds} s`;
  const lines = [
    "",
    `Roost at ${url}: ${requests}, ${sockets} sockets, ${people} people`,
    `  ${scaleOf(plan)}`,
    "",
    ...limitsOf(plan).map((limit) => lineOf(limit, valueOf(data, limit))),
    "",
  ];
  return `${lines.join("\n")}\n`;
}

/** @param {Plan} plan */
function scaleOf({ full, scale }) {
  if (scale === 1) return `not scaled: RATE is ${full} requests/s`;
  return `SCALED: ${scale} of ${full} requests/s; what holds here says nothing of the whole load`;
}

/**
 * @param {Limit} limit
 * @param {number | undefined} value
 */
function lineOf({ says, statistic, sign, bound, unit }, value) {
  /** @param {number} number */
  const shown = (number) => (statistic === "rate" ? `${+(number * 100).toFixed(3)} %` : `${+number.toFixed(1)}${unit}`);
  const what = `${says}:`.padEnd(42);
  if (value === undefined) return `  ? ${what} not in this format of the summary; the exit code of k6 tells`;
  const isHeld = { "<": value < bound, ">": value > bound, ">=": value >= bound }[sign];
  const wanted = sign === ">=" && bound === 0 ? "" : ` (${sign} ${shown(bound)})`;
  return `  ${isHeld ? "✓" : "✗"} ${what} ${shown(value)}${wanted}`;
}

/**
 * k6 knows two formats: `metrics` by name, and, behind a flag, `results.metrics` as a list, which has no metric that is
 * narrowed by a tag and calls `p(95)` `p95`.
 *
 * @param {any} data
 * @param {Limit} limit
 * @returns {number | undefined}
 */
function valueOf(data, { metric, statistic }) {
  const listed = data.results?.metrics?.find((/** @type {any} */ { name }) => name === metric);
  const values = (data.metrics?.[metric] ?? listed)?.values;
  return values?.[statistic] ?? values?.[statistic.replace(/[()]/g, "")];
}
