"""Which connections of a subscriber lead nowhere, and are to be made anew. Pure.

Sits between the beacons that a reader of a worker's events hears and the socket they come by. libzmq could
ping instead; but where a connection has pings, and more has come by it than its queue holds, libzmq aborts
the process when the other side goes, or when it has made the connection anew (libzmq issues 3937 and 4364).

============================================ ===========================================================
a connection                                 is made anew
============================================ ===========================================================
nothing was ever heard by it                 never: nobody may be there yet
its last beacon is less than `dead_after_s`  no
ago
there was none for so long                   at once; again after twice the time, up to `MAX_PATIENCE_S`
two beacons came within `dead_after_s`       after `dead_after_s` again
something waits to be read                   no: it has its time from then on, for a beacon may be among it
we ourselves did not look for a while        the same
============================================ ===========================================================
"""

from __future__ import annotations

from collections.abc import Iterable

DEAD_AFTER_S = 3.0
"""A connection by which nothing came for so long leads nowhere, whatever the kernel thinks."""
MAX_PATIENCE_S = 60.0
LOOKS = 6
"""How often one looks within `dead_after_s`."""


class Links:
    """Args:
    dead_after_s: seconds without a beacon.
    """

    def __init__(self, dead_after_s: float = DEAD_AFTER_S) -> None:
        self._dead_after_s = dead_after_s
        self._heard_at: dict[int, float] = {}
        self._since: dict[int, float] = {}
        self._patience_s: dict[int, float] = {}
        self._looked_at: float | None = None

    def heard(self, shard: int, now: float) -> None:
        """Take notice of a shard's beacon.

        Args:
            shard: which.
            now: monotonic seconds.
        """
        if now - self._heard_at.get(shard, now) <= self._dead_after_s:
            self._patience_s[shard] = self._dead_after_s
        self._heard_at[shard] = self._since[shard] = now

    def next_deadline(self) -> float:
        """Return when to call `look`, monotonic seconds; before the first look it is at once."""
        return 0.0 if self._looked_at is None else self._looked_at + self._dead_after_s / LOOKS

    def look(self, now: float, *, drained: bool) -> Iterable[int]:
        """Return the shards whose connections are to be made anew; nothing when it is early.

        Args:
            now: monotonic seconds.
            drained: whether everything that has come was read.
        """
        if now < self.next_deadline():
            return []
        late = self._looked_at is not None and now - self._looked_at > self._dead_after_s / 2
        self._looked_at = now
        if late or not drained:
            self._since = dict.fromkeys(self._since, now)
        dead = [shard for shard, at in self._since.items() if now - at >= self._patience_s[shard]]
        for shard in dead:
            self._since[shard] = now
            self._patience_s[shard] = min(MAX_PATIENCE_S, 2 * self._patience_s[shard])
        return dead
