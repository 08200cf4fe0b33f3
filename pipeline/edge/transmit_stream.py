"""A connection that Tornado writes for us: TLS, and answers that are HTTP. Shell.

With `listening` the only file that touches Tornado's insides; tests/sockets/test_transmit.py pins them to the
installed version:

- `RequestHandler.detach`: ends Tornado's part in a connection, and gives its `IOStream`
- `HTTP1Connection.stream`: the `IOStream` of a request
- `IOStream.read_bytes` takes what has come already, and is done at once if there is something
- `IOStream.socket`: non-blocking, and Tornado has nothing under way on it while its write buffer is empty
- `IOStream._write_buffer`: false when nothing waits, else its length is what waits; None once the stream is
  closed
- `IOStream._write_futures`: one deque for life, empty while nothing waits and once the stream is closed
- `IOStream._total_write_done_index`: bytes the kernel took of those given to the stream
- `IOStream.write` keeps a memoryview of what the kernel did not take, and copies nothing over 2,048 bytes;
  a write of nothing is done when everything before it is
"""

from __future__ import annotations

import contextlib
import socket
from asyncio import Future
from collections.abc import Callable

from tornado.http1connection import HTTP1Connection
from tornado.iostream import IOStream, StreamClosedError
from tornado.web import RequestHandler

from pipeline.edge.transmit import Heard, Transmitter, prepare
from pipeline.edge.transmit_socket import SocketTransmitter
from pipeline.edge.untaken import Waiting

_CHUNK_BYTES = 16_384


def taken_over(handler: RequestHandler, kernel_buffer_bytes: int) -> Transmitter | None:
    """Take a request's connection away from Tornado, which then forgets it; None when the browser has gone.

    Args:
        handler: of a request that is not answered; nothing of it may be used afterwards.
        kernel_buffer_bytes: the socket's SO_SNDBUF.
    """
    stream = handler.detach()
    if stream.closed():
        return None
    if type(stream) is not IOStream:
        return StreamTransmitter(stream, kernel_buffer_bytes)
    # A descriptor of our own, and Tornado's is closed: so no trace of it is left in the loop or elsewhere.
    try:
        reading = _reading(stream, stream.max_buffer_size)
        early = reading.result() if reading.done() else b""
        if stream.closed():
            return None
        return SocketTransmitter(stream.socket.dup(), early, kernel_buffer_bytes)
    except OSError:  # the browser has gone, or there are no descriptors left
        return None
    finally:
        stream.close()


def untaken(stream: IOStream) -> Waiting[IOStream] | None:
    """Return what of an answer its client has not taken yet; None when nothing waits."""
    waiting = stream._write_buffer
    if not waiting or stream.closed():
        return None
    return Waiting(stream, len(waiting), stream._total_write_done_index)


def http_stream(handler: RequestHandler) -> IOStream:
    """Return the connection of a request whose answer has begun."""
    connection = handler.request.connection
    assert isinstance(connection, HTTP1Connection)
    assert isinstance(connection.stream, IOStream)
    return connection.stream


def _reading(stream: IOStream, at_most: int) -> Future[bytes]:
    """Return what comes next: done at once when something has come."""
    reading = stream.read_bytes(at_most, partial=True)
    assert isinstance(reading, Future)
    return reading


class StreamTransmitter(Transmitter):
    """Args:
    stream: the browser's connection.
    kernel_buffer_bytes: the socket's SO_SNDBUF.
    """

    __slots__ = ("_awaited", "_gone", "_heard", "_shut", "_stream")

    def __init__(self, stream: IOStream, kernel_buffer_bytes: int) -> None:
        super().__init__(_offer_by(stream))
        self._stream = stream
        self._awaited = False
        self._shut = False
        self._heard: Heard | None = None
        self._gone: Callable[[], None] | None = None
        if stream.socket is not None:
            prepare(stream.socket, kernel_buffer_bytes)

    @property
    def idle(self) -> bool:
        return not self._stream.closed() and not self._stream._write_buffer

    @property
    def _taken(self) -> int | None:
        return self._stream._total_write_done_index if self._stream._write_buffer else None

    # --- writing ----------------------------------------------------------------------------------

    def put(self, data: bytes) -> bool:
        return self._rest(data, self.offer(data))

    def _rest(self, data: bytes, taken: int) -> bool:
        if taken < len(data):
            try:
                self._stream.write(memoryview(data)[taken:])
            except StreamClosedError:
                return False
        self.wait()
        return True

    def wait(self) -> None:
        if not self._awaited and not self._stream.closed() and self._stream._write_buffer:
            self._awaited = True
            future: Future[None] = self._stream.write(b"")
            future.add_done_callback(self._written)
            self._begins_to_wait()

    def _written(self, future: Future[None]) -> None:
        self._awaited = False
        if future.cancelled() or future.exception() is not None:
            return  # closed, which reading tells
        if not self.idle:
            self.wait()
        elif self._shut:
            self._shut_now()
        else:
            self._has_room()

    # --- reading ----------------------------------------------------------------------------------

    def listen(self, heard: Heard, gone: Callable[[], None]) -> None:
        self._heard, self._gone = heard, gone
        self._read()

    def _read(self) -> None:
        try:
            reading = _reading(self._stream, _CHUNK_BYTES)
        except StreamClosedError:
            self._lost()
        else:
            reading.add_done_callback(self._came)

    def _came(self, reading: Future[bytes]) -> None:
        if reading.cancelled() or reading.exception() is not None:
            self._lost()
        elif self._heard is not None:
            self._heard(reading.result())
            if self._heard is not None:
                self._read()

    # --- ending -----------------------------------------------------------------------------------

    def _lost(self) -> None:
        gone = self._gone
        self.close()
        if gone is not None:
            gone()

    def shut(self) -> None:
        if not self._shut:
            self._shut = True
            if self.idle:
                self._shut_now()

    def _shut_now(self) -> None:
        if self._stream.socket is not None:
            with contextlib.suppress(OSError):  # it has ended
                self._stream.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._heard = self._gone = None
        self._stream.close()


def _offer_by(stream: IOStream) -> Callable[[bytes], int]:
    """Return a transmitter's `offer`; this one takes nothing while something waits."""
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
