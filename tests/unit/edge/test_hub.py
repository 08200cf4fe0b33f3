"""The rings: contiguous frames only, bounded, and shared."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.config import RingSection
from pipeline.edge.hub import Delivery, Feed, Hub
from pipeline.edge.session import Greeting, Session
from pipeline.errors import MessageMalformed
from pipeline.wire import FrameHeader, FrameMessage
from tests.unit.edge.worker_model import text_payloads

GREETING = Greeting(5.0, 30.0, "1")


def frame(first: int, last: int, epoch: int = 1, channel: str = "scan/a", size: int = 0) -> FrameMessage:
    body = b'[{"type":"x","pad":"' + b"." * size + b'"}]'
    return FrameMessage(channel, FrameHeader(epoch, first, last, merged=last - first), body)


def delivery(first: int, last: int, epoch: int = 1, size: int = 0) -> Delivery:
    return Delivery.of_frame(frame(first, last, epoch, size=size))


def session(channel: str = "scan/a") -> Session:
    return Session(channel, "native", "c", None, GREETING)


def feed(**limits: int) -> Feed:
    return Feed("scan/a", RingSection(**limits))


def held(of: Feed, upto: int = 100) -> list[tuple[int, int]]:
    found = [of.find(seq) for seq in range(1, upto)]
    return [(each.first, each.last) for each in found if each is not None]


def test_frames_that_follow_each_other_are_held() -> None:
    ring = feed()
    assert ring.add(delivery(1, 3))
    assert ring.add(delivery(4, 4))
    assert held(ring) == [(1, 3), (4, 4)]
    assert (ring.epoch, ring.head) == (1, 4)


@pytest.mark.parametrize("again", [(1, 3), (4, 6), (2, 5)])
def test_what_is_held_already_is_nothing_new(again: tuple[int, int]) -> None:
    ring = feed()
    ring.add(delivery(1, 3))
    ring.add(delivery(4, 6))
    assert not ring.add(delivery(*again))
    assert held(ring) == [(1, 3), (4, 6)]


def test_after_a_gap_the_ring_begins_anew() -> None:
    ring = feed()
    ring.add(delivery(1, 3))
    assert ring.add(delivery(5, 6))
    assert held(ring) == [(5, 6)]
    assert ring.head == 6


def test_a_frame_in_the_middle_of_one_that_is_held_is_not_found() -> None:
    ring = feed()
    ring.add(delivery(1, 5))
    assert ring.find(3) is None


def test_a_new_life_lets_go_of_the_old_one_and_a_stale_one_is_nothing() -> None:
    ring = feed()
    ring.add(delivery(1, 5))
    assert ring.add(delivery(1, 2, epoch=2))
    assert (ring.epoch, ring.head, held(ring)) == (2, 2, [(1, 2)])
    assert not ring.add(delivery(6, 9, epoch=1))
    assert not ring.learn(1, 100)
    assert (ring.epoch, ring.head) == (2, 2)


def test_a_beacon_tells_only_what_is_further() -> None:
    ring = feed()
    assert ring.learn(1, 0)
    assert not ring.learn(1, 0)
    ring.add(delivery(1, 5))
    assert not ring.learn(1, 4)
    assert ring.learn(1, 9)
    assert held(ring) == [(1, 5)]
    assert ring.learn(2, 0)
    assert (ring.head, held(ring)) == (0, [])


def test_a_ring_holds_so_many_frames() -> None:
    ring = feed(max_frames=3)
    for seq in range(1, 11):
        ring.add(delivery(seq, seq))
    assert held(ring) == [(8, 8), (9, 9), (10, 10)]


def test_a_ring_holds_so_many_bytes_but_always_the_last_frame() -> None:
    ring = feed(max_bytes=1_000)
    for seq in range(1, 6):
        ring.add(delivery(seq, seq, size=400))
    assert held(ring) == [(4, 4), (5, 5)]
    ring.add(delivery(6, 6, size=5_000))
    assert held(ring) == [(6, 6)]
    assert ring.ring_bytes == delivery(6, 6, size=5_000).size_bytes


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(0, 4), st.integers(0, 300)), max_size=60
    )
)
def test_whatever_comes_the_ring_is_contiguous_bounded_and_counts_its_bytes(
    frames: list[tuple[int, int, int, int]],
) -> None:
    ring = feed(max_frames=4, max_bytes=500)
    latest = 0
    for epoch, first, more, size in frames:
        latest = max(latest, epoch)
        ring.add(delivery(first, first + more, epoch, size))
        found = held(ring)
        assert 1 <= len(found) <= 4
        assert all(before[1] + 1 == after[0] for before, after in pairwise(found))
        sizes = [each.size_bytes for seq, _ in found if (each := ring.find(seq)) is not None]
        assert ring.ring_bytes == sum(sizes)
        assert ring.ring_bytes <= 500 or len(found) == 1
        assert ring.epoch == latest
        assert ring.head >= found[-1][1]


def test_the_first_browser_opens_a_feed_and_the_last_one_closes_it() -> None:
    hub = Hub(RingSection())
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
    assert Hub(RingSection()).add(frame(1, 1)) is None


def test_past_the_bound_of_all_rings_the_quietest_goes_first() -> None:
    hub = Hub(RingSection(max_total_bytes=1_000))
    for channel in ("scan/a", "scan/b", "scan/c"):
        hub.join(session(channel))
    for channel in ("scan/b", "scan/a"):
        hub.add(frame(1, 1, channel=channel, size=400))
    hub.add(frame(2, 2, channel="scan/b", size=0))
    hub.add(frame(1, 1, channel="scan/c", size=300))
    assert {each.channel: each.ring_bytes > 0 for each in hub.feeds()} == {
        "scan/a": False,
        "scan/b": True,
        "scan/c": True,
    }
    assert sum(each.ring_bytes for each in hub.feeds()) <= 1_000


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 400)), max_size=60))
def test_all_rings_together_stay_within_their_bound(adds: list[tuple[int, int]]) -> None:
    hub = Hub(RingSection(max_total_bytes=1_000))
    sessions = [session(f"scan/{number}") for number in range(5)]
    for each in sessions:
        hub.join(each)
    last = dict.fromkeys(range(5), 0)
    for number, size in adds:
        last[number] += 1
        hub.add(frame(last[number], last[number], channel=f"scan/{number}", size=size))
        assert sum(each.ring_bytes for each in hub.feeds()) <= 1_000
    if adds:  # whoever leaves takes its bytes along
        hub.leave(sessions[adds[-1][0]])
        hub.add(frame(last[0] + 1, last[0] + 1, channel="scan/0", size=400))
        assert sum(each.ring_bytes for each in hub.feeds()) <= 1_000


def test_a_delivery_is_composed_once_for_all() -> None:
    shared = delivery(1, 3)
    assert shared.native() is shared.native()
    assert shared.heroforge()[0] is shared.heroforge()[0]


def test_the_native_wire() -> None:
    message = FrameMessage(
        "scan/a",
        FrameHeader(7, 4, 7, merged=2, at=(0, 3)),
        b'[{"type":"a","t":"\xc3\xa9"},{"type":"b"}]',
    )
    (payload,) = text_payloads(Delivery.of_frame(message).native())
    assert json.loads(payload) == {
        "type": "batch",
        "scan_id": "a",
        "epoch": 7,
        "seq": [4, 7],
        "merged": 2,
        "filtered": 0,
        "at": [0, 3],
        "events": [{"type": "a", "t": "é"}, {"type": "b"}],
    }


def test_heroforges_wire_is_each_event_as_its_producer_sent_it() -> None:
    message = FrameMessage("scan/a", FrameHeader(7, 4, 5), b'[{"type":"a" , "n":1.50},{"type":"b"}]')
    data, count = Delivery.of_frame(message).heroforge()
    assert count == 2
    assert text_payloads(data) == [b'{"type":"a" , "n":1.50}', b'{"type":"b"}']


def test_a_body_that_is_no_array_is_an_error_of_the_peer() -> None:
    broken = Delivery.of_frame(FrameMessage("scan/a", FrameHeader(1, 1, 1), b"[{"))
    with pytest.raises(MessageMalformed, match="events"):
        broken.heroforge()
