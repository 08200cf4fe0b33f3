/**
 * What a scan found out about hosts, each host, port, service and vulnerability once, and their totals.
 *
 * Fed by `scan_model.js` one event at a time, and with what the worker lists; pure. What is the same thing, and what
 * counts as a host, is as docs/PROTOCOL.md says of a scan's state: so a page that stayed and one that was reloaded
 * count the same. A host is kept once and changed in place; its `revision` moves with every change, so that a view
 * redraws only what changed.
 *
 * | while pages are awaited                | what holds                                                      |
 * |----------------------------------------|-----------------------------------------------------------------|
 * | an event told of it since the snapshot | the event: it is not older than the page, or comes again        |
 * | else                                   | the page                                                        |
 * | totals                                 | they are the least there is: not `exact` before the last page   |
 */

import { plain, SEVERITIES } from "./format.js";
import { cut, Host, MAX_TEXT_LENGTH, NO_PROTOCOL, NOTHING, OPEN, STATE_MASK, STATES, Texts, UDP } from "./host.js";

/** The most hosts kept, as the worker's; what is found on further ones is not, and `exact` is false. */
export const MAX_HOSTS = 65_536;
/** The most ports and vulnerabilities kept, over all hosts; beyond it `exact` is false. */
const MAX_ENTRIES = 1_000_000;
const MAX_ADDRESS_LENGTH = 255;
/** Beside a port's key: that its service was told of. */
const SERVICE = 4 << 16;

export class HostBook {
  constructor() {
    this.byAddress = new Map();
    /** @type {Host[]} as found, once all pages are there */
    this.hosts = [];
    this.services = new Texts();
    this.titles = new Texts();
    this.openPorts = 0;
    this.serviceCount = 0;
    /** @type {number[]} vulnerabilities by severity, as in `SEVERITIES` */
    this.severities = SEVERITIES.map(() => 0);
    this.entries = 0;
    this.revision = 0;
    this.full = false;
    this.unlisted = false;
    /** @type {Map<Host, Set<number | string>> | null} what events told of since the snapshot; null: no pages are awaited */
    this.told = null;
    /** @type {Map<Host, Set<number>>} vulnerabilities that a page told of before their events came, at most up to event `aheadTo` */
    this.ahead = new Map();
    this.aheadTo = 0;
  }

  /** Whether the totals are those of the scan: everything is here. */
  get exact() {
    return !this.full && !this.unlisted && this.told === null;
  }

  // --- events -----------------------------------------------------------------------------------

  discovered(event) {
    const host = this.#host(event.ip);
    if (host !== null && typeof event.hostname === "string" && event.hostname !== "") {
      host.hostname = plain(cut(event.hostname, MAX_TEXT_LENGTH));
      this.#tell(host, "name");
    }
  }

  port({ ip, port, protocol, state }) {
    const number = STATES.indexOf(state);
    if (number < 1 || (state === "Filtered" && !this.byAddress.has(cut(ip, MAX_ADDRESS_LENGTH)))) return;
    const host = this.#host(ip);
    if (host === null) return;
    const key = port + (protocol === "TCP" ? 0 : UDP);
    const loose = port + NO_PROTOCOL;
    let before = host.ports.get(key);
    if (before === undefined && host.ports.has(loose)) {
      before = host.ports.get(loose);
      this.#drop(host, loose);
      if (this.told?.get(host)?.has(loose + SERVICE)) this.#tell(host, key + SERVICE);
    } else if (before === undefined && !this.#take()) {
      return;
    }
    this.#put(host, key, (before & ~STATE_MASK) | number);
    this.#tell(host, key);
  }

  service({ ip, port, service_name: name, version }) {
    const host = this.#host(ip);
    if (host === null) return;
    const key = [port, port + UDP, port + NO_PROTOCOL].find((one, i) => i === 2 || host.ports.has(one));
    const before = host.ports.get(key);
    if (before === undefined && !this.#take()) return;
    // Told before the TCP port was, and of the UDP port then: it is the same one.
    const other = key === port ? host.ports.get(port + UDP) : undefined;
    if ((before ?? 0) <= STATE_MASK && other > STATE_MASK) this.#put(host, port + UDP, other & STATE_MASK);
    this.#put(host, key, ((before ?? 0) & STATE_MASK) | (this.services.number(name, version) << 2));
    this.#tell(host, key + SERVICE);
  }

  /** Take in a vulnerability, of event `seq`. @returns {boolean} no event told of it before, as far as is known */
  vulnerability({ ip, severity, title, cve_id: cve }, seq) {
    const level = SEVERITIES.indexOf(severity);
    const host = level < 0 ? null : this.#host(ip);
    if (host === null) return level >= 0;
    const number = this.titles.number(title, cve);
    const known = host.titles.has(number);
    if (!known && !this.#take()) return true;
    this.#rate(host, number, level);
    this.#tell(host, -number);
    return !known || (seq <= this.aheadTo && this.ahead.get(host)?.delete(number) === true);
  }

  /** A host is there, whatever else an event says of it. */
  seen({ ip }) {
    this.#host(ip);
  }

  // --- what the worker holds --------------------------------------------------------------------

  /** Pages follow: from now on, what events tell of is not overwritten by them. */
  awaitPages() {
    this.told = new Map();
    this.ahead.clear();
    this.aheadTo = 0;
  }

  /** Those were all pages. */
  allPagesCame() {
    this.told = null;
    this.hosts.sort((a, b) => a.position - b.position);
    this.hosts.forEach((host, i) => (host.position = i));
    this.revision += 1;
  }

  /**
   * Take in hosts as the worker lists them.
   *
   * @param {object[]} listed as in docs/PROTOCOL.md, "State of a scan"
   * @param {number} after how many come before them in the worker's order
   * @param {number} seq the last event taken into account; 0: events are as far
   */
  merge(listed, after, seq = 0) {
    this.aheadTo = Math.max(this.aheadTo, seq);
    listed.forEach((entry, i) => {
      const host = this.#host(entry.ip);
      if (host === null) return;
      host.position = after + i;
      const told = this.told?.get(host);
      if (entry.hostname && !told?.has("name")) host.hostname = plain(entry.hostname);
      for (const port of entry.ports) this.#mergePort(host, told, port);
      for (const [severity, title, cve] of entry.vulnerabilities) {
        const number = this.titles.number(title, cve);
        const known = host.titles.has(number);
        if (told?.has(-number) || (!known && !this.#take())) continue;
        if (!known && seq > 0) this.#expect(host, number);
        this.#rate(host, number, SEVERITIES.indexOf(severity));
      }
      this.#countUnlisted(host, entry);
    });
  }

  #mergePort(host, told, [port, protocol, state, name, version]) {
    const key = port + (protocol === "TCP" ? 0 : protocol === "UDP" ? UDP : NO_PROTOCOL);
    if (key >= NO_PROTOCOL && (host.ports.has(port) || host.ports.has(port + UDP))) return; // an event has told of the port
    const known = host.ports.get(key);
    let number = STATES.indexOf(state ?? "");
    let service = name === undefined ? 0 : this.services.number(name, version) << 2;
    if (told?.has(key)) number = known & STATE_MASK;
    if (told?.has(key + SERVICE)) service = known & ~STATE_MASK;
    const loose = port + NO_PROTOCOL;
    if (key < NO_PROTOCOL && host.ports.has(loose)) {
      // Its service was told of before its port was known here.
      if (told?.has(loose + SERVICE)) service = host.ports.get(loose) & ~STATE_MASK;
      this.#drop(host, loose);
      this.entries -= 1;
    }
    if (known === undefined && !this.#take()) return;
    this.#put(host, key, number | service);
  }

  #countUnlisted(host, { ports, port_count: ported, open_ports: open, vulnerabilities, vulnerability_count: vulnerable }) {
    if (ported === ports.length && vulnerable === vulnerabilities.length) return;
    // What events told of since may be among what is not listed: so these are the least there are.
    host.unlisted = {
      ports: Math.max(0, ported - host.ports.size),
      open: Math.max(0, open - host.open),
      vulnerabilities: Math.max(0, vulnerable - host.titles.size),
    };
    this.unlisted = true;
  }

  /** Events up to `seq` are here. */
  caughtUp(seq) {
    if (seq >= this.aheadTo && this.ahead.size > 0) this.ahead.clear();
  }

  // --- one host ---------------------------------------------------------------------------------

  /** Return the host of an address, new or known, as changed; null for one too many. */
  #host(ip) {
    const address = cut(ip, MAX_ADDRESS_LENGTH);
    let host = this.byAddress.get(address);
    if (host === undefined) {
      if (this.hosts.length >= MAX_HOSTS || !this.#take()) {
        this.full = true;
        return null;
      }
      // While pages are awaited nobody knows its place: behind all of them.
      host = new Host(address, (this.told === null ? 0 : MAX_HOSTS) + this.hosts.length);
      this.byAddress.set(address, host);
      this.hosts.push(host);
    }
    host.revision += 1;
    this.revision += 1;
    return host;
  }

  #expect(host, number) {
    const expected = this.ahead.get(host);
    if (expected === undefined) this.ahead.set(host, new Set([number]));
    else expected.add(number);
  }

  #tell(host, what) {
    if (this.told === null) return;
    const told = this.told.get(host);
    if (told === undefined) this.told.set(host, new Set([what]));
    else told.add(what);
  }

  #put(host, key, value) {
    if (host.ports === NOTHING) host.ports = new Map();
    const before = host.ports.get(key) ?? 0;
    this.#count(host, before, -1);
    this.#count(host, value, 1);
    host.ports.set(key, value);
  }

  #drop(host, key) {
    this.#count(host, host.ports.get(key), -1);
    host.ports.delete(key);
  }

  #count(host, value, step) {
    if ((value & STATE_MASK) === OPEN) {
      host.open += step;
      this.openPorts += step;
    }
    if (value > STATE_MASK) this.serviceCount += step;
  }

  #rate(host, number, level) {
    if (host.titles === NOTHING) {
      host.titles = new Map();
      host.severities = SEVERITIES.map(() => 0);
    }
    const before = host.titles.get(number);
    for (const severities of [host.severities, this.severities]) {
      if (before !== undefined) severities[before] -= 1;
      severities[level] += 1;
    }
    host.titles.set(number, level);
  }

  #take() {
    if (this.entries >= MAX_ENTRIES) {
      this.full = true;
      return false;
    }
    this.entries += 1;
    return true;
  }
}
