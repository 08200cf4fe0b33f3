"""What follows what was seen: the vectors that both clients are held to, and as a property."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.frame import Position
from pipeline.read_position import ReadPosition
from pipeline.wire import BrowserBatch, BrowserLag, decode_browser_message
from tests.client.rules import RULES


@pytest.mark.parametrize("case", RULES["position"], ids=lambda case: case["name"])
def test_vector(case: dict[str, Any]) -> None:
    position = ReadPosition(Position.parse(case["since"]) if case["since"] else None)
    for step in case["steps"]:
        message = decode_browser_message(msgspec.json.encode(step["message"]))
        assert message is not None
        verdict = position.take(message)
        since = str(position.since) if position.since else None
        assert (verdict, since, position.due) == (step["verdict"], step["since"], step["due"]), step


def batch(first: int, last: int) -> BrowserBatch:
    events: tuple[dict[str, object], ...] = ({"type": "x"},) * (last - first + 1)
    return BrowserBatch(scan_id="demo", epoch=1, seq=(first, last), events=events)


def lag(first: int, last: int) -> BrowserLag:
    return BrowserLag(scan_id="demo", skipped=last - first + 1, from_=first, to=last, reason="too_slow")


@given(
    st.lists(st.tuples(st.sampled_from(["batch", "lag"]), st.integers(1, 30), st.integers(0, 8)), max_size=60)
)
def test_nothing_is_used_twice_or_out_of_order_or_passed_over_untold(
    messages: list[tuple[str, int, int]],
) -> None:
    position = ReadPosition(Position(1, 0))
    used: list[int] = []
    told: set[int] = set()
    for kind, first, more in messages:
        message = batch(first, first + more) if kind == "batch" else lag(first, first + more)
        if position.take(message) == "use":
            numbers = range(first, first + more + 1)
            if kind == "batch":
                used += numbers
            else:
                told.update(numbers)
    assert used == sorted(set(used))
    if used:
        assert set(range(1, used[-1] + 1)) - set(used) <= told
