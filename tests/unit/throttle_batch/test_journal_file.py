"""Opening a journal's file: one owner, its version, its damage."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import EndpointError, JournalDamaged, JournalError
from pipeline.throttle_batch.journal_file import SCHEMA_VERSION, os_boot_id
from pipeline.throttle_batch.sqlite_journal import SqliteJournal
from pipeline.wire import Ack
from tests.unit.throttle_batch.conftest import fact
from tests.unit.throttle_batch.journaling import (
    FACTS,
    as_a_kill_leaves_it,
    bounds,
    chunk,
    commit,
    everything,
    keep,
    opened,
)


def fill(path: Path) -> None:
    with opened(path) as journal:
        journal.commit(commit(chunk(1, *FACTS[:3])), 0)


# --- one owner ----------------------------------------------------------------------------------------


def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as journal:
        with pytest.raises(EndpointError, match=r"journal: another process owns this journal"):
            SqliteJournal(path, bounds(), "boot")
        journal.commit(commit(chunk(1, *FACTS[:3])), 0)
    with opened(path) as journal:
        assert everything(journal) == (1, FACTS[:3])


def test_what_cannot_be_opened_lets_go_of_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"x" * 5_000)
    for _ in range(2):
        with pytest.raises(JournalDamaged):
            SqliteJournal(path, bounds(), "boot")


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="No such file"):
        SqliteJournal(tmp_path / "nowhere" / "journal", bounds(), "boot")


def test_what_is_no_file_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    with pytest.raises(JournalError, match="unable to open") as caught:
        SqliteJournal(tmp_path / "journal", bounds(), "boot", recover=True)
    assert not isinstance(caught.value, JournalDamaged)


# --- how it is opened ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("fsync", "synchronous"), [(False, 1), (True, 2)])
def test_fsync_is_sqlites_full(tmp_path: Path, fsync: bool, synchronous: int) -> None:
    """NORMAL is 1, FULL is 2; in WAL mode only FULL waits for the disk at each commit."""
    with opened(tmp_path / "journal", fsync=fsync) as journal:
        assert journal._db.execute("PRAGMA synchronous").fetchone() == (synchronous,)
        assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert journal._db.execute("PRAGMA auto_vacuum").fetchone() == (2,)


def test_a_clean_end_leaves_one_file(tmp_path: Path) -> None:
    fill(tmp_path / "journal")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal", "journal.last", "journal.lock"]


def test_a_later_version_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    fill(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()
    for recover in (False, True):
        with pytest.raises(
            JournalError, match=f"later version .schema {SCHEMA_VERSION + 1}; .* up to {SCHEMA_VERSION}"
        ) as caught:
            SqliteJournal(path, bounds(), "boot", recover=recover)
        assert not isinstance(caught.value, JournalDamaged)
    assert path.read_bytes() == before


def test_a_file_of_somebody_else_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE meta (x)")
        db.execute("INSERT INTO meta VALUES ('theirs')")
        db.commit()
    with pytest.raises(JournalDamaged, match="--recover"):
        SqliteJournal(path, bounds(), "boot")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT x FROM meta").fetchall() == [("theirs",)], "half a schema is none"
        assert db.execute("PRAGMA user_version").fetchone() == (0,)


def test_a_schema_that_lacks_a_table_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    fill(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE producer")
    with pytest.raises(JournalDamaged, match="no such table"):
        SqliteJournal(path, bounds(), "boot")
    with opened(path, recover=True) as journal:
        assert journal.set_aside is not None


# --- damage -------------------------------------------------------------------------------------------


def damaged_beneath(path: Path) -> None:
    """Make the header tell of five free pages that are not there: nobody sees it who does not check."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with path.open("r+b") as file:
        file.seek(36)  # the number of freelist pages (SQLite's file format, 1.3)
        file.write((5).to_bytes(4, "big"))


def test_after_another_run_of_the_system_an_open_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as journal:
        journal.commit(commit(chunk(1, *FACTS[:3]), keep(3)), 0)
        journal.commit(commit(chunk(4, *FACTS[3:6]), keep(6)), 0)
        left_open = as_a_kill_leaves_it(path, tmp_path / "killed")
    for where in (path, left_open):
        damaged_beneath(where)
    with opened(path, "another boot"):
        pass  # it was closed cleanly: no check
    copy = Path(shutil.copytree(left_open.parent, tmp_path / "copy")) / left_open.name
    with opened(copy, "boot"):
        pass  # the same run of the system: what the worker wrote is there
    with pytest.raises(JournalDamaged, match=r"freelist.*; --recover sets it aside"):
        SqliteJournal(left_open, bounds(), "another boot")


def test_recover_checks_in_any_case_and_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    fill(path)
    with opened(path, recover=True) as journal:
        assert journal.set_aside is None, "nothing was wrong"
        assert everything(journal) == (1, FACTS[:3])
    damaged_beneath(path)
    damaged = path.read_bytes()
    for number in (1, 2):
        with opened(path, recover=True) as journal:
            assert journal.set_aside == tmp_path / f"journal.damaged-{number}"
            assert journal.load().lives == journal.load().producers == []
            assert journal.head("scan/a", 7) is None
            assert journal.counters()["journal_bytes"] == 0
            journal.commit(commit(chunk(1, *FACTS[5:9], epoch=9)), 0)
            assert everything(journal, epoch=9) == (1, FACTS[5:9])
        assert (tmp_path / f"journal.damaged-{number}").read_bytes() == damaged
        with opened(path) as journal:
            assert everything(journal, epoch=9) == (1, FACTS[5:9])
        path.write_bytes(damaged)


def test_the_log_of_a_damaged_file_does_not_come_back(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    fill(path)
    with opened(path) as journal:
        journal.commit(commit(chunk(4, FACTS[3])), 0)
        killed = as_a_kill_leaves_it(path, tmp_path / "killed")
    killed.write_bytes(b"\xff" * killed.stat().st_size)
    with opened(killed, recover=True) as journal:
        assert journal.head("scan/a", 7) is None
        journal.commit(commit(chunk(1, FACTS[8], epoch=9)), 0)
        killed_again = as_a_kill_leaves_it(killed, tmp_path / "killed again")
    with opened(killed_again) as journal:
        assert [(life.epoch, life.tail) for life in journal.load().lives] == [(9, [FACTS[8]])]


def test_a_file_that_is_gone_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as journal:
        journal.commit(commit(chunk(1, *FACTS[:3])), 0)
        killed = as_a_kill_leaves_it(path, tmp_path / "killed")
    killed.unlink()
    with opened(killed) as journal:
        assert journal.load().lives == []
        journal.commit(commit(chunk(1, *FACTS[:3])), 0)


EVENTS = [fact(number, 40 + number % 300) for number in range(1, 601)]
PLACES = [("scan/a", 7), ("scan/b", 8)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A journal of some 80 pages: two lives of 600 events, one with a checkpoint half-way."""
    path = tmp_path_factory.mktemp("whole") / "journal"
    with opened(path) as journal:
        for first in range(1, 601, 7):
            part = EVENTS[first - 1 : first + 6]
            journal.commit(
                commit(
                    *(chunk(first, *part, channel=channel, epoch=epoch) for channel, epoch in PLACES),
                    *(Ack(f"p{first}", 1, channel, first) for channel, _ in PLACES),
                    *([keep(300)] if first == 302 else []),
                ),
                0,
            )
    return path.read_bytes()


def damage(whole: bytes, how: str, at: float, seed: int) -> bytes:
    place = int(at * len(whole))
    rng = random.Random(seed)
    raw = bytearray(whole)
    if how == "bit":
        raw[place] ^= 1 << rng.randrange(8)
    elif how == "truncated":
        del raw[place:]
    elif how == "zeroed":
        raw[place : place + rng.randrange(1, 9_000)] = bytes(0)
        raw += bytes(len(whole) - len(raw))
    elif how == "noise":
        size = min(rng.randrange(1, 5_000), len(raw) - place)
        raw[place : place + size] = rng.randbytes(size)
    else:
        pages = [raw[start : start + 4_096] for start in range(0, len(raw), 4_096)]
        one, other = rng.randrange(len(pages)), rng.randrange(len(pages))
        pages[one] = pages[other]
        raw = bytearray(b"".join(pages))
    return bytes(raw)


@given(
    how=st.sampled_from(["bit", "bit", "truncated", "zeroed", "noise", "page"]),
    at=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 1_000),
    check=st.booleans(),
)
@settings(max_examples=150)
def test_a_damaged_file_gives_what_was_written_or_says_so(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, how: str, at: float, seed: int, check: bool
) -> None:
    place = tmp_path_factory.mktemp("damaged")
    path = place / "journal"
    path.write_bytes(damage(whole, how, at, seed))
    problem = problem_of(path, recover=check)
    if isinstance(problem, JournalDamaged):
        assert not check
        assert str(problem).startswith(f"{path}: ")
        assert str(problem).endswith("; --recover sets it aside and begins anew")
        assert problem_of(path, recover=True) is None
    elif problem is not None:  # the version was hit, or what says that it may be written
        assert str(problem).startswith(f"{path}: ")
    shutil.rmtree(place)


def problem_of(path: Path, *, recover: bool) -> JournalError | None:
    """Open and use a journal; return why it cannot be opened."""
    try:
        journal = SqliteJournal(path, bounds(), "boot", recover=recover)
    except JournalError as error:
        return error
    try:
        use(journal)
    finally:
        journal.close()
    return None


def use(journal: SqliteJournal) -> None:
    """Whatever is asked of it, it answers rightly or with an error of ours."""
    journal.load()
    for channel, epoch in PLACES:
        first = 1
        while first <= 600:
            try:
                got, events = journal.read(channel, epoch, first, 600, 20_000)
            except JournalError:
                break
            assert events == EVENTS[got - 1 : got - 1 + len(events)]
            if not events:
                break
            first = got + len(events)
        head = journal.head(channel, epoch)
        if head is not None:
            try:
                journal.commit(commit(chunk(head + 1, FACTS[0], channel=channel, epoch=epoch)), 1)
            except JournalError:
                continue
            assert journal.head(channel, epoch) == head + 1
    with contextlib.suppress(JournalError):
        journal.trim(10**12)


def test_the_systems_run_has_a_name() -> None:
    assert os_boot_id() == os_boot_id() != ""
