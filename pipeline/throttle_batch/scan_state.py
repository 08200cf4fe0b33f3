"""What is known of a channel as a whole: folded from its events, for lists and statistics. Pure.

Folded when events are committed, never before, so that what is shown is never ahead of what is durable.
"""

from __future__ import annotations

from pipeline.event import (
    DEFAULT_CATALOGUE,
    AnyEvent,
    Error,
    PhaseStarted,
    ReportFailed,
    ReportPhase,
    ScanProgress,
    Treatment,
    event_type,
)
from pipeline.throttle_batch.records import LifeState


class ScanState:
    """The state of one life of a channel.

    Attributes:
        status: `running`, then `completed` or `failed` for good.
        phase: the phase last named.
        progress: percent, 0 to 100: never back within a phase, 100 only once completed.
        counts: type -> events; types the catalogue does not know count as `other`, so that it stays bounded.
    """

    __slots__ = ("counts", "phase", "progress", "status")

    def __init__(self) -> None:
        self.status = "running"
        self.phase: str | None = None
        self.progress: float | None = None
        self.counts: dict[str, int] = {}

    def restore(self, state: LifeState) -> None:
        """Go on from a checkpoint."""
        self.status = state.status
        self.phase = state.phase
        self.progress = state.progress
        self.counts = dict(state.counts)

    def fold(self, event: AnyEvent, treatment: Treatment) -> None:
        """Take in the next event."""
        name = event_type(event)
        if name not in DEFAULT_CATALOGUE:
            name = "other"
        self.counts[name] = self.counts.get(name, 0) + 1
        if isinstance(event, ScanProgress | PhaseStarted):
            self._advance(event.phase, event.progress)
        elif isinstance(event, ReportPhase):
            self._advance(event.phase, event.progress * 100)
        if treatment.terminal:
            failed = isinstance(event, Error | ReportFailed)
            self.status = "failed" if failed else "completed"
            if not failed:
                self.progress = 100.0

    def _advance(self, phase: str, progress: float | None) -> None:
        phase = phase[:200]
        known = self.progress if phase == self.phase else None
        self.phase = phase
        if self.status == "completed" or progress is None or not 0 <= progress <= 100:
            return  # what makes no sense leaves what was shown before
        shown = min(progress, 99.9)
        self.progress = shown if known is None else max(known, shown)
