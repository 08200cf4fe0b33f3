"""The journal cannot be written, or not be read."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline import Emitter
from tests.e2e.watching import Watchers
from tests.faults.lives import SCAN, WORKER, Lives
from tests.faults.mutants import MUTANTS
from tests.faults.readers import StayingNative
from tests.faults.scene import Scene, past
from tests.faults.stand import Stand
from tests.faults.traffic import events
from tests.harness import PATIENCE, deadline

NO_RESERVE = "[journal]\nmin_free_bytes = 0\n"
CAUGHT_S = 4.0
"""How long a mutant is given to turn red, which it never does."""
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


def wait_for_ready(stand: Stand, seconds: float, *, is_so: bool) -> None:
    """Wait until the edge says that all can be used, or that a shard cannot write."""
    end = deadline(seconds)
    while True:
        status, body = stand.get("/readyz")
        if (status, body.get("unwritable_shards")) == ((200, None) if is_so else (503, [0])):
            return
        assert not past(end), body
        threading.Event().wait(0.05)


def write_fails_for_a_while(stand: Stand, failing: Callable[[Stand], object], red_s: float = 20) -> None:
    """Let the journal fail in the midst of a scan; what is held is served, and nothing is acked."""
    stand.begin()
    scene = Scene(stand, span_s=0.3)

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
                wait_for_ready(stand, red_s, is_so=False)
            stand.processes[WORKER].wait_for("journal can be written again")
            wait_for_ready(stand, 20, is_so=True)

    scene.play(befall)
    assert stand.deaths == []


def test_the_disk_fails_and_is_well_again(stands: Callable[..., Stand]) -> None:
    write_fails_for_a_while(stands(config={"throttle-batch": NO_RESERVE}), no_room_in_files)


def test_a_mutant_that_acks_what_it_cannot_write_is_caught(stands: Callable[..., Stand]) -> None:
    mutant = "what cannot be written is acked"
    stand = stands(
        config={"throttle-batch": NO_RESERVE}, always={MUTANTS[mutant].stage: ("--mutant", mutant)}
    )
    # Or the edge never hears that the journal cannot be written, which is asked before.
    with pytest.raises(AssertionError, match=r"acked, and not written|'status': 'ready'"):
        write_fails_for_a_while(stand, no_room_in_files, red_s=CAUGHT_S / PATIENCE)


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


# --- a disk that fails ----------------------------------------------------------------------------------


@pytest.fixture
def failing_disk(stands: Callable[..., Stand], tmp_path: Path) -> Stand:
    """Give a stand whose worker reads and writes through `failing_disk.c`."""
    library = tmp_path / "failing_disk.so"
    source = Path(__file__).with_name("failing_disk.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    stand = stands(config={"throttle-batch": NO_RESERVE})
    stand.env["throttle-batch"] = {
        "LD_PRELOAD": str(library),
        "FAILING_WRITES": str(stand.data_dir / "writes fail"),
        "FAILING_READS": str(stand.data_dir / "reads fail"),
    }
    return stand


@contextmanager
def fails(stand: Stand, what: str) -> Iterator[None]:
    flag = stand.data_dir / f"{what} fail"
    flag.touch()
    try:
        yield
    finally:
        flag.unlink()


needs_compiler = pytest.mark.skipif(
    shutil.which("cc") is None, reason="no C compiler makes the disk that fails"
)


@pytest.mark.system
@needs_compiler
def test_the_disk_gives_input_output_errors(failing_disk: Stand) -> None:
    write_fails_for_a_while(failing_disk, lambda stand: fails(stand, "writes"))


@pytest.mark.system
@needs_compiler
def test_the_disk_cannot_be_read_for_a_while(failing_disk: Stand) -> None:
    """What a reader is not given it is told; whoever asks later is given it."""
    stand = failing_disk
    with Watchers() as watchers:
        lives = Lives(stand, watchers)
        lives.send(100, pad=50_000)  # more than SQLite keeps in memory
        stand.kill("edge-0")
        stand.kill(WORKER)
        lives.send(1)
        with fails(stand, "reads"):
            late = watchers.add(StayingNative(watchers.loop, stand.ws(f"/ws/scans/{SCAN}")))
            late.wait_for(lambda reader: reader.lags, 60)
        late.wait_for(lambda reader: reader.seq == len(lives.sent), 60)
        lives.emitter.close()
        (got,) = late.events.values()
        told = [seq for lag in late.lags for seq in range(lag.from_, lag.to + 1)]
        assert {lag.reason for lag in late.lags} == {"damaged"}
        assert sorted([*got, *told]) == list(range(1, len(lives.sent) + 1))
        assert all(lives.sent[seq - 1] == raw for seq, raw in got.items())
        assert late.problems == late.resets == []
        later = watchers.add(StayingNative(watchers.loop, stand.ws(f"/ws/scans/{SCAN}")))
        later.wait_for(lambda reader: reader.seq == len(lives.sent), 60)
        assert list(later.events.values()) == [dict(enumerate(lives.sent, 1))]
