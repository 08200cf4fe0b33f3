/** Asking the edge about past scans: lists, comparison, deletion, and where their files are. */

import { request, session } from "./session.js";

const PAGE = 50;
export const FORMATS = [["html", "Report"], ["csv", "CSV"], ["json", "JSON"], ["ndjson", "Events"]];

/** A scan, or one life of it, as addresses name it: `ID` or `ID@EPOCH`. */
export function reference({ scan_id: scanId, epoch, present = true }) {
  return present ? scanId : `${scanId}@${epoch}`;
}

/** `ID@EPOCH` -> [id, epoch]; epoch is null when there is none. */
export function readReference(text) {
  const [scanId, epoch] = text.split("@");
  return [scanId, epoch ?? null];
}

/**
 * Return past scans, the latest first.
 *
 * @param {string} search
 * @param {string | null} after `next` of the answer before; null for the beginning
 * @param {AbortSignal} signal
 * @returns {Promise<{scans: object[], next: string | null, complete: boolean}>}
 * @throws {Error} with a message for a reader
 */
export function fetchPast(search, after, signal) {
  const query = new URLSearchParams({ past: "true", limit: String(PAGE) });
  if (search) query.set("search", search);
  if (after !== null) query.set("after", after);
  return asked(`api/scans?${query}`, { signal });
}

/**
 * Return what changed between two scans.
 *
 * @param {string} scan `ID` or `ID@EPOCH`
 * @param {string | null} other the earlier one; null for the latest of the same targets
 * @param {AbortSignal} signal
 * @throws {Error} with a message for a reader
 */
export function fetchComparison(scan, other, signal) {
  const query = new URLSearchParams(other === null ? {} : { with: other });
  return asked(path(scan, "/compare", query), { signal });
}

/**
 * Delete a scan that has ended, for good.
 *
 * @param {string} scan `ID` for all its lives, `ID@EPOCH` for one
 * @throws {Error} with a message for a reader
 */
export function deleteScan(scan) {
  return asked(path(scan, "", new URLSearchParams()), { method: "DELETE" });
}

/** Where a scan is as a file. */
export function exportUrl(scan, format) {
  return path(scan, "/export", new URLSearchParams({ format }));
}

/** Whether a link alone gets a file: it cannot bring a token. */
export function linksSuffice() {
  return session.token === null;
}

/**
 * Save a scan as a file, with the token there is. It is held in memory until it is whole.
 *
 * @throws {Error} with a message for a reader
 */
export async function download(scan, format) {
  const response = await request(exportUrl(scan, format)).catch((error) => {
    throw new Error("The edge does not answer.", { cause: error });
  });
  if (!response.ok) throw new Error(`The edge answered with HTTP ${response.status}.`);
  const [, name = `${readReference(scan)[0]}.${format}`] = /filename="([^"]+)"/.exec(response.headers.get("content-disposition") ?? "") ?? [];
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser may take it later
}

function path(scan, what, query) {
  const [scanId, epoch] = readReference(scan);
  if (epoch !== null) query.set("epoch", epoch);
  return `api/scans/${encodeURIComponent(scanId)}${what}${query.size ? `?${query}` : ""}`;
}

async function asked(url, options) {
  let response;
  try {
    response = await request(url, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Error("The edge does not answer.", { cause: error });
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(typeof body.error === "string" ? sentence(body.error) : `The edge answered with HTTP ${response.status}.`);
  return body;
}

function sentence(text) {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`;
}
