"""Actions are values: equal when they say the same, and never changed."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline.edge.action import Fetch, Say


def test_they_are_values() -> None:
    assert Fetch(1, 2) == Fetch(1, 2) != Fetch(1, 3)
    assert Say(b"{}") == Say(b"{}")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Fetch(1, 2).first = 3  # type: ignore[misc]
