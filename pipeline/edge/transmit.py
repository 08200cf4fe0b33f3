"""Bytes to one browser's socket: as few copies as can be, and never more waiting than the bound. Shell.

The only file that touches Tornado's insides; tests/sockets/test_transmit.py pins them to the installed
version:

- `WebSocketHandler.ws_connection.stream` and `HTTP1Connection.stream`: the connection's `IOStream`
- `IOStream._total_write_index`, `IOStream._total_write_done_index`: bytes given to it, bytes the kernel took

A frame goes to the stream as it was composed; `write_message` would compose it anew for each browser, at
four times the cost (34-39 us against 9.6 us a frame and client, measured with small frames).
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
    buffer_bytes: bytes that may wait in the process; past it `ready` turns false.
    kernel_buffer_bytes: the socket's SO_SNDBUF.

    Attributes:
        on_room: called when `ready` turns true again.
        messages: messages written.
        bytes_sent: bytes written, framing included.
    """

    def __init__(self, stream: IOStream, buffer_bytes: int, kernel_buffer_bytes: int) -> None:
        self._stream = stream
        self._buffer_bytes = buffer_bytes
        self.on_room: Callable[[], None] = lambda: None
        self._taken_before = 0
        self._taken_at = 0.0
        self.messages = 0
        self.bytes_sent = 0
        if stream.socket is not None:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, kernel_buffer_bytes)
        # A browser that has just answered a ping delays its acks by 40 ms, and Nagle's algorithm would hold
        # frames back for as long: every 5 s a critical one took 48 ms (benchmarks/critical_latency.py).
        stream.set_nodelay(True)

    @property
    def ready(self) -> bool:
        """Whether more may be written."""
        return not self._stream.closed() and self._waiting_bytes < self._buffer_bytes

    @property
    def _waiting_bytes(self) -> int:
        total: int = self._stream._total_write_index - self._stream._total_write_done_index
        return total

    def write(self, frames: bytes, messages: int = 1) -> None:
        """Write whole messages, framed before; a closed connection takes them nowhere."""
        try:
            future: Future[None] = self._stream.write(frames)
        except StreamClosedError:
            return
        self.messages += messages
        self.bytes_sent += len(frames)
        if not future.done():
            future.add_done_callback(self._written)

    def stalled_s(self, now: float) -> float:
        """Return for how long bytes have waited without the kernel taking any; 0 while all is well.

        Args:
            now: monotonic seconds. Call it regularly: it compares with the call before.
        """
        taken: int = self._stream._total_write_done_index
        if taken != self._taken_before or not self._waiting_bytes:
            self._taken_before = taken
            self._taken_at = now
            return 0.0
        return now - self._taken_at

    def _written(self, future: Future[None]) -> None:
        if future.cancelled() or future.exception() is not None:
            return  # closed; the handler's on_close tells
        if self.ready:
            self.on_room()
