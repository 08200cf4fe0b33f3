"""What a worker finds of the states of its lives when it starts: two parts, one of which may be missing."""

from __future__ import annotations

from pathlib import Path

from pipeline.throttle_batch.records import Checkpoint, LifeState
from tests.unit.throttle_batch.journaling import FACTS, chunk, commit, everything, opened


def whole_state(folded: int, detail: bytes | None) -> Checkpoint:
    return Checkpoint("scan/a", 7, LifeState(folded=folded, created_ms=1), detail)


def test_a_state_is_kept_in_two_parts_and_read_as_one(tmp_path: Path) -> None:
    with opened(tmp_path / "journal") as journal:
        journal.commit(commit(chunk(1, *FACTS[:10]), whole_state(8, b"d8")), 1_000)
        record = journal.record("scan/a", 7)
    assert record is not None
    assert (record.state.folded, record.detail, record.tail) == (8, b"d8", FACTS[8:10])
    assert (record.head, record.updated_ms, record.ended_ms) == (10, 1_000, None)
    with opened(tmp_path / "journal") as journal:
        (loaded,) = journal.load().lives
        assert loaded == record
        assert journal.record("scan/a", 8) is None


def test_what_needs_no_folding_is_not_read_at_the_start(tmp_path: Path) -> None:
    with opened(tmp_path / "journal") as journal:
        journal.commit(commit(chunk(1, *FACTS[:10]), whole_state(10, b"d10")), 1_000)
    with opened(tmp_path / "journal") as journal:
        (loaded,) = journal.load().lives
        assert (loaded.detail, loaded.tail) == (None, [])
        record = journal.record("scan/a", 7)
        assert record is not None
        assert record.detail == b"d10"


def test_a_small_part_alone_leaves_the_other_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path / "journal") as journal:
        journal.commit(commit(chunk(1, *FACTS[:10]), whole_state(8, b"d8")), 1_000)
        journal.commit(commit(whole_state(8, None)), 1_000)
        record = journal.record("scan/a", 7)
        assert record is not None
        assert record.detail == b"d8"


def test_parts_that_do_not_belong_together_are_not_put_together(tmp_path: Path) -> None:
    """As an earlier version leaves it, which knows one part only."""
    with opened(tmp_path / "journal") as journal:
        journal.commit(commit(chunk(1, *FACTS[:10]), whole_state(8, b"d8")), 1_000)
        journal.commit(commit(whole_state(9, None)), 1_000)
        record = journal.record("scan/a", 7)
        assert record is not None
        assert (record.state.folded, record.detail, record.tail) == (9, b"", FACTS[9:10])


def test_a_damaged_part_is_lost_and_nothing_else(tmp_path: Path) -> None:
    with opened(tmp_path / "journal") as journal:
        journal.commit(commit(chunk(1, *FACTS[:10]), whole_state(8, b"d8")), 1_000)
        journal._db.execute("UPDATE detail SET body = ?", (b"d9",))
    with opened(tmp_path / "journal") as journal:
        (loaded,) = journal.load().lives
        assert (loaded.detail, loaded.tail) == (b"", FACTS[8:10])
        assert everything(journal) == (1, FACTS[:10])


def test_it_goes_with_its_life(tmp_path: Path) -> None:
    with opened(tmp_path / "journal", retention_age_s=100) as journal:
        journal.commit(commit(chunk(1, *FACTS[:10]), whole_state(10, b"d10")), 1_000)
        while not journal.trim(200_000):
            pass
        assert journal._db.execute("SELECT COUNT(*) FROM detail").fetchone() == (0,)
        assert journal.record("scan/a", 7) is None
