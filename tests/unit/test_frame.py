from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.frame import Frame, Position

COUNT = st.integers(0, 2**53)


@given(epoch=COUNT, seq=COUNT)
@settings(max_examples=50, deadline=None)
def test_a_position_is_read_as_it_is_written(epoch: int, seq: int) -> None:
    assert Position.parse(str(Position(epoch, seq))) == Position(epoch, seq)


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "1", "1:", ":1", "1:2:3", "1 :2", " 1:2", "1:2\n", "-1:2", "1:-2", "+1:2", "1.0:2", "1e3:2",
        "0x1:2", "a:b", "1_0:2", "\u0661:2", "\u00b2:2", "9007199254740993:1", "1:9007199254740993",
        "1" * 17 + ":1", "1:" + "9" * 5000, "start", "None:0",
    ],
)  # fmt: skip
def test_what_is_no_position(text: str) -> None:
    with pytest.raises(ValueError, match="is no position: epoch:seq, two whole numbers"):
        Position.parse(text)


def test_an_error_does_not_repeat_what_is_endless() -> None:
    with pytest.raises(ValueError, match="is no position") as caught:
        Position.parse("9" * 100_000)
    assert len(str(caught.value)) < 120


@given(text=st.text(alphabet="0123456789:-+. \u0661", max_size=12))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_position_or_is_refused(text: str) -> None:
    try:
        position = Position.parse(text)
    except ValueError:
        return
    assert all(0 <= part <= 2**53 for part in position)
    epoch, seq = text.split(":")
    assert position == (int(epoch), int(seq))


def test_an_older_life_is_before_a_later_one() -> None:
    assert Position(1, 900) < Position(2, 1)
    assert Position(2, 1) < Position(2, 2)


def test_a_frame_does_not_change() -> None:
    frame = Frame("scan/a", 1, 1, 1, (b"{}",))
    with pytest.raises(dataclasses.FrozenInstanceError):
        frame.last = 2
    assert (frame.merged, frame.at, frame.critical, frame.terminal, frame.state) == (0, (), False, False, ())
