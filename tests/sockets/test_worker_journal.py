"""A worker's process and its journal: killed, stopped, moved, damaged, out of disk. The test plays ingest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from pipeline import Emitter
from pipeline.shards import shard_of
from pipeline.sockets import shard_events, shard_history, shard_in
from pipeline.wire import (
    EnvelopeHeader,
    HeadReply,
    HeadRequest,
    Page,
    PageRequest,
    decode_beacon,
    encode_envelope,
)
from tests.harness import PATIENCE, Pipeline, Process
from tests.sockets.peers import Peers, ask, counters, feedback, receive

SCAN = "scan/a"
START = b'{"type":"scanStarted"}'
END = b'{"type":"scanCompleted"}'


def facts(first: int, count: int) -> list[bytes]:
    """Notes with the numbers from `first` on."""
    return [
        b'{"type":"note","n":%d,"pad":"%b"}' % (number, b"." * (number % 400))
        for number in range(first, first + count)
    ]


class Worker:
    """A worker process of one shard, and the sockets of an ingest and a reader beside it.

    Args:
        place: the directory of its run and data directories.
    """

    def __init__(
        self, place: Path, *args: str, env: dict[str, str] | None = None, run: str = "run", data: str = "data"
    ) -> None:
        self.process = start(place, *args, env=env, run=run, data=data)
        self.ready = self.process.wait_for("ready")
        self.peers = Peers(place / run)
        self.inbox = self.peers.connect(zmq.PUSH, shard_in(0))
        self.events = self.peers.connect(zmq.SUB, shard_events(0), subscribe=(b"A|", b"H|"))
        self.questions = self.peers.connect(zmq.DEALER, shard_history(0))
        receive(self.events, lambda raw: raw.startswith(b"H|"))  # it is heard from now on

    def send(self, first: int, *events: bytes, una: int = 1, channel: str = SCAN, inc: int = 1) -> None:
        """Send numbered events, and wait for nothing."""
        self.inbox.send(encode_envelope(EnvelopeHeader(channel, "p", inc, first, una), list(events)))

    def acked(self, number: int, channel: str = SCAN) -> None:
        """Wait for an ack of exactly so many."""
        feedback(
            self.events,
            lambda told: any((ack.channel, ack.committed) == (channel, number) for ack in told.acks),
        )

    def published(self, number: int, channel: str = SCAN) -> None:
        """Wait until so many events of the present life are published: readers are given no others."""
        receive(
            self.events,
            lambda raw: (
                raw.startswith(b"H|")
                and any((head.channel, head.seq) == (channel, number) for head in decode_beacon(raw).heads)
            ),
        )

    def head(self, channel: str = SCAN, epoch: int | None = None) -> HeadReply:
        reply = ask(self.questions, HeadRequest(1, channel, epoch))
        assert isinstance(reply, HeadReply)
        return reply

    def everything(self, channel: str = SCAN, epoch: int | None = None) -> list[bytes]:
        """Return the events of a life, page by page."""
        head = self.head(channel)
        epoch = epoch if epoch is not None else head.epoch
        assert epoch is not None
        events: list[bytes] = []
        while True:
            page = ask(self.questions, PageRequest(2, channel, epoch, len(events) + 1))
            assert isinstance(page, Page)
            assert page.header.first == len(events) + 1
            got = [json.dumps(event, separators=(",", ":")).encode() for event in json.loads(page.body)]
            assert len(got) == page.header.last - page.header.first + 1
            events += got
            if page.header.last == page.header.head:
                return events

    def kill(self) -> None:
        self.process.kill()
        self.close()

    def stop(self) -> None:
        assert self.process.terminate() == 0
        self.close()

    def close(self) -> None:
        self.peers.__exit__(None, None, None)
        self.process.close()


def start(
    place: Path, *args: str, env: dict[str, str] | None = None, run: str = "run", data: str = "data"
) -> Process:
    return Process(
        "throttle-batch", "--run-dir", str(place / run), "--data-dir", str(place / data), "--shards", "1",
        "--log-format", "json", *args, env=env,
    )  # fmt: skip


@contextmanager
def worker(place: Path, *args: str, env: dict[str, str] | None = None, **dirs: str) -> Iterator[Worker]:
    """Run a worker; it is killed at the end, if it still runs."""
    running = Worker(place, *args, env=env, **dirs)
    try:
        yield running
    finally:
        running.close()


def journal(place: Path) -> Path:
    return place / "data" / "shard-0.sqlite3"


def refused(place: Path, *args: str, run: str = "run") -> str:
    """Start a worker that must not start; return what it says."""
    process = start(place, *args, run=run)
    try:
        assert process.wait() == 1
        assert process.output == ""
        assert "Traceback" not in process.errors
        lines = process.errors.splitlines()
        assert len(lines) == 1
        return lines[0]
    finally:
        process.close()


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_worker_goes_on_where_it_was(run_dir: Path, end: str) -> None:
    """Ended between any two acks: the head and the life are the same, and no event is lost or doubled."""
    sent: list[bytes] = []
    epochs = set()
    for size in (1, 3, 700, 2, 90):
        fresh = facts(len(sent) + 1, size)
        with worker(run_dir) as running:
            if sent:
                head = running.head()
                assert (head.seq, head.held, head.cleaned_up) == (len(sent), 1, False)
                assert running.everything() == sent, "published or not, when it ended"
                running.send(1, *sent[:100])
                running.acked(len(sent))  # again
                running.send(max(1, len(sent) - 50), *sent[-51:], *fresh[:1])
                running.acked(len(sent) + 1)
            for offset in range(0, size, 200):
                running.send(len(sent) + 1, *fresh[offset : offset + 200])
                sent += fresh[offset : offset + 200]
                running.acked(len(sent))
            epochs.add(running.head().epoch)
            getattr(running, end)()
    with worker(run_dir) as running:
        assert running.everything() == sent
        assert epochs == {running.head().epoch}


def test_a_worker_killed_while_events_are_on_their_way(run_dir: Path) -> None:
    """What was not acked is taken or not; sent again, it is there once."""
    sent: list[bytes] = []
    una = 1
    for round_ in range(6):
        fresh = facts(len(sent) + 1, 400)
        sent += fresh
        with worker(run_dir) as running:
            for first in range(una, len(sent) + 1, 40):
                running.send(first, *sent[first - 1 : min(first + 39, len(sent))], una=una)
            una += 80 * (round_ + 1)
            if una > len(sent):
                una = len(sent)
            feedback(running.events, lambda told, una=una: any(ack.committed >= una - 1 for ack in told.acks))
            running.kill()
    with worker(run_dir) as running:
        for first in range(una, len(sent) + 1, 40):
            running.send(first, *sent[first - 1 : min(first + 39, len(sent))], una=una)
        running.acked(len(sent))
        running.published(len(sent))
        assert running.everything() == sent
        assert counters(running.questions).get("jumped", 0) == 0


def test_a_beacon_tells_at_once_how_far_everything_is(run_dir: Path) -> None:
    with worker(run_dir) as running:
        running.send(1, START, END)
        running.acked(2)
        running.send(1, START, channel="scan/b")
        running.acked(1, "scan/b")
        epoch = running.head().epoch
        running.kill()
    with worker(run_dir) as running:

        def tells(raw: bytes) -> bool:
            heads = {head.channel: head for head in decode_beacon(raw).heads}
            return SCAN in heads and (heads[SCAN].epoch, heads[SCAN].seq, heads[SCAN].terminal) == (
                epoch,
                2,
                True,
            )

        receive(running.events, lambda raw: raw.startswith(b"H|") and tells(raw))


def test_what_was_cleaned_up_is_given_from_the_journal_and_may_go_on(run_dir: Path) -> None:
    env = {"PIPELINE_CLEANUP__CLEANUP_AFTER_S": "0"}
    with worker(run_dir, env=env) as running:
        running.send(1, START, *facts(2, 300), END)
        running.acked(302)
        running.process.wait_for("channel cleaned up", channel=SCAN)
        head = running.head()
        assert (head.seq, head.held, head.terminal, head.cleaned_up) == (302, 1, True, True)
        assert running.everything() == [START, *facts(2, 300), END]
        running.kill()
    with worker(run_dir, env=env) as running:
        assert running.head() == head
        running.send(303, *facts(303, 1))
        running.acked(303)
        running.process.wait_for("channel cleaned up", channel=SCAN, epoch=head.epoch)
        running.send(304, START, *facts(305, 1))
        running.published(2)
        again = running.head(epoch=head.epoch)
        assert again.epoch > head.epoch
        assert (again.seq, again.terminal, again.cleaned_up) == (2, False, False)
        assert (again.asked_seq, again.asked_held) == (303, 1)
        assert running.everything(epoch=head.epoch) == [START, *facts(2, 300), END, *facts(303, 1)]
        page = ask(running.questions, PageRequest(9, SCAN, head.epoch, 303))
        assert isinstance(page, Page)
        assert (page.header.terminal, page.header.current) == (True, again.epoch)


def test_one_journal_has_one_writer(run_dir: Path) -> None:
    """Another run directory, so that no socket is in the way; the lock on the journal is."""
    with worker(run_dir) as running:
        line = refused(run_dir, run="other")
        assert line == f"error: {journal(run_dir)}: another process owns this journal"
        running.send(1, START)
        running.acked(1)
        running.kill()
    with worker(run_dir, run="other") as running:
        assert running.everything() == [START]


def test_in_memory_nothing_is_left(run_dir: Path) -> None:
    env = {"PIPELINE_JOURNAL__KIND": "memory"}
    with worker(run_dir, env=env) as running:
        running.send(1, START, *facts(2, 300))
        running.published(301)
        assert running.everything() == [START, *facts(2, 300)]
        epoch = running.head().epoch
        assert not journal(run_dir).exists()
        running.stop()
    with worker(run_dir, env=env) as running:
        assert running.head(epoch=epoch) == HeadReply(1, SCAN)
        running.send(302, *facts(302, 2), una=302)
        running.published(2)
        assert running.head().epoch > epoch
        assert running.everything() == facts(302, 2)


@pytest.mark.parametrize("how", ["noise", "cut"])
def test_a_damaged_journal_refuses_to_start_until_it_is_set_aside(run_dir: Path, how: str) -> None:
    with worker(run_dir) as running:
        running.send(1, START, *facts(2, 3_000))
        running.acked(3_001)
        epoch = running.head().epoch
        running.stop()
    whole = journal(run_dir).read_bytes()
    damaged = b"\xa5" * len(whole) if how == "noise" else whole[: len(whole) // 2]
    journal(run_dir).write_bytes(damaged)
    line = refused(run_dir)
    assert line.startswith(f"error: {journal(run_dir)}: ")
    assert line.endswith("; --recover sets it aside and begins anew")
    aside = journal(run_dir).with_name("shard-0.sqlite3.damaged-1")
    assert not aside.exists()
    with worker(run_dir, "--recover") as running:
        (told,) = [line for line in running.process.lines if line.get("level") == "error"]
        assert told["fact"].startswith("journal was damaged: begun anew, with new epochs")
        assert (told["shard"], told["set_aside"]) == (0, str(aside))
        assert running.head(epoch=epoch) == HeadReply(1, SCAN)
        running.send(3_002, *facts(3_002, 2), una=3_002)
        running.acked(3_003)
        assert running.head().epoch > epoch
        running.kill()
    assert len(aside.read_bytes()) >= len(damaged) // 2
    with worker(run_dir, "--recover") as running:
        assert running.everything() == facts(3_002, 2), "a journal that is whole stays"
        assert [line for line in running.process.lines if line.get("level") == "error"] == []


def test_without_room_nothing_is_acked_and_history_is_served(run_dir: Path) -> None:
    with worker(run_dir) as running:
        running.send(1, START, *facts(2, 300))
        running.acked(301)
        running.kill()
    full = {"PIPELINE_JOURNAL__MIN_FREE_BYTES": str(1 << 40)}
    with worker(run_dir, env=full) as running:
        running.send(302, *facts(302, 5))
        line = running.process.wait_for("journal cannot be written; nothing is acked until it can")
        assert "disk full: " in line["problem"]
        assert "min_free_bytes is 1099511627776" in line["problem"]
        assert running.everything() == [START, *facts(2, 300)]
        for _ in range(3):  # it is alive, and says nothing new
            receive(running.events, lambda raw: raw.startswith(b"H|"))
        assert counters(running.questions)["journal_failed_commits"] > 1
        assert len([line for line in running.process.lines if line.get("level") == "error"]) == 1
        running.kill()
    with worker(run_dir) as running:
        assert running.head().seq == 301
        running.send(302, *facts(302, 5))
        running.acked(306)
        running.published(306)
        assert running.everything() == [START, *facts(2, 305)]


def stop(pipeline: Pipeline, name: str) -> None:
    process = pipeline.processes.pop(name)
    assert process.terminate() == 0
    process.close()


def test_a_shard_moves_to_another_process_while_events_come(pipeline: Pipeline) -> None:
    """Two workers with a shard each; both are stopped, and a third one takes over both journals."""
    pipeline.shards = 2
    scans = [next(f"s{n}" for n in range(100) if shard_of(f"scan/s{n}", 2) == shard) for shard in range(2)]
    for name in ("ingest-0", "throttle-batch-0", "throttle-batch-1"):
        pipeline.start_one(name, workers=2).wait_for("ready")
    sent = [START, *facts(2, 6_000), END]
    with Emitter(run_dir=str(pipeline.run_dir)) as emitter:
        for number, event in enumerate(sent):
            for scan in scans:
                emitter.emit(event, scan_id=scan)
            if number == 2_000:
                assert emitter.unacked > 0
                stop(pipeline, "throttle-batch-0")
            if number == 3_000:
                stop(pipeline, "throttle-batch-1")
            if number == 4_000:
                pipeline.start_one("throttle-batch-0", workers=1).wait_for("ready", shards="0,1")
        emitter.flush(60 * PATIENCE)
        assert emitter.rejected() == []
    with Peers(pipeline.run_dir) as peers:
        for shard, scan in enumerate(scans):
            questions = peers.connect(zmq.DEALER, shard_history(shard))
            head = ask(questions, HeadRequest(1, f"scan/{scan}"))
            assert isinstance(head, HeadReply)
            assert (head.seq, head.held, head.terminal) == (len(sent), 1, True)
            got: list[object] = []
            while len(got) < len(sent):
                page = ask(questions, PageRequest(2, f"scan/{scan}", head.epoch, len(got) + 1))
                assert isinstance(page, Page)
                got += json.loads(page.body)
            assert got == [json.loads(event) for event in sent]
