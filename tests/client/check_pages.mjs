// Holds what the dashboard's pages decide without a document to what is expected: prints `ok` at the end, or throws.
//
//   node check_pages.mjs STATIC_FOLDER

import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

const folder = pathToFileURL(`${process.argv[2]}/`);
const { addUp, arrange, isUnderWay, ORDERS } = await import(new URL("scan_order.js", folder));
const { levelOf, meaning, refusals, total, Trend, troubles, workers } = await import(new URL("pipeline_book.js", folder));
const { byteRate, bytes } = await import(new URL("format.js", folder));

// --- the list ---------------------------------------------------------------------------------------------

const totals = { hosts: 1, open_ports: 2, services: 3, vulnerabilities: { Critical: 1, Low: 4 } };
function scan(scan_id, status, started_at, more = {}) {
  return { scan_id, status, started_at, name: "", owner: "", targets: [], labels: {}, progress: null, events_per_s: 0, event_count: 5, totals, ...more };
}
const scans = [
  scan("old", "completed", "2026-01-01", { progress: 100 }),
  scan("new", "failed", "2026-01-04"),
  scan("quick", "running", "2026-01-02", { progress: 20, events_per_s: 90, name: "Zurich" }),
  scan("slow", "running", "2026-01-03", { progress: 80, events_per_s: 3, targets: ["10.0.0.0/8"], labels: { site: "Berlin" } }),
  scan("quiet", "stalled", "2026-01-01", { progress: 50 }),
  scan("alone", "orphaned", "2026-01-02", { owner: "alice" }),
];
const ids = (wanted) => arrange(scans, { search: "", status: "", order: "importance", ...wanted }).shown.map(({ scan_id }) => scan_id);

assert.deepEqual(ids({}), ["alone", "quiet", "slow", "quick", "new", "old"]);
assert.deepEqual(ids({ order: "no such order" }), ids({}));
assert.deepEqual(ids({ order: "started" }), ["new", "slow", "alone", "quick", "old", "quiet"]);
assert.deepEqual(ids({ order: "progress" }).slice(0, 3), ["slow", "quiet", "quick"]);
assert.deepEqual(ids({ order: "rate" }).slice(0, 2), ["quick", "slow"]);
assert.deepEqual(ids({ order: "name" }), ["alone", "new", "old", "quiet", "slow", "quick"]);
assert.deepEqual(ids({ status: "running" }), ["slow", "quick"]);
for (const [search, found] of [["ZUR", "quick"], ["10.0", "slow"], ["site=berlin", "slow"], ["berlin  slow", "slow"], ["alice", "alone"]]) {
  assert.deepEqual(ids({ search }), [found], search);
}
assert.deepEqual(ids({ search: "berlin quick" }), []);
const { statuses } = arrange(scans, { search: "", status: "failed", order: "name" });
assert.equal(statuses.get("running"), 2, "what is counted is what is found, whatever status is shown");
assert.deepEqual(scans.filter(isUnderWay).length, 4);
assert.equal([...ORDERS.keys()][0], "importance");

const sums = addUp(scans.slice(2, 4));
assert.deepEqual([sums.events, sums.perSecond, sums.hosts, sums.openPorts, sums.vulnerabilities], [10, 93, 2, 4, 10]);
assert.deepEqual(sums.severities, { Critical: 2, High: 0, Medium: 0, Low: 8, Info: 0 });

// --- the pipeline -----------------------------------------------------------------------------------------

function stage(name, problems, more = {}) {
  return { name, problems, rejected: {}, dropped: {}, malformed: {}, rates: {}, pid: 1, ...more };
}
const stages = [
  stage("ingest-0", [], { rejected: { json: 2, schema: 7 }, rates: { events_per_s: 5 } }),
  stage("ingest-1", ["slow"], { rejected: { json: 6 }, rates: { events_per_s: null } }),
  stage("shard-0", ["slow", "silent"], { dropped: { pending_full: 1 }, pid: 9 }),
  stage("shard-1", ["a problem of a later version"], { malformed: { in: 3 }, pid: 9 }),
];
assert.deepEqual(stages.map(levelOf), ["good", "warn", "bad", "warn"]);
assert.deepEqual(troubles(stages)[0], ["bad", "shard-0", "does not answer"]);
assert.equal(troubles(stages).length, 4);
const refused = refusals(stages);
assert.deepEqual(refused.map(({ reason, number }) => [reason, number]), [["json", 8], ["schema", 7], ["in", 3], ["pending_full", 1]]);
assert.deepEqual(refused[0].stages, ["ingest-0", "ingest-1"]);
assert.ok(refused.every((one) => meaning(one).length > 10));
assert.equal(meaning({ what: "rejected", reason: "of a later version" }), "");
assert.equal(total(stages.slice(0, 2), "events_per_s"), 5);
assert.equal(total(stages.slice(1, 2), "events_per_s"), null);
assert.deepEqual([...workers(stages.slice(2)).keys()], [9]);
const trend = new Trend(3);
for (const value of [1, null, 3, 4]) trend.add(value);
assert.deepEqual(trend.values, [0, 3, 4]);

// --- formats ----------------------------------------------------------------------------------------------

assert.deepEqual([0, 812, 999, 1000, 14_230, 999_499, 999_500, 3_141_592_653].map(bytes), ["0 B", "812 B", "999 B", "1.0 kB", "14.2 kB", "999 kB", "1.0 MB", "3.1 GB"]);
assert.deepEqual([bytes(NaN), byteRate(null), byteRate(2500)], ["–", "–", "2.5 kB/s"]);

console.log("ok");
