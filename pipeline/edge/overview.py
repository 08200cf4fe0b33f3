"""What the stream of statistics tells: the whole to who joins, then what changed. Pure.

`service` gives it what is new in the roster while somebody watches; what it returns is composed once and
goes to all who do.

============================================ =============================================================
since the last answer                        it counts as
============================================ =============================================================
only time has passed                         nothing: who watches has `started_at` and a clock
its rate, or when it is expected to end, is  nothing
off by less than `DRIFT`, or a second
a shard did not answer                       `complete` is false; its scans stay as they were
a scan is in no list any more                gone, once every shard has answered
anything else                                changed
============================================ =============================================================
"""

from __future__ import annotations

from pipeline.edge.roster import Known, News
from pipeline.edge.statistics import Tally, scan_entry, scan_statistics
from pipeline.wire import BrowserStats, ChannelSummary, split_channel

DRIFT = 0.05
"""How far off, as a part of it, a figure may be that changes by itself; a reader sees no difference."""


class Overview:
    """The scans as they were last told."""

    def __init__(self) -> None:
        self._scans: dict[str, Known] = {}
        self._told: dict[str, ChannelSummary] = {}
        self._tally = Tally()
        self._complete: bool | None = None

    @property
    def known(self) -> bool:
        """Whether there was an answer yet; before, there is nothing to tell."""
        return self._complete is not None

    def take(self, news: News, now: float) -> BrowserStats | None:
        """Take in what the roster has that is new.

        Args:
            news: since the last call.
            now: monotonic seconds.

        Returns:
            What to tell those who know all before it; None when nothing changed.
        """
        given = {known.summary.channel: known for known in news.changed if _is_scan(known)}
        lost = [name for name in self._scans if name not in given] if news.whole else news.gone
        gone = [name for name in lost if name in self._scans]
        changed = [each for name, each in given.items() if _differs(self._told.get(name), each.summary)]
        for name in gone:
            del self._told[name]
            self._tally.remove(self._scans.pop(name))
        for name, known in given.items():
            if (before := self._scans.get(name)) is not None:
                self._tally.remove(before)
            self._tally.add(known)
            self._scans[name] = known
        self._told.update((each.summary.channel, each.summary) for each in changed)
        if not changed and not gone and news.complete == self._complete:
            return None
        self._complete = news.complete
        return BrowserStats(
            whole=False,
            stats=self._tally.totals(now, complete=news.complete),
            scans=[scan_entry(each.summary) for each in changed],
            gone=[split_channel(name)[1] for name in gone],
        )

    def whole(self, now: float) -> BrowserStats:
        """Return everything as of `now`, monotonic seconds; ask only when it is `known`."""
        scans = [known.as_of(now) for known in self._scans.values()]
        return BrowserStats(
            whole=True,
            stats=scan_statistics(scans, complete=bool(self._complete)),
            scans=[scan_entry(scan) for scan in scans],
            gone=[],
        )


def _is_scan(known: Known) -> bool:
    return known.summary.channel.startswith("scan/")


def _differs(before: ChannelSummary | None, now: ChannelSummary) -> bool:
    return before is None or _told(before) != _told(now) or _drifted(before, now)


def _told(scan: ChannelSummary) -> tuple[object, ...]:
    """Return what makes a scan's entry another one; its counts change with its events only."""
    return (
        *(scan.epoch, scan.seq, scan.status, scan.phase, scan.progress),
        *(scan.frames, scan.events, scan.merged, scan.best_effort),
    )


def _drifted(before: ChannelSummary, now: ChannelSummary) -> bool:
    """Say whether what changes without an event is another than was told: the rate, when it will end."""
    if _is_off(before.events_per_s, now.events_per_s, DRIFT * now.events_per_s):
        return True
    left_before, left = before.time_left, now.time_left
    if left is None or left_before is None:
        return left is not left_before
    passed_s = now.elapsed_s - before.elapsed_s
    return left.of != left_before.of or any(
        _is_off(told - passed_s, is_now, max(1.0, DRIFT * is_now))
        for told, is_now in (
            (left_before.seconds, left.seconds),
            (left_before.low, left.low),
            (left_before.high, left.high),
        )
    )


def _is_off(told: float, is_now: float, most: float) -> bool:
    return abs(told - is_now) > most
