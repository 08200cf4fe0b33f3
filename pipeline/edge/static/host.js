/**
 * One host as `host_book.js` keeps it, and how it is read. Pure.
 *
 * A port is two whole numbers in a map, texts are kept once for all hosts: 65,536 hosts with 500,000 ports take about
 * 40 MB.
 */

import { plain, SEVERITIES } from "./format.js";

/** The most kept of a text, as the worker does. */
export const MAX_TEXT_LENGTH = 300;

export const STATES = ["", "Open", "Closed", "Filtered"];
const PROTOCOLS = ["TCP", "UDP", ""];
export const UDP = 1 << 16;
export const NO_PROTOCOL = 2 << 16;
export const STATE_MASK = 3;
export const OPEN = 1;
const STATE_ORDER = [0, 0, 2, 1];

/** Stands for a map with nothing in it: one of its own for each host would cost more than the rest of it. */
export const NOTHING = new Map();
const ALL_LISTED = Object.freeze({ ports: 0, open: 0, vulnerabilities: 0 });

/**
 * @typedef {{port: number, protocol: string, state: string, service: string, version: string}} Port protocol and state
 *   are "" where only a service is known
 * @typedef {{severity: string, title: string, cve: string}} Vulnerability
 */

export class Host {
  /** @param {string} address as it was told @param {number} position in the order in which hosts were found */
  constructor(address, position) {
    this.address = address;
    this.ip = plain(address) || "(no address)";
    this.position = position;
    this.hostname = "";
    this.open = 0;
    /** @type {Map<number, number>} number, plus `UDP` or `NO_PROTOCOL` -> state, plus 4 times its service's number */
    this.ports = NOTHING;
    /** @type {Map<number, number>} number of a vulnerability's title -> its severity's place in `SEVERITIES` */
    this.titles = NOTHING;
    /** @type {number[] | null} how many vulnerabilities of each severity; null: none */
    this.severities = null;
    /** What the worker counts and does not list. */
    this.unlisted = ALL_LISTED;
    this.revision = 0;
    /** @type {number | undefined} noted by `host_order.js` */
    this.addressRank = undefined;
  }

  get openCount() {
    return this.open + this.unlisted.open;
  }

  get portCount() {
    return this.ports.size + this.unlisted.ports;
  }

  get vulnerabilityCount() {
    return this.titles.size + this.unlisted.vulnerabilities;
  }

  /** A number that sorts hosts by their worst vulnerability, then by how many of it; below 2^23. */
  get badness() {
    const worst = this.severities?.findIndex((number) => number > 0) ?? -1;
    return worst < 0 ? 0 : (SEVERITIES.length - worst) * 1e6 + Math.min(this.severities[worst], 999_999);
  }
}

/** Pairs of texts that occur again and again, each once: a number each, from 1. */
export class Texts {
  constructor() {
    this.numbers = new Map();
    /** @type {[string, string][]} as they are shown */
    this.pairs = [["", ""]];
  }

  number(first, second) {
    const pair = [cut(first, MAX_TEXT_LENGTH), cut(second, MAX_TEXT_LENGTH)];
    const key = pair.join("\u0000");
    let number = this.numbers.get(key);
    if (number === undefined) {
      number = this.pairs.length;
      this.numbers.set(key, number);
      this.pairs.push(pair.map((text) => plain(text)));
    }
    return number;
  }

  /** Return for each number whether the lower-case `needle` occurs in one of its texts. */
  matching(needle) {
    return this.pairs.map((pair) => pair.some((text) => text.toLowerCase().includes(needle)));
  }
}

/** All that is known of a host's ports: open ones first, then by number. @returns {Port[]} */
export function portsOf(host, services) {
  return [...host.ports]
    .sort(([a, one], [b, other]) => STATE_ORDER[one & STATE_MASK] - STATE_ORDER[other & STATE_MASK] || (a & 0xffff) - (b & 0xffff) || a - b)
    .map(([key, value]) => {
      const [service, version] = services.pairs[value >> 2];
      return { port: key & 0xffff, protocol: PROTOCOLS[key >> 16], state: STATES[value & STATE_MASK], service, version };
    });
}

/** All that is known to be wrong with a host, the worst first. @returns {Vulnerability[]} */
export function vulnerabilitiesOf(host, titles) {
  return [...host.titles]
    .map(([number, level]) => ({ level, severity: SEVERITIES[level], title: titles.pairs[number][0], cve: titles.pairs[number][1] }))
    .sort((a, b) => a.level - b.level || order(a.title, b.title) || order(a.cve, b.cve));
}

function order(one, other) {
  return one < other ? -1 : Number(one > other);
}

/** A text of a scan, at most so long; anything else is "". */
export function cut(value, length) {
  return typeof value === "string" ? value.slice(0, length) : "";
}
