"""`tail` while what is before it, or itself, is killed with -9: every event once and in order."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import Emitter
from tests.faults.crashing import events_of, parts, restart
from tests.harness import PATIENCE, Pipeline, Process, deadline

SCAN = "office"


@pytest.fixture
def place(pipeline: Pipeline) -> Pipeline:
    """A pipeline without an edge."""
    for name in ("ingest-0", "throttle-batch-0"):
        pipeline.start_one(name).wait_for("ready")
    return pipeline


def wait_until(process: Process, file: Path, fact: Callable[[bytes], object]) -> None:
    """Wait until what this process has written to a file is as wanted."""
    end = deadline(60)
    pause = threading.Event()
    while not file.is_file() or not fact(file.read_bytes()):
        assert time.monotonic() < end, process.lines
        assert process.popen.poll() is None, process.lines
        pause.wait(0.05)


def is_whole(data: bytes) -> bool:
    # What the worker had still to publish of another scan when it was killed may come later than this.
    return b'"event":{"type":"last"}}\n' in data


def check(lines: list[bytes], sent: list[bytes]) -> None:
    """Hold what was printed against what was sent: in order, once, and only progress left out."""
    got = [json.loads(line) for line in lines]
    assert len({line["epoch"] for line in got}) == 1
    seqs = [line["seq"] for line in got]
    assert seqs == sorted(set(seqs))
    assert all(line["event"] == json.loads(sent[line["seq"] - 1]) for line in got)
    left_out = set(range(1, len(sent) + 1)) - set(seqs)
    assert all(b'"scanProgress"' in sent[seq - 1] for seq in left_out)


@pytest.mark.parametrize("name", ["throttle-batch-0", "ingest-0"])
def test_a_stage_is_killed_while_tail_follows(place: Pipeline, tmp_path: Path, name: str) -> None:
    sent = [*events_of(6, SCAN), b'{"type":"last"}']
    record = tmp_path / "record"
    tail = Process("tail", "--raw", "--record", str(record), "--run-dir", str(place.run_dir))
    try:
        with Emitter("before", run_dir=str(place.run_dir)) as emitter:
            wait_until(tail, record, lambda data: emitter.emit({"type": "custom"}) and data)
        with Emitter(SCAN, run_dir=str(place.run_dir)) as emitter:
            for index, part in enumerate(parts(sent, 12)):
                for event in part:
                    emitter.emit(event)
                if index % 3 == 1:
                    restart(place, name)
            emitter.flush(60 * PATIENCE)
        wait_until(tail, record, is_whole)
        tail.popen.send_signal(signal.SIGINT)
        assert tail.wait() == 130
        lines = record.read_bytes().splitlines()
        check([line for line in lines if b'"scan/office"' in line], sent)
        assert [line.rstrip(b"\n") for line in tail.stdout] == [
            line.partition(b',"event":')[2][:-1] for line in lines
        ]
        assert all(
            line.startswith(("late: ", "merged: ")) for line in tail.errors.splitlines() if line.strip()
        )
    finally:
        tail.close()


def test_tail_itself_is_killed_and_goes_on_from_its_record(place: Pipeline, tmp_path: Path) -> None:
    sent = [*events_of(7, SCAN), b'{"type":"last"}']
    record = tmp_path / "record"
    where = ("--scan", SCAN, "--follow", "--record", str(record), "--run-dir", str(place.run_dir))
    tail = Process("tail", "--from-start", *where)
    seen = 0
    try:
        with Emitter(SCAN, run_dir=str(place.run_dir)) as emitter:
            for index, part in enumerate(parts(sent, 8)):
                for event in part:
                    emitter.emit(event)
                if index % 2 == 0:
                    wait_until(tail, record, lambda data, seen=seen: data.count(b"\n") > seen)
                    tail.kill()
                    tail.close()
                    whole = record.read_bytes().rpartition(b"\n")[0].splitlines()
                    seen, last = len(whole), json.loads(whole[-1])
                    tail = Process("tail", "--since", f"{last['epoch']}:{last['seq']}", *where)
            emitter.flush(60 * PATIENCE)
        wait_until(tail, record, is_whole)
        check(record.read_bytes().splitlines(), sent)
    finally:
        tail.close()
