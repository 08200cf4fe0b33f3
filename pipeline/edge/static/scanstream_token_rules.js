/**
 * What a reader with a token decides: when it asks for the next one, and whether it comes back when it is refused.
 * Pure: no socket, no timer, no clock. `pipeline/renewal.py` holds the same rules in Python; one file of test vectors
 * holds both to them.
 */

const MAX_TOKEN_CHARS = 8_192;
const TOKEN = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;
const AHEAD_MS = 30_000;
const LEAST_LEFT_MS = 1_000;
const MOST_MS = 86_400_000;

/** Say whether something has the form of a token: three parts of base64url (RFC 7515, 7.1). */
export function isTokenText(value) {
  return typeof value === "string" && value.length <= MAX_TOKEN_CHARS && TOKEN.test(value);
}

/**
 * Return what a token says, unverified; null when it cannot be read.
 *
 * @param {string} token
 * @returns {Record<string, unknown> | null}
 */
export function tokenClaims(token) {
  try {
    const bytes = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    const claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(bytes, (char) => char.charCodeAt(0))));
    return typeof claims === "object" && !Array.isArray(claims) ? claims : null;
  } catch {
    return null;
  }
}

/** Return when a token expires, in epoch milliseconds; null when it does not say. */
export function tokenExpiry(token) {
  const exp = tokenClaims(token)?.exp;
  return typeof exp === "number" && Number.isFinite(exp) ? exp * 1000 : null;
}

/**
 * Return how long to wait before the next token is asked for: until 30 s before the present one expires, or, of a short
 * one, for half of what is left. A day at most. Null when less than a second is left: the edge will say so.
 *
 * @param {number} leftMs
 * @returns {number | null} milliseconds
 */
export function refreshDelay(leftMs) {
  if (leftMs < LEAST_LEFT_MS) return null;
  return Math.min(Math.max(leftMs - AHEAD_MS, leftMs / 2), MOST_MS);
}

/**
 * Whether a reader comes back after its token was refused.
 *
 * | what                                             | verdict |
 * |--------------------------------------------------|---------|
 * | there is no other token to be had                | end     |
 * | the first refusal, or the first since a hello    | again, with another token |
 * | refused again before there was a hello           | end     |
 */
export class TokenTries {
  /** @param {boolean} renewable another token can be asked for */
  constructor(renewable) {
    this.renewable = renewable;
    this.isRefused = false;
  }

  /** Take notice that the edge has said hello. */
  accepted() {
    this.isRefused = false;
  }

  /** @returns {"again" | "end"} */
  refused() {
    if (!this.renewable || this.isRefused) return "end";
    this.isRefused = true;
    return "again";
  }
}
