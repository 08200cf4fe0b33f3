"""The pending batch: committed events of one channel that are in no frame yet. Pure.

Filled by `channel` when a commit is durable, cut into frames when the budget allows. Frames are views of
the log: each covers a contiguous range, and what merging leaves out of it is counted, so that
`len(events) + merged == last - first + 1` always.
"""

from __future__ import annotations

from collections import deque
from itertools import chain

from pipeline.event import EventClass
from pipeline.frame import Frame
from pipeline.throttle_batch.runs import Run


class PendingBatch:
    """Args:
    channel: `kind/id`.
    epoch: the life the events belong to.
    max_frame_bytes: the most event bytes in one frame; a single event may exceed it, and goes alone.

    Attributes:
        size_bytes: of all pending events.
        last_critical_seq: of the critical event that was added last.
    """

    __slots__ = (
        "_channel",
        "_count",
        "_epoch",
        "_max_frame_bytes",
        "_runs",
        "last_critical_seq",
        "size_bytes",
    )

    def __init__(self, channel: str, epoch: int, max_frame_bytes: int) -> None:
        self._channel = channel
        self._epoch = epoch
        self._max_frame_bytes = max_frame_bytes
        self._runs: deque[Run] = deque()
        self._count = 0
        self.size_bytes = 0
        self.last_critical_seq = 0

    def limit(self, max_frame_bytes: int) -> None:
        """Cut frames of at most so many bytes from now on."""
        self._max_frame_bytes = max_frame_bytes

    def __len__(self) -> int:
        """Return how many events are pending."""
        return self._count

    def add(self, run: Run) -> None:
        """Append the next events; their seqs follow those before."""
        self._runs.append(run)
        self._count += len(run)
        self.size_bytes += run.size_bytes
        if run.treatment.event_class is EventClass.CRITICAL:
            self.last_critical_seq = run.first

    @property
    def first_at(self) -> float:
        """When the oldest pending event was received; ask only while there is one."""
        return self._runs[0].received_at

    @property
    def has_critical(self) -> bool:
        """Whether a critical event waits here."""
        return bool(self._runs) and self.last_critical_seq >= self._runs[0].first

    def cut(self) -> Frame | None:
        """Cut one frame of all that is pending, up to `max_frame_bytes`; None when nothing is."""
        return self._cut(self._runs[-1].first, critical=False) if self._runs else None

    def cut_critical(self) -> list[Frame]:
        """Cut everything up to the last critical event.

        Returns:
            What was pending before the first critical event, then from the first critical event to the
            last one: criticals that wait together share a frame, and none overtakes what came before it.
            Either part is several frames where `max_frame_bytes` asks for it.
        """
        frames: list[Frame] = []
        while self.has_critical:
            first_critical = next(
                run.first for run in self._runs if run.treatment.event_class is EventClass.CRITICAL
            )
            if self._runs[0].first < first_critical:
                frames.append(self._cut(first_critical - 1, critical=False))
            else:
                frames.append(self._cut(self.last_critical_seq, critical=True))
        return frames

    def _cut(self, upto: int, *, critical: bool) -> Frame:
        """Cut a frame of the runs that begin at `upto` or before, as far as `max_frame_bytes` allows."""
        first, taken_us = self._runs[0].first, int(self._runs[0].received_at * 1_000_000)
        kept: dict[int, Run] = {}
        latest: dict[str, Run] = {}
        size = merged = 0
        last = first - 1
        while self._runs and self._runs[0].first <= upto:
            run = self._runs[0]
            key = run.treatment.key
            replaced = latest.get(key) if key is not None else None
            room = self._max_frame_bytes - size + (replaced.size_bytes if replaced else 0)
            fitting = run.fitting(room) or (0 if kept else 1)
            if not fitting:
                break
            run = self._take(fitting)
            if replaced is not None:
                del kept[replaced.first]
                size -= replaced.size_bytes
                merged += 1
            if key is not None:
                latest[key] = run
            kept[run.first] = run
            size += run.size_bytes
            last = run.first + fitting - 1
        runs = list(kept.values())
        return Frame(
            channel=self._channel,
            epoch=self._epoch,
            first=first,
            last=last,
            events=tuple(chain.from_iterable(run.raws for run in runs)),
            merged=merged,
            at=tuple(run.first - first + offset for run in runs for offset in range(len(run)))
            if merged
            else (),
            critical=critical,
            terminal=any(run.treatment.terminal for run in runs),
            state=_state(runs) if latest else (),
            taken_us=taken_us,
        )

    def _take(self, count: int) -> Run:
        """Take so many events off the first run; what is left of it stays the first."""
        run = self._runs.popleft()
        if count < len(run):
            self._runs.appendleft(run.part(count, len(run)))
            run = run.part(0, count)
        self._count -= count
        self.size_bytes -= run.size_bytes
        return run


def _state(runs: list[Run]) -> tuple[tuple[int, str], ...]:
    """Return (index among the events, key) of each state event."""
    found = []
    index = 0
    for run in runs:
        if run.treatment.key is not None:
            found.append((index, run.treatment.key))
        index += len(run)
    return tuple(found)
