"""How many scans each producer has open at an ingest, and how many it may begin. Pure.

Under `quotas`. A scan is open for the producer that feeds it; who a producer is, `quotas` says.

==================================== =================================================================
a message of events                  what happens
==================================== =================================================================
for a scan that is open              taken
for another, while there is room     the scan is open from now on
for another, without room,           refused; and so is what follows of it, until the producer leaves it or
and it begins here (number 1)        is silent there
for another, without room,           held back: it may have been taken elsewhere, or before a restart, and
and it goes on (a later number)      none of its events may get lost
==================================== =================================================================

Room is `max_open` scans, and a token of `new_per_hour`. A scan is open no more when its end was sent, when
its producer has said `bye`, and when nothing was heard of it for `silent_s`. A sign of life opens nothing.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass

from pipeline.token_bucket import TokenBucket

MAX_KNOWN = 100_000
"""Open scans kept in mind, of all producers together, and as many refused ones; beyond it the one unheard
longest is forgotten."""
SIGN_INTERVAL_S = 1.0
"""Signs of life of a scan that come faster are not passed on: producers give one every 5 s."""
HELD_S = 1.0
"""After so long what is held back may be sent again: whether a scan has ended meanwhile is not foretold."""


@dataclass(frozen=True, slots=True)
class NoRoom:
    """A scan that cannot be opened now.

    Attributes:
        problem: why, with the limit.
        held: it is held back, and not refused.
    """

    problem: str
    held: bool


@dataclass(slots=True)
class _Scan:
    heard_at: float
    sign_at: float = float("-inf")
    refused: str = ""


_Scans = OrderedDict[tuple[str, str], _Scan]
"""By (producer, channel), the one unheard longest first."""


class OpenScans:
    """Args:
    max_open: scans of one producer that are open at a time; 0 for no limit.
    new_per_hour: scans one producer may begin in an hour, and at once; 0 for no limit.
    silent_s: a scan unheard for so long is open no more.
    max_producers: whose beginnings are counted; beyond it the one that began one longest ago is forgotten.
    """

    def __init__(self, max_open: int, new_per_hour: int, silent_s: float, max_producers: int) -> None:
        self._open: _Scans = OrderedDict()
        self._refused: _Scans = OrderedDict()
        self._open_of: Counter[str] = Counter()
        self._begun: OrderedDict[str, TokenBucket] = OrderedDict()
        self._new_per_hour = 0
        self.follow(max_open, new_per_hour, silent_s, max_producers)

    def follow(self, max_open: int, new_per_hour: int, silent_s: float, max_producers: int) -> None:
        """Judge by other limits from now on; what is open stays open, what was refused is asked anew."""
        if new_per_hour != self._new_per_hour:
            self._begun.clear()
        self._refused.clear()
        self._max_open = max_open
        self._new_per_hour = new_per_hour
        self._silent_s = silent_s
        self._max_producers = max_producers

    def __len__(self) -> int:
        """Return how many scans are kept in mind, the refused ones too."""
        return len(self._open) + len(self._refused)

    def open_of(self, who: str) -> int:
        """Return how many scans a producer has open."""
        return self._open_of[who]

    def enter(self, who: str, channel: str, now: float, *, begins: bool) -> NoRoom | None:
        """Take notice of events of a scan.

        Args:
            who: the producer.
            channel: `kind/id`.
            now: monotonic seconds.
            begins: the first event of the scan is among them, as far as that can be known.

        Returns:
            None if they may come in.
        """
        scan = self._hear(who, channel, now)
        if scan is None:
            problem = self._problem(who, now)
            if problem and not begins:
                return NoRoom(problem, held=True)
            scan = self._add(who, channel, _Scan(now, refused=problem))
        return NoRoom(scan.refused, held=False) if scan.refused else None

    def sign(self, who: str, channel: str, now: float) -> bool | None:
        """Take notice of a sign of life.

        Returns:
            Whether to pass it on; None if nothing is known of the scan.
        """
        scan = self._hear(who, channel, now)
        if scan is None:
            return None
        if scan.refused or now < scan.sign_at + SIGN_INTERVAL_S:
            return False
        scan.sign_at = now
        return True

    def leave(self, who: str, channel: str) -> bool | None:
        """Take notice that a producer has nothing more to say in a scan.

        Returns:
            Whether it was open; None if nothing is known of the scan.
        """
        if self._refused.pop((who, channel), None) is not None:
            return False
        if (who, channel) not in self._open:
            return None
        self._close((who, channel))
        return True

    def _hear(self, who: str, channel: str, now: float) -> _Scan | None:
        """Return a scan that is kept in mind, heard of now."""
        for scans in (self._open, self._refused):
            while scans and next(iter(scans.values())).heard_at <= now - self._silent_s:
                self._forget_oldest(scans)
            scan = scans.get((who, channel))
            if scan is not None:
                scan.heard_at = now
                scans.move_to_end((who, channel))
                return scan
        return None

    def _add(self, who: str, channel: str, scan: _Scan) -> _Scan:
        scans = self._refused if scan.refused else self._open
        scans[who, channel] = scan
        if not scan.refused:
            self._open_of[who] += 1
        if len(scans) > MAX_KNOWN:
            self._forget_oldest(scans)
        return scan

    def _problem(self, who: str, now: float) -> str:
        """Return why a producer may open no further scan; empty if it may, and then it counts as begun."""
        count = self._open_of[who]
        if self._max_open and count >= self._max_open:
            return f"{count} of this producer's scans are open; quotas.max_open_scans is {self._max_open}"
        if self._new_per_hour and not self._beginnings(who).take(now):
            return f"this producer begins too many scans; quotas.new_scans_per_hour is {self._new_per_hour}"
        return ""

    def _beginnings(self, who: str) -> TokenBucket:
        bucket = self._begun.get(who)
        if bucket is None:
            bucket = self._begun[who] = TokenBucket(self._new_per_hour / 3600, self._new_per_hour)
            if len(self._begun) > self._max_producers:
                self._begun.popitem(last=False)
        else:
            self._begun.move_to_end(who)
        return bucket

    def _forget_oldest(self, scans: _Scans) -> None:
        oldest = next(iter(scans))
        if scans is self._open:
            self._close(oldest)
        else:
            del scans[oldest]

    def _close(self, key: tuple[str, str]) -> None:
        del self._open[key]
        self._open_of[key[0]] -= 1
        if not self._open_of[key[0]]:
            del self._open_of[key[0]]
