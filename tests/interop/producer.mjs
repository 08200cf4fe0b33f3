/**
 * A numbered producer in JavaScript, after docs/PROTOCOL.md alone: `node producer.mjs RUN_DIR SCAN_ID PID`, one event a line on stdin.
 *
 * Keeps each event until it is acked, goes back when the worker asks or nothing comes, takes the next ingest when one is silent, and
 * says `bye` at the end. Prints `{"committed":N,"nacks":[[number, reason], …]}` and ends with 0 once everything is acked.
 */

import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { Dealer, Push } = createRequire(process.env.INTEROP_MODULES ?? import.meta.url)("zeromq");

const HELLO_EVERY_MS = 1_000;
const SILENT_AFTER_MS = 1_500;
const NO_ACK_MS = 1_000;
const TICK_MS = 50;
const MAX_EVENTS = 512;
const WINDOW = 2_048;

const [runDir, scanId, pid] = process.argv.slice(2);
const channel = `scan/${scanId}`;
const inc = Date.now();

const kept = []; // kept[0] has the number `una`
const nacks = [];
let una = 1;
let next = 1; // the next number to send
let ingest = -1;
let link = null;
let ended = false;
let ackAt = Date.now();

/** Connect to the next ingest; nothing is sent before its welcome. */
function takeNext() {
  const ingests = readdirSync(runDir).flatMap((name) => name.match(/^ingest-(\d+)\.control$/)?.[1] ?? []).map(Number).sort((a, b) => a - b);
  ingest = ingests.find((one) => one > ingest) ?? ingests[0] ?? -1;
  link?.control.close();
  link?.data.close();
  link = null;
  if (ingest < 0) return;
  link = { control: new Dealer({ linger: 0 }), data: new Push({ linger: 1_000 }), welcome: false, heardAt: Date.now(), helloAt: 0, sending: false };
  link.control.connect(`ipc://${runDir}/ingest-${ingest}.control`);
  link.data.connect(`ipc://${runDir}/ingest-${ingest}.data`);
  listen(link);
}

async function listen(mine) {
  try {
    for await (const [raw] of mine.control) heard(mine, JSON.parse(raw.toString()));
  } catch (error) {
    if (link === mine) throw error; // else it was closed for the next one
  }
}

function heard(mine, message) {
  if (link !== mine) return;
  mine.heardAt = Date.now();
  if (message.type === "welcome" && !mine.welcome) {
    mine.welcome = true;
    next = una; // another ingest may have lost what was on its way
  }
  const ours = ([itsPid, itsInc, itsChannel]) => itsPid === pid && itsInc === inc && itsChannel === channel;
  for (const [, , , pseq, reason] of (message.nacks ?? []).filter(ours)) {
    nacks.push([pseq, reason]);
    if (reason === "fenced") throw new Error("another process has this pid");
  }
  for (const [, , , committed] of (message.acks ?? []).filter(ours)) {
    if (committed < una) continue;
    kept.splice(0, committed - una + 1);
    una = committed + 1;
    next = Math.max(next, una);
    ackAt = Date.now();
  }
  for (const [, , , pseq] of (message.retries ?? []).filter(ours)) next = Math.max(una, Math.min(next, pseq));
}

function envelope(header, events) {
  const head = JSON.stringify({ channel, pid, inc, ...header });
  return Buffer.concat([Buffer.of(1), Buffer.from([head, ...events].join("\n") + (events.length ? "" : "\n"))]);
}

async function sendWhatIsDue(mine) {
  if (mine.sending) return;
  mine.sending = true;
  while (link === mine && next < una + Math.min(kept.length, WINDOW)) {
    const events = kept.slice(next - una, Math.min(next - una + MAX_EVENTS, WINDOW));
    const message = envelope({ pseq: next, una }, events);
    next += events.length;
    await mine.data.send(message);
  }
  mine.sending = false;
}

async function tick() {
  const now = Date.now();
  if (link === null || now - link.heardAt > SILENT_AFTER_MS) takeNext();
  if (link === null) return;
  if (now - link.helloAt >= HELLO_EVERY_MS) {
    link.helloAt = now;
    link.control.send(JSON.stringify({ type: "hello", pid, inc, version: 1 })).catch(() => {});
  }
  if (!link.welcome) return;
  if (kept.length === 0) ackAt = now;
  else if (now - ackAt > NO_ACK_MS) {
    next = una;
    ackAt = now;
  }
  sendWhatIsDue(link).catch(() => {}); // closed: what it did not send is sent over the next one
  if (ended && kept.length === 0) {
    clearInterval(timer);
    await link.data.send(envelope({ pseq: una, una, sign: "bye" }, []));
    console.log(JSON.stringify({ committed: una - 1, nacks }));
    link.control.close();
    link.data.close();
  }
}

createInterface({ input: process.stdin }).on("line", (line) => kept.push(line)).on("close", () => (ended = true));
const timer = setInterval(tick, TICK_MS);
