/**
 * What a scan found out about hosts: ports, services, vulnerabilities, and their totals.
 *
 * Fed by `scan_model.js` one event at a time; pure. A host is kept once and changed in place; its
 * `revision` moves with every change, so that a view redraws only what changed.
 */

import { SEVERITIES, plain } from "./format.js";

/** The most hosts kept; what is found on further ones is counted in `beyond` and not shown. */
export const MAX_HOSTS = 65_536;
/** The most vulnerabilities listed per host; the counts go on. */
const MAX_LISTED_PER_HOST = 100;

const STATE_ORDER = new Map([
  ["Open", 0],
  ["Filtered", 1],
  ["Closed", 2],
]);

/**
 * @typedef {{port: number, protocol: string, state: string, service: string, version: string}} Port protocol and state
 *   are "" where only a service is known
 * @typedef {{seq: number, severity: string, title: string, cve: string}} Vulnerability
 */

/** How often each severity occurred, all from 0. */
function noSeverities() {
  return Object.fromEntries(SEVERITIES.map((severity) => [severity, 0]));
}

export class Host {
  constructor(ip, position) {
    this.ip = ip;
    this.position = position;
    this.hostname = "";
    this.open = 0;
    this.severities = noSeverities();
    this.vulnerabilityCount = 0;
    /** @type {Vulnerability[]} the first `MAX_LISTED_PER_HOST` of them */
    this.vulnerabilities = [];
    this.revision = 0;
    this.states = new Map(); // "443/TCP" -> state
    this.services = new Map(); // "443" or, where the event says it, "443/TCP" -> {name, version}
    this.sorted = { revision: -1, ports: [] };
  }

  /** All that is known of the ports: open ones first, then by number. @returns {Port[]} */
  get ports() {
    if (this.sorted.revision !== this.revision) this.sorted = { revision: this.revision, ports: this.#sortedPorts() };
    return this.sorted.ports;
  }

  #sortedPorts() {
    const ports = [];
    const named = new Set();
    for (const [key, state] of this.states) {
      const [number, protocol] = key.split("/");
      const service = this.services.get(key) ?? this.services.get(number);
      named.add(this.services.has(key) ? key : number);
      ports.push({ port: Number(number), protocol, state, service: service?.name ?? "", version: service?.version ?? "" });
    }
    for (const [key, service] of this.services) {
      if (named.has(key)) continue;
      const [number, protocol = ""] = key.split("/");
      ports.push({ port: Number(number), protocol, state: "", service: service.name, version: service.version });
    }
    const rank = (port) => STATE_ORDER.get(port.state) ?? 0;
    return ports.sort((a, b) => rank(a) - rank(b) || a.port - b.port || a.protocol.localeCompare(b.protocol));
  }

  /** A number that sorts hosts by their worst vulnerability, then by how many of it. */
  get badness() {
    const worst = SEVERITIES.findIndex((severity) => this.severities[severity] > 0);
    return worst < 0 ? 0 : (SEVERITIES.length - worst) * 1e6 + Math.min(this.severities[SEVERITIES[worst]], 999_999);
  }

  /** Say whether the lower-case `needle` occurs in the address, the name, a port or a service. */
  matches(needle) {
    if (this.ip.toLowerCase().includes(needle) || this.hostname.toLowerCase().includes(needle)) return true;
    return this.ports.some((port) => String(port.port) === needle || port.service.toLowerCase().includes(needle));
  }
}

export class HostBook {
  constructor() {
    this.byIp = new Map();
    /** @type {Host[]} as found */
    this.hosts = [];
    this.openPorts = 0;
    this.services = 0;
    this.severities = noSeverities();
    this.vulnerabilities = 0;
    this.beyond = 0;
    this.revision = 0;
  }

  discovered(event) {
    const host = this.#host(event);
    const hostname = plain(event.hostname);
    if (host && hostname) host.hostname = hostname;
  }

  port(event) {
    const host = this.#host(event);
    if (!host) return;
    const key = `${event.port}/${plain(event.protocol, 8)}`;
    const change = Number(event.state === "Open") - Number(host.states.get(key) === "Open");
    host.states.set(key, plain(event.state, 12));
    host.open += change;
    this.openPorts += change;
  }

  service(event) {
    const host = this.#host(event);
    if (!host) return;
    const key = typeof event.protocol === "string" ? `${event.port}/${plain(event.protocol, 8)}` : String(event.port);
    if (!host.services.has(key)) this.services += 1;
    host.services.set(key, { name: plain(event.service_name, 80), version: plain(event.version) });
  }

  vulnerability(event, seq) {
    const severity = SEVERITIES.includes(event.severity) ? event.severity : "Info";
    this.severities[severity] += 1;
    this.vulnerabilities += 1;
    const host = this.#host(event);
    if (!host) return;
    host.severities[severity] += 1;
    host.vulnerabilityCount += 1;
    if (host.vulnerabilities.length < MAX_LISTED_PER_HOST) {
      host.vulnerabilities.push({ seq, severity, title: plain(event.title), cve: plain(event.cve_id, 40) });
    }
  }

  /** Return the host an event is about, new or known, as changed; null for one too many or without address. */
  #host(event) {
    const ip = plain(event.ip, 64);
    let host = this.byIp.get(ip);
    if (host === undefined) {
      if (ip === "" || this.hosts.length >= MAX_HOSTS) {
        this.beyond += 1;
        return null;
      }
      host = new Host(ip, this.hosts.length);
      this.byIp.set(ip, host);
      this.hosts.push(host);
    }
    host.revision += 1;
    this.revision += 1;
    return host;
  }
}

/** A key that sorts addresses as numbers: "10.0.0.9" before "10.0.0.10", IPv4 before IPv6. */
export function addressKey(ip) {
  const parts = ip.split(".");
  if (parts.length === 4) return `4${parts.map((part) => part.padStart(3, "0")).join("")}`;
  const [head, tail] = ip.split("::");
  const groups = (text) => (text ? text.split(":") : []);
  const [left, right] = [groups(head), groups(tail)];
  const zeros = tail === undefined ? [] : new Array(Math.max(0, 8 - left.length - right.length)).fill("0");
  return `6${[...left, ...zeros, ...right].map((group) => group.toLowerCase().padStart(4, "0")).join("")}`;
}
