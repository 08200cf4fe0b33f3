/** What the pipeline view shows, made of what the edge tells of every stage. Pure: no DOM, no clock. */

/** How bad a problem is, and what it means, in words for whoever has to do something. */
export const PROBLEMS = {
  silent: { level: "bad", text: "does not answer" },
  unwritable: { level: "bad", text: "cannot write its journal: it takes nothing from scanners until it can" },
  slow: { level: "warn", text: "keeps others waiting for a second or more" },
  readers_behind: { level: "warn", text: "has readers that do not keep up" },
  hooks_failing: { level: "warn", text: "has a hook whose receiver takes nothing, or wants nothing more" },
  draining: { level: "warn", text: "is being stopped" },
  other_version: { level: "warn", text: "runs another version than the rest" },
};

/** Why something a producer sent was not taken, and what is to be done. */
export const REASONS = {
  utf8: "The bytes are not UTF-8.",
  json: "Not JSON, nested too deeply, or an unknown first byte: the producer writes something else.",
  schema: "No type, or a field with a wrong type or range. The log of ingest names the field.",
  too_large: "An event over 64 KiB, a message over 1 MiB, or too many lines in one message.",
  bad_scan_id: "The scan id is missing, or no scan id.",
  after_terminal: "A second end of a scan that had ended.",
  fenced: "An older process with a producer id that a later one uses.",
  scan_owned: "The scan belongs to another producer until it ends.",
  key_reused: "The key of a producer that sends once stood for other events before.",
  quota: "The producer has opened too many scans.",
  rate: "A producer sends faster than its quota.",
  pid_taken: "A producer id that was first used with another key.",
  not_owner: "A scanStarted that names another owner than the name of its key.",
  shard_full: "A shard did not keep up: its queue had no room. Numbered producers send again.",
  pending_full: "A foreign producer was too fast; readers are told of the loss.",
  max_channels: "A shard holds as many scans as it may.",
  producer_full: "A producer does not read its answers; it asks again.",
  revoked: "A producer whose key was taken off the allow-list, and that sends on.",
  producer_gone: "Answers for a producer that has gone.",
  asker_full: "Answers of an edge that nobody reads.",
  edge_full: "Another edge does not take questions.",
};

const LEVELS = ["bad", "warn"];

/** Return the worst level of a stage's problems: "bad", "warn" or "good". */
export function levelOf({ problems }) {
  return LEVELS.find((level) => problems.some((problem) => (PROBLEMS[problem]?.level ?? "warn") === level)) ?? "good";
}

/** Return [level, name of the stage, text] of all that is wrong, the worst first. */
export function troubles(stages) {
  const found = stages.flatMap(({ name, problems }) =>
    problems.map((problem) => [PROBLEMS[problem]?.level ?? "warn", name, PROBLEMS[problem]?.text ?? problem]));
  return found.sort((a, b) => LEVELS.indexOf(a[0]) - LEVELS.indexOf(b[0]));
}

/**
 * Return what was not taken or went lost, over all stages.
 *
 * @returns {{what: string, reason: string, number: number, stages: string[]}[]} `what`: rejected, dropped or malformed;
 *   the most frequent first
 */
export function refusals(stages) {
  const found = new Map();
  for (const stage of stages) {
    for (const what of ["rejected", "dropped", "malformed"]) {
      for (const [reason, number] of Object.entries(stage[what])) {
        const key = `${what} ${reason}`;
        const one = found.get(key) ?? { what, reason, number: 0, stages: [] };
        one.number += number;
        one.stages.push(stage.name);
        found.set(key, one);
      }
    }
  }
  return [...found.values()].sort((a, b) => b.number - a.number || (a.reason < b.reason ? -1 : 1));
}

/** What a refusal means, in words. */
export function meaning({ what, reason }) {
  if (what === "malformed") return "Messages that make no sense: processes of different versions, or a stranger.";
  return REASONS[reason] ?? "";
}

/**
 * Return the sum of a rate over the stages of a kind.
 *
 * @param {object[]} stages
 * @param {string} rate its name
 * @returns {number | null} null: none of them knows it yet
 */
export function total(stages, rate) {
  const known = stages.map(({ rates }) => rates[rate]).filter((value) => typeof value === "number");
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0);
}

/** Return the workers: shards by the process that owns them. @returns {Map<number | null, object[]>} */
export function workers(shards) {
  const found = new Map();
  for (const shard of shards) found.set(shard.pid, [...(found.get(shard.pid) ?? []), shard]);
  return found;
}

/** The last minute of a value that is asked for about once a second. */
export class Trend {
  constructor(length = 60) {
    this.values = new Array(length).fill(null); // nothing is known of the time before
  }

  /** @param {number | null} value null counts as nothing */
  add(value) {
    this.values = [...this.values.slice(1), value ?? 0];
  }
}
