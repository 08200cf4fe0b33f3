"""Two Python servers that send the same to every client: Tornado's `write_message`, websockets' `broadcast`.

    _python_peers.py tornado | websockets FRAMES DEFLATE

Runs as a process of its own. FRAMES is a file of messages, each behind its length; DEFLATE is 1 or 0.
Prints `ready PORT`; told `publish COUNT INTERVAL_NS` on stdin it sends so many, and prints `sent` and the
time before each. The end of stdin ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path


def read_messages(path: str) -> list[str]:
    """Return the messages of a file."""
    content, messages, at = Path(path).read_bytes(), [], 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        messages.append(content[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return messages


async def obey(send: Callable[[str], None], messages: list[str]) -> None:
    """Do what stdin says, until it ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        _, count, interval_ns = line.split()
        sent: list[int] = []
        due = loop.time()
        for number in range(int(count)):
            await asyncio.sleep(due - loop.time())
            sent.append(time.monotonic_ns())
            send(messages[number % len(messages)])
            due += int(interval_ns) / 1e9
        print("sent", *sent, flush=True)


async def serve_tornado(messages: list[str], deflate: bool) -> None:
    """Tornado: `write_message` to each client."""
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.web import Application
    from tornado.websocket import WebSocketHandler

    clients: set[WebSocketHandler] = set()

    class Client(WebSocketHandler):
        def open(self) -> None:  # type: ignore[override]
            self.set_nodelay(True)
            clients.add(self)

        def on_close(self) -> None:
            clients.discard(self)

        def get_compression_options(self) -> dict[str, object] | None:
            return {} if deflate else None

    def send(message: str) -> None:
        for client in clients:
            client.write_message(message)

    listening = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(Application([("/", Client)], log_function=lambda _: None))
    server.add_sockets(listening)
    print("ready", listening[0].getsockname()[1], flush=True)
    await obey(send, messages)


async def serve_websockets(messages: list[str], deflate: bool) -> None:
    """websockets: `broadcast`."""
    from websockets.asyncio.server import ServerConnection, broadcast, serve

    clients: set[ServerConnection] = set()

    async def stay(client: ServerConnection) -> None:
        clients.add(client)
        with contextlib.suppress(Exception):
            await client.wait_closed()
        clients.discard(client)

    server = await serve(
        stay, "127.0.0.1", 0, compression="deflate" if deflate else None, ping_interval=None, open_timeout=60
    )
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await obey(lambda message: broadcast(clients, message), messages)


if __name__ == "__main__":
    name, path, deflated = sys.argv[1:]
    asyncio.run(
        {"tornado": serve_tornado, "websockets": serve_websockets}[name](read_messages(path), deflated == "1")
    )
