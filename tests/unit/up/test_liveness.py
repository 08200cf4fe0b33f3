"""When a process counts as hung, as timelines of exact times and as a property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.up.liveness import LOOKS, Liveness

HUNG_S = 4.0
Look = tuple[float, str, str]
"""When one looks, who is heard (a letter each), who counts as hung."""
EIGHTHS = st.integers(1, int(4 * HUNG_S)).map(lambda count: count / 8)
"""Pauses up to half of `HUNG_S`; their sums and differences are exact."""


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param(
            [(10, "", ""), (11, "", ""), (12, "", ""), (13, "", ""), (19, "", "")], id="never heard"
        ),
        pytest.param([(10, "a", ""), (11, "a", ""), (12, "a", ""), (13, "a", "")], id="heard all the time"),
        pytest.param(
            [(10, "a", ""), (12, "", ""), (13.9, "", ""), (14, "", "a"), (15, "", "")],
            id="silent for long enough: told once",
        ),
        pytest.param(
            [(10, "ab", ""), (12, "b", ""), (14, "b", "a"), (16, "a", ""), (18, "a", "b")],
            id="each by itself, and again when it was heard again",
        ),
        pytest.param(
            [(10, "a", ""), (11, "", ""), (60, "", ""), (62, "", ""), (63, "", ""), (64, "", "a")],
            id="nobody looked for a while: from then on",
        ),
        pytest.param([(10, "a", ""), (60, "a", ""), (61, "", "")], id="nobody looked, and it was heard"),
    ],
)
def test_timeline(looks: list[Look]) -> None:
    liveness = Liveness(HUNG_S)
    for now, heard, hung in looks:
        assert [name for name, _ in liveness.look(set(heard), now)] == list(hung), f"at {now}"


def test_it_says_for_how_long() -> None:
    liveness = Liveness(HUNG_S)
    liveness.look({"a"}, 10)
    liveness.look(set(), 12)
    assert liveness.look(set(), 14) == [("a", 4.0)]


def test_one_that_was_started_again_begins_anew() -> None:
    liveness = Liveness(HUNG_S)
    assert liveness.new({"a"}) == {"a"}
    liveness.look({"a"}, 10)
    assert liveness.new({"a", "b"}) == {"b"}
    liveness.look(set(), 12)
    liveness.started("a")
    assert liveness.new({"a"}) == {"a"}
    for now in (14, 16, 18):
        assert liveness.look(set(), now) == []


def test_when_to_look() -> None:
    liveness = Liveness(HUNG_S)
    assert liveness.next_deadline() == 0
    liveness.look(set(), 10)
    assert liveness.next_deadline() == 10 + HUNG_S / LOOKS


def test_zero_is_never() -> None:
    liveness = Liveness(0)
    assert liveness.next_deadline() is None
    liveness.look({"a"}, 10)
    assert liveness.look(set(), 1e9) == []


@given(steps=st.lists(st.tuples(EIGHTHS, st.frozensets(st.sampled_from("ab"))), max_size=60))
def test_who_looks_often_enough_finds_exactly_the_silent_ones(
    steps: list[tuple[float, frozenset[str]]],
) -> None:
    liveness = Liveness(HUNG_S)
    now = 0.0
    heard_at: dict[str, float] = {}
    for pause, heard in steps:
        now += pause
        heard_at.update(dict.fromkeys(heard, now))
        expected = {name for name, at in heard_at.items() if now - at >= HUNG_S}
        assert {name for name, _ in liveness.look(set(heard), now)} == expected
        for name in expected:
            del heard_at[name]
