"""How a process is: since when it runs, and how long it lately kept others waiting. Pure.

Every stage has one, and answers the question for its statistics with it.
"""

from __future__ import annotations

from pipeline.wire import StatsReply

SPAN_S = 5.0
"""What is told is the longest of the present span and of the one before."""


class Vitals:
    """Args:
    pid: the process.
    version: of its program.
    now: monotonic seconds.
    """

    def __init__(self, pid: int, version: str, now: float) -> None:
        self._pid = pid
        self._version = version
        self._started_at = now
        self._span_at = now
        self._longest_s = 0.0
        self._before_s = 0.0

    def worked(self, since: float, now: float) -> None:
        """Take notice that nobody else was served between two times, monotonic seconds: a wake-up's work."""
        if now - self._span_at >= SPAN_S:
            self._turn(now)
        if now - since > self._longest_s:
            self._longest_s = now - since

    def _turn(self, now: float) -> None:
        self._before_s = self._longest_s if now - self._span_at < 2 * SPAN_S else 0.0
        self._longest_s = 0.0
        self._span_at = now

    def reply(self, number: int, stage: str, counters: dict[str, float], now: float) -> StatsReply:
        """Answer the question for a stage's statistics.

        Args:
            number: the question's.
            stage: the name of the stage, such as `ingest-0`.
            counters: its counters, and how things are now.
            now: monotonic seconds.
        """
        if now - self._span_at >= SPAN_S:
            self._turn(now)
        return StatsReply(
            number,
            stage,
            counters,
            self._pid,
            self._version,
            round(now - self._started_at, 3),
            round(max(self._longest_s, self._before_s), 6),
        )
