"""What is counted, and how fast it came, with exact times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.tail import rates
from pipeline.tail.rates import MAX_ROWS, OTHERS, REFRESH_S, WINDOW, Rates, Row


def test_a_timeline() -> None:
    counting = Rates(100.0)
    assert counting.next_deadline() == 100.0 + REFRESH_S
    for _ in range(3):
        counting.add("scan/a", "x")
    counting.add("scan/b", "x")
    assert counting.take(101.0) == [Row("scan/a", "x", 3, 3.0, 3), Row("scan/b", "x", 1, 1.0, 1)]
    assert counting.next_deadline() == 101.0 + REFRESH_S
    for _ in range(5):
        counting.add("scan/b", "x")
    assert counting.take(103.0) == [Row("scan/b", "x", 6, 2.0, 5), Row("scan/a", "x", 3, 1.0, 0)]
    assert counting.total == 9


def test_what_is_older_than_the_window_is_not_in_the_rate() -> None:
    counting = Rates(0.0)
    counting.add("scan/a", "x")
    for second in range(1, WINDOW + 1):
        assert counting.take(float(second))[0].per_s == 1 / second
    assert counting.take(WINDOW + 1.0) == [Row("scan/a", "x", 1, 0.0, 0)]


def test_scans_beyond_the_bound_are_counted_together() -> None:
    counting = Rates(0.0)
    for number in range(MAX_ROWS + 5):
        counting.add(f"scan/{number}", "x")
    counting.add("scan/0", "x")
    rows = counting.take(1.0)
    assert len(rows) == MAX_ROWS + 1
    assert rows[0] == Row(*OTHERS, 5, 5.0, 5)
    assert sum(row.events for row in rows) == counting.total == MAX_ROWS + 6


def test_what_did_not_come_live_is_counted_and_has_no_rate() -> None:
    counting = Rates(0.0)
    counting.add("scan/a", "x", live=False)
    assert counting.take(1.0) == [Row("scan/a", "x", 1, None, 1)]
    counting.add("scan/a", "x")
    assert counting.take(2.0) == [Row("scan/a", "x", 2, 0.5, 1)]


def test_two_looks_at_the_same_moment_divide_by_something() -> None:
    counting = Rates(0.0)
    counting.add("scan/a", "x")
    assert counting.take(0.0)[0].per_s > 0


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=5), max_size=2 * WINDOW))
def test_every_event_is_counted_once(seconds: list[list[str]]) -> None:
    counting = Rates(0.0)
    fresh = 0
    rows: list[rates.Row] = []
    for number, types in enumerate(seconds, 1):
        for name in types:
            counting.add("scan/a", name)
        rows = counting.take(float(number))
        fresh += sum(row.fresh for row in rows)
    assert fresh == counting.total == sum(map(len, seconds)) == sum(row.events for row in rows)
