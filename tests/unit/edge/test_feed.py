"""The rings: contiguous frames only, bounded, and shared."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.config import RingSection
from pipeline.edge.delivery import Delivery
from pipeline.edge.feed import Feed
from pipeline.wire import FrameHeader, FrameMessage


def frame(first: int, last: int, epoch: int = 1, channel: str = "scan/a", size: int = 0) -> FrameMessage:
    body = b'[{"type":"x","pad":"' + b"." * size + b'"}]'
    return FrameMessage(channel, FrameHeader(epoch, first, last, merged=last - first), body)


def delivery(first: int, last: int, epoch: int = 1, size: int = 0) -> Delivery:
    return Delivery.of_frame(frame(first, last, epoch, size=size))


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
