"""WebSocket readers for tests: many of them in one thread, with none of our own code inside.

A reader keeps every message as it came and says at once what is wrong with it; a test waits for a fact
about it, and at the end holds what it got against what was sent.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.harness import PATIENCE, deadline

SUBPROTOCOL = "scanstream.v1.json"
OPEN_TIMEOUT_S = 20
MAX_QUEUE = 16
"""Messages the library reads ahead: a reader that pauses stops reading from its socket soon after."""

T = TypeVar("T")


class _Message(msgspec.Struct):
    """The fields of our wire that a reader looks at; `seq` is a number in hello, a pair in batch."""

    type: str
    epoch: int | None = None
    seq: int | tuple[int, int] | None = None
    resumed: bool | None = None
    merged: int = 0
    filtered: int = 0
    at: tuple[int, ...] | None = None
    events: list[msgspec.Raw] = []
    reason: str = ""
    degraded: bool = False
    skipped: int = msgspec.field(default=0, name="skippedMessages")


class _Progress(msgspec.Struct):
    type: str
    phase: str | None = None


_decode = msgspec.json.Decoder(_Message).decode
_progress = msgspec.json.Decoder(_Progress).decode


class Watchers:
    """A thread with a loop, for as many readers as a test wants."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._readers: list[Connection] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and end the thread; a second call does nothing."""
        if self._loop.is_closed():
            return
        for reader in self._readers:
            reader.disconnect()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def native(self, url: str) -> NativeReader:
        """Return a reader of our own wire, connected; it resumes by `since` when it connects again."""
        return self.add(NativeReader(self, url))

    def heroforge(self, url: str) -> HeroForgeReader:
        """Return a reader of HeroForge's wire, connected."""
        return self.add(HeroForgeReader(self, url))

    def manager(self, url: str) -> WebSocketManager:
        """Return a reader that does what HeroForge's frontend does, connected."""
        return self.add(WebSocketManager(self, url))

    R = TypeVar("R", bound="Connection")

    def add(self, reader: R) -> R:
        """Return a reader, connected; it is closed with the others."""
        self._readers.append(reader)
        reader.connect()
        return reader

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the loop and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(OPEN_TIMEOUT_S * PATIENCE)

    def call(self, function: Callable[[], None]) -> None:
        """Call something in the loop, and return once it was called."""

        async def called() -> None:
            function()

        self.run(called())

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start something in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)


class Connection:
    """One reader; at most one connection at a time.

    Attributes:
        messages: how many messages it has got.
        size_bytes: how many bytes they had.
        closes: (code, reason) of each connection that is over.
        problems: what it got that the protocol does not allow.
    """

    def __init__(self, watchers: Watchers, url: str) -> None:
        self.url = url
        self.messages = 0
        self.size_bytes = 0
        self.closes: list[tuple[int | None, str]] = []
        self.problems: list[str] = []
        self.changed = threading.Condition()
        self._watchers = watchers
        self._going = asyncio.Event()
        self._going.set()
        self._socket: ClientConnection | None = None
        self._reading: Future[None] | None = None

    def target(self) -> str:
        """Return the address to connect to."""
        return self.url

    def take(self, data: bytes) -> None:
        """Take in one message."""
        raise NotImplementedError

    def connect(self) -> None:
        """Connect; returns once the connection is open."""
        self._socket = self._watchers.run(self._open())
        self._reading = self._watchers.start(self._read(self._socket))

    async def _open(self) -> ClientConnection:
        return await connect(
            self.target(),
            subprotocols=self.subprotocols(),
            compression=None,
            max_size=None,
            ping_interval=None,
            proxy=None,
            open_timeout=OPEN_TIMEOUT_S * PATIENCE,
            max_queue=MAX_QUEUE,
        )

    def subprotocols(self) -> Any:
        """Return the subprotocols to offer."""
        return None

    async def _read(self, socket: ClientConnection) -> None:
        try:
            while True:
                await self._going.wait()
                data = await socket.recv(decode=False)
                with self.changed:
                    self.messages += 1
                    self.size_bytes += len(data)
                    self.take(data)
                    self.changed.notify_all()
        except ConnectionClosed as error:
            with self.changed:
                close = error.rcvd
                self.closes.append((close.code, close.reason) if close else (None, ""))
                self.changed.notify_all()

    def disconnect(self) -> None:
        """Close the connection, and wait until nothing more comes of it."""
        self.resume()
        socket, self._socket = self._socket, None
        if socket is not None:
            self._watchers.run(socket.close())
            assert self._reading is not None
            self._reading.result(OPEN_TIMEOUT_S * PATIENCE)

    def wait_closed(self, seconds: float = 20) -> None:
        """Wait until the other side has closed the connection."""
        assert self._reading is not None
        self._reading.result(seconds * PATIENCE)
        self._socket = None

    def wait_for(self, fact: Callable[[Self], object], seconds: float = 30) -> None:
        """Wait until `fact` of this reader is true."""
        end = deadline(seconds)
        with self.changed:
            while not fact(self):
                if not self.changed.wait(end - time.monotonic()) and not fact(self):
                    raise AssertionError(f"{self!r} waited {seconds:g} s in vain")

    def pause(self) -> None:
        """Read nothing more, as a browser that hangs."""
        self._watchers.call(self._going.clear)

    def resume(self) -> None:
        """Read on."""
        self._watchers.call(self._going.set)


class NativeReader(Connection):
    """A reader of our own wire.

    Attributes:
        epoch: the life it is in; None before the first event.
        seq: the last event it has got, or was told it does not get.
        events: epoch -> seq -> the event's JSON.
        ranges: the first and last of each batch.
        frames: how many batches it has got.
        merged: how many events the batches say they left out.
        hellos: each `hello`.
        resets: each `reset`.
        lags: each `lag`.
        degraded: each `degraded`: whether it is so.
    """

    def __init__(self, watchers: Watchers, url: str) -> None:
        super().__init__(watchers, url)
        self.epoch: int | None = None
        self.seq = 0
        self.events: dict[int, dict[int, bytes]] = {}
        self.ranges: list[tuple[int, int]] = []
        self.frames = 0
        self.merged = 0
        self.hellos: list[_Message] = []
        self.resets: list[_Message] = []
        self.lags: list[_Message] = []
        self.degraded: list[bool] = []

    def __repr__(self) -> str:
        return (
            f"reader of {self.url} at {self.epoch}:{self.seq}, {self.frames} frames, {self.merged} merged, "
            f"closes {self.closes}, problems {self.problems[:3]}"
        )

    def subprotocols(self) -> Any:
        return [SUBPROTOCOL]

    def target(self) -> str:
        return self.url if self.epoch is None else f"{self.url}?since={self.epoch}:{self.seq}"

    def take(self, data: bytes) -> None:
        message = _decode(data)
        if message.type == "hello":
            self.hellos.append(message)
            if message.resumed is False:
                self.epoch, self.seq = message.epoch, 0
        elif message.type == "batch":
            self._batch(message)
        elif message.type == "reset":
            self.resets.append(message)
            self.epoch, self.seq = message.epoch, 0
        elif message.type == "lag":
            self.lags.append(message)
            self.seq += message.skipped
        elif message.type == "degraded":
            self.degraded.append(message.degraded)
        elif message.type != "closing":
            self.problems.append(f"unexpected {message.type}")

    def _batch(self, message: _Message) -> None:
        assert isinstance(message.seq, tuple)
        assert message.epoch is not None
        first, last = message.seq
        if self.epoch is None:
            self.epoch = message.epoch
        if message.epoch != self.epoch:
            self.problems.append(f"epoch {message.epoch} after {self.epoch}, and no reset between")
        if first != self.seq + 1:
            self.problems.append(f"first {first} after {self.seq}")
        if len(message.events) + message.merged + message.filtered != last - first + 1:
            self.problems.append(f"{first}-{last}: {len(message.events)} events and {message.merged} merged")
        offsets = message.at if message.at is not None else tuple(range(len(message.events)))
        if len(offsets) != len(message.events) or list(offsets) != sorted(set(offsets)):
            self.problems.append(f"{first}-{last}: at does not fit its {len(message.events)} events")
        held = self.events.setdefault(message.epoch, {})
        for offset, event in zip(offsets, message.events, strict=False):
            held[first + offset] = bytes(event)
        self.ranges.append((first, last))
        self.epoch, self.seq = message.epoch, last
        self.frames += 1
        self.merged += message.merged

    def check(self, sent: list[bytes]) -> None:
        """Hold everything got against what was sent: one life, numbered in the order sent.

        What is missing must be counted as merged, and be a progress report that a later one of its phase
        follows in the same frame.

        Raises:
            AssertionError: something is lost, twice, out of order, or not what was sent.
        """
        assert self.problems == []
        assert (self.lags, self.resets) == ([], [])
        assert self.seq == len(sent)
        assert len(self.events) == 1
        (got,) = self.events.values()
        wrong = [seq for seq, event in got.items() if event != sent[seq - 1]]
        assert wrong == [], f"not what was sent: {wrong[:5]} of {self!r}"
        assert len(got) + self.merged == len(sent)
        for first, last in self.ranges:
            followed: set[str | None] = set()
            for seq in range(last, first - 1, -1):
                event = _progress(sent[seq - 1])
                if seq not in got:
                    assert event.type == "scanProgress", f"{seq} is a {event.type}, and lost"
                    assert event.phase in followed, f"{seq} was not replaced in its frame, and is lost"
                elif event.type == "scanProgress":
                    followed.add(event.phase)


class HeroForgeReader(Connection):
    """A reader of HeroForge's wire: one event object a message.

    Attributes:
        objects: every message, decoded.
        raw: every message as it came.
    """

    def __init__(self, watchers: Watchers, url: str) -> None:
        super().__init__(watchers, url)
        self.objects: list[dict[str, Any]] = []
        self.raw: list[bytes] = []

    def __repr__(self) -> str:
        return f"HeroForge's reader of {self.url}, {self.messages} messages, closes {self.closes}"

    def take(self, data: bytes) -> None:
        self.raw.append(data)
        self.objects.append(msgspec.json.decode(data))

    def has(self, type_: str) -> bool:
        """Say whether a message of this type came."""
        return any(message["type"] == type_ for message in self.objects)

    def check(self, sent: list[bytes]) -> None:
        """Hold the events got against what was sent: in order, none twice, only progress left out.

        Raises:
            AssertionError: something is lost, twice, out of order, or not what was sent.
        """
        events = iter(
            raw for raw, message in zip(self.raw, self.objects, strict=True) if "scanId" not in message
        )
        event = next(events, None)
        for seq, raw in enumerate(sent, 1):
            if event == raw:
                event = next(events, None)
            else:
                assert _progress(raw).type == "scanProgress", f"{seq} is lost: {raw!r}"
        assert event is None, f"out of order, twice, or never sent: {event!r}"


class WebSocketManager(HeroForgeReader):
    """What HeroForge's frontend does: it comes back by itself, after 1 s doubling to 8 s, 10 times.

    Attributes:
        statuses: what it told its page: `connecting`, `connected`, `disconnected`, `failed`.
    """

    MAX_ATTEMPTS = 10
    FIRST_DELAY_S = 1.0
    MAX_DELAY_S = 8.0

    def __init__(self, watchers: Watchers, url: str) -> None:
        super().__init__(watchers, url)
        self.statuses: list[str] = []
        self._over = False

    def connect(self) -> None:
        self._reading = self._watchers.start(self._stay())
        self.wait_for(lambda manager: "connected" in manager.statuses)

    async def _stay(self) -> None:
        attempts = 0
        while not self._over:
            self._say("connecting")
            try:
                self._socket = socket = await self._open()
            except OSError:
                self._say("disconnected")
            else:
                attempts = 0
                self._say("connected")
                await self._read(socket)
                self._say("disconnected")
            attempts += 1
            if attempts > self.MAX_ATTEMPTS:
                self._say("failed")
                return
            if not self._over:
                await asyncio.sleep(min(self.FIRST_DELAY_S * 2 ** (attempts - 1), self.MAX_DELAY_S))

    def _say(self, status: str) -> None:
        with self.changed:
            self.statuses.append(status)
            self.changed.notify_all()

    def disconnect(self) -> None:
        self._over = True
        super().disconnect()
