"""WebSocket readers for tests: as many as a test wants, in one thread.

A reader keeps every message as it came and says at once what is wrong with it; a test waits for a fact
about it, and at the end holds what it got against what was sent.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self, TypeVar

from tests.e2e.connection import Connection, LoopThread
from tests.e2e.heroforge import HeroForgeReader, WebSocketManager
from tests.e2e.native import NativeReader

R = TypeVar("R", bound=Connection)


class Watchers:
    """Readers, and the thread they live in.

    Attributes:
        loop: that thread.
    """

    def __init__(self) -> None:
        self.loop = LoopThread()
        self._readers: list[Connection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and end the thread; a second call does nothing."""
        readers, self._readers = self._readers, []
        try:
            for reader in readers:
                reader.disconnect()
        finally:
            self.loop.close()

    def native(self, url: str) -> NativeReader:
        """Return a reader of our own wire, connected; it resumes by `since` when it connects again."""
        return self.add(NativeReader(self.loop, url))

    def heroforge(self, url: str) -> HeroForgeReader:
        """Return a reader of HeroForge's wire, connected."""
        return self.add(HeroForgeReader(self.loop, url))

    def manager(self, url: str) -> WebSocketManager:
        """Return a reader that does what HeroForge's frontend does, connected."""
        return self.add(WebSocketManager(self.loop, url))

    def add(self, reader: R) -> R:
        """Return a reader, connected; it is closed with the others."""
        self._readers.append(reader)
        reader.connect()
        return reader
