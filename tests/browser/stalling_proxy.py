"""A network between a browser and the edge that may stand still: nothing is lost, little is in between."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from types import TracebackType
from typing import Self

from tests.e2e.connection import LoopThread

_BLOCK_BYTES = 16_384


class StallingProxy:
    """Args:
    port: the port of 127.0.0.1 it passes everything on to.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._loop = LoopThread()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._server = self._loop.run(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.run(self._close())
        self._loop.close()

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stall(self) -> None:
        """Pass nothing on that comes from the edge; connections stay."""
        self._loop.run(self._set(going=False))

    def go_on(self) -> None:
        """Pass on what waits, and what comes."""
        self._loop.run(self._set(going=True))

    async def _set(self, *, going: bool) -> None:
        if going:
            self._going.set()
        else:
            self._going.clear()

    async def _listen(self) -> asyncio.Server:
        self._going = asyncio.Event()
        self._going.set()
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far = socket.socket()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BLOCK_BYTES)
        far.connect(("127.0.0.1", self._port))
        far_reader, far_writer = await asyncio.open_connection(sock=far, limit=_BLOCK_BYTES)
        there = asyncio.create_task(self._pump(reader, far_writer, stalls=False))
        back = asyncio.create_task(self._pump(far_reader, writer, stalls=True))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # the proxy is closed; a cancelled task would be told as an error of the server's
        finally:
            for pump in (there, back):
                pump.cancel()
            await asyncio.wait({there, back})
            for side in (writer, far_writer):
                side.transport.abort()
            self._tasks.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, stalls: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while block := await reader.read(_BLOCK_BYTES):
                if stalls:
                    await self._going.wait()
                writer.write(block)
                await writer.drain()
