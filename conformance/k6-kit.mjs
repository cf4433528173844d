// Stands in for k6 in Node: the parts that a scenario of `loadtest/k6` is given, over fetch and npm ws, and the samples
// that k6 would keep of them.

import { performance } from "node:perf_hooks";
import { inspect } from "node:util";
import WebSocket from "ws";

const P95 = 0.95;

// The samples of a run, by k6's names of metrics and tags.
export class Samples {
  #all = [];

  add(metric, value, tags) {
    this.#all.push({ metric, value: Number(value), tags });
  }

  // The values of a metric, or of its part with a tag: `http_reqs{scenario:rest}`.
  of(metric) {
    const [, name, tag, wanted] = /^(\w+)(?:\{(\w+):(\w+)\})?$/.exec(metric);
    const found = this.#all.filter((sample) => sample.metric === name && (!tag || sample.tags?.[tag] === wanted));
    return found.map(({ value }) => value);
  }

  // The operations that were asked for in a scenario.
  operations(scenario) {
    const requests = this.#all.filter(({ metric, tags }) => metric === "http_reqs" && tags.scenario === scenario);
    return new Set(requests.map(({ tags }) => tags.name));
  }

  // What k6 gives to `handleSummary`, of the metrics with a limit.
  summary(limits) {
    const metrics = {};
    for (const { metric, statistic } of limits) metrics[metric] = { values: { [statistic]: this.#statistic(metric, statistic) } };
    return { metrics };
  }

  #statistic(metric, statistic) {
    const values = this.of(metric).sort((one, other) => one - other);
    const sum = values.reduce((all, value) => all + value, 0);
    if (statistic === "count") return sum;
    if (statistic === "rate") return sum / values.length;
    return values[Math.ceil(values.length * P95) - 1];
  }
}

// k6 writes the names of headers as Go does: `Etag`, `Retry-After`.
const canonical = (name) => name.replace(/(^|-)[a-z]/g, (letters) => letters.toUpperCase());

async function answerOf(method, url, body, headers) {
  try {
    const answer = await fetch(url, { method, body, headers, redirect: "manual" });
    const text = await answer.text();
    const named = [...answer.headers].map(([name, value]) => [canonical(name), value]);
    return { status: answer.status, body: text, error: "", headers: Object.fromEntries(named) };
  } catch (error) {
    return { status: 0, body: null, error: String(error.cause ?? error), headers: {} };
  }
}

const FAILED_FROM = 400;
const FAILURES_SHOWN = 10;
const SHOWN_CHARS = 300;
let shown = 0;

// A kit for one iteration of a scenario. `parts` replaces some of it.
export function kitOf(samples, scenario, iteration, parts = {}) {
  const metric = (name) => ({ add: (value) => samples.add(name, value, { scenario }) });
  return {
    http: {
      async asyncRequest(method, url, body, { headers, tags }) {
        const begun = performance.now();
        const answer = await answerOf(method, url, body, headers);
        const all = { ...tags, scenario };
        samples.add("http_reqs", 1, all);
        samples.add("http_req_duration", performance.now() - begun, all);
        samples.add("http_req_failed", answer.status === 0 || answer.status >= FAILED_FROM, all);
        return { ...answer, json: () => JSON.parse(answer.body) };
      },
    },
    check(value, checks, tags) {
      const failed = Object.keys(checks).filter((name) => {
        const isHeld = checks[name](value);
        samples.add("checks", isHeld, { ...tags, scenario });
        return !isHeld;
      });
      if (failed.length > 0 && !parts.isQuiet && shown++ < FAILURES_SHOWN) {
        const answered = inspect(value, { breakLength: Infinity }).slice(0, SHOWN_CHARS);
        console.log(`failed: ${failed.join(", ")}: ${answered}`);
      }
      return failed.length === 0;
    },
    WebSocket,
    setTimeout,
    clearTimeout,
    metrics: {
      acknowledged: metric("roost_socket_acknowledged"),
      received: metric("roost_socket_received"),
      failed: metric("roost_socket_failed"),
    },
    iteration,
    ...parts,
  };
}
