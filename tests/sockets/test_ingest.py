"""The ingest process alone: the test is its producers and its shards."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from pipeline.errors import RejectReason
from pipeline.shards import HASH_NAME, shard_of
from pipeline.sockets import ingest_control, ingest_data, shard_events, shard_in
from pipeline.wire import (
    Ack,
    Beacon,
    EnvelopeHeader,
    Feedback,
    Hello,
    Nack,
    Retry,
    StatsReply,
    StatsRequest,
    Welcome,
    decode_envelope,
    decode_ingest_message,
    encode,
    encode_beacon,
    encode_envelope,
    encode_feedback,
)
from tests.harness import Process
from tests.sockets.peers import Peers, receive, waiting

SHARDS = 3
GOOD = b'{"type":"hostDiscovered","ip":"10.0.0.5"}'


class Rig:
    """An ingest between a test's shards and its producers."""

    def __init__(self, peers: Peers, process: Process) -> None:
        self.peers = peers
        self.process = process
        self.inboxes = [peers.bind(zmq.PULL, shard_in(shard)) for shard in range(SHARDS)]
        self.events = [peers.bind(zmq.XPUB, shard_events(shard)) for shard in range(SHARDS)]
        for socket in self.events:
            receive(socket, lambda raw: raw == b"\x01A|")
        self.data = peers.connect(zmq.PUSH, ingest_data(0))
        self.control = peers.connect(zmq.DEALER, ingest_control(0))

    def arrived(self, channel: str) -> tuple[EnvelopeHeader, list[bytes]]:
        """Return the next envelope at the shard that owns a channel."""
        envelope = decode_envelope(receive(self.inboxes[shard_of(channel, SHARDS)]))
        assert envelope.header.channel == channel
        return envelope.header, envelope.events

    def counters(self) -> dict[str, float]:
        self.control.send(encode(StatsRequest(3)))
        while not isinstance(reply := decode_ingest_message(self.control.recv()), StatsReply):
            pass
        assert (reply.id, reply.stage) == (3, "ingest-0")
        return reply.counters

    def rejected(self) -> dict[str, float]:
        return {name: count for name, count in self.counters().items() if name.startswith("rejected")}


@contextmanager
def running(run_dir: Path, toml: str = "") -> Iterator[Rig]:
    config = run_dir / "ingest.toml"
    config.write_text(toml)
    process = Process(
        "ingest",
        "--run-dir",
        str(run_dir),
        "--shards",
        str(SHARDS),
        "--log-format",
        "json",
        "-c",
        str(config),
    )
    try:
        process.wait_for("ready")
        with Peers(run_dir) as peers:
            yield Rig(peers, process)
    finally:
        process.close()


@pytest.fixture
def rig(run_dir: Path) -> Iterator[Rig]:
    """Give an ingest with a test around it."""
    with running(run_dir) as started:
        yield started


def hello(producer: zmq.Socket[bytes], pid: str = "p", inc: int = 1) -> None:
    producer.send(encode(Hello(pid, inc)))
    assert decode_ingest_message(producer.recv()) == Welcome(0)


def told(producer: zmq.Socket[bytes]) -> Feedback:
    message = decode_ingest_message(producer.recv())
    assert isinstance(message, Feedback)
    return message


# --- routing ------------------------------------------------------------------------------------------


def test_an_envelope_goes_to_the_shard_that_owns_its_channel_unchanged(rig: Rig) -> None:
    for number in range(30):
        header = EnvelopeHeader(f"scan/s{number}", "p", 1, 1, 1)
        rig.data.send(encode_envelope(header, [GOOD]))
        assert rig.arrived(header.channel) == (header, [GOOD])
    assert not any(waiting(inbox) for inbox in rig.inboxes)


def test_foreign_json_and_ndjson_are_routed_by_the_id_they_name(rig: Rig) -> None:
    one = b'{"type":"x","scan_id":"a"}'
    two = b'{"type":"x","scan_id":"b"}'
    report = b'{"type":"reportStarted","report_id":"r","name":"n","format":"pdf"}'
    rig.data.send(one)
    rig.data.send(b"\n".join([one, two, report, one]) + b"\n")
    assert rig.arrived("scan/a") == (EnvelopeHeader("scan/a"), [one])
    assert rig.arrived("scan/a") == (EnvelopeHeader("scan/a"), [one, one])
    assert rig.arrived("scan/b") == (EnvelopeHeader("scan/b"), [two])
    assert rig.arrived("report/r") == (EnvelopeHeader("report/r"), [report])


def test_a_shard_that_stands_still_stops_no_other(run_dir: Path) -> None:
    with running(run_dir, "[ingest]\nshard_high_water_mark = 100\n") as rig:
        stopped, other = (
            next(name for name in (f"scan/s{n}" for n in range(99)) if shard_of(name, SHARDS) == shard)
            for shard in (0, 1)
        )
        rig.inboxes[0].close()
        rig.events[0].close()
        large = b'{"type":"x","pad":"' + b"." * 60_000 + b'"}'
        for number in range(300):
            rig.data.send(encode_envelope(EnvelopeHeader(stopped, "p", 1, number + 1, 1), [large]))
            rig.data.send(encode_envelope(EnvelopeHeader(other, "p", 1, number + 1, 1), [GOOD]))
            assert rig.arrived(other)[0].pseq == number + 1
        assert rig.counters()["dropped{reason=shard_full}"] > 0


# --- rejections ---------------------------------------------------------------------------------------

RUBBISH = {
    "json": [b"\xff\xfe", b"{", b"x", b"", b"[1]", b'{"type":"x","scan_id":"a"', b"[" * 100_000],
    "schema": [b"\x01", b"\x01{}\n{}", b'\x01{"channel":"scan/a"}\n', b'{"type":5,"scan_id":"a"}', b"{}"],
    "utf8": [b'{"type":"x","scan_id":"a","t":"\xff"}'],
    "too_large": [
        b'{"type":"x","scan_id":"a","pad":"' + b"." * 1_000_000 + b'"}',
        b'{"type":"x","scan_id":"a","pad":"' + b"." * 2_000_000 + b'"}',
    ],
    "bad_scan_id": [b'{"type":"x"}', b'{"type":"x","scan_id":"../a"}', b'{"type":"x","scan_id":"stats"}'],
}


def test_rubbish_is_counted_by_its_reason_and_a_good_producer_beside_it_loses_nothing(rig: Rig) -> None:
    bad = rig.peers.connect(zmq.PUSH, ingest_data(0))
    sent = 0
    for messages in RUBBISH.values():
        for message in messages:
            sent += 1
            bad.send(message)
            rig.data.send(encode_envelope(EnvelopeHeader("scan/good", "p", 1, sent, 1), [GOOD]))
    assert [rig.arrived("scan/good")[0].pseq for _ in range(sent)] == list(range(1, sent + 1))
    while sum((rejected := rig.rejected()).values()) < sent:
        pass
    assert rejected == {f"rejected{{reason={reason}}}": len(messages) for reason, messages in RUBBISH.items()}
    assert rig.counters()["events"] == sent
    assert rig.process.terminate() == 0
    line = rig.process.lines[-1]
    assert (line["fact"], line["events"], line["rejected{reason=json}"]) == (
        "stopped",
        sent,
        len(RUBBISH["json"]),
    )


def test_rejections_are_logged_each_on_a_line_and_not_without_end(rig: Rig) -> None:
    rig.data.send(b"{")
    line = rig.process.wait_for("rejected")
    assert (line["level"], line["reason"]) == ("warning", "json")
    assert "not JSON" in line["problem"]
    for _ in range(2_000):
        rig.data.send(b"\x02")
    while rig.counters()["rejected{reason=json}"] < 2_001:
        pass
    assert rig.process.terminate() == 0
    assert sum(line.get("fact") == "rejected" for line in rig.process.lines) < 500


def test_a_numbered_producer_is_told_what_is_not_taken_and_its_number_goes_on(rig: Rig) -> None:
    hello(rig.control)
    rig.data.send(encode_envelope(EnvelopeHeader("scan/a", "p", 1, 5, 4), [GOOD, b"{", GOOD]))
    (nack,) = told(rig.control).nacks
    assert nack == Nack("p", 1, "scan/a", 6, RejectReason.JSON, nack.message)
    assert nack.message.startswith("not JSON")
    header, events = rig.arrived("scan/a")
    assert (header.pseq, header.una, header.rejected, events) == (5, 4, ((1, "json"),), [GOOD, GOOD])


def test_a_multipart_message_is_taken_by_its_first_part(rig: Rig) -> None:
    rig.data.send_multipart([encode_envelope(EnvelopeHeader("scan/a", "p", 1, 1, 1), [GOOD]), b"x", b"y"])
    rig.data.send(encode_envelope(EnvelopeHeader("scan/a", "p", 1, 2, 1), [GOOD]))
    assert [rig.arrived("scan/a")[0].pseq for _ in range(2)] == [1, 2]


# --- feedback -----------------------------------------------------------------------------------------


def test_a_producer_gets_its_own_part_of_the_feedback_in_one_message(rig: Rig) -> None:
    other = rig.peers.connect(zmq.DEALER, ingest_control(0))
    hello(rig.control, "p")
    hello(other, "q")
    mine = Feedback(
        [Ack("p", 1, "scan/a", 7), Ack("p", 1, "scan/b", 2)],
        [Retry("p", 1, "scan/c", 3, "gap")],
        [Nack("p", 1, "scan/a", 6, "after_terminal", "over")],
    )
    theirs = Feedback([Ack("q", 1, "scan/a", 9)])
    unknown = Ack("r", 1, "scan/a", 1)
    rig.events[1].send(
        encode_feedback(Feedback([*mine.acks, *theirs.acks, unknown], mine.retries, mine.nacks))
    )
    assert told(rig.control) == mine
    assert told(other) == theirs
    assert rig.counters()["feedback_messages"] == 2


def test_feedback_goes_to_the_incarnation_it_is_for_and_to_where_it_last_spoke(rig: Rig) -> None:
    hello(rig.control, "p", inc=1)
    moved = rig.peers.connect(zmq.DEALER, ingest_control(0))
    hello(moved, "p", inc=1)
    rig.events[0].send(encode_feedback(Feedback([Ack("p", 2, "scan/a", 1)])))
    rig.events[0].send(encode_feedback(Feedback([Ack("p", 1, "scan/a", 2)])))
    assert told(moved).acks == [Ack("p", 1, "scan/a", 2)]
    assert rig.counters()["producers"] == 1
    assert waiting(rig.control) == []


def test_a_producer_that_is_gone_is_noticed_and_the_others_get_theirs(rig: Rig) -> None:
    gone = rig.peers.connect(zmq.DEALER, ingest_control(0))
    hello(gone, "gone")
    hello(rig.control, "p")
    gone.close(linger=0)
    acks = [Ack(pid, 1, "scan/x", 1) for pid in ("gone", "p")]
    counters: dict[str, float] = {}
    rounds = 0
    while not counters.get("dropped{reason=producer_gone}"):  # the router hears of it by and by
        rig.events[0].send(encode_feedback(Feedback(acks)))
        assert told(rig.control).acks == [acks[1]]
        counters = rig.counters()
        rounds += 1
        assert rounds < 1_000
    rig.events[0].send(encode_feedback(Feedback(acks)))
    assert told(rig.control).acks == [acks[1]]
    assert rig.counters()["dropped{reason=producer_gone}"] == 1, "and it is forgotten"


def test_past_the_producers_there_may_be_the_one_unheard_longest_is_forgotten(run_dir: Path) -> None:
    with running(run_dir, "[limits]\nmax_producers = 2\n") as rig:
        for pid in ("a", "b", "a", "c"):
            hello(rig.control, pid)
        acks = [Ack(pid, 1, "scan/x", 1) for pid in "abc"]
        rig.events[0].send(encode_feedback(Feedback(acks)))
        assert [told(rig.control).acks for _ in range(2)] == [[acks[0]], [acks[2]]]


def test_rubbish_on_control_and_feedback_is_counted_and_answers_go_on(rig: Rig) -> None:
    rubbish = [b"", b"{", b"\xff", b"null", b'{"type":"hello"}', b"x" * 100_000]
    for message in rubbish:
        rig.control.send(message)
    rig.control.send_multipart([b"two", b"parts"])
    for message in (b"A|", b"A|{", b"A|\xff", b"H|", b"H|{}"):
        rig.events[0].send(message)
    hello(rig.control)
    rig.events[0].send(encode_feedback(Feedback([Ack("p", 1, "scan/a", 1)])))
    assert told(rig.control).acks
    counted = rig.counters()
    assert counted["malformed{socket=feedback}"] == 5
    assert counted["malformed{socket=control}"] >= len(rubbish)


# --- quotas -------------------------------------------------------------------------------------------


def test_beyond_its_rate_a_producer_is_told_to_send_again_and_beside_it_another_is_not(run_dir: Path) -> None:
    with running(run_dir, "[quotas]\nevents_per_s = 0.001\nburst_s = 1000\n") as rig:
        hello(rig.control)
        for pseq in (1, 2, 3):
            rig.data.send(encode_envelope(EnvelopeHeader("scan/a", "p", 1, pseq, 1), [GOOD]))
        assert rig.arrived("scan/a")[0].pseq == 1
        feedback = told(rig.control)
        assert feedback.retries == [Retry("p", 1, "scan/a", 2, "rate")]
        (wait,) = feedback.waits
        assert (wait.pid, wait.inc, wait.channel) == ("p", 1, "scan/a")
        assert 0 < wait.wait_s <= 1_001
        rig.data.send(encode_envelope(EnvelopeHeader("scan/a", "q", 1, 1, 1), [GOOD]))
        assert rig.arrived("scan/a")[0].pid == "q"
        for _ in range(3):
            rig.data.send(b'{"type":"x","scan_id":"a"}\n{"type":"x","scan_id":"a"}')
        assert rig.arrived("scan/a")[0].pid == ""
        while (counted := rig.counters()).get("rejected{reason=rate}", 0) < 4:
            pass
        assert counted["held_back{reason=rate}"] == 2
        assert counted["rejected{reason=rate}"] == 4


def test_a_quota_is_taken_over_by_an_ingest_that_runs(run_dir: Path) -> None:
    with running(run_dir) as rig:
        hello(rig.control)
        for number in range(5):
            rig.data.send(encode_envelope(EnvelopeHeader(f"scan/s{number}", "p", 1, 1, 1), [GOOD]))
            rig.arrived(f"scan/s{number}")
        (run_dir / "ingest.toml").write_text("[quotas]\nmax_open_scans = 1\n")
        rig.process.popen.send_signal(signal.SIGHUP)
        rig.process.wait_for("configuration read anew")
        for number in range(2):
            rig.data.send(encode_envelope(EnvelopeHeader(f"scan/t{number}", "p", 1, 1, 1), [GOOD]))
        assert rig.arrived("scan/t0")[1] == [GOOD]
        header, events = rig.arrived("scan/t1")
        assert (header.rejected, events) == (((0, "quota"),), [])
        (nack,) = told(rig.control).nacks
        assert (nack.channel, nack.reason) == ("scan/t1", "quota")
        assert "quotas.max_open_scans is 1" in nack.message


# --- starting and stopping ----------------------------------------------------------------------------


def test_several_run_side_by_side_and_a_second_one_of_a_number_does_not(rig: Rig, run_dir: Path) -> None:
    common = ("ingest", "--run-dir", str(run_dir), "--shards", str(SHARDS))
    second = Process(*common, "--index", "1", "--log-format", "json")
    try:
        second.wait_for("ready")
        data = rig.peers.connect(zmq.PUSH, ingest_data(1))
        data.send(encode_envelope(EnvelopeHeader("scan/a", "p", 1, 1, 1), [GOOD]))
        rig.arrived("scan/a")
        twin = Process(*common, "--index", "0")
        try:
            assert twin.wait() == 1
            assert twin.errors == f"error: {run_dir / ingest_data(0)}: another process is bound to it"
        finally:
            twin.close()
        rig.data.send(encode_envelope(EnvelopeHeader("scan/a", "p", 1, 2, 1), [GOOD]))
        rig.arrived("scan/a")  # the first still has its socket
    finally:
        second.close()


def test_after_a_kill_it_starts_again_on_the_sockets_that_were_left(rig: Rig, run_dir: Path) -> None:
    rig.process.kill()
    again = Process("ingest", "--run-dir", str(run_dir), "--shards", str(SHARDS), "--log-format", "json")
    try:
        again.wait_for("ready")
        hello(rig.control)  # the producer's sockets find it by themselves
        rig.data.send(encode_envelope(EnvelopeHeader("scan/a", "p", 1, 1, 1), [GOOD]))
        rig.arrived("scan/a")
    finally:
        again.close()


def test_a_worker_of_other_shards_ends_it_with_78(rig: Rig) -> None:
    rig.events[0].send(encode_beacon(Beacon(0, SHARDS + 1, HASH_NAME, "boot")))
    assert rig.process.wait() == 78
    assert rig.process.errors == (
        f"error: shard 0 is one of {SHARDS + 1}, spread by '{HASH_NAME}'; "
        f"this ingest is set to {SHARDS} shards, spread by '{HASH_NAME}'"
    )


def test_a_config_with_unknown_keys_is_refused_with_78_a_line_for_each(run_dir: Path) -> None:
    config = run_dir / "ingest.toml"
    config.write_text("[ingest]\nindx = 1\n[limit]\nmax_producers = 2\n")
    process = Process("ingest", "--run-dir", str(run_dir), "-c", str(config))
    try:
        assert process.wait() == 78
        lines = process.errors.splitlines()
        assert len(lines) == 2
        assert all(line.startswith("error: ") for line in lines)
        assert "indx" in lines[0]
        assert "index" in lines[0], "the nearest name"
        assert "limit" in lines[1]
    finally:
        process.close()
