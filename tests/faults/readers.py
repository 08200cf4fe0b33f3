"""Readers that come back by themselves, one for each way out; `oracle` judges what they got."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from websockets.exceptions import WebSocketException

from tests.e2e.connection import Connection, LoopThread
from tests.e2e.heroforge import HeroForgeReader
from tests.e2e.native import NativeReader
from tests.harness import Process

AGAIN_S = 0.03
"""The pause before a reader tries again."""
GONE = (OSError, EOFError, TimeoutError, WebSocketException)
"""How a try ends when there is no edge, or it goes away."""


class Staying(Connection):
    """A reader that connects again whenever its connection ends.

    Attributes:
        opened: how many connections it has had.
    """

    opened = 0
    _over = False
    _task: asyncio.Task[None] | None = None

    def connect(self) -> None:
        self._loop.run(self._begin())

    async def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._stay())

    async def _stay(self) -> None:
        while not self._over:
            try:
                await self._once()
            except GONE:
                pass
            except Exception as error:  # noqa: BLE001  # told by the oracle
                self.problems.append(repr(error))
            if not self._over:
                await asyncio.sleep(AGAIN_S)

    async def _once(self) -> None:
        """Connect, and read until the connection ends."""
        socket = await self._open()
        try:
            self.opened += 1
            await self._read(socket)
        finally:
            socket.transport.abort()

    def disconnect(self) -> None:
        self._over = True
        self._loop.run(self._end())

    async def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


class StayingNative(Staying, NativeReader):
    """On our own wire; goes on with `since`."""


class StayingLate(StayingNative):
    """On our own wire, opened in the middle: it is given the scan's state first, then what follows."""

    def target(self) -> str:
        return self.url if self.epoch is None else super().target()

    def may_begin_with_a_state(self) -> bool:
        return self.epoch is None or super().may_begin_with_a_state()


class StayingHeroForge(Staying, HeroForgeReader):
    """On HeroForge's wire: what came is kept by connection.

    Attributes:
        connections: the messages of each connection.
    """

    def __init__(self, loop: LoopThread, url: str) -> None:
        super().__init__(loop, url)
        self.connections: list[list[bytes]] = []

    async def _once(self) -> None:
        self.connections.append([])
        await super()._once()

    def take(self, data: bytes) -> None:
        if b'"scanId"' not in data:  # a notice of the edge's, no event
            self.connections[-1].append(data)
        elif b'"lag"' in data:
            self.problems.append(f"told to lag: {data!r}")


class StayingSse(Staying, NativeReader):
    """By server-sent events; goes on with `Last-Event-ID`."""

    async def _once(self) -> None:
        reader, writer, _ = await ask(f"{self.url}?since=start", self._headers())
        try:
            self.opened += 1
            rest = b""
            while size := int(await reader.readline() or b"0", 16):
                rest += (await reader.readexactly(size + 2))[:-2]
                *whole, rest = rest.split(b"\n\n")
                for block in whole:
                    self._take_block(block)
        finally:
            writer.close()

    def _headers(self) -> dict[str, str]:
        return {} if self.epoch is None else {"Last-Event-ID": f"{self.epoch}:{self.seq}"}

    def _take_block(self, block: bytes) -> None:
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n") if not line.startswith(b":"))
        if b"data" not in fields:
            return
        with self.changed:
            self.messages += 1
            self.take(fields[b"data"])
            if b"id" in fields and fields[b"id"] != f"{self.epoch}:{self.seq}".encode():
                self.problems.append(f"id {fields[b'id']!r} at {self.epoch}:{self.seq}")
            self.changed.notify_all()


class StayingRest(Staying, NativeReader):
    """By `GET …/events?since=`, again and again, in parts of `limit`.

    Attributes:
        complete: the end of the scan was reached.
        damaged: ranges of events it was told are damaged.
    """

    def __init__(self, loop: LoopThread, url: str, limit: int = 100) -> None:
        super().__init__(loop, url)
        self.complete = False
        self.damaged: list[tuple[int, int]] = []
        self._limit = limit

    async def _once(self) -> None:
        since = "" if self.epoch is None else f"since={self.epoch}:{self.seq}&"
        reader, writer, size = await ask(f"{self.url}?{since}limit={self._limit}", {})
        try:
            answer = msgspec.json.decode(await reader.readexactly(size), type=_Answer)
        finally:
            writer.close()
        with self.changed:
            self.opened += 1
            self._take_answer(answer)
            self.changed.notify_all()

    def _take_answer(self, answer: _Answer) -> None:
        if self.epoch is None:
            self.epoch = answer.epoch
        if answer.resumed is False or answer.epoch != self.epoch:
            self.problems.append(f"not resumed at {self.epoch}:{self.seq}, but {answer.epoch}")
        if answer.seq is not None:
            first, last = answer.seq
            if first != self.seq + 1 or len(answer.events) != last - first + 1:
                self.problems.append(f"{first}-{last} with {len(answer.events)} events after {self.seq}")
            held = self.events.setdefault(answer.epoch, {})
            held.update(zip(range(first, last + 1), map(bytes, answer.events), strict=False))
            self.seq = last
        if answer.damaged is not None:
            first, last = answer.damaged
            if first != self.seq + 1 or answer.events:
                self.problems.append(f"damaged {first}-{last} after {self.seq}")
            self.damaged.append((first, last))
            self.seq = last
        if answer.complete:
            self.complete = self._over = True

    def log(self) -> list[bytes]:
        """Return the whole log, from its first event on; ask when it is complete."""
        assert self.complete, f"{self!r} has not reached the end"
        assert self.problems == [], f"REST: {self.problems[:5]}"
        (held,) = self.events.values()
        assert list(held) == list(range(1, len(held) + 1))
        return list(held.values())


class _Answer(msgspec.Struct):
    epoch: int
    seq: tuple[int, int] | None
    complete: bool
    events: list[msgspec.Raw]
    resumed: bool | None = None
    damaged: tuple[int, int] | None = None


async def ask(url: str, headers: dict[str, str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
    """Send a GET; return where the body is read from, what is to be closed, and how long it is, if told.

    Raises:
        OSError: there is no answer, or no good one.
    """
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 24)
    try:
        lines = [f"GET {parts.path}?{parts.query} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(head.partition(b"\r\n")[0])
    except BaseException:
        writer.close()
        raise
    size = re.search(rb"(?i)content-length: (\d+)", head)
    return reader, writer, int(size[1]) if size else 0


class StayingTail:
    """A `tail --json` that goes on after its last whole line when it is killed.

    Args:
        run_dir: the pipeline's run directory.
        scan_id: what it follows.
    """

    def __init__(self, run_dir: Path, scan_id: str) -> None:
        self._where = ("--json", "--follow", "--scan", scan_id, "--run-dir", str(run_dir))
        self._before: list[bytes] = []
        self._process = Process("tail", "--from-start", *self._where)

    def kill(self) -> None:
        """End it as a crash does, and go on."""
        self._process.kill()
        self._before = self.lines()
        self._process.close()
        since = ["--from-start"]
        if self._before:
            last = json.loads(self._before[-1])
            since = ["--since", f"{last['epoch']}:{last['seq']}"]
        self._process = Process("tail", *since, *self._where)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.popen.send_signal(number)

    def lines(self) -> list[bytes]:
        """Return the whole lines that came."""
        return self._before + [line for line in list(self._process.stdout) if line.endswith(b"\n")]

    @property
    def notices(self) -> str:
        """What the last one said on stderr."""
        return self._process.errors

    def held(self) -> dict[int, bytes]:
        """Return seq -> event of everything it printed.

        Raises:
            AssertionError: it printed something twice or out of order.
        """
        found: dict[int, bytes] = {}
        epochs = set()
        for line in self.lines():
            about = msgspec.json.decode(line, type=_Line)
            assert about.seq > next(reversed(found), 0), f"tail: {about.seq} after {next(reversed(found))}"
            found[about.seq] = bytes(about.event)
            epochs.add(about.epoch)
        assert len(epochs) <= 1, f"tail: lives {epochs}"
        return found

    def close(self) -> None:
        """End it for certain."""
        self._process.close()


class _Line(msgspec.Struct):
    epoch: int
    seq: int
    event: msgspec.Raw


def wait_end(reader: Any, seconds: float) -> None:
    """Wait until a reader has got the end of the scan, or for REST the completed log."""
    if isinstance(reader, StayingRest):
        reader.wait_for(lambda reader: reader.complete, seconds)
    elif isinstance(reader, StayingHeroForge):
        reader.wait_for(
            lambda reader: any(b'"scanCompleted"' in got[-1] for got in reader.connections if got), seconds
        )
    else:
        reader.wait_for(
            lambda reader: (
                reader.epoch is not None
                and b'"scanCompleted"' in reader.events.get(reader.epoch, {}).get(reader.seq, b"")
            ),
            seconds,
        )
