"""The journal cannot be written, is damaged, or is gone."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline import Emitter
from tests.e2e.watching import Watchers
from tests.faults.mutants import MUTANTS
from tests.faults.readers import StayingNative
from tests.faults.scene import Scene
from tests.faults.stand import Stand
from tests.faults.traffic import event, events

WORKER = "throttle-batch-0"
SCAN = "office"
NO_RESERVE = "[journal]\nmin_free_bytes = 0\n"
FAILING = "journal cannot be written; nothing is acked until it can"


@contextmanager
def no_room_in_files(stand: Stand) -> Iterator[None]:
    """Have the kernel refuse the worker every write past the size its files have: a disk that fails."""
    pid = stand.processes[WORKER].popen.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def full_disk(stand: Stand) -> Iterator[None]:
    """Fill the disk the journal is on, to its last byte."""
    filler = stand.data_dir / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(b"x" * size)
            except OSError:
                size //= 2
    try:
        yield
    finally:
        filler.unlink()


def write_fails_for_a_while(stand: Stand, failing: Callable[[Stand], object], patience_s: float = 60) -> None:
    """Let the journal fail in the midst of a scan; what is held is served, and nothing is acked."""
    stand.begin()
    scene = Scene(stand, patience_s=patience_s, span_s=0.3)

    def befall() -> None:
        audience = scene.audience
        scene.beside["before"] = scene.send_until(lambda: audience.rest.seq >= 20, "before")
        with Emitter(SCAN, run_dir=str(stand.run_dir)) as emitter:
            scene.beside["during"] = events("during", 50)
            with failing(stand):  # type: ignore[attr-defined]  # a context manager
                for raw in scene.beside["during"]:
                    emitter.emit(raw)
                stand.processes[WORKER].wait_for(FAILING)
                held = audience.rest.seq
                _, answer = stand.get(f"/api/scans/{SCAN}/events?limit=10000")
                assert len(answer["events"]) >= min(held, 20)
                assert emitter.unacked == 50, "acked, and not written"
            stand.processes[WORKER].wait_for("journal can be written again")

    scene.play(befall)
    assert stand.deaths == []


def test_the_disk_fails_and_is_well_again(stands: Callable[..., Stand]) -> None:
    write_fails_for_a_while(stands(config={"throttle-batch": NO_RESERVE}), no_room_in_files)


def test_a_mutant_that_acks_what_it_cannot_write_is_caught(stands: Callable[..., Stand]) -> None:
    mutant = "what cannot be written is acked"
    stand = stands(
        config={"throttle-batch": NO_RESERVE}, always={MUTANTS[mutant].stage: ("--mutant", mutant)}
    )
    with pytest.raises(AssertionError, match="acked, and not written"):
        write_fails_for_a_while(stand, no_room_in_files, patience_s=4)


@pytest.fixture
def small_disk(stands: Callable[..., Stand]) -> Iterator[Callable[[int], Stand]]:
    """Give a maker of a stand whose journal is on a disk of 8 MiB, and keeps so many bytes in reserve."""
    mounted: list[Path] = []

    def make(reserve_bytes: int) -> Stand:
        stand = stands(config={"throttle-batch": f"[journal]\nmin_free_bytes = {reserve_bytes}\n"})
        stand.data_dir.mkdir(mode=0o700)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(stand.data_dir)], check=True
        )
        mounted.append(stand.data_dir)
        return stand

    yield make
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.system
@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk, and only root may")
@pytest.mark.parametrize("reserve_bytes", [0, 1_048_576])
def test_the_disk_is_full_and_has_room_again(small_disk: Callable[[int], Stand], reserve_bytes: int) -> None:
    write_fails_for_a_while(small_disk(reserve_bytes), full_disk)


# --- gone, cut off, changed -----------------------------------------------------------------------------


class Lives:
    """Readers and producers of a scan whose journal is lost on the way.

    Args:
        stand: begun here.
        watchers: the reader's loop.
    """

    def __init__(self, stand: Stand, watchers: Watchers) -> None:
        stand.begin()
        self.stand = stand
        self.reader = watchers.add(StayingNative(watchers.loop, stand.ws(f"/ws/scans/{SCAN}")))
        self.emitter = Emitter(SCAN, run_dir=str(stand.run_dir))
        self.sent: list[bytes] = []

    def send(self, count: int) -> None:
        """Send so many events more, and wait until they are acked and read."""
        more = [event("a", len(self.sent) + number) for number in range(1, count + 1)]
        self.sent += more
        for raw in more:
            self.emitter.emit(raw)
        self.emitter.flush(30)
        self.reader.wait_for(
            lambda reader: more[-1] in reader.events.get(reader.epoch, {}).values(),
        )

    def files(self) -> list[Path]:
        """Return the journal's files."""
        return sorted(self.stand.data_dir.glob("shard-0.sqlite3*"))

    def check_new_life(self, count: int) -> None:
        """See that the reader has the first life whole, is told, and has the `count` events of the second."""
        self.emitter.close()
        assert self.reader.problems == []
        assert len(self.reader.events) == 2
        (first, old), (second, new) = self.reader.events.items()
        assert second > first
        assert list(old.values()) == self.sent[:-count]
        assert list(new.values()) == self.sent[-count:]
        assert [reset.reason for reset in self.reader.resets] == ["forgotten"]


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


def test_no_reader_is_given_an_event_with_a_flipped_bit(stands: Callable[..., Stand]) -> None:
    stand = stands()
    with Watchers() as watchers:
        lives = Lives(stand, watchers)
        lives.send(50)
        lives.send(50)
        lives.send(50)
        with stand.down(WORKER, signal.SIGTERM):
            journal = stand.data_dir / "shard-0.sqlite3"
            found = journal.read_bytes()
            place = found.index(event("a", 75)) + len(event("a", 75)) - 2
            journal.write_bytes(found[:place] + bytes([found[place] ^ 1]) + found[place + 1 :])
        stand.kill("edge-0")  # it has the events in memory
        late = watchers.add(StayingNative(watchers.loop, stand.ws(f"/ws/scans/{SCAN}")))
        lives.send(30)
        stand.processes[WORKER].wait_for("history cannot be read")
        # What it cannot be given it is not given otherwise; whoever is past it goes on.
        assert all(raw in lives.sent for held in late.events.values() for raw in held.values())
        assert list(lives.reader.events.values()) == [dict(enumerate(lives.sent, 1))]
        lives.emitter.close()
    counted = stand.stop()[WORKER]
    assert counted["history_failed"] > 0
