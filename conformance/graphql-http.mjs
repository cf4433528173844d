// Runs graphql-http's audits of a GraphQL server over HTTP. Errors fail the run; warnings are printed.

import { setTimeout as wait } from "node:timers/promises";
import { serverAudits } from "graphql-http";
import { register, URL } from "./fixture.mjs";

const { token } = await register("alice");
const authorized = (address, options = {}) => {
  const headers = new Headers(options.headers);
  headers.set("authorization", `Bearer ${token}`);
  return fetch(address, { ...options, headers });
};

// All requests come from one address, which may make 100 a second, counted over all instances.
const PACE_MS = 12;

const counts = { ok: 0, notice: 0, warn: 0, error: 0 };
for (const fetchFn of [fetch, authorized]) {
  for (const audit of serverAudits({ url: `${URL}/graphql`, fetchFn })) {
    await wait(PACE_MS);
    const { status, name, reason } = await audit.fn();
    counts[status] += 1;
    if (status !== "ok") console.log(`${status}: ${name}: ${reason}`);
  }
}
console.log(`${counts.ok} passed, ${counts.notice} notices, ${counts.warn} warnings, ${counts.error} errors`);
process.exit(counts.error === 0 && counts.ok > 0 ? 0 : 1);
