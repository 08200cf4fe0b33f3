"""A restart one process at a time, as timelines of exact times and as a property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.up.rolling import Act, Rolling, Step

START_S, STOP_S = 20.0, 5.0


def rolling(*steps: Step) -> Rolling:
    return Rolling(steps, start_s=START_S, stop_s=STOP_S)


def test_in_place_one_ends_before_it_starts_again_and_must_say_twice_that_it_is_there() -> None:
    roll = rolling(Step("w", "w"), Step("i", "i"))
    assert roll.begin(10.0) == [Act("stop", "w")]
    assert roll.heard({"w", "i"}, 10.1) == []  # it still answers
    assert roll.ended("i", 10.2) == []  # another one's death is the supervisor's
    assert not roll.awaits_end_of("i")
    assert roll.awaits_end_of("w")
    assert roll.ended("w", 10.5) == [Act("start", "w")]
    assert not roll.awaits_end_of("w")
    assert roll.heard({"w"}, 10.6) == []
    assert roll.heard({"i"}, 10.7) == []
    assert roll.heard({"w"}, 10.8) == [Act("stop", "i")]
    assert roll.ended("i", 11.0) == [Act("start", "i")]
    assert roll.heard({"w", "i"}, 11.1) == []
    assert roll.heard({"w", "i"}, 11.2) == [Act("done", "i")]
    assert roll.next_deadline() is None


def test_beside_the_new_one_is_ready_before_the_old_one_is_told() -> None:
    roll = rolling(Step("e0", "e1"), Step("e2", "e0"))
    assert roll.begin(0.0) == [Act("start", "e1")]
    assert roll.heard({"e0"}, 1.0) == []
    assert roll.heard({"e0", "e1"}, 2.0) == []
    assert roll.heard({"e0", "e1"}, 3.0) == [Act("stop", "e0")]
    assert roll.heard({"e0", "e1"}, 3.5) == []
    assert roll.ended("e0", 4.0) == [Act("start", "e0")]
    assert roll.heard({"e0"}, 5.0) + roll.heard({"e0"}, 5.1) == [Act("stop", "e2")]
    assert roll.ended("e2", 6.0) == [Act("done", "e0")]


def test_one_that_does_not_end_is_killed_and_awaited() -> None:
    roll = rolling(Step("w", "w"))
    roll.begin(0.0)
    assert roll.next_deadline() == STOP_S
    assert roll.handle_timeout(STOP_S - 0.01) == []
    assert roll.handle_timeout(STOP_S) == [Act("kill", "w")]
    assert roll.next_deadline() == 2 * STOP_S
    assert roll.ended("w", 5.1) == [Act("start", "w")]
    assert roll.next_deadline() == 5.1 + START_S


@pytest.mark.parametrize("step", [Step("e0", "e1"), Step("w", "w")])
def test_one_that_is_not_ready_ends_it_all(step: Step) -> None:
    roll = rolling(step, Step("x", "x"))
    roll.begin(0.0)
    roll.ended("w", 0.0)
    roll.heard({step.new}, 1.0)  # once is not enough
    assert roll.handle_timeout(START_S - 0.01) == []
    kill = [Act("kill", "e1")] if step.old != step.new else []
    assert roll.handle_timeout(START_S) == [*kill, Act("given up", step.new)]
    assert roll.next_deadline() is None
    assert roll.heard({step.new}, 30.0) + roll.ended(step.old, 30.0) + roll.handle_timeout(99.0) == []


def test_nothing_to_restart_is_done_at_once() -> None:
    roll = rolling()
    assert roll.begin(0.0) == [Act("done", "")]
    assert roll.next_deadline() is None


@given(
    st.lists(st.sampled_from("abcd"), unique=True),
    st.lists(st.tuples(st.sampled_from(["heard", "ended", "timeout"]), st.floats(0, 3)), max_size=80),
)
def test_never_are_two_of_the_old_ones_gone(names: list[str], moves: list[tuple[str, float]]) -> None:
    """Whatever happens and when: what was stopped is there again before the next one is stopped."""
    roll = rolling(*(Step(name, name) for name in names))
    now, running, ready = 0.0, set(names), set(names)
    acts = roll.begin(now)
    for move, pause in [*moves, *[("ended", 0.1), ("heard", 0.1), ("heard", 0.1)] * len(names)]:
        for act in acts:
            if act.what == "stop":
                assert ready == set(names)
                ready.discard(act.name)
            elif act.what == "start":
                assert act.name not in running
                running.add(act.name)
            elif act.what in ("kill", "done", "given up"):
                assert act.what == "kill" or roll.next_deadline() is None
        now += pause
        if move == "ended":
            gone = {name for name in running if roll.awaits_end_of(name)}
            assert len(gone) <= 1
            running -= gone
            acts = [act for name in gone for act in roll.ended(name, now)]
        elif move == "heard":
            ready |= running - {name for name in running if roll.awaits_end_of(name)}
            acts = roll.heard(ready, now)
        else:
            acts = roll.handle_timeout(now)
