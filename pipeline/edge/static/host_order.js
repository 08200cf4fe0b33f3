/**
 * Which hosts a table shows, and in which order. Pure.
 *
 * Fast enough for 65,536 hosts with 500,000 ports while they change: each host's rank and place are one number, so that
 * sorting is the engine's own of numbers, without a comparison of ours; a filter looks at each name once, not at each host's.
 */

import { NOTHING, STATE_MASK } from "./host.js";

const PLACES = 65_536; // as many hosts as there may be: a place fits below the rank
/** Of what is no IPv4 address. */
const NO_RANK = -1;
const MOST_BADNESS = 2 ** 23;
const MOST_PORTS = 2 ** 18;

/** What the reader may choose, by what stands in the address: `label`, and the rank of a host, the least first. */
export const ORDERS = new Map([
  ["found", { label: "as found", rank: null }],
  ["address", { label: "address", rank: (host) => (host.addressRank ??= addressRank(host.address)) }],
  ["worst", { label: "most severe", rank: (host) => MOST_BADNESS - host.badness }],
  ["ports", { label: "open ports", rank: (host) => MOST_PORTS - host.openCount }],
]);

/**
 * @param {import("./host_book.js").HostBook} book
 * @param {string} order a key of `ORDERS`
 * @param {string} needle lower case; "" lets every host pass
 * @returns {import("./host.js").Host[]} the book's own list where nothing is to be done
 */
export function arrange(book, order, needle) {
  const hosts = needle === "" ? book.hosts : book.hosts.filter(matcher(book, needle));
  const { rank } = ORDERS.get(order);
  return rank === null ? hosts : sorted(hosts, rank);
}

function sorted(hosts, rank) {
  const keys = new Float64Array(hosts.length);
  const odd = []; // what is no IPv4 address goes by its text, behind those that are
  let count = 0;
  hosts.forEach((host, i) => {
    const value = rank(host);
    if (value === NO_RANK) odd.push(host);
    else keys[count++] = value * PLACES + i;
  });
  const ranked = Array.from(keys.subarray(0, count).sort(), (key) => hosts[key % PLACES]);
  const texts = odd.map((host) => ({ host, text: addressText(host.address) }));
  texts.sort((a, b) => (a.text < b.text ? -1 : Number(a.text > b.text)));
  return ranked.concat(texts.map(({ host }) => host));
}

/** Return what says whether a needle occurs in a host's address, name, ports, services, or what is wrong with it. */
function matcher(book, needle) {
  const services = book.services.matching(needle);
  const titles = book.titles.matching(needle);
  const port = /^\d{1,5}$/.test(needle) ? Number(needle) : -1;
  const anyService = services.includes(true) || port >= 0;
  const anyTitle = titles.includes(true);
  return (host) => {
    if (host.ip.toLowerCase().includes(needle) || host.hostname.toLowerCase().includes(needle)) return true;
    if (anyService && host.ports !== NOTHING) {
      for (const [key, value] of host.ports) if ((key & 0xffff) === port || (value > STATE_MASK && services[value >> 2])) return true;
    }
    if (anyTitle && host.titles !== NOTHING) for (const number of host.titles.keys()) if (titles[number]) return true;
    return false;
  };
}

/** An IPv4 address as a number; `NO_RANK` for anything else. */
function addressRank(address) {
  const parts = address.split(".");
  if (parts.length !== 4) return NO_RANK;
  let rank = 0;
  for (const part of parts) {
    const number = /^\d{1,3}$/.test(part) ? Number(part) : 256;
    if (number > 255) return NO_RANK;
    rank = rank * 256 + number;
  }
  return rank;
}

/** A text that sorts IPv6 addresses as numbers, and anything else behind them. */
function addressText(address) {
  if (!/^[\da-f:.]+$/i.test(address)) return `~${address}`;
  const [head, tail] = address.toLowerCase().split("::");
  const groups = (text) => (text ? text.split(":") : []);
  const [left, right] = [groups(head), groups(tail)];
  const zeros = tail === undefined ? [] : new Array(Math.max(0, 8 - left.length - right.length)).fill("0");
  return [...left, ...zeros, ...right].map((group) => group.padStart(4, "0")).join("");
}
