"""Does a scan still go on? Says so in the scan's own log when it does not. Pure.

One a channel's life, for scans only. Told by `batcher` of everything that comes for the channel; asked at its
deadline; what it returns is numbered, committed and published as any event. What it has said is read from the
log after a restart (the state's status), so that nothing is said twice.

=============================== ======================================================================
when                            what
=============================== ======================================================================
no event for `stalled_after_s`, `scanStalled`
or `stalled_factor` times the
longest pause lately seen, but
at most `stalled_at_most_s`
a producer that was there has   `scanOrphaned`: numbered producers say that they are alive every few
not said `bye`, and nothing is  seconds, so this one is gone
heard of any of the channel's
for `orphaned_after_s`
`orphan_grace_s` after that     a fatal `error`: the scan has failed
the next event, or after        `scanResumed`, before that event
`scanOrphaned` a sign of life
all producers said `bye`        nothing: another one may go on with the scan, and is waited for
a foreign producer sent         it gives no sign of life: it can be stalled, never orphaned
something
a restart, or a time in which   all times begin anew: the silence was ours
nothing could be heard
the terminal event              nothing more
=============================== ======================================================================
"""

from __future__ import annotations

from pipeline.event import Error, Event, ScanOrphaned, ScanResumed, ScanStalled
from pipeline.throttle_batch.sections import WatchdogSection

MAX_PRESENT = 64
"""Producers remembered by name; of those beyond it is noticed when they are heard, not when they go."""
_PAUSES_HALF_LIFE_S = 600.0
"""In so much time the longest pause seen counts half."""

ORPHANED_MESSAGE = "the scan's producer is gone: nothing was heard of it for {:.0f} s"


class Watchdog:
    """Args:
    settings: when it barks.
    now: monotonic seconds.

    Attributes:
        told: `stalled`, `orphaned` or `failed` when it said so last; else empty.
        present: the producers that sent something and have not said `bye`.
        longest_pause_s: the longest pause between two events lately.
    """

    __slots__ = (
        "_event_at",
        "_foreign",
        "_heard_at",
        "_orphaned_at",
        "_paused_from",
        "_settings",
        "longest_pause_s",
        "present",
        "told",
    )

    def __init__(self, settings: WatchdogSection, now: float) -> None:
        self._settings = settings
        self._event_at = now
        self._paused_from = now
        self._heard_at = now
        self._orphaned_at = now
        self._foreign = False
        self.longest_pause_s = 0.0
        self.present: dict[str, None] = {}
        self.told = ""

    def restore(self, status: str, present: tuple[str, ...], *, foreign: bool) -> None:
        """Go on after a restart with what the log and the last checkpoint tell; call it before all else."""
        self.told = status if status in ("stalled", "orphaned") else ""
        self.present = dict.fromkeys(present)
        self._foreign = foreign

    def follow(self, settings: WatchdogSection) -> None:
        """Go on with other settings: a silence that there is already is judged by them."""
        self._settings = settings

    # --- what is heard ----------------------------------------------------------------------------

    def heard(self, pid: str, now: float) -> bool:
        """Take notice of a sign of life of a producer, an event too.

        Args:
            pid: who; empty for a foreign producer.
            now: monotonic seconds.

        Returns:
            Whether it is new here: the checkpoint is then to be kept.
        """
        if not pid:
            self._foreign = True
            return False
        self._heard_at = now
        if pid in self.present or len(self.present) >= MAX_PRESENT:
            return False
        self.present[pid] = None
        return True

    def bye(self, pid: str, now: float) -> bool:
        """Take notice that a producer has nothing more to say here.

        Returns:
            Whether it had been there.
        """
        self._heard_at = now
        return self.present.pop(pid, pid) is None

    def event(self, now: float) -> None:
        """Take notice of an event; call it once a wake-up, before or after those it is for."""
        pause_s = now - self._paused_from
        if pause_s > 0:
            self._event_at = self._paused_from = now
            faded_s = self.longest_pause_s * 0.5 ** (pause_s / _PAUSES_HALF_LIFE_S)
            self.longest_pause_s = max(pause_s, faded_s)

    def resumed(self, now: float, *, by_event: bool) -> Event | None:
        """Return what to say first when something is heard; None when nothing was wrong.

        Args:
            now: monotonic seconds.
            by_event: an event came; else only a sign of life, which ends no stall.
        """
        if self.told == "orphaned" or (self.told == "stalled" and by_event):
            self.told = ""
            silent_s = round(now - self._event_at, 1)
            self._event_at = now  # a producer that is back is given its time
            return ScanResumed(silent_s=silent_s)
        return None

    # --- what is said -----------------------------------------------------------------------------

    @property
    def patience_s(self) -> float:
        """How long a pause may be before the scan counts as stalled; 0 for ever."""
        settings = self._settings
        if not settings.stalled_after_s:
            return 0.0
        usual_s = settings.stalled_factor * self.longest_pause_s
        return max(settings.stalled_after_s, min(usual_s, settings.stalled_at_most_s))

    def next_deadline(self, since: float) -> float | None:
        """Return when to call `handle_timeout`, as things stand; None for never.

        Args:
            since: nothing could be heard before this.
        """
        if self.told == "failed":
            return None
        deadlines = []
        patience_s = self.patience_s
        if patience_s and not self.told:
            deadlines.append(max(self._event_at, since) + patience_s)
        if self.told == "orphaned":
            deadlines.append(max(self._orphaned_at, since) + self._settings.orphan_grace_s)
        elif self._settings.orphaned_after_s and self.present and not self._foreign:
            deadlines.append(max(self._heard_at, since) + self._settings.orphaned_after_s)
        return min(deadlines, default=None)

    def handle_timeout(self, now: float, since: float) -> Event | None:
        """Return what is to be said at `now`; None when nothing is, as at an early or repeated call."""
        deadline = self.next_deadline(since)
        if deadline is None or now < deadline:
            return None
        settings = self._settings
        if self.told == "orphaned":
            self.told = "failed"
            silent_s = settings.orphaned_after_s + settings.orphan_grace_s
            return Error(message=ORPHANED_MESSAGE.format(silent_s))
        heard_at = max(self._heard_at, since)
        watched = settings.orphaned_after_s > 0 and self.present and not self._foreign
        if watched and now >= heard_at + settings.orphaned_after_s:
            self.told = "orphaned"
            self._orphaned_at = now
            return ScanOrphaned(message=ORPHANED_MESSAGE.format(now - heard_at))
        self.told = "stalled"
        return ScanStalled(silent_s=round(now - max(self._event_at, since), 1))
