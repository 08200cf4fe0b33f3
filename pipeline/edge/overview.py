"""What the stream of statistics tells: the whole to who joins, then what changed. Pure.

`service` gives it the workers' summaries while somebody watches; what it returns is composed once and goes to
all who do.

============================================ =============================================================
since the last answer                        it counts as
============================================ =============================================================
only time has passed                         nothing: who watches has `started_at` and a clock
a shard did not answer                       `complete` is false; its scans stay as they were
a scan is in no list any more                gone, once every shard has answered
anything else                                changed
============================================ =============================================================
"""

from __future__ import annotations

from pipeline.edge.statistics import channel_scans, scan_entry, scan_statistics, scan_totals
from pipeline.wire import BrowserStats, ChannelSummary, split_channel


class Overview:
    """The scans as they were last told."""

    def __init__(self) -> None:
        self._scans: dict[str, ChannelSummary] = {}
        self._complete: bool | None = None

    @property
    def known(self) -> bool:
        """Whether there was an answer yet; before, there is nothing to tell."""
        return self._complete is not None

    def take(self, summaries: list[ChannelSummary], *, complete: bool) -> BrowserStats | None:
        """Take in the workers' answer.

        Args:
            summaries: of every channel that answered.
            complete: whether every shard did.

        Returns:
            What to tell those who know all before it; None when nothing changed.
        """
        now = {summary.channel: summary for summary in channel_scans(summaries)}
        before = self._scans
        changed = [scan for channel, scan in now.items() if _differs(before.get(channel), scan)]
        gone = [channel for channel in before if channel not in now] if complete else []
        self._scans = now if complete else {**before, **now}
        if not changed and not gone and complete == self._complete:
            return None
        self._complete = complete
        return BrowserStats(
            whole=False,
            stats=scan_totals(list(self._scans.values()), complete=complete),
            scans=[scan_entry(scan) for scan in changed],
            gone=[split_channel(channel)[1] for channel in gone],
        )

    def whole(self) -> BrowserStats:
        """Return everything; ask only when it is `known`."""
        scans = list(self._scans.values())
        return BrowserStats(
            whole=True,
            stats=scan_statistics(scans, complete=bool(self._complete)),
            scans=[scan_entry(scan) for scan in scans],
            gone=[],
        )


def _differs(before: ChannelSummary | None, now: ChannelSummary) -> bool:
    return before is None or _told(before) != _told(now)


def _told(scan: ChannelSummary) -> tuple[object, ...]:
    """Return what makes a scan's entry another one; its counts change with its events only."""
    return (
        *(scan.epoch, scan.seq, scan.status, scan.phase, scan.progress),
        *(scan.frames, scan.events, scan.merged, scan.best_effort),
    )
