"""What a tail says of what did not come in time."""

from __future__ import annotations

import pytest

from pipeline.tail.choosing import Choice
from pipeline.tail.options import PrintOptions, TailOptions, not_reached


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            TailOptions(
                timeout_s=0.5,
                scan_ids=("a", "b"),
                printing=PrintOptions(count=3, choice=Choice(types=frozenset(("y", "x")))),
            ),
            "1 of 3 events of type x or y of scan a or b came within 0.5 s",
        ),
        (
            TailOptions(timeout_s=2, printing=PrintOptions(count=3, style="frames")),
            "1 of 3 frames came within 2 s",
        ),
        (TailOptions(timeout_s=2, follow=False), "the head was not reached within 2 s"),
    ],
)
def test_it_names_what_was_wanted(options: TailOptions, expected: str) -> None:
    assert options.awaits
    assert not_reached(options, 1, []) == expected


def test_it_names_the_scans_that_still_run() -> None:
    options = TailOptions(timeout_s=2, scan_ids=("a",), until_complete=True)
    assert options.awaits
    assert not_reached(options, 7, ["scan/a", "scan/b"]) == "scan/a, scan/b did not end within 2 s"


def test_who_only_watches_awaits_nothing() -> None:
    assert not TailOptions(timeout_s=2).awaits
