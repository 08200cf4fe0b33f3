"""An emitter's spool: its file, and the emitter, its fork and a second process with a real pipeline."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from pipeline import Emitter, EmitterFenced, NotDelivered
from pipeline.errors import OperatorError
from pipeline.shards import shard_of
from pipeline.sockets import ingest_data, shard_history
from pipeline.spool import event_record, header_record
from pipeline.spool_file import SLACK_BYTES, SpoolFile
from pipeline.wire import (
    EnvelopeHeader,
    HeadReply,
    HeadRequest,
    Page,
    PageRequest,
    encode_envelope,
    split_events,
)
from tests.harness import PATIENCE, Pipeline, deadline
from tests.sockets.peers import Peers, ask

A = "scan/a"


@pytest.fixture
def place(pipeline: Pipeline) -> Pipeline:
    """A pipeline without an edge."""
    for name in ("ingest-0", "throttle-batch-0"):
        pipeline.start_one(name).wait_for("ready")
    return pipeline


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def event(number: int) -> bytes:
    return b'{"type":"custom","n":%d}' % number


def log(place: Pipeline, scan_id: str, count: int) -> list[int]:
    """Return the numbers in the events of a scan, as its history has them, once it has so many."""
    channel = f"scan/{scan_id}"
    end = deadline(20)
    pause = threading.Event()
    with Peers(place.run_dir) as peers:
        history = peers.connect(zmq.DEALER, shard_history(shard_of(channel, place.shards)))
        while True:
            head = ask(history, HeadRequest(1, channel))
            assert isinstance(head, HeadReply)
            if head.epoch is not None and head.seq >= count:
                page = ask(history, PageRequest(2, channel, head.epoch, 1))
                assert isinstance(page, Page)
                return [json.loads(raw)["n"] for raw in split_events(page.body)]
            assert time.monotonic() < end, head
            pause.wait(0.01)


# --- the file -------------------------------------------------------------------------------------------


def test_it_is_for_its_owner_only_and_of_one_process_at_a_time(path: Path) -> None:
    file = SpoolFile(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(OperatorError, match=f"{path}: another process uses this spool"):
        SpoolFile(path)
    file.close(done=False)
    SpoolFile(path).close(done=False)


def test_packed_it_keeps_every_other_process_out_still(path: Path) -> None:
    file = SpoolFile(path)
    file.begin("p", 7)
    file.add(A, 1, b"x")
    file.pack("p", 7, [(A, 1, [b"x"])])
    with pytest.raises(OperatorError, match="another process uses this spool"):
        SpoolFile(path)
    file.add(A, 2, b"y")
    file.close(done=False)
    again = SpoolFile(path)
    assert again.found is not None
    assert again.found.channels[A].events == [b"x", b"y"]
    again.close(done=True)
    assert path.read_bytes() == b""


def test_half_a_record_at_its_end_is_cut_off(path: Path) -> None:
    whole = header_record("p", 7) + event_record(A, 1, b"x")
    path.write_bytes(whole + event_record(A, 2, b"y")[:-1])
    file = SpoolFile(path)
    assert path.read_bytes() == whole
    file.add(A, 2, b"z")
    file.close(done=False)
    assert path.read_bytes() == whole + event_record(A, 2, b"z")


def test_what_is_no_spool_is_left_alone(path: Path) -> None:
    path.write_bytes(b"my notes\n")
    with pytest.raises(OperatorError, match=f"{path}: it does not begin as a spool does"):
        SpoolFile(path)
    assert path.read_bytes() == b"my notes\n"


def test_what_is_no_file_is_refused() -> None:
    with pytest.raises(OperatorError, match="/dev/full: is no file"):
        SpoolFile(Path("/dev/full"))


def with_little_room(what: str, path: Path, run_dir: Path) -> dict[str, object]:
    """Run a scene of `little_room`; return what it saw."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.sockets.little_room", what, str(path), str(run_dir)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=60 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_a_full_disk_is_an_error_and_leaves_no_half_record(path: Path, run_dir: Path) -> None:
    assert with_little_room("file", path, run_dir) == {
        "said": f"{path}: File too large",
        "unchanged": True,
        "marked": True,
        "kept": True,
    }
    assert [each.name for each in path.parent.iterdir()] == [path.name], "nothing of the packed one is left"
    again = SpoolFile(path)
    assert again.found is not None
    assert again.found.channels[A].events == []
    again.close(done=False)


def test_a_full_disk_from_the_beginning(path: Path, run_dir: Path) -> None:
    assert with_little_room("begin", path, run_dir) == {"said": f"{path}: File too large"}


def test_on_a_full_disk_nothing_is_numbered_and_it_goes_on_when_there_is_room(
    place: Pipeline, path: Path
) -> None:
    seen = with_little_room("emitter", path, place.run_dir)
    full = f"{path}: File too large"
    assert (seen["said"], seen["again"], seen["left"]) == (full, [full, full], 0)
    numbers = seen["numbers"]
    assert isinstance(numbers, list)
    assert [number for _, number in numbers] == list(range(1, len(numbers) + 1)), "no number is lost on it"
    assert log(place, "a", len(numbers)) == [sent for sent, _ in numbers], "and nothing that has one"


@pytest.fixture
def nowhere(run_dir: Path) -> str:
    """A run directory in which no pipeline runs."""
    return str(run_dir)


# --- the emitter ----------------------------------------------------------------------------------------


def left_behind(path: Path, run_dir: str, count: int = 3) -> str:
    """Let an emitter give up that many events; return its producer id."""
    emitter = Emitter("a", run_dir=run_dir, spool=path)
    for number in range(count):
        emitter.emit(event(number))
    with pytest.raises(NotDelivered):
        emitter.close(0)
    return emitter.pid


def test_what_was_not_acked_is_sent_by_the_next_one_and_then_gone(
    place: Pipeline, nowhere: str, path: Path
) -> None:
    pid = left_behind(path, nowhere)
    with Emitter("a", run_dir=str(place.run_dir), spool=path) as emitter:
        assert emitter.pid == pid
        assert [(each.channel, each.taken, each.unacked) for each in emitter.resumed] == [(A, 3, 3)]
        assert emitter.emit(event(3)) == 4
    assert log(place, "a", 4) == [0, 1, 2, 3]
    assert path.read_bytes() == b""
    with Emitter("a", run_dir=str(place.run_dir), spool=path) as emitter:
        assert (emitter.pid != pid, emitter.resumed) == (True, ())


def test_what_was_acked_unheard_is_not_doubled(place: Pipeline, path: Path) -> None:
    """The process dies after the pipeline has committed, and before it hears of it."""
    emitter = Emitter("a", run_dir=str(place.run_dir), spool=path)
    for number in range(3):
        emitter.emit(event(number))
    before = path.read_bytes()
    emitter.close()
    path.write_bytes(before)
    with Emitter("a", run_dir=str(place.run_dir), spool=path) as again:
        assert again.unacked == 3
        again.emit(event(3))
    assert log(place, "a", 4) == [0, 1, 2, 3]


def test_it_stays_small_however_much_goes_through(place: Pipeline, path: Path) -> None:
    pad = "x" * 20_000
    largest = 0
    with Emitter("a", run_dir=str(place.run_dir), spool=path) as emitter:
        for number in range(5 * SLACK_BYTES // len(pad)):
            emitter.emit({"type": "custom", "n": number, "pad": pad})
            emitter.flush(20 * PATIENCE)
            largest = max(largest, path.stat().st_size)
    assert SLACK_BYTES / 2 < largest < 2 * SLACK_BYTES


def test_a_second_process_with_the_same_spool_is_refused_at_once(place: Pipeline, path: Path) -> None:
    code = f"from pipeline import Emitter; Emitter('a', run_dir={str(place.run_dir)!r}, spool={str(path)!r})"
    with Emitter("a", run_dir=str(place.run_dir), spool=path) as emitter:
        emitter.emit(event(0))
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        assert second.returncode == 1
        assert f"{path}: another process uses this spool".encode() in second.stderr
        emitter.emit(event(1))
    assert log(place, "a", 2) == [0, 1]


def _emit_in_fork(emitter: Emitter, pids: multiprocessing.SimpleQueue[str]) -> None:
    with emitter:
        emitter.emit(event(10), scan_id="b")
        pids.put(emitter.pid)


def test_a_fork_is_another_producer_and_leaves_the_spool_to_its_parent(place: Pipeline, path: Path) -> None:
    context = multiprocessing.get_context("fork")
    pids = context.SimpleQueue()
    with Emitter("a", run_dir=str(place.run_dir), spool=path) as emitter:
        emitter.emit(event(0))
        child = context.Process(target=_emit_in_fork, args=(emitter, pids))
        child.start()
        child.join(20 * PATIENCE)
        assert child.exitcode == 0
        assert pids.get() != emitter.pid
        assert b"scan/b" not in path.read_bytes()
        with pytest.raises(OperatorError, match="another process uses this spool"):
            SpoolFile(path)
        emitter.emit(event(1))
    assert (log(place, "a", 2), log(place, "b", 1)) == ([0, 1], [10])


def test_a_fork_that_lives_on_does_not_hold_the_spool(path: Path, nowhere: str) -> None:
    """Its parent dies; the next process must be able to go on."""
    code = (
        f"import os, signal; from pipeline import Emitter\n"
        f"emitter = Emitter('a', run_dir={nowhere!r}, spool={str(path)!r})\n"
        f"emitter.emit({event(0)!r})\n"
        f"child = os.fork()\n"
        f"if child:\n    print(child, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"signal.pause()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            assert parent.wait(20 * PATIENCE) == -signal.SIGKILL
            # The child lets go of the file in the call to fork itself, before it runs a line of ours.
            os.kill(child, 0)
            file = _opened(path)
            assert file.found is not None
            assert file.found.channels[A].events == [event(0)]
            file.close(done=False)
        finally:
            os.kill(child, signal.SIGKILL)
    finally:
        parent.kill()
        parent.communicate()


def _opened(path: Path) -> SpoolFile:
    for _ in range(10_000):  # until the child has been scheduled
        try:
            return SpoolFile(path)
        except OperatorError:
            os.sched_yield()
    return SpoolFile(path)


def forge(place: Pipeline, pid: str, inc: int, number: int) -> None:
    """Send an event as another process would that goes by this producer id."""
    with Peers(place.run_dir) as peers:
        data = peers.connect(zmq.PUSH, ingest_data(0))
        data.send(encode_envelope(EnvelopeHeader(A, pid, inc, 1, 1), [event(number)]))
        assert log(place, "a", 1) == [number]


def test_an_older_incarnation_is_fenced_not_starved(place: Pipeline, nowhere: str, path: Path) -> None:
    pid = left_behind(path, nowhere)
    forge(place, pid, 2**52, 99)
    emitter = Emitter("a", run_dir=str(place.run_dir), spool=path)
    with pytest.raises(EmitterFenced, match=f"producer {pid} is fenced, scan/a: a later process .* 3 events"):
        emitter.flush(20 * PATIENCE)
    with pytest.raises(EmitterFenced):
        emitter.emit(event(5))
    with pytest.raises(EmitterFenced):
        emitter.close()
    assert emitter.rejected() == []
    assert log(place, "a", 1) == [99]
    assert path.read_bytes() != b""


def test_a_wait_for_room_ends_when_it_is_fenced(place: Pipeline, nowhere: str, path: Path) -> None:
    pid = left_behind(path, nowhere)
    forge(place, pid, 2**52, 99)
    emitter = Emitter("a", run_dir=str(place.run_dir), spool=path, max_buffered_bytes=1)
    with pytest.raises(EmitterFenced):
        emitter.emit(event(5))
    with pytest.raises(EmitterFenced):
        emitter.close()


@pytest.fixture
def emitter(place: Pipeline) -> Iterator[Emitter]:
    with Emitter("a", run_dir=str(place.run_dir)) as made:
        yield made


def test_a_flush_ends_when_the_rest_was_refused(place: Pipeline, emitter: Emitter) -> None:
    """By ingest, which cannot read them, and by the worker, whose scan has ended."""
    emitter.emit(b"nonsense")
    emitter.emit(b'{"type":7}')
    emitter.flush(20 * PATIENCE)
    emitter.emit({"type": "scanCompleted"})
    emitter.emit({"type": "scanCompleted"})
    emitter.flush(20 * PATIENCE)
    assert [(each.pseq, each.reason) for each in emitter.rejected()] == [
        (1, "json"),
        (2, "schema"),
        (4, "after_terminal"),
    ]
    assert emitter.unacked == 0
