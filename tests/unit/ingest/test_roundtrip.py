"""One event at a time a shard, from handing it on to its ack."""

from __future__ import annotations

from pipeline.ingest.roundtrip import GIVEN_UP_S, RoundTrips
from pipeline.wire import Ack

LAST = ("p", 1, "scan/a", 5)


def ack(committed: int, *, pid: str = "p", inc: int = 1, channel: str = "scan/a") -> Ack:
    return Ack(pid, inc, channel, committed)


def test_an_ack_of_the_event_or_of_a_later_one_ends_it_once() -> None:
    trips = RoundTrips()
    trips.sent(0, LAST, 10.0)
    assert trips.acked([ack(4)], 10.1) == []
    assert trips.acked([ack(9)], 10.5) == [0.5]
    assert trips.acked([ack(9)], 10.6) == []


def test_an_ack_of_anything_else_is_none() -> None:
    trips = RoundTrips()
    trips.sent(0, LAST, 10.0)
    others = [ack(9, pid="q"), ack(9, inc=2), ack(9, channel="scan/b")]
    assert trips.acked(others, 10.1) == []


def test_one_at_a_time_of_each_shard() -> None:
    trips = RoundTrips()
    trips.sent(0, LAST, 10.0)
    trips.sent(0, ("p", 1, "scan/a", 7), 10.2)
    trips.sent(1, ("p", 1, "scan/b", 1), 10.3)
    assert trips.acked([ack(5), ack(1, channel="scan/b")], 11.0) == [1.0, 11.0 - 10.3]


def test_what_is_never_acked_is_given_up_when_another_comes() -> None:
    trips = RoundTrips()
    trips.sent(0, LAST, 10.0)
    trips.sent(0, ("q", 1, "scan/a", 1), 10.0 + GIVEN_UP_S)
    assert trips.acked([ack(1, pid="q")], 80.0) == []
    trips.sent(0, ("q", 1, "scan/a", 1), 70.1)
    assert trips.acked([ack(1, pid="q")], 70.5) == [70.5 - 70.1]
