"""The subscriber against a real edge, and against a server that does what an edge does rarely."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pipeline import Batch, Disconnected, Emitter, Ended, Item, Joined, Lag, Reset, Snapshot, Subscriber
from pipeline.tokens import mint
from tests.client.fake_edge import FakeEdge, Far
from tests.faults.crashing import events_of, kill, restart
from tests.harness import PATIENCE, Pipeline

SCAN = "office"


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a test's coroutine with a deadline."""

    async def bounded() -> Any:
        return await asyncio.wait_for(work, 60 * PATIENCE)

    return asyncio.run(bounded())


async def read(subscriber: Subscriber, enough: Callable[[list[Item]], bool]) -> list[Item]:
    """Read until it is enough."""
    items: list[Item] = []
    async for item in subscriber:
        items.append(item)
        if enough(items):
            break
    return items


def reached(seq: int) -> Callable[[list[Item]], bool]:
    return lambda items: isinstance(items[-1], Batch) and items[-1].last >= seq


def numbers(items: list[Item]) -> list[int]:
    """Return the number of each event given."""
    return [position.seq for item in items if isinstance(item, Batch) for position, _ in item.numbered()]


def covered(items: list[Item]) -> int:
    """Check that batches follow each other from 1 on; return the last number."""
    last = 0
    for item in items:
        if isinstance(item, Batch):
            assert item.first == last + 1
            assert len(item.events) + item.merged + item.filtered == item.last - item.first + 1
            last = item.last
    return last


# --- a real pipeline ------------------------------------------------------------------------------


def test_a_whole_scan_while_edge_and_worker_are_killed(pipeline: Pipeline) -> None:
    pipeline.start()
    sent = events_of(1, SCAN)
    third = len(sent) // 3

    async def watch() -> list[Item]:
        async with Subscriber(pipeline.url, SCAN) as subscriber:
            items: list[Item] = []
            with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
                for turn in range(3):
                    part = sent[turn * third : (turn + 1) * third if turn < 2 else len(sent)]
                    for event in part:
                        emitter.emit(event)
                    if turn == 1:
                        kill(pipeline, "edge-0")
                        pipeline.start_edge()
                    if turn == 2:
                        restart(pipeline, "throttle-batch-0")
                    await asyncio.to_thread(emitter.flush)
                    upto = (turn + 1) * third if turn < 2 else len(sent)
                    items += await read(subscriber, reached(upto))
            assert subscriber.position is not None
            assert subscriber.position.endswith(f":{len(sent)}")
            return items

    items = run(watch())
    assert covered(items) == len(sent)
    assert any(isinstance(item, Disconnected) for item in items)
    assert not [item for item in items if isinstance(item, Lag | Reset)]
    assert [item.resumed for item in items if isinstance(item, Joined)][:2] == [None, True]


def test_it_goes_on_after_a_position(pipeline: Pipeline) -> None:
    pipeline.start()

    async def watch() -> None:
        with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
            for number in range(10):
                emitter.emit({"type": "tick", "n": number})
            await asyncio.to_thread(emitter.flush)
            async with Subscriber(pipeline.url, SCAN) as first:
                await read(first, reached(10))
                position = first.position
            for number in range(10, 15):
                emitter.emit({"type": "tick", "n": number})
            async with Subscriber(pipeline.url, SCAN, position) as second:
                items = await read(second, reached(15))
            assert numbers(items) == [11, 12, 13, 14, 15]
            async with Subscriber(pipeline.url, SCAN, "1:5") as stranger:
                items = await read(stranger, lambda items: isinstance(items[-1], Snapshot))
            assert isinstance(items[0], Reset)
            assert items[0].reason == "not_held"
            assert isinstance(items[-1], Snapshot)
            assert (items[-1].seq, items[-1].state["event_count"]) == (15, 15)

    run(watch())


def test_it_waits_for_a_scan_and_follows_it_into_its_next_life(pipeline: Pipeline) -> None:
    pipeline.start()

    async def watch() -> None:
        async with Subscriber(pipeline.url, SCAN) as subscriber:
            assert await anext(subscriber) == Joined(None, 0, None)
            assert subscriber.position is None
            with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
                for type_ in ("scanStarted", "scanCompleted", "scanStarted", "scanCompleted"):
                    emitter.emit({"type": type_})
                await asyncio.to_thread(emitter.flush)
                items = await read(subscriber, lambda items: _lives(items) == [2, 2])
            (reset,) = [item for item in items if isinstance(item, Reset)]
            assert reset.reason == "restarted"

    run(watch())


def _lives(items: list[Item]) -> list[int]:
    ends: dict[int, int] = {}
    for item in items:
        if isinstance(item, Batch):
            ends[item.epoch] = item.last
    return list(ends.values())


def test_the_edge_answers_a_ping(pipeline: Pipeline) -> None:
    """A quiet scan is no lost connection: after two ping intervals it asks, and is answered."""
    config = "[heartbeat]\ninterval_s = 0.2\nclient_timeout_s = 1.0\n"
    pipeline.start(config={"edge": config})

    async def watch() -> None:
        async with Subscriber(pipeline.url, SCAN) as subscriber:
            assert isinstance(await anext(subscriber), Joined)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(subscriber), 3)  # nothing is said, and it stays connected
            with Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
                emitter.emit({"type": "scanStarted"})
                items = await read(subscriber, reached(1))
            assert numbers(items) == [1]
            assert len(items) == 1

    run(watch())
    assert pipeline.stop()["edge-0"]["inbound_messages"] >= 1


# --- a server that is told what to do ---------------------------------------------------------------


def watch_fake(edge: FakeEdge, enough: Callable[[list[Item]], bool], since: str | None = None) -> Any:
    async def watch() -> tuple[list[Item], str | None, Ended | None]:
        async with Subscriber(edge.url, "demo", since, filters={"types": "a,b"}) as subscriber:
            items = await read(subscriber, enough)
            return items, subscriber.position, subscriber.ended

    return run(watch())


def test_a_gap_is_asked_for_again() -> None:
    def gap(far: Far) -> None:
        far.hello(seq=9)
        far.batch(1, 3)
        far.batch(5, 9)
        far.wait_left()

    def rest(far: Far) -> None:
        far.hello(seq=9)
        far.batch(4, 9)
        far.wait_left()

    with FakeEdge(gap, rest) as edge:
        items, position, _ = watch_fake(edge, reached(9))
        assert edge.next().path == "/ws/scans/demo?types=a%2Cb&since=start"
        assert edge.next().path == "/ws/scans/demo?types=a%2Cb&since=1%3A3"
    assert numbers(items) == list(range(1, 10))
    assert position == "1:9"


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

    with FakeEdge(script) as edge:
        items, position, _ = watch_fake(edge, reached(50))
    assert numbers(items) == [1, 2, 3, 7, 20, *range(41, 51)]
    assert [item for item in items if isinstance(item, Lag)] == [Lag(4, 40, 35, "too_slow")]
    assert [item for item in items if isinstance(item, Snapshot)] == [Snapshot(1, 40, {"phase": "port_scan"})]
    assert position == "1:50"


@pytest.mark.parametrize("code", [4400, 4404, 4401])
def test_a_code_that_is_final_ends_it(code: int) -> None:
    with FakeEdge(lambda far: far.close(code)) as edge:
        items, _, ended = watch_fake(edge, lambda items: False)
    assert items == []
    assert ended is not None
    assert ended.code == code


def test_closing_says_whether_and_when_to_come_back() -> None:
    def away(far: Far) -> None:
        far.hello()
        far.close(1001, reason="shutdown", reconnect=True, retry_ms=300)

    def done(far: Far) -> None:
        far.hello()
        far.close(1000, reason="Scan completed", reconnect=False, retry_ms=0)

    with FakeEdge(away, done) as edge:
        items, _, ended = watch_fake(edge, lambda items: False)
        assert edge.next().at + 0.3 <= edge.next().at
    assert [type(item) for item in items] == [Joined, Disconnected, Joined]
    assert ended == Ended(1000, "Scan completed")


def test_silence_is_asked_about_and_then_left() -> None:
    asked: list[object] = []

    def silent(far: Far) -> None:
        far.hello(ping_interval=0.1, client_timeout=0.2)
        asked.append(far.heard())
        far.wait_left()

    def alive(far: Far) -> None:
        far.hello()
        far.batch(1, 1)
        far.wait_left()

    with FakeEdge(silent, alive) as edge:
        items, _, _ = watch_fake(edge, reached(1))
    assert asked == [{"action": "ping"}]
    assert [item.reason for item in items if isinstance(item, Disconnected)] == [
        "no sign of life from the server"
    ]


def test_rubbish_ends_the_connection_not_the_subscription() -> None:
    def rubbish(far: Far) -> None:
        far.hello()
        far.raw("{")
        far.wait_left()

    def good(far: Far) -> None:
        far.hello()
        far.batch(1, 1)
        far.wait_left()

    with FakeEdge(rubbish, good) as edge:
        items, _, _ = watch_fake(edge, reached(1))
    assert numbers(items) == [1]


def test_a_wait_that_is_cancelled_loses_nothing() -> None:
    def script(far: Far) -> None:
        far.hello()
        for number in range(1, 6):
            assert far.heard() == {"action": "ping"}  # by then a wait was cancelled, or several
            far.batch(number, number)
        far.wait_left()

    async def watch(edge: FakeEdge) -> list[Item]:
        items: list[Item] = []
        async with Subscriber(edge.url, "demo") as subscriber:
            while not (items and reached(5)(items)):
                try:
                    items.append(await asyncio.wait_for(anext(subscriber), 0.02))
                except TimeoutError:
                    continue
        return items

    def hello_then(far: Far) -> None:
        original = far.hello
        far.hello = lambda: original(ping_interval=0.05)  # type: ignore[method-assign]
        script(far)

    with FakeEdge(hello_then) as edge:
        items = run(watch(edge))
    assert numbers(items) == [1, 2, 3, 4, 5]
    assert not [item for item in items if isinstance(item, Disconnected)]


def test_nobody_there_is_tried_again_until_closed() -> None:
    with FakeEdge(lambda far: None) as edge:
        url = edge.url  # nobody listens there any more afterwards

    async def watch() -> list[Item]:
        async with Subscriber(url, "demo") as subscriber:
            items = await read(subscriber, lambda items: len(items) == 3)
            await subscriber.aclose()
            assert [item async for item in subscriber] == []
            assert subscriber.ended is None
            return items

    items = run(watch())
    assert all(isinstance(item, Disconnected) and "could not be opened" in item.reason for item in items)
    first, second, third = (item.retry_s for item in items if isinstance(item, Disconnected))
    assert 0 <= first <= 0.2
    assert 0.5 <= second <= 1.0
    assert 0.5 <= third <= 2.0


@pytest.mark.parametrize(
    ("url", "scan_id", "since"),
    [
        ("127.0.0.1:8800", "demo", None),
        ("ftp://127.0.0.1/", "demo", None),
        ("http://127.0.0.1:1/", "a/b", None),
        ("http://127.0.0.1:1/", "demo", "start"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(url: str, scan_id: str, since: str | None) -> None:
    with pytest.raises(ValueError, match="no "):
        Subscriber(url, scan_id, since)


def test_it_brings_no_zeromq_and_an_emitter_brings_no_tornado() -> None:
    code = "import sys, pipeline; pipeline.{}; sys.exit('{}' in sys.modules)"
    for name, unwanted in (("Subscriber", "zmq"), ("Emitter", "tornado")):
        subprocess.run([sys.executable, "-c", code.format(name, unwanted)], check=True, timeout=20 * PATIENCE)


# --- tokens ---------------------------------------------------------------------------------------


def token(name: str, lasts_s: float = 600.0) -> str:
    now = time.time()  # noqa: TID251  # what a token says is wall clock
    return mint(b"s" * 32, "HS256", {"sub": name, "exp": now + lasts_s})


def test_a_token_that_is_given_is_brought_and_ends_it_when_refused() -> None:
    one = token("one")

    async def work(url: str) -> Ended | None:
        async with Subscriber(url, SCAN, token=one) as subscriber:
            await read(subscriber, lambda _: False)
            return subscriber.ended

    with FakeEdge(lambda far: far.close(1011), lambda far: far.close(4401)) as edge:
        ended = run(work(edge.url))
        assert ended is not None
        assert ended.code == 4401
        assert [edge.next().token, edge.next().token] == [one, one]


def test_a_function_is_asked_for_each_token_and_before_one_expires() -> None:
    heard: list[Any] = []
    tokens = iter([token("refused"), token("short", 3.0), token("next")])
    given: list[str] = []

    async def source() -> str:
        given.append(next(tokens))
        return given[-1]

    def script(far: Far) -> None:
        far.hello()
        heard.append(far.heard())
        far.batch(1, 1)
        far.wait_left()

    async def work(url: str) -> None:
        async with Subscriber(url, SCAN, token=source) as subscriber:
            await read(subscriber, reached(1))

    with FakeEdge(lambda far: far.close(4401), script) as edge:
        run(work(edge.url))
        assert [edge.next().token, edge.next().token] == given[:2]
        assert heard == [{"action": "refresh", "token": given[2]}]


def test_no_token_to_be_had_is_tried_again() -> None:
    answers: list[Any] = [ValueError("nobody home"), "no token at all", token("one")]

    def source() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    def script(far: Far) -> None:
        far.hello()
        far.batch(1, 1)
        far.wait_left()

    async def work(url: str) -> list[Item]:
        async with Subscriber(url, SCAN, token=source) as subscriber:
            return await read(subscriber, reached(1))

    with FakeEdge(script) as edge:
        said = [item.reason for item in run(work(edge.url)) if isinstance(item, Disconnected)]
    assert said == ["there is no token: ValueError", "there is no token: what was given is none"]


def test_what_is_no_token_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="the token given is none"):
        Subscriber("http://127.0.0.1:1/", SCAN, token="no token")  # it is none
