"""What outlives a wake-up: the interface the stage writes to, and its form without a disk. Shell.

The stage calls `commit` once a wake-up, with everything it took, and acks only afterwards; readers are given
pages of it. `sqlite_journal` is the form that outlives the process. A shared engine could stand in behind
the same few methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipeline.throttle_batch.batcher import Commit
from pipeline.throttle_batch.config import JournalSection
from pipeline.throttle_batch.history import History
from pipeline.throttle_batch.past import PastRow
from pipeline.throttle_batch.records import LifeRecord, Recovered
from pipeline.wire import Mark

MEMORY_CHANNEL_BYTES = 16_777_216
MEMORY_TOTAL_BYTES = 268_435_456


@dataclass(frozen=True, slots=True)
class DamagedRange:
    """Events `first` to `last` of a life that nobody can be given any more."""

    channel: str
    epoch: int
    first: int
    last: int


class Journal(Protocol):
    """What the stage needs of a journal."""

    def follow(self, settings: JournalSection) -> None:
        """Go on with other bounds; whether it is on disk, and waits for that, stays as it is."""

    def load(self) -> Recovered:
        """Return everything a worker has to know when it starts."""

    def commit(self, commit: Commit, now_ms: int) -> None:
        """Make a wake-up's work durable, all of it or nothing.

        Raises:
            JournalError: it is not; the same commit may be tried again.
        """

    def read(
        self, channel: str, epoch: int, first: int, upto: int, max_bytes: int
    ) -> tuple[int, list[bytes]]:
        """Return events of a life from `first` on, as `history.History.read` does; up to a damaged one.

        Raises:
            EventsDamaged: the first of them is damaged.
            JournalError: it cannot be read; the same may be asked again.
        """

    def is_cut(self, channel: str, epoch: int) -> bool:
        """Say whether a life takes no more events although it had not ended: the journal went back."""

    @property
    def has_room(self) -> bool:
        """Whether there is room for a commit, as far as can be told without one."""

    @property
    def damaged(self) -> list[DamagedRange]:
        """Ranges of events that were found damaged while it was opened."""

    def held(self, channel: str, epoch: int) -> int | None:
        """Return the oldest seq held of a life; the next seq when none is; None when it is unknown."""

    def head(self, channel: str, epoch: int) -> int | None:
        """Return the last seq committed of a life; None when it is unknown."""

    def record(self, channel: str, epoch: int) -> LifeRecord | None:
        """Return everything that is kept of a life but its old events; None when it is unknown.

        Raises:
            JournalError: it cannot be read.
        """

    def epochs(self, channel: str) -> list[int]:
        """Return the lives of a channel, by ascending epoch.

        Raises:
            JournalError: it cannot be read.
        """

    def past(self, channel: str | None, before: Mark | None, limit: int) -> list[PastRow]:
        """Return lives that outlive their memory, the latest first; see `past_rows.read_past`.

        Raises:
            JournalError: it cannot be read.
        """

    def delete(self, channel: str, epochs: list[int]) -> None:
        """Have readers find lives no more, for good, all of them or none.

        Raises:
            JournalError: it cannot be written; they are as they were.
        """

    def free(self, channel: str, epoch: int) -> bool:
        """Take notice that a life's memory was freed.

        Returns:
            Whether the life is gone for readers too.
        """

    def trim(self, now_ms: int) -> list[tuple[str, int]]:
        """Let go of a little of what is beyond the bounds; call it often.

        Returns:
            (channel, epoch) of the lives that are gone altogether.
        """

    def counters(self) -> dict[str, float]:
        """Return what it counts."""

    def close(self) -> None:
        """Let go of the file."""


class MemoryJournal:
    """`journal.kind = "memory"`: nothing outlives the process; what readers are given is bounded memory."""

    has_room = True

    def __init__(self, history: History) -> None:
        self._history = history
        self.damaged: list[DamagedRange] = []

    def follow(self, settings: JournalSection) -> None:
        self._history.bound(
            min(settings.max_channel_bytes, MEMORY_CHANNEL_BYTES),
            min(settings.max_total_bytes, MEMORY_TOTAL_BYTES),
        )

    def load(self) -> Recovered:
        return Recovered([], [])

    def commit(self, commit: Commit, now_ms: int) -> None:  # noqa: ARG002  # memory has no age
        for chunk in commit.chunks:
            self._history.append(chunk)

    def read(
        self, channel: str, epoch: int, first: int, upto: int, max_bytes: int
    ) -> tuple[int, list[bytes]]:
        return self._history.read(channel, epoch, first, upto, max_bytes)

    def held(self, channel: str, epoch: int) -> int | None:
        return self._history.held(channel, epoch)

    def head(self, channel: str, epoch: int) -> int | None:
        return self._history.head(channel, epoch)

    def is_cut(self, channel: str, epoch: int) -> bool:  # noqa: ARG002  # what is gone is gone altogether
        return False

    def record(self, channel: str, epoch: int) -> LifeRecord | None:  # noqa: ARG002  # what is freed is gone
        return None

    def epochs(self, channel: str) -> list[int]:
        return self._history.epochs(channel)

    def past(self, channel: str | None, before: Mark | None, limit: int) -> list[PastRow]:  # noqa: ARG002  # what is freed is gone
        return []

    def delete(self, channel: str, epochs: list[int]) -> None:
        for epoch in epochs:
            self._history.drop(channel, epoch)

    def free(self, channel: str, epoch: int) -> bool:
        self._history.drop(channel, epoch)
        return True

    def trim(self, now_ms: int) -> list[tuple[str, int]]:  # noqa: ARG002  # its bounds are kept by `commit`
        return []

    def counters(self) -> dict[str, float]:
        return {
            "journal_bytes": self._history.size_bytes,
            "journal_trimmed_events": self._history.trimmed_events,
        }

    def close(self) -> None:
        pass
