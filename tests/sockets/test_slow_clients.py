"""Two hundred browsers that have stopped reading, and twenty that read and notice nothing of it."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from pipeline.wire import StateHeader, StateRequest, encode
from tests.harness import deadline
from tests.sockets.many import FastReaders, Scan, answer_head, join, rss_bytes
from tests.sockets.peers import Edge, Peers, PlayedWorkers, RawBrowser
from tests.unit.edge.worker_model import Worker

STALLED = 200
FAST = 20
STALLED_BYTES = 32 * 1024
CONFIG = "[limits]\nstalled_s = 3.0\n[heartbeat]\ninterval_s = 1.0\n"


@pytest.mark.timeout(240)
def test_stalled_browsers_cost_little_harm_nobody_and_are_closed(run_dir: Path) -> None:
    with Peers(run_dir) as peers:
        edge = Edge(run_dir, CONFIG)
        workers = PlayedWorkers(peers, 1)
        scan = Scan(workers, 20_000)
        fast = FastReaders(join(edge, workers, FAST, 0))
        fast.start()
        stalled = []
        try:
            scan.play(20, 0.01)
            fast.wait_for(scan.seq)
            before = rss_bytes(edge.process.popen.pid)
            stalled = join(edge, workers, STALLED, scan.seq, receive_buffer=4_096)
            scan.play(50, 0.03)  # 1 MB each, four times what the kernel holds
            fast.wait_for(scan.seq)
            grown = rss_bytes(edge.process.popen.pid) - before
            assert grown / STALLED <= STALLED_BYTES
            end = deadline(40)
            closed = 0
            while closed < STALLED:
                assert time.monotonic() < end, f"{closed} of {STALLED} are closed"
                scan.play(1, 0.1)
                closed = sum(
                    line.get("fact") == "disconnected" and line["code"] == 4008
                    for line in tuple(edge.process.lines)
                )
            fast.wait_for(scan.seq)
            assert fast.problem is None
        finally:
            fast.stop()
            for browser in stalled:
                browser.socket.close()
            stopped = edge.stop()
            edge.close()
        assert stopped["closed{code=4008}"] == STALLED
        assert stopped["paces_lowered"] >= 3 * STALLED, "each went down all steps"


@pytest.mark.parametrize("path", ["/ws/scans/demo", "/api/ws/scans/demo"])
def test_one_that_reads_again_is_told_what_it_missed_and_given_what_is_critical(
    run_dir: Path, path: str
) -> None:
    with Peers(run_dir) as peers:
        limits = "[limits]\nmax_lag_s = 0.5\nstalled_s = 600\nkernel_buffer_bytes = 16384\n"
        edge = Edge(run_dir, limits + "[heartbeat]\n")
        workers = PlayedWorkers(peers, 1)
        try:
            with edge.raw(path, receive_buffer=4_096) as slow:
                answer_head(workers, Worker())
                scan = Scan(workers, 20_000)
                scan.play(20, 0.05)
                scan.publish(critical=True)
                critical = scan.seq
                scan.play(20, 0.05)
                edge.process.wait_for("pace changed", pace=1)
                over = threading.Event()
                answering = threading.Thread(target=_answer_states, args=(workers, scan.seq, over))
                if path.startswith("/ws"):
                    answering.start()
                try:
                    events, lag, seen, shown = _read_to(slow, scan.seq)
                finally:
                    over.set()
                if path.startswith("/ws"):
                    answering.join()
                    assert (lag["to"], shown) == (scan.seq, [scan.seq]), "and nothing behind it is told"
                else:
                    assert shown == []
                assert lag["skippedMessages"] == scan.seq - len(seen)
                assert critical in seen
                assert seen == sorted(set(seen))
                assert events == len(seen)
        finally:
            counted = edge.stop()
            edge.close()
        assert counted["events_skipped{reason=too_slow}"] == lag["skippedMessages"]


def _answer_states(workers: PlayedWorkers, seq: int, over: threading.Event) -> None:
    """Answer each question with a state of 250 kB, at this event; some come more than once."""
    while not over.is_set():
        for shard, peer, request in workers.asked(0.05):
            if isinstance(request, StateRequest):
                header = encode(StateHeader(request.id, request.channel, request.epoch, seq))
                workers.answer(shard, peer, header + b'\n{"pad":"%b"}' % (b"." * 250_000))


def _read_to(slow: RawBrowser, last: int) -> tuple[int, dict[str, object], list[int], list[int]]:
    """Read on to the event `last`, or a snapshot there.

    Returns:
        (how many events came, the lag that was told, their numbers, where snapshots were).
    """
    seen: list[int] = []
    shown: list[int] = []
    lags = []
    while last not in seen and last not in shown:
        frame = slow.frame()
        assert frame is not None
        if frame[0] != 0x1:
            continue
        message = json.loads(frame[1])
        if message["type"] == "lag":
            lags.append(message)
        if message["type"] == "snapshot":
            shown.append(message["seq"])
            continue
        events = message["events"] if message["type"] == "batch" else [message]
        seen.extend(event["n"] for event in events if "n" in event)
    (lag,) = lags
    return len(seen), lag, seen, shown
