"""What many ask for at one time is asked once, for as long as somebody waits for it. Shell.

Used by `upstream`: a worker may be silent for long, and a question is repeated until it answers. When the
last who waits for it has gone, it is asked no more, so that what is asked never outgrows who asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Asked(Generic[Answer]):
    """One question: its task, and how many wait for it."""

    task: asyncio.Task[Answer]
    waiting: int = 0


class OnceForAll(Generic[Key, Answer]):
    """Questions under way, each by what is asked."""

    def __init__(self) -> None:
        self._asked: dict[Key, _Asked[Answer]] = {}

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._asked)

    async def get(self, key: Key, ask: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Return an answer, that of another who has asked the same if there is one.

        Args:
            key: what is asked.
            ask: asks it, when nobody does.

        Raises:
            Exception: whatever `ask` raises, for all who wait.
        """
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = _Asked(asyncio.get_running_loop().create_task(ask()))
            asked.task.add_done_callback(lambda _: self._forget(key, asked))
        asked.waiting += 1
        try:
            return await asyncio.shield(asked.task)
        finally:
            asked.waiting -= 1
            if not asked.waiting and not asked.task.done():
                asked.task.cancel()
                self._forget(key, asked)  # who asks now asks anew

    def _forget(self, key: Key, asked: _Asked[Answer]) -> None:
        if self._asked.get(key) is asked:
            del self._asked[key]
