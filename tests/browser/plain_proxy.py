"""A proxy of the kind that stands in some companies: it passes HTTP on, and refuses every WebSocket."""

from __future__ import annotations

import asyncio
import contextlib

from tests.browser.loop_proxy import LoopProxy

_BLOCK_BYTES = 65_536
_REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class PlainProxy(LoopProxy):
    """Attributes:
    refused: how many WebSockets it has refused.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.refused = 0

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_writer: asyncio.StreamWriter | None = None
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._requests(reader, far_writer, writer))
                group.create_task(self._answers(far_reader, writer))
        except* (OSError, asyncio.IncompleteReadError, _OverError):
            pass
        finally:
            for one in (writer, far_writer):
                if one is not None:
                    one.transport.abort()

    async def _requests(
        self, reader: asyncio.StreamReader, far: asyncio.StreamWriter, near: asyncio.StreamWriter
    ) -> None:
        """Pass on requests, which have no body here."""
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"upgrade: websocket" in head.lower():
                self.refused += 1
                near.write(_REFUSAL)
                await near.drain()
                near.close()
                with contextlib.suppress(OSError):
                    await near.wait_closed()
                raise _OverError
            far.write(head)
            await far.drain()

    async def _answers(self, far: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        while block := await far.read(_BLOCK_BYTES):
            near.write(block)
            await near.drain()
        raise _OverError


class _OverError(Exception):
    """One side has ended the connection."""
