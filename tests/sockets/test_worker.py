"""The throttle-batch process alone: the test is its ingests and its readers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from pipeline import Emitter
from pipeline.event import Catalogue
from pipeline.shards import HASH_NAME
from pipeline.sockets import shard_events, shard_history, shard_in
from pipeline.wire import (
    Ack,
    Beacon,
    ChannelsReply,
    ChannelsRequest,
    EnvelopeHeader,
    Head,
    HeadReply,
    HeadRequest,
    Page,
    PageRequest,
    Retry,
    decode_beacon,
    decode_frame,
    encode,
    encode_envelope,
    frame_topic,
    split_events,
)
from tests.harness import PATIENCE, Pipeline, Process
from tests.sockets.peers import Peers, ask, counters, feedback, receive

END = b'{"type":"scanCompleted"}'


def event(number: int, size: int = 0) -> bytes:
    raw = b'{"type":"x","n":%d,"pad":"' % number
    return raw + b"." * (size - len(raw) - 2) + b'"}'


class Rig:
    """A worker of one shard, with a test around it."""

    def __init__(self, peers: Peers, process: Process) -> None:
        self.peers = peers
        self.process = process
        self.inbox = peers.connect(zmq.PUSH, shard_in(0))
        self.feedback = peers.connect(zmq.SUB, shard_events(0), subscribe=(b"A|", b"H|", b"F|scan/none|"))
        self.history = peers.connect(zmq.DEALER, shard_history(0))
        # Subscriptions arrive in order, and the last one is answered with a beacon: all are there.
        receive(self.feedback, lambda raw: raw.startswith(b"H|"))

    def send(
        self,
        pseq: int,
        events: list[bytes],
        *,
        una: int | None = None,
        pid: str = "p",
        channel: str = "scan/a",
    ) -> None:
        header = EnvelopeHeader(channel, pid, 1, pseq, pseq if una is None else una)
        self.inbox.send(encode_envelope(header, events))

    def acked(self, committed: int, pid: str = "p", channel: str = "scan/a") -> None:
        """Wait for an ack, which must not be for more than this."""
        wanted = Ack(pid, 1, channel, committed)
        for ack in feedback(self.feedback, lambda said: said.acks).acks:
            assert (ack.pid, ack.channel) == (pid, channel)
            assert ack.committed <= committed
            if ack == wanted:
                return
        self.acked(committed, pid, channel)

    def subscribe(self, channel: str) -> zmq.Socket[bytes]:
        """Return a subscriber that has joined, and has been told how far the channel is."""
        socket = self.peers.connect(zmq.SUB, shard_events(0), subscribe=(b"H|", frame_topic(channel)))
        receive(socket, lambda raw: raw.startswith(b"H|"))
        return socket

    def head(self, channel: str = "scan/a", epoch: int | None = None) -> HeadReply:
        reply = ask(self.history, HeadRequest(4, channel, epoch))
        assert isinstance(reply, HeadReply)
        assert (reply.id, reply.channel) == (4, channel)
        return reply

    def published(self, seq: int, channel: str = "scan/a") -> HeadReply:
        """Wait until a channel's head is published."""
        while (head := self.head(channel)).seq < seq:
            pass
        return head

    def page(self, epoch: int, first: int, channel: str = "scan/a") -> Page:
        reply = ask(self.history, PageRequest(5, channel, epoch, first))
        assert isinstance(reply, Page)
        assert reply.header.id == 5
        return reply


def worker(run_dir: Path, *args: str, shards: int = 1, toml: str = "") -> Process:
    config = run_dir / "throttle-batch.toml"
    config.write_text(toml)
    return Process(
        "throttle-batch", "--run-dir", str(run_dir), "--data-dir", str(run_dir / "data"),
        "--shards", str(shards), "--log-format", "json", "-c", str(config), *args,
    )  # fmt: skip


@contextmanager
def running(run_dir: Path, toml: str = "") -> Iterator[Rig]:
    process = worker(run_dir, toml=toml)
    try:
        process.wait_for("ready")
        with Peers(run_dir) as peers:
            yield Rig(peers, process)
    finally:
        process.close()


@pytest.fixture
def rig(run_dir: Path) -> Iterator[Rig]:
    """Give a worker with a test around it."""
    with running(run_dir) as started:
        yield started


# --- taking, acking, asking again ---------------------------------------------------------------------


def test_what_is_taken_is_acked_and_held_before_it_is_published(run_dir: Path) -> None:
    with running(run_dir, "[batch]\nbatch_interval_s = 60.0\n") as rig:
        rig.send(1, [event(1), event(2)])
        rig.acked(2)
        head = rig.head()
        assert (head.seq, head.held, head.terminal) == (0, 1, False)
        assert head.epoch is not None
        page = rig.page(head.epoch, 1)
        assert (page.header.first, page.header.last, page.header.head) == (1, 0, 0), (
            "not before the frame is out"
        )
        asked = rig.head("scan/a", head.epoch)
        assert (asked.asked_seq, asked.seq) == (2, 0), "a position up to there is one to go on from"
        page = rig.page(head.epoch, 3)
        assert (page.header.last, page.header.head, page.header.committed) == (2, 0, 2)
        rig.send(3, [b'{"type":"phaseStarted","phase":"p"}'])
        rig.acked(3)
        head = rig.head()
        assert head.seq == 3
        assert head.epoch is not None
        assert split_events(rig.page(head.epoch, 1).body)[:2] == [event(1), event(2)]


def test_a_gap_is_not_taken_and_asked_for_once(rig: Rig) -> None:
    rig.send(1, [event(1)], una=1)
    rig.acked(1)
    for pseq in (3, 4, 5):
        rig.send(pseq, [event(pseq)], una=2)
    said = feedback(rig.feedback, lambda said: said.retries)
    assert (said.acks, said.retries) == ([], [Retry("p", 1, "scan/a", 2, "gap")])
    rig.send(2, [event(2), event(3), event(4), event(5)], una=2)
    rig.acked(5)
    head = rig.published(5)
    assert head.epoch is not None
    assert split_events(rig.page(head.epoch, 1).body) == [event(number) for number in range(1, 6)]
    assert counters(rig.history)["not_taken{reason=gap}"] == 3


def test_what_was_taken_before_is_acked_again_and_not_taken_again(rig: Rig) -> None:
    for _ in range(3):
        rig.send(1, [event(1), event(2)], una=1)
        rig.acked(2)
    rig.send(2, [event(2), event(3)], una=2)
    rig.acked(3)
    assert rig.published(3).seq == 3
    assert counters(rig.history)["events"] == 3


def test_a_rejected_number_leaves_no_hole(rig: Rig) -> None:
    header = EnvelopeHeader("scan/a", "p", 1, 1, 1, ((1, "json"),))
    rig.inbox.send(encode_envelope(header, [event(1), event(3)]))
    rig.acked(3)
    assert rig.published(2).seq == 2


def test_a_second_terminal_event_is_nacked_and_acked(rig: Rig) -> None:
    rig.send(1, [END])
    rig.acked(1)
    rig.send(2, [END])
    said = feedback(rig.feedback, lambda said: said.nacks)
    (nack,) = said.nacks
    assert (nack.pid, nack.channel, nack.pseq, nack.reason) == ("p", "scan/a", 2, "after_terminal")
    assert said.acks == [Ack("p", 1, "scan/a", 2)]
    rig.send(1, [END, END], una=1)  # the feedback was lost: both are told again
    again = feedback(rig.feedback, lambda said: said.acks)
    assert (again.acks, again.nacks) == ([Ack("p", 1, "scan/a", 2)], [nack])
    rig.send(2, [END, event(3)], una=2)
    more = feedback(rig.feedback, lambda said: said.acks)
    assert (more.acks, more.nacks) == ([Ack("p", 1, "scan/a", 3)], [nack])
    assert rig.published(2).terminal


def test_an_older_incarnation_is_fenced(rig: Rig) -> None:
    for inc in (2, 1):
        rig.inbox.send(encode_envelope(EnvelopeHeader("scan/a", "p", inc, 1, 1), [event(inc)]))
    (nack,) = feedback(rig.feedback, lambda said: said.nacks).nacks
    assert (nack.inc, nack.pseq, nack.reason) == (1, 1, "fenced")


def test_a_full_channel_asks_to_wait_and_takes_the_rest_later(run_dir: Path) -> None:
    toml = "[batch]\nmax_pending_bytes = 65536\nmax_frame_bytes = 65536\nmax_frames_per_s = 5.0\n"
    with running(run_dir, toml) as rig:
        rig.send(1, [event(1, 30_000), event(2, 30_000), event(3, 30_000)], una=1)
        said = feedback(rig.feedback, lambda said: said.retries)
        assert said.retries == [Retry("p", 1, "scan/a", 3, "full")]
        assert said.acks == [Ack("p", 1, "scan/a", 2)]
        rig.published(2)
        rig.send(3, [event(3, 30_000)], una=3)
        rig.acked(3)
        assert rig.published(3).seq == 3


def test_rubbish_from_around_the_ingest_is_counted_and_disturbs_nobody(rig: Rig) -> None:
    for message in (b"", b"\x01", b"{", b'{"type":"x","scan_id":"a"}', b"\x01{}\n", b"\xff" * 1_000):
        rig.inbox.send(message)
    rig.inbox.send(encode_envelope(EnvelopeHeader("scan/a"), [b"{", event(1), b'{"type":"\xff"}']))
    for message in (b"", b"{", b"\xff", b"null", b'{"type":"page","id":1}', b"x" * 100_000):
        rig.history.send(message)
    rig.send(1, [event(2)], pid="q")
    rig.acked(1, pid="q")
    assert rig.published(2).seq == 2
    counted = counters(rig.history)
    assert counted["malformed{socket=in}"] == 6
    assert counted["malformed{socket=history}"] == 6
    assert (counted["rejected{reason=json}"], counted["rejected{reason=utf8}"]) == (1, 1)


# --- publishing ---------------------------------------------------------------------------------------


def test_a_subscriber_sees_frames_that_follow_each_other(rig: Rig) -> None:
    reader = rig.subscribe("scan/a")
    sent = [event(number) for number in range(1, 201)]
    for first in range(0, 200, 10):
        rig.send(first + 1, sent[first : first + 10], una=1)
    got: list[bytes] = []
    while len(got) < 200:
        frame = decode_frame(receive(reader, lambda raw: raw.startswith(b"F|")))
        assert (frame.channel, frame.header.first) == ("scan/a", len(got) + 1)
        got += split_events(frame.body)
        assert frame.header.last == len(got)
    assert got == sent


def is_beacon(raw: bytes) -> bool:
    return raw.startswith(b"H|")


def test_who_joins_is_told_at_once_how_far_the_channel_is(run_dir: Path) -> None:
    with running(run_dir, "[publish]\nbeacon_interval_s = 10.0\n") as rig:
        rig.send(1, [event(1), END])
        rig.acked(2)
        joiner = rig.peers.connect(zmq.SUB, shard_events(0), subscribe=(b"H|", frame_topic("scan/a")))
        while not (beacon := decode_beacon(receive(joiner, is_beacon))).heads:
            pass
        assert beacon.heads == [Head("scan/a", beacon.heads[0].epoch, 2, True)]
        again = rig.peers.connect(zmq.SUB, shard_events(0), subscribe=(b"H|", frame_topic("scan/a")))
        while not decode_beacon(receive(again, is_beacon)).heads:
            pass  # a second one is told as well


def test_a_beacon_says_who_the_worker_is_and_how_far_its_channels_are(rig: Rig) -> None:
    empty = decode_beacon(receive(rig.feedback, lambda raw: raw.startswith(b"H|")))
    assert empty == Beacon(0, 1, HASH_NAME, empty.boot)
    rig.send(1, [event(1), event(2)])
    rig.published(2)

    def moved(raw: bytes) -> bool:
        return raw.startswith(b"H|") and any(head.seq == 2 for head in decode_beacon(raw).heads)

    beacon = decode_beacon(receive(rig.feedback, moved))
    assert beacon.heads == [Head("scan/a", beacon.heads[0].epoch, 2, False)]
    assert beacon.boot == empty.boot


def test_a_channel_that_is_cleaned_up_is_told_as_gone(run_dir: Path) -> None:
    with running(run_dir, "[cleanup]\ncleanup_after_s = 0.05\n") as rig:
        rig.send(1, [END])
        rig.acked(1)
        gone = decode_beacon(
            receive(rig.feedback, lambda raw: raw.startswith(b"H|") and bool(decode_beacon(raw).gone))
        )
        ((channel, epoch),) = gone.gone
        assert channel == "scan/a"
        held = HeadReply(4, "scan/a", epoch, 1, 1, True, 1, 1, True)
        assert rig.head("scan/a", epoch) == held, "its memory was freed; the journal has it"
        assert rig.process.wait_for("channel cleaned up")["epoch"] == epoch


# --- answering ----------------------------------------------------------------------------------------


def test_pages_lead_from_the_start_to_the_head(rig: Rig) -> None:
    sent = [event(number, 10_000) for number in range(1, 101)]
    for number, raw in enumerate(sent, 1):
        rig.send(number, [raw], una=1)
    head = rig.published(100)
    assert head.epoch is not None
    got: list[bytes] = []
    pages = 0
    while len(got) < 100:
        page = rig.page(head.epoch, len(got) + 1)
        events = split_events(page.body)
        assert (page.header.first, page.header.last) == (len(got) + 1, len(got) + len(events))
        assert (page.header.head, page.header.held, page.header.current) == (100, True, head.epoch)
        assert sum(map(len, events)) <= 262_144
        got += events
        pages += 1
    assert got == sent
    assert 4 <= pages <= 5
    end = rig.page(head.epoch, 101).header
    assert (end.first, end.last, end.held) == (101, 100, True)


def test_it_tells_which_types_its_operator_made_critical(run_dir: Path) -> None:
    toml = '[events.breach]\nclass = "critical"\n[events.phaseStarted]\nclass = "fact"\n'
    with running(run_dir, toml) as rig:
        critical = set(rig.head("scan/none").critical or ())
        assert critical == (Catalogue().critical | {"breach"}) - {"phaseStarted"}
        rig.send(1, [event(1)])
        assert set(rig.published(1).critical or ()) == critical


def test_what_is_unknown_or_forgotten_is_said_to_be(rig: Rig) -> None:
    assert rig.head("scan/none") == HeadReply(4, "scan/none")
    none = rig.page(1, 1, "scan/none").header
    assert (none.held, none.current, none.last) == (False, None, 0)
    rig.send(1, [event(1)])
    head = rig.published(1)
    assert head.epoch is not None
    old = rig.page(head.epoch - 1, 1).header
    assert (old.held, old.current, old.last) == (False, head.epoch, 0)
    assert rig.head("scan/a", head.epoch - 1).asked_held is None
    asked = rig.head("scan/a", head.epoch)
    assert (asked.asked_seq, asked.asked_held) == (1, 1)


def test_a_start_after_the_end_is_a_new_life_and_the_old_one_stays_readable(rig: Rig) -> None:
    rig.send(1, [event(1), END])
    first = rig.published(2)
    rig.send(3, [b'{"type":"scanStarted"}'])
    rig.acked(3)
    second = rig.head()
    assert first.epoch is not None
    assert second.epoch is not None
    assert second.epoch > first.epoch
    assert (second.seq, second.terminal) == (1, False)
    old = rig.page(first.epoch, 1)
    assert (split_events(old.body), old.header.current) == ([event(1), END], second.epoch)


def test_every_channel_has_a_summary(rig: Rig) -> None:
    rig.send(
        1, [b'{"type":"scanStarted"}', event(1), b'{"type":"phaseStarted","phase":"ports","progress":5}']
    )
    rig.acked(3)
    rig.inbox.send(encode_envelope(EnvelopeHeader("report/r"), [event(1)]))
    rig.published(1, "report/r")
    reply = ask(rig.history, ChannelsRequest(6))
    assert isinstance(reply, ChannelsReply)
    assert (reply.id, reply.shard) == (6, 0)
    by_name = {summary.channel: summary for summary in reply.channels}
    scan = by_name["scan/a"]
    assert (scan.status, scan.phase, scan.progress, scan.events, scan.best_effort) == (
        "running",
        "ports",
        5.0,
        3,
        False,
    )
    assert scan.counts == {"scanStarted": 1, "other": 1, "phaseStarted": 1}
    assert by_name["report/r"].best_effort
    since = ask(rig.history, ChannelsRequest(7, reply.version))
    assert isinstance(since, ChannelsReply)
    assert (since.id, since.whole) == (7, False)
    assert {summary.channel for summary in since.channels} <= {"scan/a", "report/r"}


def test_questions_that_come_together_are_all_answered(rig: Rig) -> None:
    for number in range(1, 101):
        rig.send(number, [event(number, 5_000)], una=1)
    head = rig.published(100)
    assert head.epoch is not None
    asked = [PageRequest(number, "scan/a", head.epoch, 1 + number % 100) for number in range(60)]
    for request in asked:
        rig.history.send(encode(request))
    ids = [json.loads(rig.history.recv().partition(b"\n")[0])["id"] for _ in asked]
    assert ids == list(range(60))


# --- starting and stopping ----------------------------------------------------------------------------


def test_two_workers_share_the_shards_and_none_has_two_owners(run_dir: Path) -> None:
    first = worker(run_dir, "--own", "0,1", shards=3)
    second = worker(run_dir, "--own", "2", shards=3)
    try:
        assert first.wait_for("ready")["shards"] == "0,1"
        assert second.wait_for("ready")["shards"] == "2"
        for own, taken in (("1", 1), ("2,0", 0), ("0,1,2", 0)):
            third = worker(run_dir, "--own", own, shards=3)
            try:
                assert third.wait() == 1
                journal = run_dir / "data" / f"shard-{taken}.sqlite3"
                assert third.errors == f"error: {journal}: another process owns this journal"
            finally:
                third.close()
        with Peers(run_dir) as peers:
            for shard in range(3):  # the owners still have their sockets
                assert ask(peers.connect(zmq.DEALER, shard_history(shard)), HeadRequest(1, "scan/a"))
    finally:
        first.close()
        second.close()


def test_another_number_of_shards_is_refused_with_78_naming_both(run_dir: Path) -> None:
    with running(run_dir):
        pass
    other = worker(run_dir, shards=2)
    try:
        assert other.wait() == 78
        assert other.errors == (
            f"error: {run_dir / 'data' / 'layout.json'}: made with 1 shards, but 2 are configured; "
            f"the number of shards is fixed when a data directory is made"
        )
    finally:
        other.close()


@pytest.mark.parametrize(("own", "shown"), [("1", "shard 1"), ("-1", "shard -1")])
def test_a_shard_there_is_none_of_is_refused_with_78(run_dir: Path, own: str, shown: str) -> None:
    process = worker(run_dir, f"--own={own}")
    try:
        assert process.wait() == 78
        assert shown in process.errors
        assert "\n" not in process.errors
    finally:
        process.close()


def test_a_run_directory_others_get_into_is_refused(run_dir: Path) -> None:
    run_dir.chmod(0o755)
    process = worker(run_dir)
    try:
        assert process.wait() == 1
        assert process.errors.startswith(f"error: run directory {run_dir}: mode is 0755; 0700 is needed")
    finally:
        process.close()


def test_a_stopped_worker_says_what_it_counted(rig: Rig) -> None:
    rig.send(1, [event(1)])
    rig.published(1)
    assert rig.process.terminate() == 0
    line = rig.process.lines[-1]
    assert (line["fact"], line["events"], line["frames"]) == ("stopped", 1, 1)


def test_a_worker_of_several_shards_adds_up_what_they_counted(pipeline: Pipeline) -> None:
    pipeline.start()
    with Emitter("a", run_dir=str(pipeline.run_dir)) as one:
        for name in "abcdefgh":
            one.emit({"type": "custom"}, scan_id=name)
        one.flush(20 * PATIENCE)
    worker = pipeline.processes["throttle-batch-0"]
    assert pipeline.stop()["throttle-batch-0"]["events"] == 8
    assert len([line for line in worker.lines if line.get("fact") == "stopped"]) == 1


def test_after_a_kill_it_starts_again_on_the_sockets_that_were_left(rig: Rig, run_dir: Path) -> None:
    rig.send(1, [event(1)])
    before = rig.published(1)
    rig.process.kill()
    again = worker(run_dir)
    try:
        again.wait_for("ready")
        rig.send(2, [event(2)], una=2)
        rig.acked(2)
        after = rig.published(2)
        assert (after.epoch, after.held) == (before.epoch, 1), "the same life goes on"
    finally:
        again.close()
