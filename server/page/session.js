// Who is signed in: the tokens, and calls to REST with them.
//
// The refresh token is kept for this tab, so that a reload stays signed in. Each exchange answers the
// next one; if that answer is lost, the same token is exchanged again. The access token is kept in memory only.

const KEPT = "roost.refreshToken";
const RENEW_BEFORE_MS = 30_000;

let access = null; // { token, expiresAt }
let renewing = null;

/** A refusal of the server: `code` for programs, `message` for people. */
export class Refused extends Error {
  constructor({ code, title, message, retryAfterMs }) {
    super(title ?? message ?? "the server refused");
    this.code = code ?? "internal";
    this.retryAfterMs = retryAfterMs;
  }

  get isFinal() {
    const retryable = ["timeout", "rate_limited", "overloaded", "unavailable", "outcome_unknown"];
    return !retryable.includes(this.code);
  }
}

export function isKept() {
  return sessionStorage.getItem(KEPT) !== null;
}

/** Signs up or in; answers the person. */
export async function signIn(way, input) {
  return keep(await post(`/auth/${way}`, input));
}

/** Signs in again after a reload; answers the person. */
export function resume() {
  return renew();
}

export async function signOut() {
  try {
    await api("POST", "/auth/logout");
  } finally {
    forget();
  }
}

export function forget() {
  access = null;
  sessionStorage.removeItem(KEPT);
}

/** An access token that is good for a while yet. */
export async function token() {
  if (!access || access.expiresAt - Date.now() < RENEW_BEFORE_MS) await renew();
  return access.token;
}

/** Forgets the access token: the server did not take it. */
export function distrust() {
  access = null;
}

/** Calls REST as the person. Throws `Refused`, or a `TypeError` when there is no connection. */
export async function api(method, path, body) {
  const call = async () => {
    const authorization = `Bearer ${await token()}`;
    return answer(await fetch(`/api/v1${path}`, request(method, body, { authorization })));
  };
  try {
    return await call();
  } catch (error) {
    if (error.code !== "unauthenticated") throw error;
    distrust();
    return call();
  }
}

/** One exchange at a time: a second one would answer the same refresh token. */
function renew() {
  renewing ??= post("/auth/refresh", { refreshToken: sessionStorage.getItem(KEPT) })
    .then(keep)
    .catch((error) => {
      if (error instanceof Refused && error.isFinal) forget();
      throw error;
    })
    .finally(() => (renewing = null));
  return renewing;
}

function keep(signedIn) {
  sessionStorage.setItem(KEPT, signedIn.refreshToken);
  access = { token: signedIn.accessToken, expiresAt: Date.parse(signedIn.accessExpiresAt) };
  return signedIn.user;
}

async function post(path, body) {
  return answer(await fetch(`/api/v1${path}`, request("POST", body, {})));
}

function request(method, body, headers) {
  if (body === undefined) return { method, headers };
  return { method, headers: { ...headers, "content-type": "application/json" }, body: JSON.stringify(body) };
}

async function answer(response) {
  if (response.status === 204) return null;
  const body = await response.json().catch(() => ({ code: "unavailable", title: response.statusText }));
  if (!response.ok) throw new Refused(body);
  return body;
}
