"""Statistics of all scans, pushed: the workers are asked once for all who watch, and nobody else. Shell.

`overview` says what changed; the message is composed once for each kind of reader. A reader that missed a
change is given the whole.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from pipeline.edge.overview import Overview
from pipeline.edge.roster import News
from pipeline.edge.transmit import Transmitter
from pipeline.edge.variant import Variant
from pipeline.wire import BrowserStats, encode

PERIOD_S = 0.5
"""The workers are asked at most so often."""

Ask = Callable[[int], Awaitable[News]]


class StatsStream:
    """Args:
    ask: returns what is new since a version, -1 for none.
    counters: where changes are counted.
    failed: told of an error in what runs in the background.
    """

    def __init__(self, ask: Ask, counters: Counter[str], failed: Callable[[BaseException], None]) -> None:
        self._ask = ask
        self._counters = counters
        self._failed = failed
        self._readers: set[StatsReader] = set()
        self._overview = Overview()
        self._change: BrowserStats | None = None
        self._composed: dict[tuple[Variant, bool], bytes] = {}
        self._asking: asyncio.Task[None] | None = None
        self.version = 0

    def join(self, reader: StatsReader) -> None:
        """Add a reader."""
        self._readers.add(reader)
        if self._asking is None:
            self._overview = Overview()  # what was told long ago is not told again
            self.version += 1  # who has a version from before is given the whole
            self._asking = asyncio.get_running_loop().create_task(self._run())
            self._asking.add_done_callback(self._ended)

    def leave(self, reader: StatsReader) -> None:
        """Remove a reader."""
        self._readers.discard(reader)
        if not self._readers and self._asking is not None:
            self._asking.cancel()
            self._asking = None

    async def _run(self) -> None:
        known = -1
        while True:
            news = await self._ask(known)
            known = news.version
            change = self._overview.take(news, time.monotonic())
            if change is not None:
                self._change = change
                self.version += 1
                self._composed.clear()
                self._counters["stats_changes"] += 1
                for reader in tuple(self._readers):
                    reader.drive()
            await asyncio.sleep(PERIOD_S)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._asking is task:
            self._asking = None  # the next reader has it begin anew
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    def message(self, variant: Variant, seen: int | None) -> bytes | None:
        """Return what brings a reader up to date.

        Args:
            variant: what it speaks.
            seen: the version it has; None for none.

        Returns:
            The last change, or the whole, framed; None when there is nothing to tell.
        """
        if not self._overview.known or seen == self.version:
            return None
        whole = seen is None or seen + 1 < self.version
        key = (variant, whole)
        if key not in self._composed:
            told = self._overview.whole(time.monotonic()) if whole else self._change
            assert told is not None
            self._composed[key] = variant.message(encode(told))
        return self._composed[key]


class StatsReader:
    """One reader of the statistics.

    Args:
        stream: what it reads.
        transmitter: its socket; others may share it.
        variant: what it speaks.
    """

    def __init__(self, stream: StatsStream, transmitter: Transmitter, variant: Variant) -> None:
        self._stream = stream
        self._transmitter = transmitter
        self._variant = variant
        self._seen: int | None = None
        self._over = False
        transmitter.on_idle.append(self.drive)
        stream.join(self)
        self.drive()

    def drive(self) -> None:
        """Send what is due, if the reader takes it; else when it does."""
        if self._over:
            return
        if not self._transmitter.idle:
            self._transmitter.wait()
            return
        message = self._stream.message(self._variant, self._seen)
        if message is not None:
            self._seen = self._stream.version
            self._transmitter.write(message)

    def move(self, stream: StatsStream) -> None:
        """Read another stream from now on, the whole of it first: what may be seen has changed."""
        if stream is not self._stream:
            self._stream.leave(self)
            self._stream, self._seen = stream, None
            stream.join(self)
            self.drive()

    def stop(self) -> None:
        """Send nothing more."""
        self._over = True

    def let_go(self) -> None:
        """Let go of everything."""
        self._over = True
        self._transmitter.on_idle.remove(self.drive)
        self._stream.leave(self)
