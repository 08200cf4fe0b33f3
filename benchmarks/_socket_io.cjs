// Socket.IO's broadcast to every client.
//
//     node _socket_io.cjs FRAMES DEFLATE
//
// Runs as a process of its own. FRAMES is a file of messages, each behind its length; DEFLATE is 1 or 0. Prints
// `ready PORT`; told `publish COUNT INTERVAL_NS` on stdin it sends so many, and prints `sent` and the time before
// each, CLOCK_MONOTONIC ns. The end of stdin ends it.
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const readline = require("node:readline");
const { Server } = require("socket.io");

const [path, deflate] = process.argv.slice(2);
const content = fs.readFileSync(path);
const messages = [];
for (let at = 0; at < content.length; ) {
  const size = content.readUInt32BE(at);
  messages.push(JSON.parse(content.toString("utf8", at + 4, at + 4 + size)));
  at += 4 + size;
}

const server = http.createServer();
const io = new Server(server, {
  transports: ["websocket"],
  perMessageDeflate: deflate === "1",
  pingInterval: 3_600_000, // the clients do not speak its heartbeat
});

function publish(count, intervalNs) {
  const sent = [];
  const began = process.hrtime.bigint();
  const next = () => {
    sent.push(process.hrtime.bigint());
    io.emit("event", messages[(sent.length - 1) % messages.length]);
    if (sent.length === count) {
      process.stdout.write(`sent ${sent.join(" ")}\n`);
      return;
    }
    const due = began + intervalNs * BigInt(sent.length);
    setTimeout(next, Math.max(0, Number(due - process.hrtime.bigint()) / 1e6));
  };
  next();
}

server.listen(0, "127.0.0.1", 1024, () => process.stdout.write(`ready ${server.address().port}\n`));
const lines = readline.createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const [, count, intervalNs] = line.split(" ");
  publish(Number(count), BigInt(intervalNs));
});
lines.on("close", () => process.exit(0));
