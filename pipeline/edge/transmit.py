"""Bytes to one browser: as few copies and calls as can be, one message ahead at most. Shell.

`Transmitter` is what readers of a connection know of it; of its two kinds `transmit_socket` is a plain TCP
connection that is all ours, and `transmit_stream` one that Tornado writes for us: TLS, and HTTP answers.

While nothing waits, a message goes straight to the socket. What the kernel does not take waits, and nothing
follows before it is gone: the kernel's buffer is what a browser may be behind without being waited for.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable

Heard = Callable[[bytes], None]
"""Told of bytes that came, cut anywhere; raises nothing."""


class Transmitter(ABC):
    """Attributes:
    offer: gives whole messages to a connection for which nothing waits; returns how many bytes it took.
        Give the rest, if any, to `write_rest`; after an OSError, all of it. It is called for each frame and
        browser, so it asks nothing: who offers must have stood back when `on_wait` was called, until
        `on_idle`.
    on_wait: each is called when something begins to wait.
    on_idle: each is called when everything that waited is with the kernel; every time another one first,
        so that those who share the connection have their turns.
    on_error: told of an error in one of these; until it is set they raise.
    messages: messages written by `write`; not what was taken by `offer`.
    bytes_sent: their bytes, framing included.
    """

    __slots__ = (
        "_taken_at",
        "_taken_before",
        "bytes_sent",
        "messages",
        "offer",
        "on_error",
        "on_idle",
        "on_wait",
    )

    def __init__(self, offer: Callable[[bytes], int]) -> None:
        self.offer = offer
        self.on_wait: list[Callable[[], None]] = []
        self.on_idle: list[Callable[[], None]] = []
        self.on_error: Callable[[BaseException], None] | None = None
        self.messages = 0
        self.bytes_sent = 0
        self._taken_before = 0
        self._taken_at = 0.0

    # --- what the kinds of connection do ----------------------------------------------------------

    @property
    @abstractmethod
    def idle(self) -> bool:
        """Whether the connection is open, and nothing waits for the kernel to take it."""

    @abstractmethod
    def put(self, data: bytes) -> bool:
        """Write bytes that count as no message.

        Returns:
            Whether the connection is open.
        """

    @abstractmethod
    def wait(self) -> None:
        """See to it that `on_idle` is called, if something waits."""

    @abstractmethod
    def listen(self, heard: Heard, gone: Callable[[], None]) -> None:
        """Hear from now on what the browser sends; what it has sent already is heard within the call.

        Args:
            heard: told of bytes.
            gone: told once that it has left; not after `close`.
        """

    @abstractmethod
    def shut(self) -> None:
        """Write nothing after what waits; then the browser is told so. It is still heard."""

    @abstractmethod
    def close(self) -> None:
        """End the connection, with what waits."""

    @abstractmethod
    def _rest(self, data: bytes, taken: int) -> bool:
        """Have what was not taken wait; return whether the connection is open."""

    @property
    @abstractmethod
    def _taken(self) -> int | None:
        """Bytes the kernel has taken of those that waited; None while nothing waits."""

    # --- what they have in common -----------------------------------------------------------------

    def write(self, data: bytes, messages: int = 1) -> None:
        """Write whole messages, framed before; a closed connection takes them nowhere."""
        if self.put(data):
            self.messages += messages
            self.bytes_sent += len(data)

    def write_rest(self, data: bytes, taken: int, messages: int) -> None:
        """Write the rest of messages of which `offer` took so many bytes, and count them all."""
        if taken == len(data) or self._rest(data, taken):
            self.messages += messages
            self.bytes_sent += len(data)

    def stalled_s(self, now: float) -> float:
        """Return for how long bytes have waited without the kernel taking any; 0 while all is well.

        Args:
            now: monotonic seconds. Call it regularly: it compares with the call before.
        """
        taken = self._taken
        if taken is None or taken != self._taken_before:
            self._taken_before = -1 if taken is None else taken
            self._taken_at = now
            return 0.0
        return now - self._taken_at

    def _begins_to_wait(self) -> None:
        self._taken_before = -1  # a stall counts from now on, not from when nothing waited
        self._tell(tuple(self.on_wait))

    def _has_room(self) -> None:
        calls = tuple(self.on_idle)
        if len(calls) > 1:
            self.on_idle.append(self.on_idle.pop(0))
        self._tell(calls)

    def _tell(self, calls: tuple[Callable[[], None], ...]) -> None:
        for call in calls:
            try:
                call()
            except Exception as error:
                if self.on_error is None:
                    raise
                self.on_error(error)


def prepare(connection: socket.socket, kernel_buffer_bytes: int) -> None:
    """Set a browser's socket up for messages.

    Args:
        connection: the socket.
        kernel_buffer_bytes: its SO_SNDBUF.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, kernel_buffer_bytes)
    # A browser that has just answered a ping delays its acks by 40 ms, and Nagle's algorithm would hold
    # frames back for as long: every 5 s a critical one took 48 ms (benchmarks/latency.py).
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
