// Access tokens, signed with HS256 or Ed25519.

import { createPrivateKey, createPublicKey } from "node:crypto";
import { createSigner, createVerifier } from "fast-jwt";

// A day: no run of a benchmark is longer, and the peer has no route to refresh one.
const LIFETIME_MS = 86_400_000;
// Tokens of which the verifier remembers that they are good, as Roost does.
const VERIFIED_TOKENS_MAX = 10_000;

// Nothing is protected by it: every process of a measurement has the same key.
const SEED = Buffer.from("thirty-two bytes of open secret!");
// What RFC 8410 puts before the 32 bytes of an Ed25519 key in PKCS #8.
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

// `algorithm`: "hs256" or "eddsa".
export function tokens(algorithm) {
  const keys = { hs256: { signing: SEED, verifying: SEED, name: "HS256" }, eddsa: ed25519() }[algorithm];
  if (!keys) throw new Error(`--jwt is hs256 or eddsa, not ${algorithm}`);
  const sign = createSigner({ key: keys.signing, algorithm: keys.name, expiresIn: LIFETIME_MS });
  const verify = createVerifier({ key: keys.verifying, algorithms: [keys.name], cache: VERIFIED_TOKENS_MAX });
  return {
    issue: (userId, sessionId) => ({
      token: sign({ sub: userId, sid: sessionId }),
      expiresAt: new Date(Date.now() + LIFETIME_MS).toISOString(),
    }),
    // The claims `sub` and `sid`; `undefined`: it is none of ours.
    verify(token) {
      try {
        return verify(token);
      } catch {
        return undefined;
      }
    },
  };
}

function ed25519() {
  const der = Buffer.concat([PKCS8_PREFIX, SEED]);
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const signing = key.export({ format: "pem", type: "pkcs8" });
  const verifying = createPublicKey(key).export({ format: "pem", type: "spki" });
  return { signing, verifying, name: "EdDSA" };
}
