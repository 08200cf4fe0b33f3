"""Whether a journal goes on, or is cut off because it may have gone back."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.throttle_batch.config import ThrottleBatchConfig
from pipeline.throttle_batch.journal_file import SCHEMA_VERSION
from tests.unit.throttle_batch.conftest import TERMINAL, clock_ms, numbered
from tests.unit.throttle_batch.journaling import (
    FACTS,
    Worker,
    as_a_kill_leaves_it,
    bounds,
    chunk,
    commit,
    everything,
    opened,
)


def fill(path: Path, first: int = 1, last: int = 3) -> None:
    with opened(path) as journal:
        journal.commit(commit(chunk(first, *FACTS[first - 1 : last])), 0)


def reason(path: Path, boot: str = "boot", *, recover: bool = False, **changed: object) -> str | None:
    with opened(path, boot, recover=recover, **changed) as journal:
        lives = journal.load().lives
        assert [life.cut for life in lives] == [journal.cut_off is not None] * len(lives)
        assert all(journal.is_cut(life.channel, life.epoch) == life.cut for life in lives)
        return journal.cut_off


def test_what_was_closed_or_killed_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    fill(path)
    assert reason(path) is None
    assert reason(path, "another boot") is None, "it was closed before"
    with opened(path) as journal:
        journal.commit(commit(chunk(4, *FACTS[3:6])), 0)
        killed = as_a_kill_leaves_it(path, tmp_path / "killed")
    assert reason(killed) is None


@pytest.mark.parametrize(("fsync", "told"), [(False, "system_stopped"), (True, None)])
def test_a_system_that_stopped_takes_along_what_was_not_synced(
    tmp_path: Path, fsync: bool, told: str | None
) -> None:
    with opened(tmp_path / "journal", fsync=fsync) as journal:
        journal.commit(commit(chunk(1, *FACTS[:3])), 0)
        killed = as_a_kill_leaves_it(tmp_path / "journal", tmp_path / "killed")
    # How it was written counts, not how it is opened now.
    assert reason(killed, "another boot", fsync=not fsync) == told


def old_copy_in_its_place(path: Path) -> None:
    """Restore over the file itself, so that even its inode is the same."""
    backup = path.with_name("backup")
    shutil.copy(path, backup)
    fill(path, 4, 5)
    inode = path.stat().st_ino
    path.write_bytes(backup.read_bytes())
    assert path.stat().st_ino == inode


def another_file(path: Path) -> None:
    backup = path.with_name("backup")
    shutil.copy(path, backup)
    path.rename(path.with_name("away"))  # so that its inode is not given again
    backup.rename(path)


def nothing_beside(path: Path) -> None:
    path.with_name("journal.last").unlink()


def rubbish_beside(path: Path) -> None:
    path.with_name("journal.last").write_bytes(bytes(256))


def a_scan_is_missing(path: Path) -> None:
    """As in a backup that is older than the scan of the last commit."""
    backup = path.with_name("backup")
    shutil.copy(path, backup)
    with opened(path) as journal:
        journal.commit(commit(chunk(1, FACTS[0], channel="scan/b", epoch=9)), 0)
    path.write_bytes(backup.read_bytes())


@pytest.mark.parametrize(
    ("restore", "told"),
    [
        (old_copy_in_its_place, "went_back"),
        (a_scan_is_missing, "went_back"),
        (another_file, "copied"),
        (nothing_beside, "copied"),
        (rubbish_beside, "copied"),
    ],
)
def test_a_copy_is_cut_off(tmp_path: Path, restore: Callable[[Path], None], told: str) -> None:
    path = tmp_path / "journal"
    fill(path)
    restore(path)
    assert reason(path) == told
    with opened(path) as journal:
        assert everything(journal) == (1, FACTS[:3]), "what it holds can be read"
        assert [life.cut for life in journal.load().lives] == [True], "it stays cut off"
        journal.commit(commit(chunk(1, FACTS[8], epoch=9)), 0)
    with opened(path) as journal:
        assert journal.cut_off is None, "its new lives go on"
        assert {life.epoch: life.cut for life in journal.load().lives} == {7: True, 9: False}


def test_the_same_copy_twice_is_cut_off_twice(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    fill(path)
    backup = path.read_bytes()
    fill(path, 4, 5)
    for epoch in (9, 11):
        path.write_bytes(backup)
        assert reason(path) == "went_back"
        with opened(path) as journal:
            journal.commit(commit(chunk(1, FACTS[8], epoch=epoch)), 0)


def test_it_is_cut_off_at_the_next_start_too_when_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    fill(path)
    another_file(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON meta BEGIN SELECT RAISE(ABORT, 'killed here'); END"
        )
    with pytest.raises(Exception, match="killed here"):
        reason(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TRIGGER broken")
    assert reason(path) == "copied"


def test_recover_cuts_off_what_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    fill(path)
    assert reason(path, recover=True) == "recover"
    with opened(path) as journal:
        assert everything(journal) == (1, FACTS[:3])


@pytest.mark.parametrize("recover", [False, True])
def test_nothing_in_it_is_nothing_to_cut_off(tmp_path: Path, recover: bool) -> None:
    assert reason(tmp_path / "journal", recover=recover) is None
    nothing_beside(tmp_path / "journal")
    assert reason(tmp_path / "journal", recover=recover) is None


# --- what earlier versions wrote: dumps of journals whose worker was killed ---------------------------

FOUND = (
    b'{"type":"hostDiscovered","ip":"10.0.0.5"}',
    b'{"type":"portFound","ip":"10.0.0.5","port":443,"protocol":"TCP","state":"Open"}',
    b'{"type":"vulnerabilityFound","ip":"10.0.0.5","severity":"High","title":"HTTP/2 rapid reset"}',
    b'{"type":"scanProgress","phase":"port_scan","progress":40}',
)
ENDED = [
    b'{"type":"scanStarted","name":"over"}',
    *FOUND,
    b'{"type":"scanCompleted","duration":2.5,"total_hosts":1}',
]
OPEN = [b'{"type":"scanStarted","name":"goes on"}', *FOUND]


def as_it_was_written(version: int, place: Path) -> tuple[Path, int]:
    """Return a journal of an earlier version of the schema, and the epoch of its open scan."""
    path = place / "journal"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.executescript(Path(__file__).with_name(f"journal_schema_{version}.sql").read_text())
        (epoch,) = db.execute("SELECT epoch FROM life WHERE channel = 'scan/office'").fetchone()
    if version > 1:
        told = {"inode": path.stat().st_ino, "channel": "scan/office", "epoch": epoch, "head": len(OPEN)}
        path.with_name("journal.last").write_text(json.dumps(told))
    return path, epoch


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_a_journal_of_an_earlier_version_goes_on(tmp_path: Path, version: int) -> None:
    path, epoch = as_it_was_written(version, tmp_path)
    with opened(path) as journal:
        assert journal.cut_off is None
        assert journal.damaged == []
        recovered = journal.load()
        ended, running = recovered.lives
        assert (ended.head, ended.state.status, ended.state.folded, ended.tail) == (6, "completed", 6, [])
        assert ended.state.counts["scanProgress"] == 1
        assert ended.ended_ms is not None
        assert (running.epoch, running.head, running.ended_ms, running.tail) == (epoch, 5, None, OPEN)
        marks = {known.channel: known.committed for known in recovered.producers}
        assert marks == {"scan/office": 5, "scan/ended": 6}
        assert everything(journal, "scan/ended", ended.epoch) == (1, ENDED)
        journal.commit(commit(chunk(6, FACTS[0], channel="scan/office", epoch=epoch)), 6)
    with opened(path) as journal:
        assert journal.cut_off is None
        assert everything(journal, "scan/office", epoch) == (1, [*OPEN, FACTS[0]])
    assert reason(path) is None


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_a_worker_goes_on_with_a_journal_of_an_earlier_version(tmp_path: Path, version: int) -> None:
    path, epoch = as_it_was_written(version, tmp_path)
    with opened(path) as journal:
        office = next(known for known in journal.load().producers if known.channel == "scan/office")
    worker = Worker(tmp_path, ThrottleBatchConfig(journal=bounds()), 0.0)
    try:
        again = numbered(5, OPEN[4], TERMINAL, una=5, pid=office.pid, inc=office.inc, channel="scan/office")
        released = worker.wake(1.0, again)
        assert [ack.committed for ack in released.feedback.acks] == [6]
        life = worker.batcher.current("scan/office")
        assert (life.epoch, life.state.status) == (epoch, "completed")
        totals = life.state.totals()
        assert (totals.hosts, totals.open_ports, totals.exact) == (1, 1, True), "folded from its events"
        assert everything(worker.journal, "scan/office", epoch) == (1, [*OPEN, TERMINAL])
        old = worker.batcher.current("scan/ended").state
        counted = version > 2
        assert (old.status, old.totals().exact) == ("completed", counted), "a checkpoint may not count things"
    finally:
        worker.journal.close()


@pytest.mark.parametrize("version", range(2, SCHEMA_VERSION))
@pytest.mark.parametrize("told", ["copied", "went_back"])
def test_an_old_copy_is_one_whatever_version_wrote_it(tmp_path: Path, version: int, told: str) -> None:
    path, _ = as_it_was_written(version, tmp_path)
    if told == "copied":
        nothing_beside(path)
    else:
        last = path.with_name("journal.last")
        last.write_text(last.read_text().replace('"head": 5', '"head": 6'))
    assert reason(path) == told


def test_its_size_never_changes(tmp_path: Path) -> None:
    """So that it can be written on a full disk."""
    path = tmp_path / "journal"
    with opened(path) as journal:
        channel = "report/" + "r" * 64
        journal.commit(commit(chunk(1, FACTS[0], channel=channel, epoch=10**15)), 0)
        last = path.with_name("journal.last")
        assert last.stat().st_size == 256
        assert json.loads(last.read_bytes()) == {
            "inode": path.stat().st_ino,
            "channel": channel,
            "epoch": 10**15,
            "head": 1,
        }
        assert os.stat(last).st_mode & 0o777 == 0o600


def test_resends_are_taken_once_and_numbers_never_given_twice(tmp_path: Path) -> None:
    """The journal goes back by three events; the producer knows two of them to be acked."""
    config = ThrottleBatchConfig(journal=bounds())
    worker = Worker(tmp_path, config, 0.0)
    try:
        worker.wake(0.0, numbered(1, *FACTS[:4]))
        worker.journal.close()
        backup = worker.path.read_bytes()
        worker.start_again("boot", 1.0)
        worker.wake(1.0, numbered(5, *FACTS[4:7], una=5))
        worker.journal.close()
        worker.path.write_bytes(backup)
        worker.start_again("boot", 2.0)
        epoch = worker.batcher.current("scan/a").epoch
        # Again from 3 on: 3 and 4 are in the old copy, 5 to 7 are not.
        released = worker.wake(2.0, numbered(3, *FACTS[2:7], una=3))
        assert [ack.committed for ack in released.feedback.acks] == [7]
        life = worker.batcher.current("scan/a")
        assert life.epoch == clock_ms(2.0) > epoch
        assert everything(worker.journal, epoch=epoch) == (1, FACTS[:4])
        assert everything(worker.journal, epoch=life.epoch) == (1, FACTS[4:7])
        worker.wake(3.0, numbered(10, TERMINAL, una=10))
        assert worker.batcher.counters["jumped"] == 2
    finally:
        worker.journal.close()
