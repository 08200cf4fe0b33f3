/** Types of scanstream.js, the JavaScript client. docs/PROTOCOL.md, "Clients", says what it does. */

/** A place in a scan, `epoch:seq`. */
export type Position = string;

export interface ScanStreamOptions {
  /** The scan; it need not exist yet. */
  scanId: string;
  /** The edge's own address, ending in a slash. In a page: the page's, if not given. */
  url?: string | URL;
  /** Go on after this position; null: begin as `begin` says. */
  since?: Position | null;
  /** Without a position: with every event that is held, or with the scan's state as a `Snapshot`. "start" if not given. */
  begin?: "start" | "snapshot";
  /** Further parameters of the address, by name, such as `{ min_severity: "High" }`. */
  filter?: Record<string, string | number | readonly string[] | null | undefined>;
  /** Tell the edge, at most twice a second, which event was handed out last. WebSockets only. False if not given. */
  ack?: boolean;
  /**
   * Who asks, where the edge has accounts: a token, or what returns one. A function is asked at every connect and before
   * the present token expires; when the edge refuses one, once more. A string that is refused ends the stream.
   */
  token?: string | (() => string | Promise<string>) | null;
  /** Given what came since the last call, in order, on the next animation frame; never an empty list. */
  onMessages: (messages: ScanMessage[]) => void;
  onState?: (state: ScanStreamState) => void;
  /** What to make WebSockets with, where there is no global one, such as in Node 20; null: none. */
  WebSocket?: (new (url: string, protocol: string | string[]) => SocketLike) | null;
  /** What to make server-sent events with; null: none. */
  EventSource?: (new (url: string) => EventSourceLike) | null;
}

/** What of a WebSocket is used. */
export interface SocketLike {
  readonly readyState: number;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(code?: number): void;
}

/** What of an EventSource is used. */
export interface EventSourceLike {
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  close(): void;
}

export interface ScanStreamState {
  /** waiting: the scan does not exist yet. ended: the server does not want us back. */
  name: "connecting" | "waiting" | "live" | "reconnecting" | "ended";
  /** Why it is reconnecting or ended; else empty. */
  reason: string;
  /** When it is tried again, in milliseconds of `performance.now()`; null unless it is reconnecting. */
  retryAt: number | null;
  /** The close code that ended it; null in the other states. */
  code: number | null;
  transport: "websocket" | "sse";
}

/** One event; its other fields depend on its type. */
export interface ScanEvent {
  type: string;
  [field: string]: unknown;
}

export interface Hello {
  type: "hello";
  scan_id: string;
  connection_id: string;
  /** The present life; null: the scan does not exist yet. */
  epoch: number | null;
  /** The last event published. */
  seq: number;
  /** Whether it goes on after the position given; null when none was. */
  resumed: boolean | null;
  /** Seconds. */
  ping_interval: number;
  /** Seconds. */
  client_timeout: number;
  server_version: string;
  features: string[];
}

export interface Batch {
  type: "batch";
  scan_id: string;
  epoch: number;
  /** Numbers of the first and the last event of the range. */
  seq: [number, number];
  merged: number;
  filtered: number;
  /** Of each event, its number less the first; not there when nothing was left out. */
  at?: number[];
  events: ScanEvent[];
}

/** It replaces everything before: the scan as it stood after the event `seq`. */
export interface Snapshot {
  type: "snapshot";
  scan_id: string;
  epoch: number;
  seq: number;
  state: Record<string, unknown>;
}

/** Events that are not given, but for batches within the range that may still come. */
export interface Lag {
  type: "lag";
  scanId: string;
  skippedMessages: number;
  from: number;
  to: number;
  reason: string;
}

/** Forget everything: what follows is of another life, or (`not_held`) begins anew. */
export interface Reset {
  type: "reset";
  scan_id: string;
  epoch: number | null;
  reason: "restarted" | "forgotten" | "went_back" | "not_held";
}

export interface Degraded {
  type: "degraded";
  scan_id: string;
  degraded: boolean;
  reason: string;
}

/** Ours, not the edge's: events `expected` to `first - 1` did not come, and are asked for again. */
export interface Gap {
  type: "gap";
  expected: number;
  first: number;
}

/** A message of a type that is not here is handed out too: a later edge may have more to say. */
export type ScanMessage = Hello | Batch | Snapshot | Lag | Reset | Degraded | Gap;

/** One scan, live. */
export class ScanStream {
  constructor(options: ScanStreamOptions);
  /** The position after what was handed out, to go on from another time; null before the first event. */
  get position(): Position | null;
  /** Connect. Call once; it comes back by itself until `close`. */
  open(): void;
  /** Close for good; nothing is handed out after it. */
  close(): void;
  /** Try again now rather than when the wait is over; does nothing in another state. */
  retryNow(): void;
}
