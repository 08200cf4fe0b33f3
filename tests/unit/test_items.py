"""A batch gives its events with their positions."""

from __future__ import annotations

import pytest

from pipeline.frame import Position
from pipeline.items import Batch


def test_numbered() -> None:
    one, two = {"type": "a"}, {"type": "b"}
    batch = Batch(epoch=7, first=3, last=6, events=(one, two), offsets=(0, 3), merged=2, filtered=0)
    assert list(batch.numbered()) == [(Position(7, 3), one), (Position(7, 6), two)]


def test_offsets_that_do_not_fit_are_no_silent_loss() -> None:
    batch = Batch(epoch=7, first=3, last=4, events=({"type": "a"},), offsets=(0, 1), merged=1, filtered=0)
    with pytest.raises(ValueError, match="shorter"):
        list(batch.numbered())
