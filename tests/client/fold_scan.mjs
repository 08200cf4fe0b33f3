// Folds scans as the dashboard's page of one does, without a page: told in steps, prints what it then holds.
//
//   node fold_scan.mjs STATIC_DIRECTORY < CASES
//
// CASES is a JSON list of lists of steps: {"message": …} as the edge sends it, {"page": …, "after": n} as it answers.
// Prints a JSON list with what each case holds at its end.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const base = pathToFileURL(`${process.argv[2]}/`);
const { ScanModel } = await import(new URL("scan_model.js", base));
const { SEVERITIES } = await import(new URL("format.js", base));
const { portsOf, vulnerabilitiesOf } = await import(new URL("host.js", base));

function held(model) {
  const { book, findings, message, progress, totals, status } = model;
  return {
    status,
    message,
    totals,
    exact: book.exact,
    phase: progress.phase?.key ?? null,
    percent: progress.percent,
    finalising: progress.finalising,
    hosts: book.hosts.map((host) => ({
      ip: host.address,
      hostname: host.hostname || null,
      open_ports: host.openCount,
      port_count: host.portCount,
      ports: portsOf(host, book.services).map(({ port, protocol, state, service, version }) => [port, protocol, state, service, version]),
      vulnerability_count: host.vulnerabilityCount,
      vulnerabilities: vulnerabilitiesOf(host, book.titles).map(({ severity, title, cve }) => [severity, title, cve]),
      severities: host.severities ?? SEVERITIES.map(() => 0),
    })),
    findings: findings.latest(() => true).reverse().map(({ seq, kind, severity, title, detail }) => [seq, kind, severity, title, detail]),
  };
}

const cases = JSON.parse(readFileSync(0, "utf8"));
const results = cases.map((steps) => {
  const model = new ScanModel();
  for (const { message, page, after } of steps) {
    if (message) model.apply(message, 0);
    else model.page(page, after);
  }
  return held(model);
});
process.stdout.write(JSON.stringify(results));
