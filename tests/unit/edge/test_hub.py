"""All watched channels: opened, closed, and bounded together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.config import RingSection
from pipeline.edge.hub import Hub
from pipeline.edge.session import Greeting, Session
from pipeline.edge.variant import NATIVE
from pipeline.wire import FrameHeader, FrameMessage

GREETING = Greeting(5.0, 30.0, "1")


def frame(first: int, last: int, epoch: int = 1, channel: str = "scan/a", size: int = 0) -> FrameMessage:
    body = b'[{"type":"x","pad":"' + b"." * size + b'"}]'
    return FrameMessage(channel, FrameHeader(epoch, first, last, merged=last - first), body)


def session(channel: str = "scan/a") -> Session:
    return Session(channel, NATIVE, "c", None, GREETING)


def test_the_first_browser_opens_a_feed_and_the_last_one_closes_it() -> None:
    hub = Hub(RingSection(), 10.0)
    one, two, other = session(), session(), session("scan/b")
    shared, fresh = hub.join(one)
    assert fresh
    assert hub.join(two) == (shared, False)
    assert hub.join(other)[1]
    assert {each.channel for each in hub.feeds()} == {"scan/a", "scan/b"}
    assert not hub.leave(one)
    assert not hub.leave(one)
    assert hub.leave(two)
    assert hub.feed("scan/a") is None
    assert not hub.leave(two)
    assert hub.feed("scan/b") is not None


def test_frames_nobody_watches_are_nothing() -> None:
    assert Hub(RingSection(), 10.0).add(frame(1, 1), 0.0) is None


def test_past_the_bound_of_all_rings_the_quietest_goes_first() -> None:
    hub = Hub(RingSection(max_total_bytes=1_000), 10.0)
    for channel in ("scan/a", "scan/b", "scan/c"):
        hub.join(session(channel))
    for channel in ("scan/b", "scan/a"):
        hub.add(frame(1, 1, channel=channel, size=400), 0.0)
    hub.add(frame(2, 2, channel="scan/b", size=0), 0.0)
    hub.add(frame(1, 1, channel="scan/c", size=300), 0.0)
    assert {each.channel: each.ring_bytes > 0 for each in hub.feeds()} == {
        "scan/a": False,
        "scan/b": True,
        "scan/c": True,
    }
    assert sum(each.ring_bytes for each in hub.feeds()) <= 1_000


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 400)), max_size=60))
def test_all_rings_together_stay_within_their_bound(adds: list[tuple[int, int]]) -> None:
    hub = Hub(RingSection(max_total_bytes=1_000), 10.0)
    sessions = [session(f"scan/{number}") for number in range(5)]
    for each in sessions:
        hub.join(each)
    last = dict.fromkeys(range(5), 0)
    for number, size in adds:
        last[number] += 1
        hub.add(frame(last[number], last[number], channel=f"scan/{number}", size=size), 0.0)
        assert sum(each.ring_bytes for each in hub.feeds()) <= 1_000
    if adds:  # whoever leaves takes its bytes along
        hub.leave(sessions[adds[-1][0]])
        hub.add(frame(last[0] + 1, last[0] + 1, channel="scan/0", size=400), 0.0)
        assert sum(each.ring_bytes for each in hub.feeds()) <= 1_000
