"""Which names were changed since when: so that telling what changed costs what changed. Pure.

Sits in a worker, for the readers of its list, and in an edge, for its own. Every change has a number, one
more than the one before; a reader remembers the last it knows of.
"""

from __future__ import annotations

MAX_NAMES = 20_000
"""Names that are remembered; beyond it those changed longest ago are forgotten, and who asks since then is
told that it needs the whole."""


class Changes:
    """The latest changes, each name once.

    Attributes:
        version: the number of the last change; 0 before the first.
    """

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._forgotten = 0
        self.version = 0

    def touch(self, name: str) -> None:
        """Take notice that something is new, another, or gone."""
        self.version += 1
        self._at.pop(name, None)
        self._at[name] = self.version
        if len(self._at) > MAX_NAMES:
            oldest = next(iter(self._at))
            self._forgotten = self._at.pop(oldest)

    def since(self, version: int) -> list[str] | None:
        """Return what was changed after a version, the latest first; None when that is not known."""
        if not self._forgotten <= version <= self.version:
            return None
        names = []
        for name in reversed(self._at):
            if self._at[name] <= version:
                break
            names.append(name)
        return names
