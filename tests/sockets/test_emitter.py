"""The Emitter as a scanner embeds it, with a real ingest and a real worker."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from pipeline import (
    Emitter,
    EmitterClosed,
    EmitterFull,
    EventRejected,
    NotDelivered,
)
from pipeline.errors import EndpointError
from pipeline.event import MAX_EVENT_BYTES
from pipeline.shards import shard_of
from pipeline.sockets import shard_history
from pipeline.wire import (
    ChannelsReply,
    ChannelsRequest,
    Document,
    HeadReply,
    HeadRequest,
    Page,
    PageRequest,
    StateRequest,
    StatsReply,
    StatsRequest,
    split_events,
)
from tests.harness import PATIENCE, Pipeline, deadline
from tests.sockets.peers import WAIT_S, Peers, ask

FLUSH_S = 30 * PATIENCE


def event(number: int, size: int = 0) -> bytes:
    raw = b'{"type":"x","n":%d,"pad":"' % number
    return raw + b"." * (size - len(raw) - 2) + b'"}'


class Logs:
    """What the workers hold of each channel."""

    def __init__(self, peers: Peers, shards: int) -> None:
        self._dealers = [peers.connect(zmq.DEALER, shard_history(shard)) for shard in range(shards)]

    def dealer(self, channel: str) -> zmq.Socket[bytes]:
        """Return the socket to ask a channel's worker by."""
        return self._dealers[shard_of(channel, len(self._dealers))]

    def wait_for_counter(self, name: str, least: int) -> None:
        """Wait until all shards together have counted so many."""
        end = deadline(FLUSH_S)
        while True:
            replies = [ask(dealer, StatsRequest(5)) for dealer in self._dealers]
            counted = sum(reply.counters.get(name, 0) for reply in replies if isinstance(reply, StatsReply))
            if counted >= least:
                return
            assert time.monotonic() < end, f"{name} is {counted}"

    def accepted(self, channel: str) -> int:
        """Return how many events of a channel's present life are durable."""
        reply = ask(self._dealers[shard_of(channel, len(self._dealers))], ChannelsRequest(1))
        assert isinstance(reply, ChannelsReply)
        return sum(summary.events for summary in reply.channels if summary.channel == channel)

    def of(self, channel: str) -> list[bytes]:
        """Return every event of a channel's present life, once all are published."""
        dealer = self._dealers[shard_of(channel, len(self._dealers))]
        count = self.accepted(channel)
        while True:
            head = ask(dealer, HeadRequest(2, channel))
            assert isinstance(head, HeadReply)
            if head.seq == count:
                break
        got: list[bytes] = []
        while len(got) < count:
            assert head.epoch is not None
            page = ask(dealer, PageRequest(3, channel, head.epoch, len(got) + 1))
            assert isinstance(page, Page)
            assert page.header.first == len(got) + 1
            got += split_events(page.body)
        return got


@pytest.fixture
def logs(pipeline: Pipeline) -> Iterator[Logs]:
    """Start one ingest and one worker; give what the worker holds."""
    begin(pipeline)
    with Peers(pipeline.run_dir) as peers:
        yield Logs(peers, pipeline.shards)


def begin(pipeline: Pipeline, *names: str) -> None:
    for name in names or ("ingest-0", "throttle-batch-0"):
        pipeline.start_one(name).wait_for("ready")


def emitter_of(pipeline: Pipeline, scan_id: str | None = "demo", **options: object) -> Emitter:
    return Emitter(scan_id, run_dir=str(pipeline.run_dir), **options)  # type: ignore[arg-type]


# --- delivering ---------------------------------------------------------------------------------------


def test_flush_returns_when_everything_is_acked(pipeline: Pipeline, logs: Logs) -> None:
    with emitter_of(pipeline) as emitter:
        for number in range(1, 5_001):
            assert emitter.emit(event(number)) == number
        emitter.flush(FLUSH_S)
        assert emitter.unacked == 0
        assert logs.accepted("scan/demo") == 5_000
        emitter.flush(0.0)
    assert logs.of("scan/demo") == [event(number) for number in range(1, 5_001)]


def test_events_are_mappings_structs_or_bytes(pipeline: Pipeline, logs: Logs) -> None:
    from pipeline.event import PortFound

    with emitter_of(pipeline) as emitter:
        emitter.emit({"type": "hostDiscovered", "ip": "10.0.0.5", "own": [1, None]})
        emitter.emit(PortFound(ip="10.0.0.5", port=443, protocol="TCP", state="Open"))
        emitter.emit(b'{"type":"x"}')
        emitter.emit(b'{"type":"x"}', report_id="r")
        emitter.emit(b'{"type":"x"}', scan_id="other")
    assert [json.loads(raw) for raw in logs.of("scan/demo")] == [
        {"type": "hostDiscovered", "ip": "10.0.0.5", "own": [1, None]},
        {"type": "portFound", "ip": "10.0.0.5", "port": 443, "protocol": "TCP", "state": "Open"},
        {"type": "x"},
    ]
    assert logs.of("report/r") == logs.of("scan/other") == [b'{"type":"x"}']


def test_many_scans_in_one_emitter(pipeline: Pipeline, logs: Logs) -> None:
    with emitter_of(pipeline, None) as emitter:
        for number in range(1, 11):
            for scan in range(300):
                assert emitter.emit(event(number), scan_id=f"s{scan}") == number
    for scan in range(0, 300, 37):
        assert logs.of(f"scan/s{scan}") == [event(number) for number in range(1, 11)]


def test_events_as_large_as_they_may_be(pipeline: Pipeline, logs: Logs) -> None:
    with emitter_of(pipeline, max_buffered_bytes=1_000_000) as emitter:
        for number in range(1, 101):
            emitter.emit(event(number, MAX_EVENT_BYTES))
        with pytest.raises(EventRejected, match=f"{MAX_EVENT_BYTES + 1} bytes exceeds the limit of"):
            emitter.emit(event(0, MAX_EVENT_BYTES + 1))
    assert logs.of("scan/demo") == [event(number, MAX_EVENT_BYTES) for number in range(1, 101)]


@pytest.mark.timeout(60)
def test_an_event_larger_than_the_whole_buffer_goes_alone(pipeline: Pipeline, logs: Logs) -> None:
    with emitter_of(pipeline, max_buffered_bytes=100) as emitter:
        for number in range(1, 6):
            emitter.emit(event(number, 1_000))
    assert logs.of("scan/demo") == [event(number, 1_000) for number in range(1, 6)]


def test_a_scan_that_is_owned_takes_nothing_of_others(pipeline: Pipeline, logs: Logs) -> None:
    with emitter_of(pipeline, own=True) as owner, emitter_of(pipeline) as other:
        owner.emit(event(1))
        owner.flush(FLUSH_S)
        other.emit(event(2))
        other.emit(event(3), scan_id="free")
        other.flush(FLUSH_S)
        (rejected,) = other.rejected()
        assert (rejected.channel, rejected.pseq, rejected.reason) == ("scan/demo", 1, "scan_owned")
        assert owner.pid in rejected.message
        owner.emit(b'{"type":"scanCompleted"}')
        owner.flush(FLUSH_S)
        other.emit(event(4))
    assert logs.of("scan/demo") == [event(1), b'{"type":"scanCompleted"}', event(4)]
    assert logs.of("scan/free") == [event(3)]


def test_an_emitter_that_is_refused_a_channel_for_want_of_room_says_so(pipeline: Pipeline) -> None:
    few = {"throttle-batch": "[limits]\nmax_channels = 1\n"}
    for name in ("ingest-0", "throttle-batch-0"):
        pipeline.start_one(name, config=few).wait_for("ready")
    owner = shard_of("scan/first", pipeline.shards)
    second = next(
        name
        for name in (f"s{number}" for number in range(1_000))
        if shard_of(f"scan/{name}", pipeline.shards) == owner
    )
    emitter = emitter_of(pipeline, "first")
    emitter.emit(event(1))
    emitter.flush(FLUSH_S)
    emitter.emit(event(1), scan_id=second)
    until_told(emitter)
    with pytest.raises(NotDelivered):
        emitter.close(0.0)


def test_an_emitter_with_more_channels_than_it_may_have_is_refused_the_next(pipeline: Pipeline) -> None:
    few = {"throttle-batch": "[limits]\nmax_channels_per_producer = 1\n"}
    for name in ("ingest-0", "throttle-batch-0"):
        pipeline.start_one(name, config=few).wait_for("ready")
    owner = shard_of("scan/first", pipeline.shards)
    second = next(
        name for name in map("s{}".format, range(1_000)) if shard_of(f"scan/{name}", pipeline.shards) == owner
    )
    with emitter_of(pipeline, "first") as emitter:
        emitter.emit(event(1))
        emitter.flush(FLUSH_S)
        emitter.emit(event(1), scan_id=second)
        emitter.emit(event(2))
        emitter.flush(FLUSH_S)
        (refused,) = emitter.rejected()
        assert (refused.channel, refused.pseq, refused.reason) == (f"scan/{second}", 1, "quota")
        assert "max_channels_per_producer" in refused.message


def until_told(emitter: Emitter) -> None:
    """Wait until a worker has said that it can open no further channel."""
    for _ in range(int(200 * PATIENCE)):
        try:
            emitter.flush(0.1)
        except NotDelivered as error:
            if "can open no further channel: max_channels" in str(error):
                return
    raise AssertionError("never told")


def test_two_emitters_feed_one_scan_each_in_its_order(pipeline: Pipeline, logs: Logs) -> None:
    with emitter_of(pipeline) as one, emitter_of(pipeline) as two:
        for number in range(1_000):
            one.emit(event(number))
            two.emit(event(-1 - number))
    numbers = [json.loads(raw)["n"] for raw in logs.of("scan/demo")]
    assert [number for number in numbers if number >= 0] == list(range(1_000))
    assert [-1 - number for number in numbers if number < 0] == list(range(1_000))


def test_threads_may_share_an_emitter(pipeline: Pipeline, logs: Logs) -> None:
    with emitter_of(pipeline, max_buffered_bytes=10_000) as emitter:

        def send(who: int) -> None:
            for number in range(500):
                emitter.emit(b'{"type":"x","who":%d,"n":%d}' % (who, number))

        threads = [threading.Thread(target=send, args=(who,)) for who in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    events = [json.loads(raw) for raw in logs.of("scan/demo")]
    assert len(events) == 2_000
    for who in range(4):
        assert [each["n"] for each in events if each["who"] == who] == list(range(500))


# --- what is not taken --------------------------------------------------------------------------------


def test_what_the_pipeline_refuses_is_told_once_with_its_reason(pipeline: Pipeline, logs: Logs) -> None:
    with emitter_of(pipeline) as emitter:
        emitter.emit(b"{")
        emitter.emit(event(1))
        emitter.emit({"type": "portFound", "ip": "10.0.0.5"})
        emitter.emit(b'{"type":"x","t":"\xff"}')
        emitter.emit({"type": "scanCompleted"})
        emitter.emit({"type": "scanCompleted"})
        emitter.emit(event(2))
        emitter.flush(FLUSH_S)
        refused = emitter.rejected()
        assert sorted((each.pseq, each.reason, each.channel) for each in refused) == [
            (1, "json", "scan/demo"),
            (3, "schema", "scan/demo"),
            (4, "utf8", "scan/demo"),
            (6, "after_terminal", "scan/demo"),
        ]
        assert all(each.message for each in refused)
        assert emitter.rejected() == []
    assert logs.of("scan/demo") == [event(1), b'{"type":"scanCompleted"}', event(2)]


def test_a_refusal_of_the_very_first_event_is_told_too(pipeline: Pipeline, logs: Logs) -> None:
    for number in range(20):
        with emitter_of(pipeline, f"s{number}") as emitter:
            emitter.emit(b"{")
            emitter.flush(FLUSH_S)
            assert [each.pseq for each in emitter.rejected()] == [1]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [(b"", "json"), (b'{\n"type":"x"}', "schema"), (b"." * (MAX_EVENT_BYTES + 1), "too_large")],
)
def test_what_can_never_be_sent_is_refused_by_emit_itself(run_dir: Path, raw: bytes, reason: str) -> None:
    with Emitter("demo", run_dir=str(run_dir)) as emitter:
        with pytest.raises(EventRejected) as refused:
            emitter.emit(raw)
        assert refused.value.reason == reason
        assert emitter.unacked == 0


def test_what_json_cannot_say_and_ids_there_are_none_of(run_dir: Path) -> None:
    with Emitter(run_dir=str(run_dir)) as emitter:
        for bad in (None, "", "stats", "a/b", "a" * 65):
            with pytest.raises(EventRejected, match="no scan id"):
                emitter.emit(b"{}", scan_id=bad)
        with pytest.raises(EventRejected, match="no scan id"):
            emitter.emit(b"{}", report_id="..")
        with pytest.raises(EventRejected):
            emitter.emit({"type": "x", "value": object()}, scan_id="a")
    with pytest.raises(EventRejected, match="no scan id"):
        Emitter("a b", run_dir=str(run_dir))


# --- a full buffer ------------------------------------------------------------------------------------


def fill(emitter: Emitter, size: int = 100, count: int = 10) -> None:
    for number in range(1, count + 1):
        assert emitter.emit(event(number, size)) == number


def test_raise_when_full(pipeline: Pipeline) -> None:
    with emitter_of(pipeline, on_full="raise", max_buffered_bytes=1_000) as emitter:
        fill(emitter)
        with pytest.raises(EmitterFull, match="1000 event bytes are not acknowledged; the limit is 1000"):
            emitter.emit(event(11))
        begin(pipeline)
        emitter.flush(FLUSH_S)
        assert emitter.emit(event(11)) == 11


def test_drop_when_full_is_told_by_a_lost_event(pipeline: Pipeline) -> None:
    with emitter_of(pipeline, on_full="drop", max_buffered_bytes=1_000) as emitter:
        fill(emitter)
        assert [emitter.emit(event(number)) for number in (11, 12, 13)] == [0, 0, 0]
        begin(pipeline)
        emitter.flush(FLUSH_S)
        emitter.emit(event(14))
    with Peers(pipeline.run_dir) as peers:
        log = Logs(peers, pipeline.shards).of("scan/demo")
    lost = b'{"type":"lost","count":3,"reason":"emitter_full"}'
    assert log == [*(event(number, 100) for number in range(1, 11)), lost, event(14)]


def test_what_is_dropped_at_the_very_end_is_told_as_well(pipeline: Pipeline) -> None:
    with emitter_of(pipeline, on_full="drop", max_buffered_bytes=1_000) as emitter:
        fill(emitter)
        assert emitter.emit(event(11)) == 0
        assert emitter.emit(event(1), scan_id="other") == 0
        begin(pipeline)
    with Peers(pipeline.run_dir) as peers:
        logs = Logs(peers, pipeline.shards)
        lost = b'{"type":"lost","count":1,"reason":"emitter_full"}'
        assert logs.of("scan/demo")[-1] == lost
        assert logs.of("scan/other") == [lost]


def test_block_when_full_until_there_is_room(pipeline: Pipeline) -> None:
    with emitter_of(pipeline, max_buffered_bytes=1_000) as emitter:
        fill(emitter)
        numbers: list[int] = []
        blocked = threading.Thread(target=lambda: numbers.append(emitter.emit(event(11))), daemon=True)
        blocked.start()
        begin(pipeline)
        blocked.join(WAIT_S * PATIENCE)
        assert numbers == [11]
    with Peers(pipeline.run_dir) as peers:
        assert Logs(peers, pipeline.shards).of("scan/demo")[-1] == event(11)


def test_who_waits_for_room_is_told_when_the_emitter_is_closed(run_dir: Path) -> None:
    emitter = Emitter("demo", run_dir=str(run_dir), max_buffered_bytes=1_000)
    fill(emitter)
    told: list[BaseException] = []

    def send() -> None:
        try:
            emitter.emit(event(11))
        except EmitterClosed as error:
            told.append(error)

    blocked = threading.Thread(target=send, daemon=True)
    blocked.start()
    with pytest.raises(NotDelivered):
        emitter.close(0.0)
    blocked.join(WAIT_S * PATIENCE)
    assert len(told) == 1


# --- no pipeline, and pipelines that die --------------------------------------------------------------


def test_no_pipeline_is_an_error_that_names_the_directory(run_dir: Path) -> None:
    emitter = Emitter("demo", run_dir=str(run_dir))
    with pytest.raises(NotDelivered, match=f"no pipeline answers in {run_dir} after 0.05 s; start one with"):
        emitter.wait_ready(0.05)
    emitter.emit(event(1))
    with pytest.raises(
        NotDelivered, match=f"1 events are not acknowledged after 0.05 s; .* {run_dir} "
    ) as late:
        emitter.flush(0.05)
    assert late.value.unacked == 1
    with pytest.raises(NotDelivered):
        emitter.close(0.0)


def test_a_pipeline_that_comes_later_gets_everything(pipeline: Pipeline) -> None:
    with emitter_of(pipeline) as emitter:
        for number in range(1, 101):
            emitter.emit(event(number))
        begin(pipeline)
        emitter.wait_ready(WAIT_S * PATIENCE)
        emitter.flush(FLUSH_S)


def test_a_run_directory_too_deep_for_sockets_is_refused_at_once(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 80)
    with pytest.raises(EndpointError, match="the limit is 90"):
        Emitter("demo", run_dir=str(deep))


def test_a_closed_emitter_says_so_and_closing_again_is_nothing(pipeline: Pipeline, logs: Logs) -> None:
    with emitter_of(pipeline) as emitter:
        emitter.emit(event(1))
        emitter.close()
        with pytest.raises(EmitterClosed):
            emitter.emit(event(2))
    emitter.close()
    assert logs.of("scan/demo") == [event(1)]


class Sending:
    """An emitter that sends on and on in a thread, until a test has seen enough."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.emitter = emitter_of(pipeline, max_buffered_bytes=100_000)
        self.sent = 0
        self._passed = threading.Condition()
        self._enough = False
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        while not self._enough:
            number = self.emitter.emit(event(self.sent + 1, 200))
            with self._passed:
                self.sent = number
                self._passed.notify_all()

    def more(self, count: int = 2_000) -> int:
        """Wait until so many more are queued: with so small a buffer, most of them are acked."""
        with self._passed:
            wanted = self.sent + count
            assert self._passed.wait_for(lambda: self.sent >= wanted, 60 * PATIENCE), f"stuck at {self.sent}"
        return self.sent

    def stop(self) -> int:
        """Send no more, wait until all are acked; return how many they were."""
        self._enough = True
        self._thread.join(60 * PATIENCE)
        self.emitter.flush(FLUSH_S)
        self.emitter.close()
        return self.sent


def test_an_ingest_killed_and_started_again_loses_and_doubles_nothing(pipeline: Pipeline, logs: Logs) -> None:
    sending = Sending(pipeline)
    for _ in range(3):
        sending.more()
        pipeline.processes["ingest-0"].close()
        begin(pipeline, "ingest-0")
    sending.more()
    count = sending.stop()
    assert logs.of("scan/demo") == [event(number, 200) for number in range(1, count + 1)]


def test_another_ingest_takes_over_and_nothing_is_lost_doubled_or_reordered(
    pipeline: Pipeline, logs: Logs
) -> None:
    begin(pipeline, "ingest-1")
    sending = Sending(pipeline)
    for killed in ("ingest-0", "ingest-1"):
        sending.more()
        pipeline.processes[killed].close()  # whichever it talked to: the other one is there
        sending.more()
        begin(pipeline, killed)
    count = sending.stop()
    assert logs.of("scan/demo") == [event(number, 200) for number in range(1, count + 1)]


def test_a_worker_killed_and_started_again_goes_on_with_what_was_not_acked(
    pipeline: Pipeline, logs: Logs
) -> None:
    sending = Sending(pipeline)
    sending.more()
    pipeline.processes["throttle-batch-0"].close()
    begin(pipeline, "throttle-batch-0")
    first_after = sending.sent + 1
    sending.more()
    count = sending.stop()
    log = logs.of("scan/demo")
    numbers = [json.loads(raw)["n"] for raw in log]
    assert numbers == list(range(numbers[0], count + 1)), "in the new life: one run without a hole"
    assert numbers[0] <= first_after


FORKED = """
import os, sys
from pipeline import Emitter

run_dir = sys.argv[1]
emitter = Emitter("demo", run_dir=run_dir)
for number in range(500):
    emitter.emit(b'{"type":"x","who":"parent","n":%d}' % number)
child = os.fork()
if not child:
    with emitter:
        for number in range(500):
            emitter.emit(b'{"type":"x","who":"child","n":%d}' % number)
    os._exit(0)
idle = os.fork()
if not idle:
    emitter.close()  # it has sent nothing: there is nothing to wait for
    os._exit(0)
for number in range(500, 1000):
    emitter.emit(b'{"type":"x","who":"parent","n":%d}' % number)
emitter.close()
sys.exit(os.waitpid(child, 0)[1] or os.waitpid(idle, 0)[1])
"""


def test_a_fork_in_the_middle_makes_two_producers(pipeline: Pipeline, logs: Logs) -> None:
    subprocess.run([sys.executable, "-c", FORKED, str(pipeline.run_dir)], check=True, timeout=60 * PATIENCE)
    events = [json.loads(raw) for raw in logs.of("scan/demo")]
    assert [each["n"] for each in events if each["who"] == "parent"] == list(range(1_000))
    assert [each["n"] for each in events if each["who"] == "child"] == list(range(500))


def test_the_emitter_brings_zeromq_and_a_json_library_and_no_more() -> None:
    probe = """
import sys, pipeline.emitter
from importlib.metadata import packages_distributions
owners = packages_distributions()
print(*{owner for name in sys.modules for owner in owners.get(name, [])})
"""
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    brought = set(done.stdout.split())
    assert "pyzmq" in brought
    # setuptools finds an editable install; msgspec looks whether there is typing_extensions.
    assert brought <= {"scanstream", "pyzmq", "msgspec", "orjson", "setuptools", "typing_extensions"}


def test_signs_of_life_go_to_each_channel_and_a_last_word_when_all_is_acked(
    pipeline: Pipeline, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.uplink.ALIVE_INTERVAL_S", 0.05)
    with Emitter(run_dir=str(pipeline.run_dir)) as emitter:
        for scan_id in ("a", "b"):
            emitter.emit(event(1), scan_id=scan_id)
        emitter.flush(FLUSH_S)
        assert present(logs, "scan/a") == present(logs, "scan/b") == 1
        logs.wait_for_counter("signs{sign=alive}", 20)
    logs.wait_for_counter("signs{sign=bye}", 2)
    assert present(logs, "scan/a") == present(logs, "scan/b") == 0
    assert logs.accepted("scan/a") == 1, "a sign is no event"


def test_a_scan_that_has_ended_is_left_while_the_emitter_goes_on(
    pipeline: Pipeline, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.uplink.ALIVE_INTERVAL_S", 0.05)
    with Emitter(run_dir=str(pipeline.run_dir)) as emitter:
        emitter.emit(event(1), scan_id="a")
        emitter.emit(event(1), scan_id="b")
        emitter.emit({"type": "scanCompleted"}, scan_id="a")
        emitter.flush(FLUSH_S)
        logs.wait_for_counter("signs{sign=bye}", 1)
        assert (present(logs, "scan/a"), present(logs, "scan/b")) == (0, 1)


def present(logs: Logs, channel: str) -> int:
    """Return how many producers a worker counts as there."""
    reply = ask(logs.dealer(channel), StateRequest(4, channel))
    assert isinstance(reply, Document)
    return int(json.loads(reply.body)["producers"])
