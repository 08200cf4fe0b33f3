"""Which answers are given up because their clients do not take them (slow read). Pure.

`listening` looks at all connections now and then, and closes what this names. Streams of events are not among
them: their readers have rules of their own, see `watcher`.

============================================ ==========================
an answer that waits                         is given up as
============================================ ==========================
of which not one byte was taken for so long  `stalled`
that waits longest, while all together hold  `untaken`
more than the bound
============================================ ==========================
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Client = TypeVar("Client", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Waiting(Generic[Client]):
    """One answer that waits.

    Attributes:
        client: whose it is.
        held_bytes: of it, that wait.
        taken_bytes: taken by the client since it came; it need only grow when something is.
    """

    client: Client
    held_bytes: int
    taken_bytes: int


class Untaken(Generic[Client]):
    """Which clients wait, since when, and when each last took something."""

    def __init__(self) -> None:
        self._seen: dict[Client, tuple[int, float]] = {}

    def look(
        self, now: float, waiting: Iterable[Waiting[Client]], stalled_s: float, max_bytes: int
    ) -> list[tuple[Client, str]]:
        """Say whose answers are given up.

        Args:
            now: monotonic seconds.
            waiting: all that wait now; whoever is not in it waits no more.
            stalled_s: an answer of which nothing was taken for so long is given up.
            max_bytes: what may wait in all.

        Returns:
            (client, why) of each.
        """
        there = {each.client: each for each in waiting}
        # Who waited at the last look stays before those who came since.
        order = [client for client in self._seen if client in there]
        order += [client for client in there if client not in self._seen]
        seen: dict[Client, tuple[int, float]] = {}
        gone: list[tuple[Client, str]] = []
        held = 0
        for client in order:
            taken, since = self._seen.get(client, (-1, now))
            if taken != there[client].taken_bytes:
                taken, since = there[client].taken_bytes, now
            if now - since >= stalled_s:
                gone.append((client, "stalled"))
                continue
            seen[client] = (taken, since)
            held += there[client].held_bytes
        for client in list(seen):
            if held <= max_bytes:
                break
            gone.append((client, "untaken"))
            held -= there[client].held_bytes
            del seen[client]
        self._seen = seen
        return gone
