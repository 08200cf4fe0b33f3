"""The journal without a disk. What both forms have in common is in test_sqlite_journal too, on files."""

from __future__ import annotations

from pipeline.throttle_batch.batcher import Commit
from pipeline.throttle_batch.history import Chunk, History
from pipeline.throttle_batch.journal import Journal, MemoryJournal
from pipeline.throttle_batch.records import Recovered
from tests.unit.throttle_batch.conftest import fact

FACTS = [fact(number) for number in range(1, 11)]


def commit(first: int, events: list[bytes], epoch: int = 7) -> Commit:
    return Commit([Chunk("scan/a", epoch, first, events)], [], [])


def test_what_is_committed_can_be_read_until_it_is_freed() -> None:
    journal: Journal = MemoryJournal(History(1_000_000, 1_000_000))
    assert journal.load() == Recovered([], [])
    journal.commit(commit(1, FACTS[:4]), 0)
    journal.commit(commit(5, FACTS[4:]), 0)
    journal.commit(commit(1, FACTS[:1], epoch=8), 0)
    assert (journal.held("scan/a", 7), journal.head("scan/a", 7)) == (1, 10)
    assert journal.read("scan/a", 7, 3, 8, 1_000_000) == (3, FACTS[2:8])
    assert journal.trim(10**15) == [], "memory has no age"
    assert journal.free("scan/a", 7), "freed is gone"
    assert (journal.held("scan/a", 7), journal.head("scan/a", 7)) == (None, None)
    assert journal.read("scan/a", 7, 3, 8, 1_000_000) == (3, [])
    assert journal.read("scan/a", 8, 1, 8, 1_000_000) == (1, FACTS[:1])
    assert journal.counters() == {"journal_bytes": len(FACTS[0]), "journal_trimmed_events": 0}
    journal.close()


def test_its_bounds_are_those_of_its_history() -> None:
    journal = MemoryJournal(History(2_000, 1_000_000))
    big = [fact(number, 1_000) for number in range(10)]
    for seq, raw in enumerate(big, start=1):
        journal.commit(commit(seq, [raw]), 0)
    assert journal.counters()["journal_bytes"] <= 2_000
    assert journal.counters()["journal_trimmed_events"] == journal.held("scan/a", 7) - 1 > 0
    assert journal.head("scan/a", 7) == 10
