// A WebSocket for a Node that has none: RFC 6455 over `net`, as much of it as a client of an edge needs.

import { createHash, randomBytes } from "node:crypto";
import { connect } from "node:net";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const TEXT = 0x1;
const CLOSE = 0x8;
const PING = 0x9;
const PONG = 0xa;

export class NodeSocket {
  readyState = 0;
  onopen = null;
  onmessage = null;
  onclose = null;
  onerror = null;
  #stream;
  #buffer = Buffer.alloc(0);
  #parts = [];
  #code = 1006;

  constructor(address, protocol) {
    const url = new URL(address);
    const key = randomBytes(16).toString("base64");
    this.accept = createHash("sha1").update(key + GUID).digest("base64");
    this.#stream = connect(Number(url.port), url.hostname, () => {
      this.#stream.write(
        `GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
          `Sec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ${[protocol].flat().join(", ")}\r\n\r\n`,
      );
    });
    this.#stream.on("data", (data) => this.#take(data));
    this.#stream.on("error", () => {}); // "close" follows
    this.#stream.on("close", () => {
      this.readyState = 3;
      this.onclose?.({ code: this.#code });
    });
  }

  send(text) {
    if (this.readyState === 0) throw new Error("not open yet");
    if (this.readyState === 1) this.#write(TEXT, Buffer.from(text));
  }

  close(code = 1000) {
    if (this.readyState >= 2) return;
    this.readyState = 2;
    this.#write(CLOSE, Buffer.from([code >> 8, code & 0xff]));
  }

  #take(data) {
    this.#buffer = Buffer.concat([this.#buffer, data]);
    if (this.readyState === 0 && !this.#handshake()) return;
    for (let frame = this.#frame(); frame !== null; frame = this.#frame()) this.#frameCame(frame);
  }

  #handshake() {
    const end = this.#buffer.indexOf("\r\n\r\n");
    if (end < 0) return false;
    const head = this.#buffer.subarray(0, end).toString("latin1");
    if (!head.startsWith("HTTP/1.1 101") || !head.includes(this.accept)) {
      this.#stream.destroy();
      return false;
    }
    this.#buffer = this.#buffer.subarray(end + 4);
    this.readyState = 1;
    this.onopen?.({});
    return true;
  }

  /** The first whole frame that waits, or null. */
  #frame() {
    const buffer = this.#buffer;
    if (buffer.length < 2) return null;
    const short = buffer[1] & 0x7f;
    const start = short === 127 ? 10 : short === 126 ? 4 : 2;
    if (buffer.length < start) return null;
    const size = short === 127 ? Number(buffer.readBigUInt64BE(2)) : short === 126 ? buffer.readUInt16BE(2) : short;
    if (buffer.length < start + size) return null;
    this.#buffer = buffer.subarray(start + size);
    return { final: (buffer[0] & 0x80) !== 0, opcode: buffer[0] & 0xf, payload: buffer.subarray(start, start + size) };
  }

  #frameCame({ final, opcode, payload }) {
    if (opcode === PING) this.#write(PONG, payload);
    else if (opcode === CLOSE) {
      if (payload.length >= 2) this.#code = payload.readUInt16BE(0);
      if (this.readyState === 1) this.close(this.#code);
      this.#stream.end();
    } else if (opcode < CLOSE) {
      this.#parts.push(payload);
      if (final) this.onmessage?.({ data: Buffer.concat(this.#parts.splice(0)).toString() });
    }
  }

  #write(opcode, payload) {
    const mask = randomBytes(4);
    const masked = Buffer.from(payload.map((byte, i) => byte ^ mask[i % 4]));
    const length = payload.length < 126 ? [0x80 | payload.length] : [0x80 | 126, payload.length >> 8, payload.length & 0xff];
    this.#stream.write(Buffer.concat([Buffer.from([0x80 | opcode, ...length]), mask, masked]));
  }
}
