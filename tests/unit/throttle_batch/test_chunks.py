"""Rows of events that are damaged, one way or another: exactly their range is lost, and told."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.errors import EventsDamaged, JournalDamaged, JournalError
from pipeline.throttle_batch.journal import DamagedRange
from pipeline.throttle_batch.sqlite_journal import SqliteJournal
from pipeline.wire import Ack
from tests.unit.throttle_batch.conftest import fact
from tests.unit.throttle_batch.journaling import FACTS, HUGE, bounds, chunk, commit, keep, opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Ten rows of ten events; and one row of another scan, with its own events in the same places."""
    with opened(tmp_path / "journal") as journal:
        for first in range(1, 101, 10):
            journal.commit(
                commit(chunk(first, *FACTS[first - 1 : first + 9]), Ack("p", 5, "scan/a", first)), 9
            )
        journal.commit(commit(keep(100), chunk(1, *FACTS[200:210], channel="scan/b", epoch=8)), 9)
    return tmp_path / "journal"


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert db.execute(statement).rowcount == 1


def read_all(journal: SqliteJournal, first: int = 1) -> tuple[dict[int, bytes], list[tuple[int, int]]]:
    """Return (seq -> event, the ranges told as damaged) of a reader that begins at `first`."""
    events: dict[int, bytes] = {}
    damaged = []
    while first <= 100:
        try:
            first, page = journal.read("scan/a", 7, first, 100, 2_000)
        except EventsDamaged as error:
            damaged.append((error.first, error.last))
            first = error.last + 1
            continue
        assert page
        events.update(enumerate(page, first))
        first += len(page)
    return events, damaged


DAMAGE = {
    "an event": "UPDATE chunk SET events = replace(events, '\"n\":45', '\"n\":44') WHERE first = 41",
    "its checksum": "UPDATE chunk SET checksum = checksum + 4 WHERE first = 41",
    "its last": "UPDATE chunk SET last = last + 1 WHERE first = 41",
    "its type": "UPDATE chunk SET events = 'text' WHERE first = 41",
    "no events": "UPDATE chunk SET events = '' WHERE first = 41",
    "its life": "UPDATE chunk SET life = 3 WHERE first = 41",
    "it is missing": "DELETE FROM chunk WHERE first = 41",
}


@pytest.mark.parametrize("statement", DAMAGE.values(), ids=DAMAGE)
def test_a_row_is_lost_and_no_other(path: Path, statement: str) -> None:
    change(path, statement)
    sound = {seq: FACTS[seq - 1] for seq in range(1, 101) if not 41 <= seq <= 50}
    with opened(path) as journal:
        assert read_all(journal) == (sound, [(41, 50)])
        for first in (41, 45, 50):
            assert read_all(journal, first)[1] == [(41, 50)], "one range, wherever a reader comes upon it"
        journal.commit(commit(chunk(101, FACTS[100])), 9)
        assert journal.read("scan/a", 7, 101, HUGE, HUGE) == (101, [FACTS[100]])
    with opened(path, recover=True) as journal:
        assert journal.set_aside is None
        assert journal.damaged == [DamagedRange("scan/a", 7, 41, 50)]


def test_a_row_in_a_wrong_place_is_not_taken_for_the_one_that_belongs_there(path: Path) -> None:
    """Its events are sound, and another scan's."""
    change(path, "DELETE FROM chunk WHERE life = 2")
    change(path, "UPDATE chunk SET life = 2 WHERE life = 1 AND first = 1")
    with opened(path) as journal:
        with pytest.raises(EventsDamaged, match="events 1 to 10 are damaged"):
            journal.read("scan/b", 8, 1, HUGE, HUGE)
        assert read_all(journal)[1] == [(1, 10)]


@pytest.mark.parametrize(
    ("where", "ranges"),
    [
        ("first IN (1, 11)", [(1, 20)]),
        ("first > 60", [(61, 100)]),
        ("first IN (31, 51)", [(31, 40), (51, 60)]),
    ],
)
def test_neighbours_are_one_range(path: Path, where: str, ranges: list[tuple[int, int]]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"UPDATE chunk SET checksum = 0 WHERE life = 1 AND {where}")
    with opened(path) as journal:
        assert read_all(journal)[1] == ranges


def test_a_long_range_is_told_in_parts(tmp_path: Path) -> None:
    with opened(tmp_path / "journal") as journal:
        for seq in range(1, 201):
            journal.commit(commit(chunk(seq, FACTS[seq - 1])), 9)
        journal.commit(commit(keep(200)), 9)
        journal._db.execute("UPDATE chunk SET checksum = 0 WHERE first BETWEEN 11 AND 90")
        assert journal.read("scan/a", 7, 1, 200, HUGE) == (1, FACTS[:10])
        told, first = [], 11
        while first <= 90:
            with pytest.raises(EventsDamaged) as caught:
                journal.read("scan/a", 7, first, 200, HUGE)
            told.append((caught.value.first, caught.value.last))
            first = caught.value.last + 1
        assert len(told) == 2
        assert [seq for start, end in told for seq in range(start, end + 1)] == list(range(11, 91))
        assert journal.read("scan/a", 7, 91, 200, HUGE) == (91, FACTS[90:200])


def test_pages_that_sqlite_finds_damaged(tmp_path: Path) -> None:
    """The overflow pages of one row lead nowhere; SQLite says so only when that row is read."""
    path = tmp_path / "journal"
    big = [fact(number, 30_000) for number in range(1, 31)]
    with opened(path) as journal:
        for seq in range(1, 31):
            journal.commit(commit(chunk(seq, big[seq - 1])), 9)
        journal.commit(commit(keep(30)), 9)
    raw = bytearray(path.read_bytes())

    page = next(
        number
        for number in range(100, len(raw) // 4096)
        if raw[number * 4096 + 4 : (number + 1) * 4096].startswith(b"....")
        and any(raw[number * 4096 : number * 4096 + 4])  # not the last of its chain
    )
    raw[page * 4096 : page * 4096 + 4] = b"\xff\xff\xff\x7f"  # the next page of that chain
    path.write_bytes(raw)
    with opened(path) as journal:
        events, damaged = {}, []
        first = 1
        while first <= 30:
            try:
                first, found = journal.read("scan/a", 7, first, 30, HUGE)
            except EventsDamaged as error:
                damaged.append((error.first, error.last))
                first = error.last + 1
                continue
            events.update(enumerate(found, first))
            first += len(found)
        assert len(damaged) == 1
        (lost,) = damaged
        assert lost[0] == lost[1]
        assert events == {seq: big[seq - 1] for seq in range(1, 31) if seq != lost[0]}


def test_what_is_folded_at_a_start_is_what_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as journal:
        for first in (1, 4, 7):
            journal.commit(commit(chunk(first, *FACTS[first - 1 : first + 2])), 9)
    change(path, "UPDATE chunk SET checksum = 0 WHERE first = 4")
    with opened(path) as journal:
        (life,) = journal.load().lives
        assert (life.head, life.tail) == (9, FACTS[:3] + FACTS[6:9])
        assert journal.damaged == [DamagedRange("scan/a", 7, 4, 6)]


# --- the other rows: nothing goes on without them -------------------------------------------------------

OTHERS = {
    "life": (
        "channel",
        "epoch",
        "head",
        "held",
        "ended_ms",
        "size_bytes",
        "updated_ms",
        "folded",
        "state",
        "cut",
    ),
    "producer": ("pid", "channel", "inc", "committed", "updated_ms"),
}


@pytest.mark.parametrize(
    ("table", "column"), [(table, column) for table, columns in OTHERS.items() for column in columns]
)
def test_a_changed_row_of_a_life_or_a_producer_is_refused(path: Path, table: str, column: str) -> None:
    text = {"channel": "replace(channel, 'scan/a', 'scan/c')", "pid": "'q'"}
    value = text.get(column, f"COALESCE({column}, 0) + 64")
    if column == "state":
        value = "CAST(replace(CAST(state AS TEXT), 'folded', 'golded') AS BLOB)"
    change(path, f"UPDATE {table} SET {column} = {value} WHERE channel = 'scan/a'")
    before = path.read_bytes()
    with pytest.raises(JournalDamaged, match="not what was written; --recover sets it aside") as caught:
        SqliteJournal(path, bounds(), "boot")
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    with opened(path, recover=True) as journal:
        assert journal.set_aside is not None
        assert journal.load().lives == journal.load().producers == []


def test_a_disk_that_cannot_be_read_is_no_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def execute(self, *_: object) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
            raise error

        def close(self) -> None:
            pass

    with opened(path) as journal:
        with monkeypatch.context() as patched:
            patched.setattr(journal, "_db", Failing())
            with pytest.raises(JournalError, match="disk I/O error") as caught:
                journal.read("scan/a", 7, 1, 100, HUGE)
            assert not isinstance(caught.value, JournalDamaged)
        assert read_all(journal)[1] == []
