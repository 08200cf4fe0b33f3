/**
 * The latest findings of a scan: vulnerabilities, each when it was found first, and the smaller finds. Pure.
 *
 * It keeps as many as a scan's state does (docs/PROTOCOL.md, "State of a scan"), so that a page that stayed and one that
 * was reloaded list the same.
 */

import { plain } from "./format.js";

export const MAX_VULNERABILITIES = 200;
export const MAX_OTHERS = 100;
export const MAX_FINDINGS = MAX_VULNERABILITIES + MAX_OTHERS;

/**
 * @typedef {{seq: number, kind: "vulnerability" | "enumeration" | "dns" | "subdomain", severity: string, title: string,
 *   detail: string, where: string, text: string}} Finding severity is "" for what is no vulnerability; `text` is what a
 *   filter looks at, in lower case
 */

/** What each type of event, and of finding in a state, is called. */
export const KINDS = new Map([
  ["vulnerabilityFound", "vulnerability"],
  ["enumerationFinding", "enumeration"],
  ["dnsRecordFound", "dns"],
  ["subdomainFound", "subdomain"],
]);

export class FindingLog {
  constructor() {
    this.vulnerabilities = [];
    this.others = [];
    /** How many of the smaller finds the scan has. */
    this.otherCount = 0;
    /** Moves with every change. */
    this.revision = 0;
  }

  /** Take over what a state lists: it is the latest there is. @param {object[]} findings @param {Object<string, number>} counts events by type */
  restore(findings, counts) {
    const found = findings.filter(({ type }) => KINDS.has(type)).map(({ seq, type, ...fields }) => finding(seq, KINDS.get(type), fields));
    this.vulnerabilities = found.filter(({ kind }) => kind === "vulnerability");
    this.others = found.filter(({ kind }) => kind !== "vulnerability");
    this.otherCount = 0;
    for (const [type, kind] of KINDS) if (kind !== "vulnerability") this.otherCount += counts[type] ?? 0;
    this.revision += 1;
  }

  /** Take in an event that is a finding. */
  add(event, seq) {
    const kind = KINDS.get(event.type);
    if (kind !== "vulnerability") this.otherCount += 1;
    const list = kind === "vulnerability" ? this.vulnerabilities : this.others;
    list.push(finding(seq, kind, FIELDS.get(kind)(event)));
    if (list.length > (kind === "vulnerability" ? MAX_VULNERABILITIES : MAX_OTHERS)) list.shift();
    this.revision += 1;
  }

  /** Return those that pass, the latest first. @param {(finding: Finding) => boolean} passes */
  latest(passes) {
    return this.vulnerabilities.concat(this.others).filter(passes).sort((a, b) => b.seq - a.seq);
  }
}

/** What of an event is shown, as a scan's state has it. */
const FIELDS = new Map([
  ["vulnerability", ({ severity, title, cve_id: detail, ip }) => ({ severity, title, detail, ip })],
  ["enumeration", ({ value: title, finding_type: detail, ip, port }) => ({ title, detail, ip, port })],
  ["dns", ({ domain: title, record_type: type, value }) => ({ title, detail: `${String(type).slice(0, 20)} ${value}` })],
  ["subdomain", ({ subdomain: title }) => ({ title })],
]);

/** @returns {Finding} */
function finding(seq, kind, { severity = "", title, detail, ip, port }) {
  const shown = { title: plain(title), detail: plain(detail), where: endpoint(plain(ip, 255), port) };
  const text = [kind, severity, ...Object.values(shown)].join(" ").toLowerCase();
  return { seq, kind, severity, ...shown, text };
}

function endpoint(ip, port) {
  return Number.isInteger(port) ? `${ip.includes(":") ? `[${ip}]` : ip}:${port}` : ip;
}
