"""A plain TCP connection that is all ours: one `send` a message, one `recv` a wake-up. Shell.

Registered with the loop once, for reading; for writing only while something waits. No task, no future and no
buffer belongs to it while it is idle: an answered ping costs two fifths of what it does in an `IOStream`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from pipeline.edge.transmit import Heard, Transmitter, prepare

_CHUNK_BYTES = 16_384


class SocketTransmitter(Transmitter):
    """Args:
    connection: the browser's socket, which does not block; closed with this.
    early: what it has sent already.
    kernel_buffer_bytes: the socket's SO_SNDBUF.
    """

    __slots__ = ("_early", "_gone", "_heard", "_passed", "_shut", "_socket", "_waiting")

    def __init__(self, connection: socket.socket, early: bytes, kernel_buffer_bytes: int) -> None:
        super().__init__(connection.send)
        self._socket: socket.socket | None = connection
        self._early = early
        self._waiting: list[memoryview] | None = None
        self._passed = 0
        self._shut = False
        self._heard: Heard | None = None
        self._gone: Callable[[], None] | None = None
        prepare(connection, kernel_buffer_bytes)

    @property
    def idle(self) -> bool:
        return self._waiting is None and self._socket is not None

    @property
    def _taken(self) -> int | None:
        return None if self._waiting is None else self._passed

    # --- writing ----------------------------------------------------------------------------------

    def put(self, data: bytes) -> bool:
        taken = 0
        if self._waiting is None:
            try:
                taken = self.offer(data)
            except OSError:  # it would block, or has ended, which is found out when there is room
                taken = 0
        return taken == len(data) or self._rest(data, taken)

    def _rest(self, data: bytes, taken: int) -> bool:
        if self._socket is None or self._shut:
            return False
        rest = memoryview(data)[taken:]
        if self._waiting is not None:
            self._waiting.append(rest)
        else:
            self._waiting = [rest]
            asyncio.get_running_loop().add_writer(self._socket, self._writable)
            self._begins_to_wait()
        return True

    def wait(self) -> None:
        """Do nothing: the loop is waiting while something waits."""

    def _writable(self) -> None:
        assert self._socket is not None
        assert self._waiting is not None
        while self._waiting:
            try:
                taken = self._socket.send(self._waiting[0])
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._lost()
                return
            self._passed += taken
            if taken < len(self._waiting[0]):
                self._waiting[0] = self._waiting[0][taken:]
                return
            del self._waiting[0]
        self._waiting = None
        asyncio.get_running_loop().remove_writer(self._socket)
        if self._shut:
            self._shut_now()
        else:
            self._has_room()

    # --- reading ----------------------------------------------------------------------------------

    def listen(self, heard: Heard, gone: Callable[[], None]) -> None:
        if self._socket is None:
            return
        self._heard, self._gone = heard, gone
        asyncio.get_running_loop().add_reader(self._socket, self._readable)
        early, self._early = self._early, b""
        if early:
            heard(early)

    def _readable(self) -> None:
        assert self._socket is not None
        assert self._heard is not None
        try:
            data = self._socket.recv(_CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._heard(data)
        else:
            self._lost()

    # --- ending -----------------------------------------------------------------------------------

    def _lost(self) -> None:
        gone = self._gone
        self.close()
        if gone is not None:
            gone()

    def shut(self) -> None:
        if not self._shut:
            self._shut = True
            if self._waiting is None:
                self._shut_now()

    def _shut_now(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it has ended
                self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        if self._socket is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        loop.remove_writer(self._socket)
        self._socket.close()
        self._socket = self._waiting = self._heard = self._gone = None
