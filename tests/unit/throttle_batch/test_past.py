"""Which past lives a search finds."""

from __future__ import annotations

import pytest

from pipeline.throttle_batch.past import PastRow, Wanted, past_life
from pipeline.throttle_batch.records import LifeState, ScanAbout, Totals
from pipeline.wire import PastRequest

STATE = LifeState(
    folded=9,
    created_ms=1_000,
    status="failed",
    error="out of memory",
    totals=Totals(hosts=3, vulnerabilities={"High": 2}),
    about=ScanAbout(
        name="Weekly Straße",
        targets=("10.0.0.0/8", "192.0.2.1"),
        labels={"site": "Berlin", "urgent": ""},
    ),
)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("", True),
        ("office-1", True),
        ("WEEKLY", True),
        ("strasse", True),
        ("192.0.2", True),
        ("site=berlin", True),
        ("urgent", True),
        ("urgent=", False),
        ("berlin weekly", True),
        ("berlin monthly", False),
        ("8192", False),
        ("failed", False),
    ],
)
def test_words_stand_in_id_name_targets_and_labels(search: str, found: bool) -> None:
    assert Wanted(PastRequest(1, search)).includes("scan/office-1", STATE) is found


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        (("192.0.2.1", "10.0.0.0/8"), True),
        (("10.0.0.0/8",), False),
        (("10.0.0.0/8", "192.0.2.1", "192.0.2.2"), False),
        ((), False),
    ],
)
def test_targets_are_the_same_in_any_order(targets: tuple[str, ...], found: bool) -> None:
    assert Wanted(PastRequest(1, targets=targets)).includes("scan/a", STATE) is found


def test_targets_that_are_not_all_known_are_like_no_others() -> None:
    state = LifeState(folded=1, created_ms=1, about=ScanAbout(targets=("a",), targets_left_out=1))
    assert not Wanted(PastRequest(1, targets=("a",))).includes("scan/a", state)


def test_reports_are_in_no_list() -> None:
    assert not Wanted(PastRequest(1)).includes("report/a", STATE)


def test_what_a_list_shows() -> None:
    row = PastRow("scan/a", 7, (9_000, 3), 9, 4, None, 120, STATE)
    life = past_life(row, STATE, present=True)
    assert (life.status, life.error, life.events, life.held_events) == ("failed", "out of memory", 9, 6)
    assert (life.started_ms, life.ended_ms, life.last_event_ms) == (1_000, None, 9_000)
    assert (life.totals.hosts, life.totals.vulnerabilities) == (3, {"High": 2})
