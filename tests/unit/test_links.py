"""`links`: which connections are made anew, at exact times, and for any course of things."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.links import LOOKS, MAX_PATIENCE_S, Links

DEAD_AFTER_S = 3.0
STEP_S = DEAD_AFTER_S / LOOKS


def looks(links: Links, start: float, end: float, *, drained: bool = True) -> list[float]:
    """Look every `STEP_S` from `start` until `end`; return when shard 0 was to be connected anew."""
    count = round((end - start) / STEP_S)
    moments = [start + number * STEP_S for number in range(count + 1)]
    return [moment for moment in moments if 0 in links.look(moment, drained=drained)]


def test_a_connection_is_made_anew_when_no_beacon_came_for_long_and_ever_more_rarely() -> None:
    links = Links(DEAD_AFTER_S)
    links.heard(0, 100.0)
    assert looks(links, 100.0, 124.0) == [103.0, 109.0, 121.0]


def test_two_beacons_in_time_make_it_as_watchful_as_before() -> None:
    links = Links(DEAD_AFTER_S)
    links.heard(0, 100.0)
    assert looks(links, 100.0, 103.5) == [103.0]
    links.heard(0, 104.0)
    assert looks(links, 104.0, 107.0) == []  # one beacon does not show that they come as often
    links.heard(0, 107.5)
    links.heard(0, 108.0)
    assert looks(links, 107.5, 111.5) == [111.0]


def test_a_worker_whose_beacons_are_rare_is_not_connected_to_for_ever_anew() -> None:
    links = Links(DEAD_AFTER_S)
    anew = []
    for number in range(10):
        links.heard(0, 100.0 + 10 * number)
        anew += looks(links, 100.0 + 10 * number, 109.5 + 10 * number)
    assert len(anew) == 2


def test_nobody_who_was_never_heard_is_connected_to_anew() -> None:
    assert looks(Links(DEAD_AFTER_S), 0.0, 60.0) == []


def test_each_shard_has_its_own_time() -> None:
    links = Links(DEAD_AFTER_S)
    links.heard(0, 100.0)
    links.heard(1, 100.0)
    for number in range(1, 7):
        links.heard(1, 100.0 + number * STEP_S)
        assert list(links.look(100.0 + number * STEP_S, drained=True)) == ([0] if number == 6 else [])


def test_while_something_waits_to_be_read_nobody_is_taken_for_silent() -> None:
    links = Links(DEAD_AFTER_S)
    links.heard(0, 100.0)
    assert looks(links, 100.0, 130.0, drained=False) == []
    assert looks(links, 130.5, 134.0) == [133.0]


def test_who_did_not_look_for_a_while_gives_everybody_the_whole_time() -> None:
    links = Links(DEAD_AFTER_S)
    links.heard(0, 100.0)
    assert looks(links, 100.0, 101.0) == []
    assert looks(links, 150.0, 152.5) == []
    assert looks(links, 153.0, 153.0) == [153.0]


def test_looking_early_does_nothing() -> None:
    links = Links(DEAD_AFTER_S)
    assert links.next_deadline() == 0.0
    links.heard(0, 100.0)
    assert list(links.look(102.9, drained=True)) == []
    assert links.next_deadline() == pytest.approx(103.4)
    assert list(links.look(103.3, drained=True)) == []
    assert list(links.look(103.4, drained=True)) == [0]


@given(
    st.lists(st.tuples(st.floats(min_value=0.0, max_value=20.0), st.booleans(), st.booleans()), max_size=60)
)
def test_a_connection_is_never_made_anew_twice_within_its_time_nor_right_after_a_beacon(
    course: list[tuple[float, bool, bool]],
) -> None:
    links = Links(DEAD_AFTER_S)
    now, last = 0.0, None
    for pause_s, heard, drained in course:
        now += pause_s
        if heard:
            links.heard(0, now)
            last = now
        anew = list(links.look(now, drained=drained))
        if anew:
            assert anew == [0]
            assert drained
            assert last is not None
            assert now - last >= DEAD_AFTER_S
            last = now


@given(st.floats(min_value=0.0, max_value=1_000.0))
def test_silence_is_never_borne_for_longer_than_the_bound(before_s: float) -> None:
    links = Links(DEAD_AFTER_S)
    links.heard(0, 0.0)
    looks(links, 0.0, before_s)
    assert looks(links, before_s + STEP_S, before_s + MAX_PATIENCE_S + 2 * STEP_S)
