"""The JavaScript client in Node: its rules, a real pipeline, and a server that does what edges do rarely."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline import Emitter
from pipeline.tokens import mint
from tests.client.fake_edge import SCAN, FakeEdge, Far
from tests.client.rules import PATH as RULES_PATH
from tests.client.rules import RULES
from tests.faults.crashing import events_of, kill
from tests.harness import PATIENCE, Pipeline

HERE = Path(__file__).parent
STATIC = HERE.parents[1] / "pipeline" / "edge" / "static"

pytestmark = pytest.mark.system


def node() -> str:
    found = shutil.which("node")
    assert found is not None, "needs the Debian package nodejs"
    return found


def test_the_rules_are_kept() -> None:
    command = [node(), HERE / "check_rules.mjs", STATIC / "scanstream_rules.js", RULES_PATH]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30 * PATIENCE)
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert len(lines) == sum(len(cases) for cases in RULES.values())


class Reader:
    """The client in a Node of its own.

    Attributes:
        messages: every message it has handed out.
        states: every state it told.
        position: where it said it was, when it last handed out.
        batches: the messages it handed out at a time.
    """

    def __init__(self, url: str, **options: Any) -> None:
        given = json.dumps({"scanId": SCAN, "url": url, **options})
        command = [node(), HERE / "node_reader.mjs", STATIC / "scanstream.js", given]
        self._popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._lines: queue.Queue[Any] = queue.Queue()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        self.messages: list[dict[str, Any]] = []
        self.states: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self.position: str | None = None

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            self._lines.put(json.loads(line))

    def wait_for(self, fact: Callable[[Reader], object], seconds: float = 40) -> None:
        """Wait until `fact` of this reader is true."""
        end = time.monotonic() + seconds * PATIENCE
        while not fact(self):
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                said = [message["type"] for message in self.messages[-5:]]
                raise AssertionError(f"at {self.position}, {self.states[-5:]}, {said}") from None
            if "state" in line:
                self.states.append({**line["state"], "now": line["now"]})
            else:
                self.messages += line["messages"]
                self.batches.append(len(line["messages"]))
                self.position = line["position"]

    def close(self) -> None:
        """Close the client; Node ends by itself when nothing is left open."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.close()
        try:
            assert self._popen.wait(20 * PATIENCE) == 0
        finally:
            self._popen.kill()
            self._popen.wait()
            self._thread.join()
            self._popen.stdout.close()

    def of(self, type_: str) -> list[dict[str, Any]]:
        """Return the messages of a type."""
        return [message for message in self.messages if message["type"] == type_]

    @property
    def numbers(self) -> list[int]:
        """The number of each event of the fake edge."""
        return [event["n"] for batch in self.of("batch") for event in batch["events"]]

    def state_names(self) -> list[str]:
        """Return the names of the states, in order."""
        return [state["name"] for state in self.states]


@contextmanager
def reading(url: str, **options: Any) -> Iterator[Reader]:
    reader = Reader(url, **options)
    try:
        yield reader
    finally:
        reader.close()


def at(seq: int) -> Callable[[Reader], bool]:
    return lambda reader: reader.position is not None and int(reader.position.split(":")[1]) >= seq


# --- a real pipeline ------------------------------------------------------------------------------


def test_a_whole_scan_while_the_edge_is_killed(pipeline: Pipeline) -> None:
    pipeline.start()
    sent = events_of(1, SCAN)
    half = len(sent) // 2
    with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter, reading(f"{pipeline.url}/") as reader:
        for event in sent[:half]:
            emitter.emit(event)
        reader.wait_for(at(half))
        kill(pipeline, "edge-0")
        reader.wait_for(lambda reader: reader.state_names()[-1] == "reconnecting")
        for event in sent[half:]:
            emitter.emit(event)
        pipeline.start_edge()
        reader.wait_for(at(len(sent)))
        last = 0
        for batch in reader.of("batch"):
            assert batch["seq"][0] == last + 1
            last = batch["seq"][1]
            assert len(batch["events"]) + batch["merged"] == last - batch["seq"][0] + 1
        assert last == len(sent)
        assert [hello["resumed"] for hello in reader.of("hello")] == [None, True]
        assert {message["type"] for message in reader.messages} <= {"hello", "batch", "degraded"}


# --- a server that is told what to do ---------------------------------------------------------------


def test_a_gap_is_told_and_asked_for_again() -> None:
    def gap(far: Far) -> None:
        far.hello(seq=9)
        far.batch(1, 3)
        far.batch(5, 9)
        far.wait_left()

    def rest(far: Far) -> None:
        far.hello(seq=9)
        far.batch(4, 9)
        far.wait_left()

    filter_ = {"types": ["a", "b"], "min_severity": "High", "cidr": None}
    with FakeEdge(gap, rest) as edge, reading(edge.url, filter=filter_) as reader:
        reader.wait_for(at(9))
        assert edge.next().path == "/ws/scans/demo?types=a%2Cb&min_severity=High&since=start"
        assert edge.next().path == "/ws/scans/demo?types=a%2Cb&min_severity=High&since=1%3A3"
        assert reader.numbers == list(range(1, 10))
        assert reader.of("gap") == [{"type": "gap", "expected": 4, "first": 5}]


def test_a_lag_with_critical_events_in_it_then_a_snapshot() -> None:
    def script(far: Far) -> None:
        far.hello(seq=50)
        far.batch(1, 3)
        far.lag(4, 40, 35)
        far.batch(7, 7)
        far.batch(20, 20)
        far.say("snapshot", epoch=1, seq=40, state={"phase": "port_scan"})
        far.batch(41, 50)
        far.wait_left()

    with FakeEdge(script) as edge, reading(edge.url) as reader:
        reader.wait_for(at(50))
        assert reader.numbers == [1, 2, 3, 7, 20, *range(41, 51)]
        assert [message["type"] for message in reader.messages] == [
            *("hello", "batch", "lag", "batch", "batch", "snapshot", "batch"),
        ]


def test_a_connection_lost_within_a_lag_goes_on_after_the_last_critical_event() -> None:
    def lost(far: Far) -> None:
        far.hello(seq=50)
        far.batch(1, 3)
        far.lag(4, 40, 36)
        far.batch(7, 7)
        far.close(1011)

    def rest(far: Far) -> None:
        far.hello(seq=50)
        far.batch(8, 50)
        far.wait_left()

    with FakeEdge(lost, rest) as edge, reading(edge.url) as reader:
        reader.wait_for(at(50))
        assert reader.numbers == [1, 2, 3, *range(7, 51)]


def test_resets_are_told_before_what_follows() -> None:
    def lost(far: Far) -> None:
        far.hello(epoch=2, seq=5, resumed=False)
        far.batch(4, 5, epoch=2)
        far.say("reset", epoch=3, reason="restarted")
        far.batch(1, 1, epoch=3)
        far.batch(1, 2, epoch=4)
        far.batch(9, 9, epoch=3)
        far.wait_left()

    with FakeEdge(lost) as edge, reading(edge.url, since="1:7") as reader:
        reader.wait_for(lambda reader: reader.position == "4:2")
        assert edge.next().path == "/ws/scans/demo?since=1%3A7"
        assert reader.numbers == [4, 5, 1, 1, 2]
        assert [(reset["epoch"], reset["reason"]) for reset in reader.of("reset")] == [
            (2, "not_held"),
            (3, "restarted"),
            (4, "restarted"),
        ]


@pytest.mark.parametrize("code", [4400, 4403, 4404])
def test_a_code_that_is_final_ends_it(code: int) -> None:
    with FakeEdge(lambda far: far.close(code)) as edge, reading(edge.url) as reader:
        reader.wait_for(lambda reader: "ended" in reader.state_names())
        assert reader.state_names() == ["connecting", "ended"]


def test_closing_says_whether_and_when_to_come_back() -> None:
    def away(far: Far) -> None:
        far.hello()
        far.close(1001, reason="shutdown", reconnect=True, retry_ms=400)

    def lost(far: Far) -> None:
        far.hello()
        far.close(1011)

    def done(far: Far) -> None:
        far.hello()
        far.close(1000, reason="Scan completed", reconnect=False, retry_ms=0)

    with FakeEdge(away, lost, done) as edge, reading(edge.url) as reader:
        reader.wait_for(lambda reader: "ended" in reader.state_names())
        first, second = [state for state in reader.states if state["name"] == "reconnecting"]
        assert 350 <= first["retryAt"] - first["now"] <= 600
        assert (first["reason"], second["reason"]) == ("shutdown", "closed with code 1011")
        assert reader.states[-1]["reason"] == "Scan completed"


def test_the_pauses_grow() -> None:
    with FakeEdge(lambda far: far.close(1011)) as edge, reading(edge.url) as reader:
        reader.wait_for(lambda reader: reader.state_names().count("reconnecting") == 4)
        waits = [state for state in reader.states if state["name"] == "reconnecting"]
        pauses = [state["retryAt"] - state["now"] for state in waits]
        slack = 50  # between the delay being chosen and the state being told
        assert all(
            least - slack <= pause <= most
            for pause, (least, most) in zip(
                pauses, [(0, 200), (500, 1000), (500, 2000), (500, 4000)], strict=True
            )
        ), pauses


def test_silence_is_asked_about_and_then_left() -> None:
    asked: list[object] = []

    def silent(far: Far) -> None:
        far.hello(ping_interval=0.1, client_timeout=0.2)
        asked.append(far.heard())
        far.wait_left()

    def answers(far: Far) -> None:
        far.hello(ping_interval=0.1, client_timeout=0.5 * PATIENCE)
        for _ in range(5):
            asked.append(far.heard())
            far.say("pong")
        far.batch(1, 1)
        far.wait_left()

    with FakeEdge(silent, answers) as edge, reading(edge.url) as reader:
        reader.wait_for(at(1))
        assert asked == [{"action": "ping"}] * 6
        assert reader.state_names() == ["connecting", "live", "reconnecting", "connecting", "live"]
        assert [message["type"] for message in reader.messages] == ["hello", "hello", "batch"]


def test_acks_tell_how_far_it_is_at_most_twice_a_second_and_the_last_for_certain() -> None:
    acks: list[Any] = []
    took_s: list[float] = []

    def script(far: Far) -> None:
        far.hello()
        for number in range(1, 101):
            far.batch(number, number)
        while not acks or acks[-1]["seq"] < 103:
            acks.append(far.heard())
            took_s.append(time.monotonic() - far.at)
            if acks[-1]["seq"] >= 100:
                far.batch(acks[-1]["seq"] + 1, acks[-1]["seq"] + 1)
        far.wait_left()

    with FakeEdge(script) as edge, reading(edge.url, ack=True) as reader:
        reader.wait_for(at(104))
    assert {ack["action"] for ack in acks} == {"ack"}
    numbers = [ack["seq"] for ack in acks]
    assert numbers == sorted(set(numbers))
    assert numbers[-4:] == [100, 101, 102, 103]
    # Sent half a second apart, they cannot all have come in less.
    assert took_s[-1] >= 0.5 * (len(acks) - 1)


def test_without_ack_nothing_is_sent() -> None:
    heard: list[object] = []

    def script(far: Far) -> None:
        far.hello(ping_interval=0.2, client_timeout=60)
        far.batch(1, 3)
        heard.append(far.heard())
        far.batch(4, 4)
        far.wait_left()

    with FakeEdge(script) as edge, reading(edge.url) as reader:
        reader.wait_for(at(4))
    assert heard == [{"action": "ping"}]


def test_a_burst_is_handed_out_a_turn_at_a_time() -> None:
    def script(far: Far) -> None:
        far.hello()
        for number in range(1, 2001):
            far.batch(number, number)
        far.wait_left()

    with FakeEdge(script) as edge, reading(edge.url) as reader:
        reader.wait_for(at(2000))
        assert reader.numbers == list(range(1, 2001))
        assert max(reader.batches) > 1


def test_a_message_of_a_later_edge_is_handed_out_and_rubbish_ends_the_connection() -> None:
    def odd(far: Far) -> None:
        far.hello()
        far.say("later", anything=1)
        far.raw("{")
        far.wait_left()

    def fine(far: Far) -> None:
        far.hello()
        far.say("batch", epoch=1)
        far.wait_left()

    def good(far: Far) -> None:
        far.hello()
        far.batch(1, 1)
        far.wait_left()

    with FakeEdge(odd, fine, good) as edge, reading(edge.url) as reader:
        reader.wait_for(at(1))
        assert [message["type"] for message in reader.messages] == [
            *("hello", "later", "hello", "hello", "batch"),
        ]


# --- tokens ---------------------------------------------------------------------------------------


def token(name: str, lasts_s: float | None = None) -> str:
    now = time.time()  # noqa: TID251  # what a token says is wall clock
    return mint(b"s" * 32, "HS256", {"sub": name, **({"exp": now + lasts_s} if lasts_s is not None else {})})


def test_a_token_that_is_given_goes_with_each_connection_and_ends_it_when_refused() -> None:
    one = token("one")
    with (
        FakeEdge(lambda far: far.close(1011), lambda far: far.close(4401)) as edge,
        reading(edge.url, token=one) as reader,
    ):
        reader.wait_for(lambda reader: "ended" in reader.state_names())
        assert [edge.next().token, edge.next().token] == [one, one]
        assert reader.states[-1]["reason"] == "the token is bad or expired"
        assert one not in str(reader.states)


def test_a_function_is_asked_again_when_a_token_is_refused_once() -> None:
    def good(far: Far) -> None:
        far.hello()
        far.batch(1, 1)
        far.close(4401)

    one, two, three = token("one"), token("two"), token("three")
    refused = [lambda far: far.close(4401), good, lambda far: far.close(4401)]
    with FakeEdge(*refused) as edge, reading(edge.url, tokens=[one, two, three]) as reader:
        reader.wait_for(lambda reader: "ended" in reader.state_names())
        assert [edge.next().token for _ in range(3)] == [one, two, three]
        assert reader.state_names().count("reconnecting") == 2


def test_no_token_to_be_had_is_tried_again() -> None:
    def script(far: Far) -> None:
        far.hello()
        far.wait_left()

    one = token("one")
    with FakeEdge(script) as edge, reading(edge.url, tokens=["none", "none either", one]) as reader:
        reader.wait_for(lambda reader: "live" in reader.state_names())
        assert edge.next().token == one
        assert [s["reason"] for s in reader.states if s["name"] == "reconnecting"] == [
            "there is no token"
        ] * 2


def test_the_next_token_is_sent_before_the_present_one_expires() -> None:
    heard: list[Any] = []
    one, two = token("one", 3.0), token("two", 600)

    def script(far: Far) -> None:
        far.hello()
        heard.append(far.heard())
        far.batch(1, 1)
        far.wait_left()

    with FakeEdge(script) as edge, reading(edge.url, tokens=[one, two]) as reader:
        reader.wait_for(at(1))
        assert heard == [{"action": "refresh", "token": two}]
        assert edge.next().token == one
