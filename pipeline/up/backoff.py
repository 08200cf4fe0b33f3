"""When a process that died is started again: the first time at once, then after a growing pause. Pure.

One for each process; the supervisor owns the processes and the clock.

========================================== ====================================================
a process dies                             it is started again
========================================== ====================================================
the first time, or after a steady run      at once
the next time                              after `first_pause_s`
every further time                         after twice the pause before, up to `max_pause_s`
========================================== ====================================================
"""

from __future__ import annotations


class Backoff:
    """Args:
    first_pause_s: the pause before the second restart, in seconds.
    max_pause_s: the longest pause, in seconds; one that is shorter than the first holds for that too.
    steady_s: a process that ran for so many seconds has had a steady run.
    """

    def __init__(self, *, first_pause_s: float, max_pause_s: float, steady_s: float) -> None:
        self._first_pause_s = first_pause_s
        self._max_pause_s = max_pause_s
        self._steady_s = steady_s
        self._started_at = 0.0
        self._next_pause_s = 0.0

    def started(self, now: float) -> None:
        """Take notice that the process was started.

        Args:
            now: monotonic seconds.
        """
        self._started_at = now

    def died(self, now: float) -> float:
        """Take notice that the process died.

        Args:
            now: monotonic seconds.

        Returns:
            When to start it again, monotonic seconds; `now` means at once.
        """
        if now - self._started_at >= self._steady_s:
            self._next_pause_s = 0.0
        pause_s = self._next_pause_s
        self._next_pause_s = min(self._max_pause_s, max(self._first_pause_s, 2 * pause_s))
        return now + pause_s
