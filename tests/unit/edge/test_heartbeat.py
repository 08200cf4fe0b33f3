"""The timer wheel: each member once an interval, however many come and go."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.heartbeat import SLOTS, Wheel


def test_a_round_of_ticks_is_an_interval() -> None:
    assert Wheel[str](5.0).tick_s * SLOTS == 5.0


def test_each_member_comes_up_once_a_round() -> None:
    wheel: Wheel[int] = Wheel(1.0)
    for member in range(3 * SLOTS + 7):
        wheel.add(member)
    for _ in range(3):
        assert Counter(member for _ in range(SLOTS) for member in wheel.turn()) == Counter(
            range(3 * SLOTS + 7)
        )


def test_the_slots_stay_even() -> None:
    wheel: Wheel[int] = Wheel(1.0)
    for member in range(100 * SLOTS + 1):
        wheel.add(member)
    assert {len(list(wheel.turn())) for _ in range(SLOTS)} == {100, 101}


def test_a_turn_may_remove_members() -> None:
    wheel: Wheel[int] = Wheel(1.0)
    slots = {member: wheel.add(member) for member in range(2 * SLOTS)}
    for member in wheel.turn():
        wheel.remove(member, slots[member])
    assert sum(len(list(wheel.turn())) for _ in range(SLOTS)) == 2 * SLOTS - 2


@given(st.lists(st.one_of(st.none(), st.integers(0, 30)), max_size=200))
def test_whoever_is_there_for_a_whole_round_comes_up_in_it(steps: list[int | None]) -> None:
    """None turns the wheel; a number adds that member, or removes it if it is there."""
    wheel: Wheel[int] = Wheel(1.0)
    slots: dict[int, int] = {}
    for step in steps:
        if step is None:
            assert set(wheel.turn()) <= set(slots)
        elif step in slots:
            wheel.remove(step, slots.pop(step))
        else:
            slots[step] = wheel.add(step)
    assert Counter(member for _ in range(SLOTS) for member in wheel.turn()) == Counter(slots.keys())
