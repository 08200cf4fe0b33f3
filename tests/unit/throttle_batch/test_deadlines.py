from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.throttle_batch.channel import Channel
from pipeline.throttle_batch.config import BatchSection
from pipeline.throttle_batch.deadlines import Deadlines


def channel(name: str) -> Channel:
    return Channel(name, 1, BatchSection(), 300.0, 86_400.0, 0.0)


def test_the_earliest_that_was_set_counts() -> None:
    deadlines, one = Deadlines(), channel("scan/a")
    assert deadlines.first() is None
    deadlines.set(5.0, one)
    deadlines.set(9.0, one)
    assert deadlines.first() == 5.0
    deadlines.set(3.0, one)
    assert deadlines.first() == 3.0
    assert deadlines.pop_due(2.9) is None
    assert deadlines.pop_due(3.0) is one
    assert deadlines.pop_due(100.0) is None, "the later ones are no more"
    assert deadlines.first() is None


def test_equal_deadlines_come_in_the_order_they_were_set() -> None:
    deadlines = Deadlines()
    channels = [channel(f"scan/{number}") for number in range(5)]
    for each in channels:
        deadlines.set(1.0, each)
    assert [deadlines.pop_due(1.0) for _ in channels] == channels


def test_what_is_dropped_does_not_come() -> None:
    deadlines = Deadlines()
    one, two = channel("scan/a"), channel("scan/b")
    deadlines.set(1.0, one)
    deadlines.set(2.0, two)
    deadlines.drop(one)
    deadlines.drop(one)
    assert deadlines.first() == 2.0
    deadlines.set(3.0, one)
    assert [deadlines.pop_due(9.0), deadlines.pop_due(9.0), deadlines.pop_due(9.0)] == [two, one, None]


def test_what_was_replaced_takes_no_room() -> None:
    deadlines = Deadlines()
    channels = [channel(f"scan/{number}") for number in range(10)]
    for deadline in range(10_000, 0, -1):
        deadlines.set(float(deadline), channels[deadline % 10])
    assert len(deadlines._heap) <= 2 * len(channels) + 16
    for each in channels[1:]:
        deadlines.drop(each)
    assert len(deadlines._heap) <= 18
    assert deadlines.pop_due(10.0) is channels[0]


STEPS = st.lists(
    st.tuples(st.sampled_from(["set", "set", "set", "drop", "pop"]), st.integers(0, 5), st.integers(0, 20)),
    max_size=80,
)


@given(steps=STEPS)
def test_as_a_table_would_have_it(steps: list[tuple[str, int, int]]) -> None:
    deadlines, table = Deadlines(), {}
    channels = [channel(f"scan/{number}") for number in range(6)]
    for what, index, at in steps:
        one = channels[index]
        if what == "set":
            deadlines.set(float(at), one)
            table[one] = min(at, table.get(one, at))
        elif what == "drop":
            deadlines.drop(one)
            table.pop(one, None)
        else:
            due = deadlines.pop_due(float(at))
            assert (due is None) == all(deadline > at for deadline in table.values())
            if due is not None:
                assert table[due] == min(table.values())
                del table[due]
        assert deadlines.first() == (min(table.values()) if table else None)
