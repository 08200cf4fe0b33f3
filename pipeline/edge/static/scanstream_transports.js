/**
 * What the JavaScript client hears an edge over: a WebSocket, or server-sent events. Each tells of the same three
 * things: that it is open, a message, and its end with a code.
 */

const SUBPROTOCOL = "scanstream.v1.json";
const TOKEN_PROTOCOL = "scanstream.token.";
const CONNECTING = 0;
const LOST = 1006;
const UNAUTHORISED = 4401;

/** A WebSocket as a transport. */
class Socket {
  canSend = true;

  constructor(WebSocket, url, token, { open, message, closed }) {
    const socket = new WebSocket(url, token === null ? SUBPROTOCOL : [SUBPROTOCOL, TOKEN_PROTOCOL + token]);
    socket.onopen = open;
    socket.onmessage = ({ data }) => message(data);
    socket.onclose = ({ code }) => closed(code);
    socket.onerror = () => {}; // a close follows
    this.socket = socket;
  }

  send(text) {
    this.socket.send(text);
  }

  /** Close it; one that is still opening once it is open, for a browser reports the other as an error. */
  leave() {
    const { socket } = this;
    if (socket.readyState === CONNECTING) socket.onopen = () => socket.close(1000);
    else socket.close(1000);
  }
}

/** Server-sent events as a transport; an `EventSource` would come back by itself, but not at a time of ours. */
class EventStream {
  canSend = false;
  isLeft = false;

  constructor(EventSource, url, token, handlers) {
    if (token === null) {
      this.#open(EventSource, url, handlers);
      return;
    }
    // It cannot bring a token, only a ticket for one use.
    askTicket(url, token).then(
      (ticket) => this.isLeft || this.#open(EventSource, `${url}${url.includes("?") ? "&" : "?"}ticket=${encodeURIComponent(ticket)}`, handlers),
      (code) => this.isLeft || handlers.closed(code),
    );
  }

  #open(EventSource, url, { open, message, closed }) {
    const source = new EventSource(url);
    source.onopen = open;
    source.onmessage = ({ data }) => message(data);
    source.onerror = () => {
      source.close();
      closed(1006);
    };
    this.source = source;
  }

  leave() {
    this.isLeft = true;
    this.source?.close();
  }
}

/** Return a ticket for the stream at this address, of a scan or of the statistics; rejects with a close code. */
async function askTicket(url, token) {
  const [kind, name] = new URL(url).pathname.split("/").slice(-2);
  const [stream, root] = kind === "scans" ? [{ scan_id: decodeURIComponent(name) }, "../.."] : [{ stats: true }, ".."];
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const asked = { method: "POST", headers, body: JSON.stringify(stream), cache: "no-store" };
  const response = await fetch(new URL(`${root}/api/tickets`, url), asked).catch(() => null);
  if (response?.status === 401) throw UNAUTHORISED;
  const { ticket } = response?.ok ? await response.json().catch(() => ({})) : {};
  if (typeof ticket !== "string") throw LOST;
  return ticket;
}

export const TRANSPORTS = { websocket: Socket, sse: EventStream };
