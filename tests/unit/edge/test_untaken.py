"""Answers that wait: who takes nothing is given up, and of those who take too little the first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.untaken import Untaken, Waiting

STALLED_S = 20.0
MAX_BYTES = 1_000


def look(untaken: Untaken[str], now: float, **waiting: tuple[int, int]) -> list[tuple[str, str]]:
    """Look, with client=(bytes that wait, bytes taken)."""
    return untaken.look(
        now, [Waiting(client, *each) for client, each in waiting.items()], STALLED_S, MAX_BYTES
    )


def test_one_that_takes_nothing_is_given_up_when_the_time_is_over() -> None:
    untaken: Untaken[str] = Untaken()
    assert look(untaken, 100.0, a=(10, 5)) == []
    assert look(untaken, 119.9, a=(10, 5)) == []
    assert look(untaken, 120.0, a=(10, 5)) == [("a", "stalled")]
    assert look(untaken, 120.1, a=(10, 5)) == [], "it is another one"


def test_one_that_takes_a_byte_now_and_then_is_waited_for() -> None:
    untaken: Untaken[str] = Untaken()
    for taken in range(20):
        assert look(untaken, taken * 19.0, a=(100 - taken, taken)) == []


def test_who_waited_before_and_waits_again_begins_anew() -> None:
    untaken: Untaken[str] = Untaken()
    assert look(untaken, 0.0, a=(10, 5)) == []
    assert look(untaken, 10.0) == []
    assert look(untaken, 20.0, a=(10, 5)) == []
    assert look(untaken, 39.0, a=(10, 5)) == []


def test_beyond_the_bytes_those_go_that_wait_longest() -> None:
    untaken: Untaken[str] = Untaken()
    assert look(untaken, 0.0, a=(400, 1), b=(400, 1)) == []
    assert look(untaken, 1.0, c=(400, 1), b=(400, 2), a=(400, 2)) == [("a", "untaken")]
    assert look(untaken, 2.0, c=(900, 2), b=(400, 3)) == [("b", "untaken")]
    assert look(untaken, 3.0, c=(2_000, 3)) == [("c", "untaken")]


def test_what_is_stalled_does_not_count_among_the_bytes() -> None:
    untaken: Untaken[str] = Untaken()
    assert look(untaken, 0.0, a=(900, 1)) == []
    assert look(untaken, 20.0, a=(900, 1), b=(900, 1)) == [("a", "stalled")]


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abcdef"), st.tuples(st.integers(1, 600), st.integers(0, 3)), max_size=6
        ),
        max_size=20,
    ),
    st.floats(0.1, 30),
)
def test_what_is_left_is_within_the_bound_and_nobody_is_left_who_took_nothing(
    looks: list[dict[str, tuple[int, int]]], pause_s: float
) -> None:
    untaken: Untaken[str] = Untaken()
    since: dict[str, tuple[int, float]] = {}
    for number, waiting in enumerate(looks):
        now = number * pause_s
        gone = dict(look(untaken, now, **waiting))
        left = {client: each for client, each in waiting.items() if client not in gone}
        assert sum(held for held, _ in left.values()) <= MAX_BYTES
        since = {
            client: since[client] if client in since and since[client][0] == taken else (taken, now)
            for client, (_, taken) in waiting.items()
        }
        for client, (_, began) in since.items():
            assert (now - began >= STALLED_S) == (gone.get(client) == "stalled")
        since = {client: each for client, each in since.items() if client in left}
