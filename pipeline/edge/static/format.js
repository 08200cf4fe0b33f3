/** How numbers, times and hostile strings are shown. Pure: no DOM, no clock. */

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const oneDigit = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

// Control characters and the marks that reverse or hide text: a banner could pretend to be another one with them.
const DECEPTIVE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+/g;

export const SEVERITIES = ["Critical", "High", "Medium", "Low", "Info"];

/**
 * Return a foreign value as text that shows what it is: deceptive characters become one "·", the rest is cut.
 *
 * @param {unknown} value anything but a string or a number gives ""
 * @param {number} limit longest text, in UTF-16 units; a longer one ends in "…"
 */
export function plain(value, limit = 300) {
  if (typeof value === "number") return String(value);
  if (typeof value !== "string") return "";
  const cut = value.length > limit ? `${value.slice(0, limit - 1)}…` : value;
  return cut.replace(DECEPTIVE, "·").trim();
}

/** 12345 -> "12,345"; null -> "–". */
export function count(value) {
  return Number.isFinite(value) ? grouped.format(value) : "–";
}

/** Events per second: one digit after the point below ten, so that a slow scan does not show 0. */
export function rate(perSecond) {
  if (!Number.isFinite(perSecond)) return "–";
  return perSecond > 0 && perSecond < 9.95 ? oneDigit.format(perSecond) : grouped.format(perSecond);
}

/** Bytes -> "812 B", "14.2 kB", "3.1 MB"; not a number -> "–". */
export function bytes(value) {
  if (!Number.isFinite(value)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  while (value >= 999.5 && power < units.length - 1) {
    value /= 1000;
    power += 1;
  }
  return `${power > 0 && value < 99.95 ? oneDigit.format(value) : grouped.format(value)} ${units[power]}`;
}

/** Bytes a second -> "14.2 kB/s"; not a number -> "–". */
export function byteRate(perSecond) {
  return Number.isFinite(perSecond) ? `${bytes(perSecond)}/s` : "–";
}

/** Whole percent, rounded down: 99.9 is not finished. null -> "–". */
export function percent(value) {
  return Number.isFinite(value) ? `${Math.floor(value)} %` : "–";
}

/** Seconds -> "0:04", "3:07", "1:03:07", "2 d 3:00:00"; not a number -> "–". */
export function duration(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "–";
  const whole = Math.floor(seconds);
  const two = (value) => String(value).padStart(2, "0");
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  const clock = hours || days ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
  return days ? `${days} d ${clock}` : clock;
}

const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const momentsInFull = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

/** A time as the reader's clock has it: "Nov 23, 2026, 6:51 AM"; not a time -> "–". @param {unknown} text as the edge writes it */
export function moment(text) {
  return written(moments, text);
}

/** The same to the second and with the zone, for a title. */
export function momentInFull(text) {
  return written(momentsInFull, text);
}

function written(format, text) {
  const date = new Date(typeof text === "string" ? text : Number.NaN);
  return Number.isNaN(date.getTime()) ? "–" : format.format(date);
}

/** A phase's name for reading: "service_detection" -> "service detection". */
export function phaseName(phase) {
  return plain(phase, 60).replaceAll("_", " ");
}

/** 1, "host" -> "1 host"; 2, "host" -> "2 hosts"; a noun whose plural is another one gives it. */
export function plural(number, noun, nouns = `${noun}s`) {
  return `${count(number)} ${number === 1 ? noun : nouns}`;
}

/** Seconds that are only estimated -> "less than 10 s", "40 s", "3 min", "2 h 10 min", "3 days". */
export function roughly(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 10) return "less than 10 s";
  if (seconds < 95) return `${Math.round(seconds / 5) * 5} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours >= 48) return `${Math.round(hours / 24)} days`;
  const rest = Math.round((minutes % 60) / 10) * 10;
  return rest === 0 || rest === 60 ? `${hours + rest / 60} h` : `${hours} h ${rest} min`;
}

/** "port scan: 4 of 9", "port scan" -> "4 of 9": a text without what stands beside it already. */
export function withoutStart(text, start) {
  const words = text.slice(0, start.length).replaceAll("_", " ");
  if (start === "" || words.toLowerCase() !== start.toLowerCase()) return text;
  const rest = text.slice(start.length);
  return rest === "" || /^[\s:,–-]/.test(rest) ? rest.replace(/^[\s:,–-]+/, "") : text;
}

/** A time left and its range, for reading: "about 3 min left (2 min to 5 min)"; null: nobody can tell. */
export function timeLeft(left) {
  if (left === null) return "time left unknown";
  const { of, seconds, low, high } = left;
  const [about, least, most] = [seconds, low, high].map(roughly);
  const range = least === most ? "" : ` (${least} to ${most})`;
  return `${about === "less than 10 s" ? about : `about ${about}`} left${of === "phase" ? " of this phase" : ""}${range}`;
}
