// Runs the client in Node and tells, one JSON line each, every message, state and position; ends when its input does.
//
//   node node_reader.mjs CLIENT_MODULE OPTIONS_JSON

import { pathToFileURL } from "node:url";
import { NodeSocket } from "./node_socket.mjs";

const [, , modulePath, options] = process.argv;
const { ScanStream } = await import(pathToFileURL(modulePath));

const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const { tokens, ...given } = JSON.parse(options);
let asked = 0; // a list of tokens stands for a function that gives one after the other, the last for good
const token = tokens ? async () => tokens[Math.min(asked++, tokens.length - 1)] : given.token;
const stream = new ScanStream({
  WebSocket: NodeSocket,
  ...given,
  token,
  onMessages: (messages) => tell({ messages, position: stream.position }),
  onState: (state) => tell({ state, now: performance.now() }),
});
stream.open();
process.stdin.resume();
process.stdin.on("end", () => stream.close());
