"""HeroForge's way, as the benchmark of the reference scan re-creates it, with exact times."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def heroforge(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("_heroforge")


def critical(event: bytes) -> bool:
    return event.isupper()


@pytest.mark.parametrize(
    ("events", "messages"),
    [
        ([], []),
        ([(0.0, b"a")], [(0.1, b"a")]),
        ([(0.0, b"a"), (0.05, b"b")], [(0.1, b"b")]),
        ([(0.0, b"a"), (0.1, b"b")], [(0.1, b"a"), (0.2, b"b")]),
        ([(0.0, b"a"), (0.05, b"X"), (0.06, b"b")], [(0.05, b"X"), (0.1, b"b")]),
        ([(0.0, b"X"), (0.001, b"Y")], [(0.0, b"X"), (0.001, b"Y")]),
    ],
)
def test_the_last_of_a_batch_goes_and_critical_ones_at_once(
    heroforge: ModuleType, events: list[tuple[float, bytes]], messages: list[tuple[float, bytes]]
) -> None:
    assert heroforge.limited(events, critical) == messages


def test_fifty_end_a_batch_and_past_the_limit_a_message_is_gone(heroforge: ModuleType) -> None:
    events = [(number / 1000, b"%d" % number) for number in range(120)]
    assert heroforge.limited(events, critical) == [(0.049, b"49"), (0.2, b"119")]


def test_a_client_that_stands_still_lags_behind_a_hundred_messages(heroforge: ModuleType) -> None:
    fast = [number / 250 for number in range(2500)]
    slow = [number / 10 for number in range(100)]
    assert heroforge.lags(fast, 5.0, 0.5) == 1
    assert heroforge.lags(fast, 2.0, 0.5) == 4
    assert heroforge.lags(fast, 2.0, 0.3) == 0
    assert heroforge.lags(slow, 2.0, 0.5) == 0
    assert heroforge.lags([], 2.0, 0.5) == 0
