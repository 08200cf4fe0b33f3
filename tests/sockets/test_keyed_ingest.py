"""An ingest whose producers have keys: whose a message is, what it may do, and who is let in no more."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import zmq

from pipeline import Emitter, EmitterFenced
from pipeline.errors import RejectReason
from pipeline.sockets import ingest_control, ingest_data, shard_events, shard_in
from pipeline.wire import (
    Ack,
    EnvelopeHeader,
    Feedback,
    Hello,
    Welcome,
    decode_envelope,
    decode_ingest_message,
    encode,
    encode_envelope,
    encode_feedback,
)
from tests.harness import PATIENCE, Process
from tests.keyring import ANY, Keyring
from tests.sockets.peers import Peers, counters, receive

START = b'{"type":"scanStarted"}'
FACT = b'{"type":"hostDiscovered","ip":"10.0.0.5"}'


class Rig:
    """An ingest at TCP ports between a test's only shard, in the run directory, and producers with keys."""

    def __init__(self, run_dir: Path, stack: ExitStack, toml: str = "") -> None:
        (run_dir / "ingest.toml").write_text(toml)
        self.keys = Keyring(run_dir)
        for name, words in {"stage": ("stage",), "ada": (), "bob": (), "office": ("names-owners",)}.items():
            self.keys.make(name, *words)
        self.names = [ingest_data(0), ingest_control(0)]
        self.process = Process(
            "ingest",
            *self.keys.flags(self.keys.book(dict.fromkeys(self.names, ANY))),
            *("--run-dir", str(run_dir), "--shards", "1", "--log-format", "json"),
            *("-c", str(run_dir / "ingest.toml")),
        )
        stack.callback(self.process.close)
        bound = {name: self.process.wait_for("bound", socket=name)["address"] for name in self.names}
        self.book = self.keys.book(bound, name="real")
        self.process.wait_for("ready")
        shard = stack.enter_context(Peers(run_dir))
        self.inbox = shard.bind(zmq.PULL, shard_in(0))
        self.events = shard.bind(zmq.XPUB, shard_events(0))
        receive(self.events, lambda raw: raw == b"\x01A|")
        self._stack = stack
        self.stage = self.control("stage")

    def _peers(self, key: str) -> Peers:
        return self._stack.enter_context(Peers(self.keys.endpoints(self.book, key)))

    def data(self, key: str) -> zmq.Socket[bytes]:
        return self._peers(key).connect(zmq.PUSH, ingest_data(0))

    def control(self, key: str) -> zmq.Socket[bytes]:
        return self._peers(key).connect(zmq.DEALER, ingest_control(0))

    def arrived(self) -> tuple[EnvelopeHeader, list[bytes]]:
        envelope = decode_envelope(receive(self.inbox))
        return envelope.header, envelope.events

    def counters(self) -> dict[str, float]:
        return counters(self.stage)


@pytest.fixture
def rig(run_dir: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        yield Rig(run_dir, stack)


def envelope(*events: bytes, pid: str = "p", pseq: int = 1) -> bytes:
    return encode_envelope(EnvelopeHeader("scan/s", pid, 1, pseq, 1, by="a lie"), list(events))


def test_a_message_goes_on_with_its_key_s_name_and_a_scan_is_that_key_s(rig: Rig) -> None:
    rig.data("ada").send(envelope(START, FACT))
    header, events = rig.arrived()
    assert header.by == "ada"
    assert [json.loads(raw) for raw in events] == [{**json.loads(START), "owner": "ada"}, json.loads(FACT)]


@pytest.mark.parametrize("key", ["office", "stage"])
def test_one_that_may_name_owners_does(rig: Rig, key: str) -> None:
    start = b'{"type":"scanStarted","owner":"grace"}'
    rig.data(key).send(envelope(start))
    assert rig.arrived() == (EnvelopeHeader("scan/s", "p", 1, 1, 1), [start])


def test_a_start_in_another_s_name_is_nacked(rig: Rig) -> None:
    control, data = rig.control("ada"), rig.data("ada")
    control.send(encode(Hello("p", 1)))
    assert decode_ingest_message(control.recv()) == Welcome(0)
    data.send(envelope(b'{"type":"scanStarted","owner":"bob"}', FACT))
    assert rig.arrived()[1] == [FACT]
    told = decode_ingest_message(control.recv())
    assert isinstance(told, Feedback)
    assert [(nack.pseq, nack.reason) for nack in told.nacks] == [(1, "not_owner")]
    assert rig.counters()["rejected{reason=not_owner}"] == 1


def test_a_pid_is_the_key_s_that_used_it_first(rig: Rig) -> None:
    """Another one sends nothing by it, hears nothing of it, and does not disturb its owner."""
    control, data = rig.control("ada"), rig.data("ada")
    control.send(encode(Hello("p", 1)))
    assert decode_ingest_message(control.recv()) == Welcome(0)
    thief, stolen = rig.control("bob"), rig.data("bob")
    thief.send(encode(Hello("p", 1)))
    refused = decode_ingest_message(thief.recv())
    assert isinstance(refused, Feedback)
    [nack] = refused.nacks
    assert (nack.pid, nack.inc, nack.reason) == ("p", 1, RejectReason.PID_TAKEN)
    stolen.send(envelope(FACT))
    rig.process.wait_for("rejected", reason="pid_taken")
    stolen.send(envelope(FACT, pid="q"))
    assert rig.arrived()[0].pid == "q", "the message before it was not handed on"
    rig.events.send(encode_feedback(Feedback([Ack("p", 1, "scan/s", 1)])))
    assert decode_ingest_message(control.recv()) == Feedback([Ack("p", 1, "scan/s", 1)])
    assert not thief.poll(0)
    assert rig.counters()["rejected{reason=pid_taken}"] == 2
    data.send(envelope(START))
    assert rig.arrived()[0].pid == "p"


def test_an_emitter_that_goes_by_another_s_pid_stops_and_says_why(rig: Rig, run_dir: Path) -> None:
    """A copy of a spool, say."""
    with closing(
        Emitter("s", endpoints=rig.book, key_file=rig.keys.file("bob"), spool=run_dir / "spool")
    ) as emitter:
        control = rig.control("ada")
        control.send(encode(Hello(emitter.pid, 1)))
        assert decode_ingest_message(control.recv()) == Welcome(0)
        emitter.emit(FACT)
        with pytest.raises(EmitterFenced, match="was first used with another key"):
            emitter.close(30 * PATIENCE)


def test_all_that_goes_by_a_key_has_one_quota_and_one_that_may_act_for_others_has_none(run_dir: Path) -> None:
    with ExitStack() as stack:
        rig = Rig(run_dir, stack, "[quotas]\nmax_open_scans = 1\nevents_per_s = 0.001\nburst_s = 3000\n")
        control, data = rig.control("ada"), rig.data("ada")
        for pid in "pq":
            control.send(encode(Hello(pid, 1)))
            assert decode_ingest_message(control.recv()) == Welcome(0)

        def scan(name: str, pid: str) -> bytes:
            return encode_envelope(EnvelopeHeader(f"scan/{name}", pid, 1, 1, 1), [FACT])

        data.send(scan("one", "p"))
        assert rig.arrived()[1] == [FACT]
        data.send(scan("two", "q"))
        header, events = rig.arrived()
        assert (header.channel, header.rejected, events) == ("scan/two", ((0, "quota"),), [])
        told = decode_ingest_message(control.recv())
        assert isinstance(told, Feedback)
        assert [(nack.pid, nack.reason) for nack in told.nacks] == [("q", "quota")]
        for _ in range(2):  # three events at once, whichever pid they go by
            data.send(scan("one", "p"))
        assert rig.arrived()[0].channel == "scan/one"
        held = decode_ingest_message(control.recv())
        assert isinstance(held, Feedback)
        assert [(retry.pid, retry.reason) for retry in held.retries] == [("p", "rate")]
        rig.data("bob").send(scan("bob", "b"))
        assert rig.arrived()[0].channel == "scan/bob"
        office = rig.data("office")
        for number in range(10):
            office.send(scan(f"o{number}", "o"))
            assert rig.arrived() == (EnvelopeHeader(f"scan/o{number}", "o", 1, 1, 1), [FACT])


def test_a_key_that_is_taken_off_the_list_sends_nothing_more(rig: Rig) -> None:
    ada, bob = rig.data("ada"), rig.data("bob")
    for socket in (ada, bob):
        socket.send(FACT[:-1] + b',"scan_id":"s"}')
        rig.arrived()
    (rig.keys.allowed / "ada.pub").unlink()
    rig.process.popen.send_signal(signal.SIGHUP)
    rig.process.wait_for("allow-list read anew", peers=3)
    ada.send(FACT[:-1] + b',"scan_id":"s"}')
    rig.process.wait_for("key revoked", peer="ada")
    bob.send(FACT[:-1] + b',"scan_id":"s"}')
    assert rig.arrived()[0].by == "bob"
    assert rig.counters()["dropped{reason=revoked}"] == 1


def test_what_came_is_counted_and_so_is_who_was_refused(rig: Rig) -> None:
    stranger = rig.keys.make("stranger", allowed=False)
    rig.control("stranger").send(encode(Hello("p", 1)))
    rig.process.wait_for("connection refused", reason="unknown_key", key=stranger.public)
    assert rig.counters()["peers_refused{reason=unknown_key}"] >= 1


# --- how it is started --------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:0", "tcp://*:0"])
def test_beyond_loopback_it_refuses_to_start_without_keys(run_dir: Path, address: str) -> None:
    book = Keyring(run_dir).book({ingest_data(0): address}, server="")
    with closing(Process("ingest", "--run-dir", str(run_dir), "--endpoints", book)) as process:
        assert process.wait() == 78
        assert "beyond loopback ZeroMQ needs CURVE: set [curve] key_file and allowed_dir" in process.errors


def test_on_loopback_without_keys_it_says_who_can_connect(run_dir: Path) -> None:
    book = Keyring(run_dir).book(dict.fromkeys([ingest_data(0), ingest_control(0)], ANY), server="")
    args = ("--run-dir", str(run_dir), "--shards", "1", "--log-format", "json", "--endpoints", book)
    with closing(Process("ingest", *args)) as process:
        process.wait_for("without keys any user of this machine can connect")
        process.wait_for("ready")


def test_a_key_is_changed_without_a_gap(rig: Rig) -> None:
    """Both are let in while both are in the file, and are one peer: what belongs to it stays its own."""
    old = rig.data("ada")
    old.send(envelope(START))
    rig.arrived()
    new = rig.keys.make("new", allowed=False)
    with (rig.keys.allowed / "ada.pub").open("a") as file:
        file.write(new.public + "\n")
    rig.process.popen.send_signal(signal.SIGHUP)
    rig.process.wait_for("allow-list read anew", peers=4)
    rig.data("new").send(envelope(FACT, pseq=2))
    assert rig.arrived()[0].by == "ada"
    old.send(envelope(FACT, pseq=3))
    assert rig.arrived()[0].by == "ada"
