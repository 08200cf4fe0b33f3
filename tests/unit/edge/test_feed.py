"""The rings: contiguous frames only, bounded, and shared."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.config import RingSection
from pipeline.edge.delivery import Delivery
from pipeline.edge.feed import MAX_CRITICAL_BYTES, MAX_CRITICALS, Feed
from pipeline.wire import FrameHeader, FrameMessage


def frame(first: int, last: int, epoch: int = 1, channel: str = "scan/a", size: int = 0) -> FrameMessage:
    body = b'[{"type":"x","pad":"' + b"." * size + b'"}]'
    return FrameMessage(channel, FrameHeader(epoch, first, last, merged=last - first), body)


def delivery(first: int, last: int, epoch: int = 1, size: int = 0) -> Delivery:
    return Delivery.of_frame(frame(first, last, epoch, size=size))


def feed(**limits: int) -> Feed:
    return Feed("scan/a", RingSection(**limits), 10.0)


def held(of: Feed, upto: int = 100) -> list[tuple[int, int]]:
    found = [of.find(seq) for seq in range(1, upto)]
    return [(each.first, each.last) for each in found if each is not None]


def test_frames_that_follow_each_other_are_held() -> None:
    ring = feed()
    assert ring.add(delivery(1, 3), 0.0)
    assert ring.add(delivery(4, 4), 0.0)
    assert held(ring) == [(1, 3), (4, 4)]
    assert (ring.epoch, ring.head) == (1, 4)


@pytest.mark.parametrize("again", [(1, 3), (4, 6), (2, 5)])
def test_what_is_held_already_is_nothing_new(again: tuple[int, int]) -> None:
    ring = feed()
    ring.add(delivery(1, 3), 0.0)
    ring.add(delivery(4, 6), 0.0)
    assert not ring.add(delivery(*again), 0.0)
    assert held(ring) == [(1, 3), (4, 6)]


def test_after_a_gap_the_ring_begins_anew() -> None:
    ring = feed()
    ring.add(delivery(1, 3), 0.0)
    assert ring.add(delivery(5, 6), 0.0)
    assert held(ring) == [(5, 6)]
    assert ring.head == 6


def test_a_frame_in_the_middle_of_one_that_is_held_is_not_found() -> None:
    ring = feed()
    ring.add(delivery(1, 5), 0.0)
    assert ring.find(3) is None


def test_a_new_life_lets_go_of_the_old_one_and_a_stale_one_is_nothing() -> None:
    ring = feed()
    ring.add(delivery(1, 5), 0.0)
    assert ring.add(delivery(1, 2, epoch=2), 0.0)
    assert (ring.epoch, ring.head, held(ring)) == (2, 2, [(1, 2)])
    assert not ring.add(delivery(6, 9, epoch=1), 0.0)
    assert not ring.learn(1, 100, 0.0)
    assert (ring.epoch, ring.head) == (2, 2)


def test_a_beacon_tells_only_what_is_further() -> None:
    ring = feed()
    assert ring.learn(1, 0, 0.0)
    assert not ring.learn(1, 0, 0.0)
    ring.add(delivery(1, 5), 0.0)
    assert not ring.learn(1, 4, 0.0)
    assert ring.learn(1, 9, 0.0)
    assert held(ring) == [(1, 5)]
    assert ring.learn(2, 0, 0.0)
    assert (ring.head, held(ring)) == (0, [])


def test_a_ring_holds_so_many_frames() -> None:
    ring = feed(max_frames=3)
    for seq in range(1, 11):
        ring.add(delivery(seq, seq), 0.0)
    assert held(ring) == [(8, 8), (9, 9), (10, 10)]


def test_a_ring_holds_so_many_bytes_but_always_the_last_frame() -> None:
    ring = feed(max_bytes=1_000)
    for seq in range(1, 6):
        ring.add(delivery(seq, seq, size=400), 0.0)
    assert held(ring) == [(4, 4), (5, 5)]
    ring.add(delivery(6, 6, size=5_000), 0.0)
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
        ring.add(delivery(first, first + more, epoch, size), 0.0)
        found = held(ring)
        assert 1 <= len(found) <= 4
        assert all(before[1] + 1 == after[0] for before, after in pairwise(found))
        sizes = [each.size_bytes for seq, _ in found if (each := ring.find(seq)) is not None]
        assert ring.ring_bytes == sum(sizes)
        assert ring.ring_bytes <= 500 or len(found) == 1
        assert ring.epoch == latest
        assert ring.head >= found[-1][1]


# --- ladders ------------------------------------------------------------------------------------------


def one(seq: int, *, critical: bool = False, size: int = 0) -> Delivery:
    body = b'[{"n":%d,"pad":"%b"}]' % (seq, b"." * size)
    return Delivery("scan/a", 1, seq, seq, body, critical=critical)


def test_those_of_a_pace_are_due_the_head_at_its_last_tick() -> None:
    ring = feed()
    ring.add(one(1), 0.0)
    assert ring.upto(2, 0.1) == 1
    ring.add(one(2), 0.2)
    assert ring.upto(2, 0.4) == 1
    assert ring.upto(5, 0.4) == 2, "each pace has its own ticks"
    assert ring.upto(2, 0.5) == 2
    ring.add(one(3), 0.6)
    assert ring.upto(2, 0.9) == 2


def test_what_is_critical_is_due_at_every_pace_and_at_once() -> None:
    ring = feed()
    ring.add(one(1), 0.0)
    assert ring.upto(1, 0.1) == 1
    ring.add(one(2), 0.2)
    ring.add(one(3, critical=True), 0.3)
    ring.add(one(4), 0.4)
    assert ring.upto(1, 0.5) == 3


def test_what_is_joined_is_joined_once_for_all() -> None:
    ring = feed()
    for seq in range(1, 6):
        ring.add(one(seq), 0.0)
    joined = ring.joined(2, 4)
    assert joined is not None
    assert (joined.first, joined.last) == (2, 4)
    assert ring.joined(2, 4) is joined
    assert ring.joined(5, 5) is ring.find(5)
    assert ring.joined(6, 9) is None
    assert ring.held_bytes == ring.ring_bytes + joined.size_bytes
    ring.clear()
    assert ring.held_bytes == 0


def test_a_critical_frame_ends_what_is_joined() -> None:
    ring = feed()
    for seq in range(1, 6):
        ring.add(one(seq, critical=seq == 3), 0.0)
    joined = ring.joined(1, 5)
    assert joined is not None
    assert (joined.first, joined.last) == (1, 3)
    assert ring.joined(1, 5) is joined
    after = ring.joined(4, 5)
    assert after is not None
    assert (after.first, after.last) == (4, 5)


def test_what_is_joined_is_bounded_but_one_frame_is_always_given() -> None:
    ring = feed(max_bytes=10_000_000)
    sizes = [200_000, 50_000, 50_000, 400_000]
    for seq, size in enumerate(sizes, 1):
        ring.add(one(seq, size=size), 0.0)
    for first, last in ((1, 2), (3, 3), (4, 4)):
        joined = ring.joined(first, 4)
        assert joined is not None
        assert (joined.first, joined.last) == (first, last)


# --- what is left out for one too far behind ----------------------------------------------------------


def left_out(ring: Feed, first: int) -> tuple[int, list[int]] | None:
    skipping = ring.skip(first)
    return None if skipping is None else (skipping[0], [each.first for each in skipping[1]])


def test_all_is_left_out_up_to_the_newest_frame_but_what_is_critical() -> None:
    ring = feed(max_frames=2)
    for seq in range(1, 10):
        ring.add(one(seq, critical=seq in (2, 5, 9)), 0.0)
    assert left_out(ring, 1) == (9, [2, 5])
    assert left_out(ring, 3) == (9, [5])
    assert left_out(ring, 9) is None


def test_nothing_is_left_out_before_all_that_is_critical_is_known() -> None:
    ring = feed()
    ring.add(one(5), 0.0)
    ring.add(one(6), 0.0)
    assert left_out(ring, 4) is None, "what was before this edge listened"
    assert left_out(ring, 5) == (6, [])
    ring.add(one(10), 0.0)
    ring.add(one(11), 0.0)
    assert left_out(ring, 6) is None, "a gap"
    assert left_out(ring, 10) == (11, [])


def test_critical_frames_held_are_bounded_and_the_older_ones_are_asked_of_history() -> None:
    ring = feed(max_frames=1)
    for seq in range(1, MAX_CRITICALS + 11):
        ring.add(one(seq, critical=True), 0.0)
    ring.add(one(MAX_CRITICALS + 11), 0.0)
    assert left_out(ring, 10) is None
    skipping = left_out(ring, 11)
    assert skipping is not None
    assert skipping[1] == list(range(11, MAX_CRITICALS + 11))
    for seq in range(MAX_CRITICALS + 12, MAX_CRITICALS + 15):
        ring.add(one(seq, critical=True, size=30_000), 0.0)
    assert ring.held_bytes - ring.ring_bytes <= MAX_CRITICAL_BYTES


def test_one_inside_a_critical_frame_is_given_the_rest_of_it() -> None:
    ring = feed()
    ring.add(Delivery("scan/a", 1, 1, 3, b"[1,2,3]", critical=True), 0.0)
    ring.add(one(4), 0.0)
    ring.add(one(5), 0.0)
    assert left_out(ring, 2) is None
    assert left_out(ring, 4) == (5, [])
