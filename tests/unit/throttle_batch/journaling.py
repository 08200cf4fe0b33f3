"""What the tests of the journal on disk share: real files, and a worker of a batcher and a journal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import JournalError
from pipeline.throttle_batch.batcher import Batcher, Commit, Release
from pipeline.throttle_batch.config import JournalSection, ThrottleBatchConfig
from pipeline.throttle_batch.history import Chunk
from pipeline.throttle_batch.records import Checkpoint, LifeState
from pipeline.throttle_batch.sqlite_journal import SqliteJournal
from pipeline.wire import Ack, Envelope
from tests.unit.throttle_batch.conftest import CATALOGUE, clock_ms, fact

HUGE = 1 << 40
FACTS = [fact(number) for number in range(1, 301)]


def bounds(**changed: object) -> JournalSection:
    """A journal's settings; the bounds of a file do not hold here: small ones test faster."""
    return JournalSection(**{"min_free_bytes": 0, **changed})


@contextmanager
def opened(
    path: Path, boot: str = "boot", *, recover: bool = False, **changed: object
) -> Iterator[SqliteJournal]:
    """Open a journal; it is closed cleanly at the end."""
    journal = SqliteJournal(path, bounds(**changed), boot, recover=recover)
    try:
        yield journal
    finally:
        journal.close()


def chunk(first: int, *events: bytes, channel: str = "scan/a", epoch: int = 7, ends: bool = False) -> Chunk:
    return Chunk(channel, epoch, first, list(events), ends)


def keep(folded: int, channel: str = "scan/a", epoch: int = 7, **state: object) -> Checkpoint:
    return Checkpoint(channel, epoch, LifeState(folded=folded, created_ms=1, **state))


def commit(*parts: Chunk | Ack | Checkpoint) -> Commit:
    return Commit(
        [part for part in parts if isinstance(part, Chunk)],
        [part for part in parts if isinstance(part, Ack)],
        [part for part in parts if isinstance(part, Checkpoint)],
    )


def everything(journal: SqliteJournal, channel: str = "scan/a", epoch: int = 7) -> tuple[int, list[bytes]]:
    """Return (the oldest seq held, the events from there on), read in pages."""
    held, head = journal.held(channel, epoch), journal.head(channel, epoch)
    assert held is not None
    assert head is not None
    events: list[bytes] = []
    while held + len(events) <= head:
        first, page = journal.read(channel, epoch, held + len(events), head, 2_000)
        assert first == held + len(events)
        assert page
        events += page
    return held, events


def as_a_kill_leaves_it(path: Path, place: Path) -> Path:
    """Copy a journal that is open: what of it another process would find now."""
    place.mkdir()
    for suffix in ("", "-wal", ".last"):
        shutil.copy(path.with_name(path.name + suffix), place)
    copy = place / path.name
    is_the_file_itself(copy)
    return copy


def is_the_file_itself(path: Path) -> None:
    """Have what stands beside a copy say that it is none."""
    last = path.with_name(path.name + ".last")
    told = json.loads(last.read_bytes())
    last.write_text(json.dumps({**told, "inode": path.stat().st_ino}))


class Worker:
    """A batcher and its journal on disk, driven as the shard drives them.

    Args:
        place: an empty directory.
    """

    def __init__(self, place: Path, config: ThrottleBatchConfig, now: float) -> None:
        self._place = place
        self._config = config
        self._runs = 0
        self.path = place / "journal"
        self._start("boot", now)

    def _start(self, boot: str, now: float) -> None:
        self.journal = SqliteJournal(self.path, self._config.journal, boot)
        self.batcher = Batcher(self._config, CATALOGUE, clock_ms(now), now)
        self.batcher.restore(self.journal.load(), now)
        self._supply()

    def _supply(self) -> None:
        for channel in self.batcher.wanted():
            record = self.journal.record(channel.name, channel.epoch)
            assert record is not None
            channel.supply(record.detail or b"")

    def kill(self, boot: str, now: float) -> None:
        """End as a crash does, and start again."""
        self._runs += 1
        path = as_a_kill_leaves_it(self.path, self._place / str(self._runs))
        self.journal.close()
        self.path = path
        self._start(boot, now)

    def stop(self, boot: str, now: float) -> None:
        """End as asked to, and start again."""
        last = self.batcher.last_commit()
        if last:
            self.journal.commit(last, clock_ms(now))
        self.journal.close()
        self._start(boot, now)

    def start_again(self, boot: str, now: float) -> None:
        """Start again; the journal was closed already."""
        self._start(boot, now)

    def wake(self, now: float, *envelopes: Envelope) -> Release | None:
        """Have one wake-up; None when its commit failed."""
        for envelope in envelopes:
            self.batcher.receive(envelope, now)
        self.batcher.handle_timeout(now)
        for channel, epoch in self.batcher.take_gone():
            if self.journal.free(channel, epoch):
                self.batcher.forget(channel, epoch)
        self._supply()
        commit = self.batcher.uncommitted()
        if commit:
            try:
                self.journal.commit(commit, clock_ms(now))
            except JournalError:
                return None
        return self.batcher.committed(now)

    def until(self, end: float) -> None:
        """Wake up at each deadline up to `end`."""
        while (deadline := self.batcher.next_deadline()) is not None and deadline <= end:
            self.wake(deadline)

    def trim(self, now: float) -> None:
        for channel, epoch in self.journal.trim(clock_ms(now)):
            self.batcher.forget(channel, epoch)
