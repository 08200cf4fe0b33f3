"""A network between two processes, where there is none: a proxy for the sockets of a run directory.

One side's run directory is its own; what stands in it under the other side's socket names is the proxy, which
passes every byte on until it is told otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness import PATIENCE

_BLOCK_BYTES = 65_536


class _Link:
    """One connection through the proxy, both directions of it."""

    def __init__(self, writers: Sequence[asyncio.StreamWriter]) -> None:
        self.writers = writers
        self.dead = False

    def reset(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """Args:
        there: the run directory of those that bind.
        here: an empty directory, mode 0700: the run directory of those that connect.
        names: the sockets that lead from here to there.

    Attributes:
        latency_s: by how much every byte is late, in each direction.
    """

    def __init__(self, there: Path, here: Path, names: Sequence[str]) -> None:
        self.latency_s = 0.0
        self._there = there
        self._here = here
        self._names = names
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._going = asyncio.Event()
        self._going.set()
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def stall(self) -> None:
        """Pass nothing on; connections stay, and what is sent waits."""
        self._call(self._going.clear)

    def go_on(self) -> None:
        """Pass on what waits, and what comes."""
        self._call(self._going.set)

    def reset(self) -> None:
        """End every connection there is; new ones are let in. What was on its way is gone."""
        self._call(lambda: [link.reset() for link in self._links])

    def half_open(self) -> None:
        """Have every connection there is lead nowhere: nobody is told, and what is sent on it is gone.

        As when a machine in between is started again. New connections are let in.
        """
        self._call(lambda: [setattr(link, "dead", True) for link in self._links])

    def _call(self, function: object) -> None:
        async def called() -> None:
            function()  # type: ignore[operator]

        self._run(called())

    def _run(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20 * PATIENCE)  # type: ignore[arg-type]

    async def _listen(self) -> None:
        for name in self._names:

            async def accept(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = name
            ) -> None:
                await self._join(name, reader, writer)

            self._servers.append(await asyncio.start_unix_server(accept, self._here / name))

    async def _join(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(self._there / name)
        except OSError:
            writer.transport.abort()
            return
        link = _Link((writer, far_writer))
        self._links.add(link)
        pumps = [
            self._loop.create_task(self._pump(link, reader, far_writer)),
            self._loop.create_task(self._pump(link, far_reader, writer)),
        ]
        self._tasks.update(pumps)
        await asyncio.wait(pumps)
        self._tasks.difference_update(pumps)
        self._links.discard(link)
        link.reset()

    async def _pump(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one direction, until either side has gone."""
        with contextlib.suppress(OSError):
            while block := await reader.read(_BLOCK_BYTES):
                await self._going.wait()
                if link.dead:
                    continue
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                writer.write(block)
                await writer.drain()
        if not link.dead:
            link.reset()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for link in list(self._links):
            link.reset()
        self._going.set()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for server in self._servers:
            await server.wait_closed()
