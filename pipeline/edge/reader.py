"""What gives one browser what is due to it, as its connection sees it, and what that has cost. Shell.

Between connections of whatever transport and `watcher`, `subscriptions` and the like.
"""

from __future__ import annotations

from typing import Protocol

from pipeline.edge.close_codes import CloseCode
from pipeline.edge.service import Service
from pipeline.edge.told import Figures
from pipeline.log import Log


class Reader(Protocol):
    """One scan, several, or the statistics."""

    def told(self, now: float) -> list[Figures]:
        """Return what it has cost and been given, for each channel it reads; they share the socket's sums."""

    def overdue(self, now: float) -> CloseCode | None:
        """Return the code to close with when it takes nothing, or has waited too long; else None."""

    def recheck(self) -> None:
        """Find out anew what may be seen: its token is another."""

    def stop(self) -> None:
        """Send nothing more."""

    def leave(self, code: int) -> None:
        """Let go of everything; count and log the end."""


def tell_end(service: Service, log: Log, code: int, figures: Figures) -> None:
    """Count and log a connection that has ended."""
    service.counters[f"closed{{code={code}}}"] += 1
    service.counters["messages_sent"] += figures.messages
    service.counters["bytes_sent"] += figures.bytes_sent
    log.info(
        "disconnected",
        code=code,
        messages=figures.messages,
        bytes=figures.bytes_sent,
        duration_s=figures.duration_s,
        skipped=figures.skipped,
        pace=figures.pace,
    )
