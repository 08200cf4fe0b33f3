"""The journal is gone, damaged, or an older one."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import zmq

from pipeline.sockets import shard_history
from pipeline.wire import Page, PageRequest, split_events
from tests.e2e.watching import Watchers
from tests.faults.lives import SCAN, WORKER, Lives
from tests.faults.readers import StayingNative, StayingRest, StayingSse, StayingTail, wait_end
from tests.faults.scene import past
from tests.faults.stand import Stand
from tests.faults.traffic import END, event
from tests.harness import deadline
from tests.sockets.peers import Peers, ask


@pytest.mark.parametrize("when", ["while the worker runs", "while it is down"])
def test_the_journal_is_deleted(stands: Callable[..., Stand], when: str) -> None:
    with Watchers() as watchers:
        lives = Lives(stands(), watchers)
        lives.send(50)
        if when == "while the worker runs":
            for path in lives.files():
                path.unlink()
        with lives.stand.down(WORKER):
            for path in lives.files():
                path.unlink()
        lives.send(30)
        lives.check_new_life(30)


def test_a_journal_cut_off_is_refused_until_it_may_be_set_aside(stands: Callable[..., Stand]) -> None:
    stand = stands()
    with Watchers() as watchers:
        lives = Lives(stand, watchers)
        lives.send(500)
        with stand.down(WORKER, signal.SIGTERM):
            journal = stand.data_dir / "shard-0.sqlite3"
            os.truncate(journal, journal.stat().st_size // 2)
            refused = stand.start_one(WORKER)
            assert refused.wait() == 1
            assert "--recover sets it aside" in refused.errors
            refused.close()
            stand.extra[WORKER] = ["--recover"]
        lives.send(30)
        assert stand.processes[WORKER].wait_for("ready")
        lives.check_new_life(30)
    assert [path.name for path in lives.files() if "damaged" in path.name] == ["shard-0.sqlite3.damaged-1"]


def flip_a_bit(stand: Stand, raw: bytes) -> None:
    """Change an event that stands in the journal; no worker may have it open."""
    journal = stand.data_dir / "shard-0.sqlite3"
    found = journal.read_bytes()
    place = found.index(raw) + len(raw) - 2
    journal.write_bytes(found[:place] + bytes([found[place] ^ 1]) + found[place + 1 :])


def test_events_with_a_flipped_bit_are_given_to_nobody_and_told(stands: Callable[..., Stand]) -> None:
    stand = stands()
    with Watchers() as watchers:
        lives = Lives(stand, watchers)
        for _ in range(3):
            lives.send(50)
        with stand.down(WORKER, signal.SIGTERM):
            flip_a_bit(stand, event("a", 75))
        stand.kill("edge-0")  # it has the events in memory
        url = f"{stand.url}/sse/scans/{SCAN}"
        late = [
            watchers.add(StayingNative(watchers.loop, stand.ws(f"/ws/scans/{SCAN}"))),
            watchers.add(StayingSse(watchers.loop, url)),
        ]
        rest = watchers.add(StayingRest(watchers.loop, f"{stand.url}/api/scans/{SCAN}/events"))
        tail = StayingTail(stand.run_dir, SCAN)
        try:
            told = stand.processes[WORKER].wait_for("events in the journal are damaged; readers are told")
            lives.send(30)
            lives.emitter.emit(END)
            lives.sent.append(END)
            lives.emitter.close()
            first, last = told["first"], told["last"]
            assert first <= 75 <= last
            wanted = {seq: raw for seq, raw in enumerate(lives.sent, 1) if not first <= seq <= last}
            for reader in late:
                wait_end(reader, 60)
                assert list(reader.events.values()) == [wanted]
                assert [(lag.from_, lag.to, lag.skipped, lag.reason) for lag in reader.lags] == [
                    (first, last, last - first + 1, "damaged")
                ]
                assert reader.problems == []
            wait_end(rest, 60)
            assert (list(rest.events.values()), rest.damaged) == ([wanted], [(first, last)])
            assert rest.problems == []
            end = deadline(60)
            while b'"scanCompleted"' not in b"".join(tail.lines()[-1:]):
                assert not past(end), tail.notices
                threading.Event().wait(0.05)
            assert tail.held() == wanted
            span = f"{told['epoch']}:{first}-{last}"
            assert f"gap: scan/{SCAN}: {last - first + 1} events are damaged, {span}" in tail.notices
        finally:
            tail.close()
        # Whoever had them before is told nothing.
        wait_end(lives.reader, 60)
        assert list(lives.reader.events.values()) == [dict(enumerate(lives.sent, 1))]
        assert lives.reader.lags == []
    worker = stand.processes[WORKER]
    counted = stand.stop()[WORKER]
    assert counted["journal_damaged_events"] == last - first + 1
    facts = [line.get("fact") for line in worker.lines]
    assert facts.count("events in the journal are damaged; readers are told") == 1, (
        "once, not for each reader"
    )


def test_a_producers_mark_with_a_flipped_bit_is_refused(stands: Callable[..., Stand]) -> None:
    """Believed, it would take what was never taken for a repetition."""
    stand = stands()
    with Watchers() as watchers:
        lives = Lives(stand, watchers)
        lives.send(50)
        with stand.down(WORKER, signal.SIGTERM):
            with closing(sqlite3.connect(stand.data_dir / "shard-0.sqlite3")) as db, db:
                db.execute("UPDATE producer SET committed = committed + 64")
            refused = stand.start_one(WORKER)
            assert refused.wait() == 1
            assert "is not what was written; --recover sets it aside" in refused.errors
            refused.close()
            stand.extra[WORKER] = ["--recover"]
        lives.send(30)
        lives.check_new_life(30)


# --- it went back ---------------------------------------------------------------------------------------


def restore(stand: Stand, copy: Path) -> None:
    """Put a copy in the journal's place, as docs/ops/JOURNAL.md says."""
    for suffix in ("", "-wal", "-shm"):
        (stand.data_dir / f"shard-0.sqlite3{suffix}").unlink(missing_ok=True)
    shutil.copy(copy, stand.data_dir / "shard-0.sqlite3")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_backup_is_restored(stands: Callable[..., Stand], how: signal.Signals) -> None:
    """It was taken while the worker ran; no number that a reader has seen is given to another event."""
    stand = stands()
    copy = stand.run_dir.with_name("backup")
    with Watchers() as watchers:
        lives = Lives(stand, watchers)
        lives.send(50)
        with (
            closing(sqlite3.connect(stand.data_dir / "shard-0.sqlite3")) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        lives.send(50)
        with stand.down(WORKER, how):
            restore(stand, copy)
        stand.processes[WORKER].wait_for("journal may have gone back: what comes now gets new epochs")
        lives.send(30)
        lives.check_new_life(30, "went_back")
        epochs = list(lives.reader.events)
        with Peers(stand.run_dir) as peers:
            questions = peers.connect(zmq.DEALER, shard_history(0))
            page = ask(questions, PageRequest(1, f"scan/{SCAN}", epochs[0], 1))
            assert isinstance(page, Page)
            assert split_events(page.body) == lives.sent[:50], "what it holds of the old life is given"
            assert (page.header.cut, page.header.current) == (True, epochs[1])


def the_power_goes(stand: Stand) -> None:
    """Take away the last commits of a journal whose worker was killed, as a loss of power may."""
    journal = stand.data_dir / "shard-0.sqlite3"
    log = journal.with_name(journal.name + "-wal")
    os.truncate(log, log.stat().st_size * 2 // 3)
    with closing(sqlite3.connect(journal)) as db, db:
        assert db.execute("UPDATE meta SET value = 'before' WHERE name = 'open_since_boot'").rowcount == 1


def test_the_power_goes(stands: Callable[..., Stand]) -> None:
    stand = stands()
    with Watchers() as watchers:
        lives = Lives(stand, watchers)
        for _ in range(5):
            lives.send(20)
        with stand.down(WORKER):
            the_power_goes(stand)
        told = stand.processes[WORKER].wait_for("journal may have gone back: what comes now gets new epochs")
        assert told["reason"] == "system_stopped"
        lives.send(30)
        lives.check_new_life(30, "went_back")


def test_the_power_goes_and_the_disk_has_it_all(stands: Callable[..., Stand]) -> None:
    """With `fsync`, another run of the system is no reason for new epochs."""
    stand = stands(config={"throttle-batch": "[journal]\nfsync = true\n"})
    with Watchers() as watchers:
        lives = Lives(stand, watchers)
        lives.send(50)
        journal = stand.data_dir / "shard-0.sqlite3"
        with stand.down(WORKER), closing(sqlite3.connect(journal)) as db, db:
            db.execute("UPDATE meta SET value = 'before' WHERE name = 'open_since_boot'")
        lives.send(30)
        lives.emitter.close()
        assert lives.reader.problems == lives.reader.resets == lives.reader.lags == []
        assert list(lives.reader.events.values()) == [dict(enumerate(lives.sent, 1))]
