"""One WebSocket connection of a test, in a loop of its own thread, with none of our own code inside."""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Self, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.harness import PATIENCE, deadline

OPEN_TIMEOUT_S = 20
MAX_QUEUE = 16
"""Messages the library reads ahead: a reader that pauses stops reading from its socket soon after."""

T = TypeVar("T")


class LoopThread:
    """A thread that runs an event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the loop and return what it returns."""
        return self.start(work).result(OPEN_TIMEOUT_S * PATIENCE)

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start something in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, function: Callable[[], None]) -> None:
        """Call something in the loop, and return once it was called."""

        async def called() -> None:
            function()

        self.run(called())

    def close(self) -> None:
        """End the loop and the thread; a second call does nothing."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Connection(ABC):
    """One reader; at most one connection at a time.

    Attributes:
        messages: how many messages it has got.
        size_bytes: how many bytes they had.
        closes: (code, reason) of each connection that is over.
        problems: what it got that the protocol does not allow.
    """

    def __init__(self, loop: LoopThread, url: str) -> None:
        self.url = url
        self.messages = 0
        self.size_bytes = 0
        self.closes: list[tuple[int | None, str]] = []
        self.problems: list[str] = []
        self.changed = threading.Condition()
        self._loop = loop
        self._going = asyncio.Event()
        self._going.set()
        self._socket: ClientConnection | None = None
        self._reading: Future[None] | None = None

    def target(self) -> str:
        """Return the address to connect to."""
        return self.url

    @abstractmethod
    def take(self, data: bytes) -> None:
        """Take in one message."""

    def connect(self) -> None:
        """Connect; returns once the connection is open."""
        self._socket = self._loop.run(self._open())
        self._reading = self._loop.start(self._read(self._socket))

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

    def say(self, message: str) -> None:
        """Send one text message."""
        assert self._socket is not None
        self._loop.run(self._socket.send(message))

    def disconnect(self) -> None:
        """Close the connection, and wait until nothing more comes of it."""
        self.resume()
        socket, self._socket = self._socket, None
        if socket is not None:
            self._loop.run(socket.close())
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
        self._loop.call(self._going.clear)

    def resume(self) -> None:
        """Read on."""
        self._loop.call(self._going.set)
