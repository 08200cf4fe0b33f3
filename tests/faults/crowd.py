"""Very many readers of our own wire in one thread: just enough of a WebSocket client for each.

Written out because a library's client costs ten times as much as the edge spends on it, and the test would
measure that.
"""

from __future__ import annotations

import asyncio
import threading
import time
from types import TracebackType
from typing import Self

import msgspec

from tests.harness import PATIENCE, deadline

AGAIN_S = 0.05
CONNECTS_AT_ONCE = 200
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class _Message(msgspec.Struct):
    type: str
    epoch: int | None = None
    seq: int | tuple[int, int] | None = None
    resumed: bool | None = None


_decode = msgspec.json.Decoder(_Message).decode


class Client(asyncio.Protocol):
    """One reader: it comes back by itself, with `since`.

    Attributes:
        epoch: the life it is in.
        seq: the last event it has got.
        problems: what it got that it should not have.
        opened: how often it was greeted.
    """

    def __init__(self, crowd: Crowd, path: str) -> None:
        self.epoch: int | None = None
        self.seq = 0
        self.problems: list[str] = []
        self.opened = 0
        self._crowd = crowd
        self._path = path
        self._buffer = bytearray()
        self._upgraded = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._buffer.clear()
        self._upgraded = False
        since = "?since=start" if self.epoch is None else f"?since={self.epoch}:{self.seq}"
        transport.write(
            f"GET {self._path}{since} HTTP/1.1\r\nHost: 127.0.0.1:{self._crowd.port}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {_KEY}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self._upgraded = True
            self._buffer = rest
            if not head.startswith(b"HTTP/1.1 101"):
                self.problems.append(bytes(head[:40]).decode(errors="replace"))
        while (size := self._take_frame()) is not None:
            del self._buffer[:size]

    def _take_frame(self) -> int | None:
        """Take in the first frame; return its size, None when it is not whole."""
        if len(self._buffer) < 2:
            return None
        opcode, size = self._buffer[0] & 0xF, self._buffer[1]
        start = {126: 4, 127: 10}.get(size, 2)
        if len(self._buffer) < start:
            return None
        if start > 2:
            size = int.from_bytes(self._buffer[2:start])
        if len(self._buffer) < start + size:
            return None
        if opcode == 1:
            self._take(bytes(self._buffer[start : start + size]))
        elif opcode == 9 and self.transport is not None:
            self.transport.write(b"\x8a\x80\0\0\0\0")  # a pong without a payload, and the mask it needs
        return start + size

    def _take(self, data: bytes) -> None:
        message = _decode(data)
        if message.type == "hello":
            self.opened += 1
            if message.resumed is False:
                self.problems.append("not resumed")
        elif message.type == "batch":
            assert isinstance(message.seq, tuple)
            first, last = message.seq
            if self.epoch not in (None, message.epoch) or first != self.seq + 1:
                self.problems.append(f"{message.epoch}:{first} after {self.epoch}:{self.seq}")
            self.epoch, self.seq = message.epoch, last
        elif message.type not in ("closing", "degraded"):
            self.problems.append(message.type)
        self._crowd.changed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._crowd.lost(self)


class Crowd:
    """Args:
        port: the edge's.
        paths: one client for each.

    Attributes:
        clients: all of them.
    """

    def __init__(self, port: int, paths: list[str]) -> None:
        self.port = port
        self.clients = [Client(self, path) for path in paths]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._over = False
        self._places = asyncio.Semaphore(CONNECTS_AT_ONCE)
        self._wanted: dict[Client, int] = {}
        self._reached = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop.call_soon_threadsafe(lambda: [self.lost(client) for client in self.clients])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(20 * PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._over = True
        for task in self._tasks:
            task.cancel()
        for client in self.clients:
            if client.transport is not None:
                client.transport.abort()

    def lost(self, client: Client) -> None:
        """Have a client connect again."""
        if not self._over:
            task = self._loop.create_task(self._connect(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, client: Client) -> None:
        while True:
            try:
                async with self._places:
                    await self._loop.create_connection(lambda: client, "127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(AGAIN_S)
            else:
                return

    def changed(self, client: Client) -> None:
        """Take notice that a client has got something."""
        wanted = self._wanted.get(client)
        if wanted is not None and client.seq >= wanted and client.opened:
            del self._wanted[client]
            if not self._wanted:
                self._reached.set()

    def expect(self, seq: int) -> None:
        """Say what `wait` waits for: everybody is greeted and has the events up to `seq`."""

        async def note() -> None:
            self._wanted = dict.fromkeys(self.clients, seq)
            self._reached.clear()
            for client in self.clients:
                self.changed(client)

        asyncio.run_coroutine_threadsafe(note(), self._loop).result(20 * PATIENCE)

    def wait(self, seconds: float) -> float:
        """Wait until everybody has what is expected; return when that was, monotonic seconds.

        Raises:
            AssertionError: some have not, in time.
        """
        reached = self._reached.wait(deadline(seconds) - time.monotonic())
        assert reached, f"{len(self._wanted)} of {len(self.clients)} have not got what they should"
        return time.monotonic()

    def problems(self) -> list[str]:
        """Return what is wrong with what anybody got."""
        return [problem for client in self.clients for problem in client.problems]
