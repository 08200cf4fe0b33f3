/**
 * Who uses this page, where the edge has accounts: a token, kept for this tab alone and until it is closed.
 *
 * | what                                        | then                                                      |
 * |---------------------------------------------|-----------------------------------------------------------|
 * | the edge answers 401, or closes with 4401   | the token is forgotten, and one is needed                 |
 * | it expires                                  | the same                                                  |
 * | signed out                                  | the same                                                  |
 * | signed in                                   | it goes with every request and every WebSocket            |
 *
 * Each is told by the event `change`. What is refused with a token that is not the present one changes nothing.
 */

import { tokenClaims, tokenExpiry } from "./scanstream_token_rules.js";

const KEY = "scanstream.token";
const MAX_TIMER_MS = 86_400_000;
export const UNAUTHORISED = 4401;

class Session extends EventTarget {
  #timer = null;

  constructor() {
    super();
    /** @type {string | null} */
    this.token = remembered();
    /** Whether a token is needed and there is none. */
    this.isNeeded = false;
    /** Why, in words; empty when there was none before. */
    this.reason = "";
    this.#watch();
  }

  /** Whose the token is, as it says itself; null without one. */
  get subject() {
    const subject = this.token === null ? null : tokenClaims(this.token)?.sub;
    return typeof subject === "string" ? subject : null;
  }

  /** Use a token from now on. */
  signIn(token) {
    this.#become(token, false, "");
  }

  signOut() {
    this.#become(null, true, "You have signed out.");
  }

  /** Take notice that the edge does not take a token, or wants one. @param {string | null} token what was brought */
  refused(token) {
    if (token !== this.token || this.isNeeded) return;
    this.#become(null, true, token === null ? "" : "The token is not accepted any more, or has expired.");
  }

  #become(token, isNeeded, reason) {
    Object.assign(this, { token, isNeeded, reason });
    remember(token);
    this.#watch();
    this.dispatchEvent(new Event("change"));
  }

  /** A page that only shows what it has notices the end of its token too. */
  #watch() {
    clearTimeout(this.#timer);
    const expiry = this.token === null ? null : tokenExpiry(this.token);
    if (expiry === null) return;
    const left = expiry - Date.now();
    this.#timer = setTimeout(() => (left > MAX_TIMER_MS ? this.#watch() : this.refused(this.token)), Math.min(Math.max(left, 0), MAX_TIMER_MS));
  }
}

export const session = new Session();

/**
 * Ask the edge, with the token there is.
 *
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
export async function request(path, options = {}) {
  const { token } = session;
  const headers = { accept: "application/json", ...options.headers };
  if (token !== null) headers.authorization = `Bearer ${token}`;
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  if (response.status === 401) session.refused(token);
  return response;
}

function remembered() {
  try {
    return sessionStorage.getItem(KEY);
  } catch { // storage may be forbidden
    return null;
  }
}

function remember(token) {
  try {
    if (token === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, token);
  } catch { // then it holds until the page is left
  }
}
