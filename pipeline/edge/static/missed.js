/** What came while a page did not follow: the difference between what it showed and a snapshot, in a few words. Pure. */

import { duration, plural, SEVERITIES } from "./format.js";

/** Why a page did not follow, as the sentence begins. */
const WHILES = new Map([
  ["hidden", "While this page was hidden"],
  ["lag", "While this page was behind"],
  ["away", "While this page was not connected"],
]);

/**
 * @param {import("./scan_model.js").Standing | null} before what was shown
 * @param {import("./scan_model.js").Standing | null} after what the snapshot shows
 * @param {"hidden" | "lag" | "away"} why
 * @param {number | null} seconds how long; null: nobody knows
 * @returns {{text: string, from: number, to: number} | null} `from` and `to` are events; null: nothing is new, or it is another life
 */
export function missed(before, after, why, seconds) {
  if (before === null || after === null || before.epoch !== after.epoch || after.seq <= before.seq) return null;
  const [then, now] = [before.totals, after.totals];
  const severities = SEVERITIES.map((severity, i) => [now.severities[i] - then.severities[i], severity]).filter(([number]) => number > 0);
  const vulnerabilities = severities.reduce((sum, [number]) => sum + number, 0);
  const things = [
    [now.hosts - then.hosts, "host"],
    [now.openPorts - then.openPorts, "open port"],
    [now.services - then.services, "service"],
    [vulnerabilities, "vulnerability", "vulnerabilities"],
  ].filter(([number]) => number > 0).map((thing) => plural(...thing));
  const worst = severities.slice(0, 2).map(([number, severity]) => `${number} ${severity}`).join(", ");
  const parts = [];
  if (things.length > 0) parts.push(`${things.join(", ")} new${worst ? ` (${worst})` : ""}`);
  if (after.status !== before.status) parts.push(after.status === "running" ? "the scan goes on" : `the scan is ${after.status}`);
  else if (after.phase !== before.phase && after.phase) parts.push(`now in ${after.phase}`);
  if (parts.length === 0) return null;
  const took = seconds !== null && seconds >= 1 ? ` for ${duration(seconds)}` : "";
  return { text: `${WHILES.get(why)}${took}: ${parts.join("; ")}.`, from: before.seq, to: after.seq };
}
