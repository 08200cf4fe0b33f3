"""Bytes to one browser's socket: as few copies and calls as can be, one message ahead at most. Shell.

The only file that touches Tornado's insides; tests/sockets/test_transmit.py pins them to the installed
version:

- `WebSocketHandler.ws_connection.stream` and `HTTP1Connection.stream`: the connection's `IOStream`
- `IOStream.socket`: non-blocking, and Tornado has nothing under way on it while its write buffer is empty
- `IOStream._write_buffer`: false when nothing waits; None once the stream is closed
- `IOStream._write_futures`: one deque for life, empty while nothing waits and once the stream is closed
- `IOStream._total_write_done_index`: bytes the kernel took of those given to the stream
- `IOStream.write` keeps a memoryview of what the kernel did not take, and copies nothing over 2,048 bytes;
  a write of nothing is done when everything before it is

While nothing waits in the stream, a message goes straight to the socket: 9.6 us a message against 34-39 for
`write_message`. What the kernel does not take goes through the stream, and nothing follows before it is gone:
the kernel's buffer is what a browser may be behind without being waited for. TLS goes through the stream.
"""

from __future__ import annotations

import socket
from asyncio import Future
from collections.abc import Callable

from tornado.http1connection import HTTP1Connection
from tornado.iostream import IOStream, StreamClosedError
from tornado.web import RequestHandler
from tornado.websocket import WebSocketHandler


def websocket_stream(handler: WebSocketHandler) -> IOStream:
    """Return the connection of a WebSocket that is open."""
    connection = handler.ws_connection
    assert connection is not None
    stream = connection.stream
    assert isinstance(stream, IOStream)
    return stream


def http_stream(handler: RequestHandler) -> IOStream:
    """Return the connection of a request whose answer has begun."""
    connection = handler.request.connection
    assert isinstance(connection, HTTP1Connection)
    assert isinstance(connection.stream, IOStream)
    return connection.stream


class Transmitter:
    """Args:
    stream: the browser's connection, from `websocket_stream` or `http_stream`.
    kernel_buffer_bytes: the socket's SO_SNDBUF.

    Attributes:
        offer: gives whole messages to the socket, if nothing waits for it; returns how many bytes it took.
            Give the rest, if any, to `write_rest`; after an error, all of it. A function of its own, for it
            is called for each frame and browser: so it touches as little memory as can be.
        on_idle: each is called when everything that waited is with the kernel; every time another one first,
            so that those who share the connection have their turns.
        messages: messages written by `write`; not what was taken by `offer`.
        bytes_sent: their bytes, framing included.
    """

    __slots__ = (
        "_awaited",
        "_stream",
        "_taken_at",
        "_taken_before",
        "bytes_sent",
        "messages",
        "offer",
        "on_idle",
    )

    def __init__(self, stream: IOStream, kernel_buffer_bytes: int) -> None:
        self._stream = stream
        self.on_idle: list[Callable[[], None]] = []
        self._awaited = False
        self._taken_before = 0
        self._taken_at = 0.0
        self.messages = 0
        self.bytes_sent = 0
        if stream.socket is not None:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, kernel_buffer_bytes)
        self.offer: Callable[[bytes], int] = _offer_by(stream)
        # A browser that has just answered a ping delays its acks by 40 ms, and Nagle's algorithm would hold
        # frames back for as long: every 5 s a critical one took 48 ms (benchmarks/critical_latency.py).
        stream.set_nodelay(True)

    @property
    def idle(self) -> bool:
        """Whether the connection is open, and nothing waits for the kernel to take it."""
        return not self._stream.closed() and not self._stream._write_buffer

    def write(self, data: bytes, messages: int = 1) -> None:
        """Write whole messages, framed before; a closed connection takes them nowhere."""
        self.write_rest(data, self.offer(data), messages)

    def write_rest(self, data: bytes, taken: int, messages: int) -> None:
        """Write the rest of messages of which the socket took so many bytes, and count them all."""
        if taken < len(data):
            try:
                self._stream.write(memoryview(data)[taken:])
            except StreamClosedError:
                return
            self._taken_before = -1  # a stall counts from now on, not from when nothing waited
        self.messages += messages
        self.bytes_sent += len(data)
        self.wait()

    def wait(self) -> None:
        """See to it that `on_idle` is called, if something waits: also what Tornado wrote, such as a pong."""
        if not self._awaited and not self._stream.closed() and self._stream._write_buffer:
            self._awaited = True
            future: Future[None] = self._stream.write(b"")
            future.add_done_callback(self._written)

    def stalled_s(self, now: float) -> float:
        """Return for how long bytes have waited without the kernel taking any; 0 while all is well.

        Args:
            now: monotonic seconds. Call it regularly: it compares with the call before.
        """
        taken: int = self._stream._total_write_done_index
        if taken != self._taken_before or not self._stream._write_buffer:
            self._taken_before = taken
            self._taken_at = now
            return 0.0
        return now - self._taken_at

    def _written(self, future: Future[None]) -> None:
        self._awaited = False
        if future.cancelled() or future.exception() is not None:
            return  # closed; the handler's on_close tells
        if self.idle:
            calls = tuple(self.on_idle)
            self.on_idle.append(self.on_idle.pop(0))
            for call in calls:
                call()
        else:
            self.wait()


def _offer_by(stream: IOStream) -> Callable[[bytes], int]:
    """Return a transmitter's `offer`."""
    waiting = stream._write_futures

    def to_stream(data: bytes) -> int:
        if waiting:
            return 0
        try:
            stream.write(data)
        except StreamClosedError:
            return 0
        return len(data)

    if type(stream) is not IOStream or stream.socket is None:
        return to_stream  # TLS, or closed already
    send = stream.socket.send

    def to_socket(data: bytes) -> int:
        if waiting:
            return 0
        try:
            return send(data)
        except OSError:  # it would block, or it is closed, which the stream finds out for itself
            return 0

    return to_socket
