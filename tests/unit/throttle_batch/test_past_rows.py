"""Past lives in a real file: their order, and how they are deleted, at whatever moment a kill comes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pipeline.errors import JournalError
from pipeline.throttle_batch.sqlite_journal import SqliteJournal
from tests.unit.throttle_batch.conftest import fact
from tests.unit.throttle_batch.journaling import (
    FACTS,
    HUGE,
    as_a_kill_leaves_it,
    chunk,
    commit,
    everything,
    keep,
    opened,
)


def fill(journal: SqliteJournal, count: int, at_ms: int = 1) -> None:
    """Add so many scans, each a millisecond after the one before."""
    for number in range(count):
        name = f"scan/{number}"
        parts = (chunk(1, *FACTS[:3], channel=name, ends=True), keep(3, name, status="completed"))
        journal.commit(commit(*parts), at_ms + number)


def names(journal: SqliteJournal, channel: str | None = None) -> list[str]:
    """Return all lives, read three at a time."""
    found: list[str] = []
    mark = None
    while rows := journal.past(channel, mark, 3):
        found += [f"{row.channel}:{row.epoch}" for row in rows]
        mark = rows[-1].mark
    return found


def test_the_latest_come_first_each_once(tmp_path: Path) -> None:
    with opened(tmp_path / "journal") as journal:
        fill(journal, 7)
        for number in (0, 1):  # two have events later
            journal.commit(commit(chunk(4, FACTS[3], channel=f"scan/{number}")), 9 + number)
        assert names(journal) == [f"scan/{number}:7" for number in (1, 0, 6, 5, 4, 3, 2)]


def test_lives_of_the_same_moment_are_each_told(tmp_path: Path) -> None:
    with opened(tmp_path / "journal") as journal:
        for number in range(8):
            journal.commit(commit(chunk(1, FACTS[0], channel=f"scan/{number}")), 5)
        assert sorted(names(journal)) == [f"scan/{number}:7" for number in range(8)]


def test_the_lives_of_one_channel(tmp_path: Path) -> None:
    with opened(tmp_path / "journal") as journal:
        fill(journal, 3)
        journal.commit(commit(chunk(1, FACTS[0], channel="scan/1", epoch=9)), 50)
        assert names(journal, "scan/1") == ["scan/1:9", "scan/1:7"]
        assert journal.epochs("scan/1") == [7, 9]
        assert journal.epochs("scan/none") == []


def test_a_list_needs_no_sorting(tmp_path: Path) -> None:
    with opened(tmp_path / "journal") as journal:
        fill(journal, 3)
    from pipeline.throttle_batch import past_rows

    with sqlite3.connect(tmp_path / "journal") as db:
        plan = db.execute(f"EXPLAIN QUERY PLAN {past_rows._ALL}", (1, 1, 1, 1, 1)).fetchall()
    db.close()
    assert [step[3] for step in plan] == ["SEARCH life USING INDEX life_age (updated_ms>? AND updated_ms<?)"]


def test_a_state_that_is_damaged_is_told_as_none(tmp_path: Path) -> None:
    with opened(tmp_path / "journal") as journal:
        fill(journal, 2)
        with sqlite3.connect(tmp_path / "journal") as db:
            db.execute("UPDATE life SET state = replace(state, 'completed', 'complefed') WHERE id = 1")
        db.close()
        assert [row.state is None for row in journal.past(None, None, 10)] == [False, True]


def gone(journal: SqliteJournal, name: str = "scan/1") -> bool:
    assert journal.epochs(name) == ([] if journal.head(name, 7) is None else [7])
    assert (f"{name}:7" in names(journal)) is (journal.head(name, 7) is not None)
    assert (journal.record(name, 7) is None) is (journal.head(name, 7) is None)
    assert journal.free(name, 7) is (journal.head(name, 7) is None)
    return journal.head(name, 7) is None


def test_a_deleted_life_is_found_no_more_and_its_rows_go(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as journal:
        fill(journal, 3, at_ms=1_000)
        before = journal.counters()["journal_bytes"]
        assert not gone(journal)
        journal.delete("scan/1", [7])
        assert gone(journal)
        assert journal.read("scan/1", 7, 1, 3, HUGE) == (1, [])
        killed = as_a_kill_leaves_it(path, tmp_path / "killed")
        assert journal.trim(2_000) == [("scan/1", 7)]
        assert journal.counters()["journal_bytes"] < before
        after = as_a_kill_leaves_it(path, tmp_path / "after")
        assert gone(journal)
    for copy in (killed, after):
        with opened(copy) as journal:
            assert journal.cut_off is None
            recovered = journal.load()
            assert [record.channel for record in recovered.lives] == ["scan/0", "scan/2"]
            assert recovered.deleted_epoch == 7
            assert gone(journal)
            journal.trim(2_000)
            assert everything(journal, "scan/2") == (1, FACTS[:3])
    with sqlite3.connect(after) as db:
        assert db.execute("SELECT COUNT(*) FROM chunk").fetchone() == (2,)
        assert db.execute("SELECT COUNT(*) FROM life").fetchone() == (2,)
    db.close()


def test_the_life_that_was_written_last_is_deleted_without_a_doubt(tmp_path: Path) -> None:
    """Its absence is no sign that the journal went back, also when its rows are gone."""
    path = tmp_path / "journal"
    with opened(path) as journal:
        fill(journal, 2, at_ms=1_000)
        journal.delete("scan/1", [7])
        journal.trim(2_000)
    with opened(path) as journal:
        assert journal.cut_off is None


def test_a_large_life_is_deleted_at_once_and_goes_by_and_by(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as journal:
        fill(journal, 1, at_ms=1_000)
        for seq in range(1, 301):
            journal.commit(commit(chunk(seq, fact(seq), channel="scan/large")), 1_000)
        journal.trim(1_001)  # what was added is no measure any more
        journal.delete("scan/large", [7])
        assert gone(journal, "scan/large")
        rounds = 0
        while not journal.trim(1_001):
            rounds += 1
            assert gone(journal, "scan/large")
        assert rounds > 1
        assert everything(journal, "scan/0") == (1, FACTS[:3])


def test_a_checkpoint_that_waited_for_a_deleted_life_is_let_go(tmp_path: Path) -> None:
    with opened(tmp_path / "journal") as journal:
        fill(journal, 2)
        journal.delete("scan/1", [7])
        journal.commit(commit(keep(3, "scan/1"), keep(3, "scan/0")), 5)
        assert gone(journal)


def test_a_deletion_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as journal:
        fill(journal, 2)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="locked"):
            journal.delete("scan/1", [7])
        other.execute("ROLLBACK")
        other.close()
        assert not gone(journal)
        journal.delete("scan/1", [7])
        assert gone(journal)
