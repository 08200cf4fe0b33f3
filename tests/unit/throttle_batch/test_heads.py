"""Which channels a beacon names: all within a round, however many come and go meanwhile."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.throttle_batch.heads import REPEATS, ROTATION_S, HeadRotation


def test_what_moved_is_named_in_the_next_beacons() -> None:
    rotation = HeadRotation(0.3)
    names = [f"scan/{number:04}" for number in range(1_000)]
    rotation.moved("scan/moved")
    named = [rotation.next(names, len(names)) for _ in range(REPEATS + 1)]
    assert ["scan/moved" in beacon for beacon in named] == [True] * REPEATS + [False]


@given(count=st.integers(0, 500), interval_s=st.sampled_from([0.01, 0.3, 1.0, 10.0]))
@settings(max_examples=50, deadline=None)
def test_every_channel_is_named_within_a_round(count: int, interval_s: float) -> None:
    rotation = HeadRotation(interval_s)
    names = {f"scan/{number}" for number in range(count)}
    beacons = int(ROTATION_S / interval_s)
    named = [rotation.next(names, count) for _ in range(beacons)]
    assert set().union(*named) == names
    assert max(map(len, named)) <= -(-count // beacons), "and no beacon is larger than its share"


def test_nothing_is_named_twice_in_a_beacon() -> None:
    rotation = HeadRotation(ROTATION_S)
    rotation.moved("scan/b")
    rotation.moved("scan/b")
    assert rotation.next(["scan/a", "scan/b"], 2) == ["scan/a", "scan/b"]


@pytest.mark.parametrize("interval_s", [0.3, ROTATION_S * 2])
def test_without_channels_there_is_nothing_to_name(interval_s: float) -> None:
    assert HeadRotation(interval_s).next([], 0) == []


@pytest.mark.parametrize("gone_after", [1, 5, 20])
def test_a_channel_is_named_in_time_although_a_thousand_others_go(gone_after: int) -> None:
    rotation = HeadRotation(0.3)
    beacons = int(ROTATION_S / 0.3)
    names = [f"scan/{number:04}" for number in range(1_000)]
    for _ in range(gone_after):
        rotation.next(names, len(names))
    left = names[-1:]
    assert any(left[0] in rotation.next(left, 1) for _ in range(beacons))


def test_a_channel_is_named_in_time_although_a_thousand_others_come() -> None:
    rotation = HeadRotation(0.3)
    beacons = int(ROTATION_S / 0.3)
    names = ["scan/first", "scan/second"]
    rotation.next(names, 2)
    names += [f"scan/{number}" for number in range(1_000)]
    named = [rotation.next(names, len(names)) for _ in range(2 * beacons)]
    assert set().union(*named) == set(names)
    assert max(map(len, named)) <= -(-len(names) // beacons)
