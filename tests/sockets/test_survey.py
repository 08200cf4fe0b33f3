"""The connections of an edge, added up a part at a time on a real loop."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.edge.survey import AGE_S, PART, Survey
from pipeline.edge.told import Figures
from pipeline.wire import ReadersSummary


class Browser:
    """A connection of which only the figures count."""

    def told(self, now: float) -> list[Figures]:
        return [Figures("scan/a", "native", 2, 30, 1.0, 0, 4, 10)]


@pytest.mark.asyncio
async def test_a_few_are_added_up_at_once_and_anew_each_time() -> None:
    members = [Browser() for _ in range(PART)]
    survey = Survey(lambda: members)
    assert survey.look(0.0) == ReadersSummary({"native": PART}, {10: PART}, 2 * PART, 30 * PART, 4, 0)
    members.clear()
    assert survey.look(0.0) == ReadersSummary()


@pytest.mark.asyncio
async def test_many_are_added_up_between_other_work() -> None:
    members = [Browser() for _ in range(3 * PART + 1)]
    survey = Survey(lambda: members)
    assert survey.look(0.0) == ReadersSummary()
    assert survey.look(0.0) == ReadersSummary(), "one at a time"
    turns = 0
    while not survey.look(0.0).wires:
        await asyncio.sleep(0)
        turns += 1
    assert turns == 3
    assert survey.look(0.0).messages == 2 * len(members)
    members.append(Browser())
    assert survey.look(AGE_S / 2).messages == 2 * len(members) - 2
    survey.look(AGE_S)
    for _ in range(4):
        await asyncio.sleep(0)
    assert survey.look(AGE_S).messages == 2 * len(members)
