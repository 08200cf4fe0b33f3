"""What readers can still be given: the recent events of every channel of a shard, in memory. Pure.

Filled by the stage when a commit is made, read in pages by late and returning readers. Bounded per
channel and in all: beyond either bound the oldest events go, and a reader who asks for them is told so.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive events of one channel's life, as one commit takes them; `ends`: one of them ends it."""

    channel: str
    epoch: int
    first: int
    events: list[bytes]
    ends: bool = False


_BLOCK_EVENTS = 256
_BLOCK_BYTES = 65_536


@dataclass(slots=True)
class _Block:
    """A run of consecutive events: what is found and let go of at once."""

    first: int
    events: list[bytes] = field(default_factory=list)
    size_bytes: int = 0

    @property
    def next_seq(self) -> int:
        return self.first + len(self.events)


@dataclass(slots=True)
class _Log:
    next_seq: int
    blocks: deque[_Block] = field(default_factory=deque)
    size_bytes: int = 0

    @property
    def held(self) -> int:
        return self.blocks[0].first if self.blocks else self.next_seq


class History:
    """Args:
    max_channel_bytes: the most event bytes held of one channel's life.
    max_total_bytes: the most event bytes held in all.
    """

    def __init__(self, max_channel_bytes: int, max_total_bytes: int) -> None:
        self.bound(max_channel_bytes, max_total_bytes)
        self._logs: dict[tuple[str, int], _Log] = {}
        self.size_bytes = 0
        self.trimmed_events = 0

    def bound(self, max_channel_bytes: int, max_total_bytes: int) -> None:
        """Hold at most so much from the next events on."""
        self._max_channel_bytes = max_channel_bytes
        self._max_total_bytes = max_total_bytes

    def append(self, chunk: Chunk) -> None:
        """Add the next events of a channel's life, and let go of the oldest beyond the bounds."""
        log = self._logs.setdefault((chunk.channel, chunk.epoch), _Log(chunk.first))
        for raw in chunk.events:
            block = log.blocks[-1] if log.blocks else None
            if block is None or len(block.events) >= _BLOCK_EVENTS or block.size_bytes >= _BLOCK_BYTES:
                block = _Block(log.next_seq)
                log.blocks.append(block)
            block.events.append(raw)
            block.size_bytes += len(raw)
            log.next_seq += 1
            log.size_bytes += len(raw)
            self.size_bytes += len(raw)
        while log.size_bytes > self._max_channel_bytes:
            self._trim(log)
        while self.size_bytes > self._max_total_bytes:
            # Half of the largest at once, so that the search for it is rare.
            largest = max(self._logs.values(), key=lambda candidate: candidate.size_bytes)
            for _ in range((len(largest.blocks) + 1) // 2):
                self._trim(largest)

    def drop(self, channel: str, epoch: int) -> None:
        """Forget a channel's life."""
        log = self._logs.pop((channel, epoch), None)
        if log is not None:
            self.size_bytes -= log.size_bytes

    def epochs(self, channel: str) -> list[int]:
        """Return the lives of a channel, by ascending epoch."""
        return sorted(epoch for name, epoch in self._logs if name == channel)

    def held(self, channel: str, epoch: int) -> int | None:
        """Return the oldest seq held; the next seq when none is; None when the life is unknown."""
        log = self._logs.get((channel, epoch))
        return None if log is None else log.held

    def head(self, channel: str, epoch: int) -> int | None:
        """Return the last seq of a life; None when the life is unknown."""
        log = self._logs.get((channel, epoch))
        return None if log is None else log.next_seq - 1

    def read(
        self, channel: str, epoch: int, first: int, upto: int, max_bytes: int
    ) -> tuple[int, list[bytes]]:
        """Return events of a life from `first` on.

        Args:
            first: the seq wanted; where older ones are no longer held, the page begins at the oldest held.
            upto: the last seq that may be given.
            max_bytes: the page ends before it grows past so many bytes, but holds at least one event.

        Returns:
            (seq of the first event given, the events).
        """
        log = self._logs.get((channel, epoch))
        if log is None:
            return first, []
        start = max(first, log.held)
        events: list[bytes] = []
        size = 0
        for block in log.blocks:
            if block.next_seq <= start:
                continue
            if block.first > upto:
                break
            for raw in block.events[max(0, start - block.first) : upto - block.first + 1]:
                size += len(raw) + 1
                if size > max_bytes and events:
                    return start, events
                events.append(raw)
        return start, events

    def _trim(self, log: _Log) -> None:
        oldest = log.blocks.popleft()
        log.size_bytes -= oldest.size_bytes
        self.size_bytes -= oldest.size_bytes
        self.trimmed_events += len(oldest.events)
