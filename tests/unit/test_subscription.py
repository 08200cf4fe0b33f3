"""When a subscriber connects, asks and leaves: the vectors both clients are held to, and timelines."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.close_codes import CLOSE_CODES
from pipeline.frame import Position
from pipeline.items import Batch, Degraded, Disconnected, Ended, Item, Joined, Lag, Reset, Snapshot
from pipeline.subscription import (
    FINAL_CLOSE_CODES,
    Action,
    Ask,
    Give,
    Leave,
    Renew,
    Subscription,
    retry_delay_s,
)
from tests.client.rules import RULES


def text(type_: str, **fields: object) -> bytes:
    return msgspec.json.encode({"type": type_, "scan_id": "demo", **fields})


def hello(
    epoch: int | None = 1,
    seq: int = 0,
    resumed: bool | None = None,
    features: tuple[str, ...] = ("ping",),
    ping_interval: float = 5.0,
    client_timeout: float = 30.0,
) -> bytes:
    return text(
        "hello",
        connection_id="c",
        epoch=epoch,
        seq=seq,
        resumed=resumed,
        ping_interval=ping_interval,
        client_timeout=client_timeout,
        server_version="0",
        features=features,
    )


def batch(first: int, last: int, epoch: int = 1) -> bytes:
    events = [{"type": "x", "n": number} for number in range(first, last + 1)]
    return text("batch", epoch=epoch, seq=[first, last], merged=0, filtered=0, events=events)


def closing(reason: str, reconnect: bool, retry_ms: int = 0) -> bytes:
    return text("closing", code=1001, reason=reason, reconnect=reconnect, retry_ms=retry_ms)


def connected(since: Position | None = None, now: float = 100.0) -> Subscription:
    subscription = Subscription(since, now)
    assert subscription.connect_at == now
    subscription.connecting(now)
    subscription.opened(now)
    return subscription


def given_items(actions: list[Action]) -> list[Item]:
    return [action.item for action in actions if isinstance(action, Give)]


# --- the vectors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", RULES["retry"], ids=str)
def test_retry_delay(case: dict[str, Any]) -> None:
    assert retry_delay_s(case["attempt"], case["random"], case["asked_s"]) == pytest.approx(case["delay_s"])


@given(attempt=st.integers(0, 5_000), random=st.floats(0, 1, exclude_max=True), asked_s=st.floats(-10, 1e5))
def test_retry_delay_is_bounded(attempt: int, random: float, asked_s: float) -> None:
    asked = min(max(asked_s, 0), 3600)
    least, most = (0, 0.2) if attempt == 0 else (0.5, min(20, 0.5 * 2.0 ** min(attempt, 20)))
    assert least - 1e-6 <= retry_delay_s(attempt, random, asked_s) - asked <= most + 1e-6


@pytest.mark.parametrize(
    "case",
    [case for case in RULES["watch"] if not any(step.get("hidden") for step in case["steps"])],
    ids=lambda case: case["name"],
)
def test_watch(case: dict[str, Any]) -> None:
    subscription = Subscription(None, case["steps"][0]["at"])
    for step in case["steps"]:
        now = step["at"]
        match step["do"]:
            case "connecting":
                subscription.connecting(now)
            case "opened":
                subscription.opened(now)
            case "hello":
                features = ("ping",) if step["can_ask"] else ()
                told = hello(
                    features=features,
                    ping_interval=step["ping_interval"],
                    client_timeout=step["client_timeout"],
                )
                subscription.received(told, now, 0.5)
            case "heard":
                assert subscription.received(text("pong"), now, 0.5) == []
            case "check":
                actions = subscription.handle_timeout(now, 0.5)
                kinds = [type(action) for action in actions]
                assert kinds == {"fine": [], "ask": [Ask], "lost": [Leave, Give]}[step["verdict"]], step


# --- what is given --------------------------------------------------------------------------------


def test_each_message_is_given_with_the_position_after_it() -> None:
    subscription = connected()
    assert subscription.received(hello(seq=2), 100, 0.5) == [Give(Joined(1, 2, None), None)]
    (given_batch,) = subscription.received(batch(1, 2), 101, 0.5)
    assert isinstance(given_batch, Give)
    assert given_batch.since == Position(1, 2)
    assert isinstance(given_batch.item, Batch)
    assert list(given_batch.item.numbered()) == [
        (Position(1, 1), {"type": "x", "n": 1}),
        (Position(1, 2), {"type": "x", "n": 2}),
    ]
    lag = msgspec.json.encode(
        {"type": "lag", "scanId": "demo", "skippedMessages": 7, "from": 3, "to": 9, "reason": "too_slow"}
    )
    assert subscription.received(lag, 102, 0.5) == [Give(Lag(3, 9, 7, "too_slow"), Position(1, 2))]
    degraded = text("degraded", degraded=True, reason="worker_silent")
    assert subscription.received(degraded, 103, 0.5) == [
        Give(Degraded(True, "worker_silent"), Position(1, 2))
    ]
    snapshot = text("snapshot", epoch=1, seq=9, state={"status": "running"})
    assert subscription.received(snapshot, 104, 0.5) == [
        Give(Snapshot(1, 9, {"status": "running"}), Position(1, 9))
    ]
    reset = text("reset", epoch=2, reason="restarted")
    assert subscription.received(reset, 105, 0.5) == [Give(Reset(2, "restarted"), Position(2, 0))]


def test_offsets_are_those_told_when_something_was_left_out() -> None:
    subscription = connected()
    subscription.received(hello(), 100, 0.5)
    merged = text(
        "batch",
        epoch=1,
        seq=[1, 5],
        merged=2,
        filtered=1,
        at=[0, 4],
        events=[{"type": "a"}, {"type": "b"}],
    )
    (item,) = given_items(subscription.received(merged, 100, 0.5))
    assert isinstance(item, Batch)
    assert [position.seq for position, _ in item.numbered()] == [1, 5]
    assert (item.merged, item.filtered) == (2, 1)


def test_a_position_that_is_not_held_is_told_as_a_reset() -> None:
    subscription = connected(Position(1, 5))
    assert given_items(subscription.received(hello(epoch=2, seq=3, resumed=False), 100, 0.5)) == [
        Reset(2, "not_held"),
        Joined(2, 3, False),
    ]
    assert subscription.since is None


def test_a_new_life_that_nobody_told_of_is_told_as_a_reset() -> None:
    subscription = connected(Position(1, 5))
    subscription.received(hello(seq=5, resumed=True), 100, 0.5)
    items = given_items(subscription.received(batch(1, 1, epoch=2), 100, 0.5))
    assert items[0] == Reset(2, "restarted")
    assert isinstance(items[1], Batch)


def test_messages_it_does_not_know_are_passed_over() -> None:
    subscription = connected()
    assert subscription.received(text("of_a_later_version", anything=1), 100, 0.5) == []
    assert subscription.connect_at is None


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"type":1}', b'{"type":"batch"}', b"\xff", b"null"])
def test_what_cannot_be_read_ends_the_connection_not_the_position(data: bytes) -> None:
    subscription = connected(Position(1, 5))
    actions = subscription.received(data, 100, 0.5)
    assert actions[0] == Leave()
    assert subscription.since == Position(1, 5)
    assert subscription.connect_at == pytest.approx(100.1)


def test_a_gap_ends_the_connection_not_the_position() -> None:
    subscription = connected(Position(1, 5))
    subscription.received(hello(seq=9, resumed=True), 100, 0.5)
    actions = subscription.received(batch(7, 9), 100, 0.5)
    assert actions == [Leave(), Give(Disconnected("events were missing after 1:5", 0.1), Position(1, 5))]


# --- coming back ----------------------------------------------------------------------------------


def test_the_pauses_grow_until_a_connection_was_good_for_a_while() -> None:
    subscription = Subscription(None, 0.0)
    now, pauses = 0.0, []
    for stays_s in [0, 0, 0, 4.9, 5.0, 0]:
        subscription.connecting(now)
        subscription.opened(now)
        if stays_s:
            subscription.received(hello(), now, 0.5)
        now += stays_s
        subscription.closed(1001, "", now, 0.5)
        assert subscription.connect_at is not None
        pauses.append(round(subscription.connect_at - now, 6))
        now = subscription.connect_at
    assert pauses == [0.1, 0.75, 1.25, 2.25, 0.1, 0.75]


def test_the_server_says_how_long_to_stay_away() -> None:
    subscription = connected()
    subscription.received(closing("shutdown", True, 1500), 100, 0.5)
    assert given_items(subscription.closed(1001, "", 100, 0.5)) == [Disconnected("shutdown", 1.6)]


def test_what_one_connection_said_at_its_end_is_not_said_of_the_next() -> None:
    subscription = connected()
    subscription.received(closing("shutdown", True, 1500), 100, 0.5)
    subscription.closed(1001, "", 100, 0.5)
    subscription.connecting(102)
    assert given_items(subscription.closed(None, "refused", 102, 0.5)) == [Disconnected("refused", 0.75)]


def test_the_server_says_not_to_come_back() -> None:
    subscription = connected()
    subscription.received(closing("Scan completed", False), 100, 0.5)
    assert subscription.closed(1000, "Scan completed", 100, 0.5) == []
    assert subscription.ended == Ended(1000, "Scan completed")
    assert subscription.connect_at is None
    assert subscription.handle_timeout(1e9, 0.5) == []


@pytest.mark.parametrize("code", CLOSE_CODES, ids=lambda code: f"{code.code} {code.reason}")
def test_a_code_alone_says_it_too(code: Any) -> None:
    """But for 1000, which a proxy may send as well."""
    subscription = connected()
    subscription.closed(code.code, code.reason, 100, 0.5)
    assert (subscription.ended is not None) == (not code.reconnect and code.code != 1000)


def test_the_codes_that_end_it_are_no_others() -> None:
    final = {code.code for code in CLOSE_CODES if not code.reconnect} - {1000}
    assert final <= FINAL_CLOSE_CODES
    assert not FINAL_CLOSE_CODES & {code.code for code in CLOSE_CODES if code.reconnect}


def test_a_timeout_before_the_deadline_does_nothing() -> None:
    subscription = connected()
    subscription.received(hello(), 100, 0.5)
    assert subscription.deadline == 110
    assert subscription.handle_timeout(109.999, 0.5) == []
    assert subscription.handle_timeout(110, 0.5) == [Ask()]


def test_the_next_token_is_asked_for_before_the_present_one_expires() -> None:
    subscription = Subscription(None, 100.0, renewable=True)
    subscription.connecting(100.0)
    subscription.token_lasts(40.0, 100.0)
    subscription.opened(100.0)
    subscription.received(hello(ping_interval=60.0), 101.0, 0.5)
    assert subscription.wake_at == 120.0
    assert subscription.handle_timeout(119.9, 0.5) == []
    assert subscription.handle_timeout(120.0, 0.5) == [Renew()]
    assert subscription.wake_at == subscription.deadline == 221.0
    subscription.token_lasts(None, 121.0)
    assert subscription.wake_at == 221.0


def test_a_token_that_is_given_is_not_asked_for_again() -> None:
    subscription = connected()
    subscription.token_lasts(40.0, 100.0)
    assert subscription.wake_at == subscription.deadline
    assert subscription.closed(4401, "bad", 101.0, 0.5) == []
    assert subscription.ended == Ended(4401, "bad")


def test_who_is_refused_comes_back_once_with_another_token() -> None:
    subscription = Subscription(None, 100.0, renewable=True)
    for code_at, comes_back in ((101.0, True), (102.0, False)):
        subscription.connecting(code_at)
        subscription.opened(code_at)
        [*_, last] = subscription.closed(4401, "bad", code_at, 0.5) or [None]
        assert isinstance(last, Give) is comes_back
    assert subscription.ended == Ended(4401, "bad")
