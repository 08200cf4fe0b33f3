"""A network between a browser and the edge that may stand still: nothing is lost, little is in between."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from tests.browser.loop_proxy import LoopProxy

_BLOCK_BYTES = 16_384


class StallingProxy(LoopProxy):
    """A proxy that can be told to stand still."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._going = asyncio.Event()
        self._going.set()

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

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, stalls: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while block := await reader.read(_BLOCK_BYTES):
                if stalls:
                    await self._going.wait()
                writer.write(block)
                await writer.drain()
