"""How many events came, of which scan and type, and how fast: the figures of `tail --stats`. Pure.

Fed by the printer with every event that is chosen; asked for its figures once an interval.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

REFRESH_S = 1.0
"""How often the figures are shown."""

WINDOW = 10
"""Rates are over the last so many intervals."""

MAX_ROWS = 1_000
"""Pairs of a scan and a type that are counted by themselves; further ones are counted together."""

OTHERS = ("(others)", "")


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one scan and type.

    Attributes:
        channel: `kind/id`, or that of `OTHERS`.
        type: the type of the events.
        events: how many there were.
        per_s: how many a second came live lately; None when none ever did.
        fresh: how many of them came since the figures before.
    """

    channel: str
    type: str
    events: int
    per_s: float | None
    fresh: int


class Rates:
    """Args:
    now: monotonic seconds.

    Attributes:
        total: how many events there were.
        since: monotonic seconds when it began.
    """

    def __init__(self, now: float) -> None:
        self.since = now
        self.total = 0
        self._events: Counter[tuple[str, str]] = Counter()
        self._fresh: Counter[tuple[str, str]] = Counter()
        self._fresh_live: Counter[tuple[str, str]] = Counter()
        self._live: set[tuple[str, str]] = set()
        self._window: deque[tuple[float, Counter[tuple[str, str]]]] = deque(maxlen=WINDOW)
        self._before = now

    def add(self, channel: str, event_type: str, *, live: bool = True) -> None:
        """Count one event; one that did not come live stands in no rate."""
        key = (channel, event_type)
        if key not in self._events and len(self._events) >= MAX_ROWS:
            key = OTHERS
        self._events[key] += 1
        self._fresh[key] += 1
        if live:
            self._fresh_live[key] += 1
            self._live.add(key)
        self.total += 1

    def next_deadline(self) -> float:
        """Return when `take` has something to say."""
        return self._before + REFRESH_S

    def take(self, now: float) -> list[Row]:
        """Return all figures, the fastest first, and begin another interval.

        Args:
            now: monotonic seconds.
        """
        fresh, self._fresh = self._fresh, Counter()
        fresh_live, self._fresh_live = self._fresh_live, Counter()
        self._window.append((max(now - self._before, 1e-3), fresh_live))
        self._before = now
        lasted_s = sum(seconds for seconds, _ in self._window)
        lately: Counter[tuple[str, str]] = Counter()
        for _, events in self._window:
            lately.update(events)
        found = [
            Row(
                *key,
                events=events,
                per_s=lately[key] / lasted_s if key in self._live else None,
                fresh=fresh[key],
            )
            for key, events in self._events.items()
        ]
        return sorted(found, key=lambda row: (-(row.per_s or 0.0), -row.events, row.channel, row.type))
