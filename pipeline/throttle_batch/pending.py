"""The pending batch: committed events of one channel that are in no frame yet. Pure.

Filled by `channel` when a commit is durable, cut into frames when the budget allows. Frames are views of
the log: each covers a contiguous range, and what merging leaves out of it is counted, so that
`len(events) + merged == last - first + 1` always.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from pipeline.event import EventClass, Treatment
from pipeline.frame import Frame


class Entry(NamedTuple):
    """One numbered event, how it is treated, and when it was received (monotonic seconds)."""

    seq: int
    raw: bytes
    treatment: Treatment
    received_at: float


class PendingBatch:
    """Args:
    channel: `kind/id`.
    epoch: the life the events belong to.
    max_frame_bytes: the most event bytes in one frame; a single event may not exceed it.
    """

    __slots__ = ("_channel", "_entries", "_epoch", "_max_frame_bytes", "last_critical_seq", "size_bytes")

    def __init__(self, channel: str, epoch: int, max_frame_bytes: int) -> None:
        self._channel = channel
        self._epoch = epoch
        self._max_frame_bytes = max_frame_bytes
        self._entries: deque[Entry] = deque()
        self.size_bytes = 0
        self.last_critical_seq = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        """Append the next event; its seq follows the one before."""
        self._entries.append(entry)
        self.size_bytes += len(entry.raw)
        if entry.treatment.event_class is EventClass.CRITICAL:
            self.last_critical_seq = entry.seq

    @property
    def first_at(self) -> float:
        """When the oldest pending event was received; ask only while there is one."""
        return self._entries[0].received_at

    @property
    def has_critical(self) -> bool:
        """Whether a critical event waits here."""
        return bool(self._entries) and self.last_critical_seq >= self._entries[0].seq

    def cut(self) -> Frame | None:
        """Cut one frame of all that is pending, up to `max_frame_bytes`; None when nothing is."""
        return self._cut(self._entries[-1].seq, critical=False) if self._entries else None

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
                entry.seq for entry in self._entries if entry.treatment.event_class is EventClass.CRITICAL
            )
            if self._entries[0].seq < first_critical:
                frames.append(self._cut(first_critical - 1, critical=False))
            else:
                frames.append(self._cut(self.last_critical_seq, critical=True))
        return frames

    def _cut(self, upto: int, *, critical: bool) -> Frame:
        first = self._entries[0].seq
        kept: dict[int, Entry] = {}
        latest: dict[str, Entry] = {}
        size = merged = 0
        last = first - 1
        terminal = False
        while self._entries and self._entries[0].seq <= upto:
            entry = self._entries[0]
            replaced = latest.get(entry.treatment.key) if entry.treatment.key is not None else None
            grown = size + len(entry.raw) - (len(replaced.raw) if replaced else 0)
            if grown > self._max_frame_bytes and kept:
                break
            self._entries.popleft()
            self.size_bytes -= len(entry.raw)
            if replaced is not None:
                del kept[replaced.seq]
                merged += 1
            if entry.treatment.key is not None:
                latest[entry.treatment.key] = entry
            kept[entry.seq] = entry
            size = grown
            last = entry.seq
            terminal = terminal or entry.treatment.terminal
        return Frame(
            channel=self._channel,
            epoch=self._epoch,
            first=first,
            last=last,
            events=tuple(entry.raw for entry in kept.values()),
            merged=merged,
            at=tuple(seq - first for seq in kept) if merged else (),
            critical=critical,
            terminal=terminal,
            state=tuple(
                (index, entry.treatment.key)
                for index, entry in enumerate(kept.values())
                if entry.treatment.key is not None
            ),
        )
