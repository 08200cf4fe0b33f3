"""What a tail says of what did not come in time."""

from __future__ import annotations

import pytest

from pipeline.tail.choosing import Choice
from pipeline.tail.options import PrintOptions, TailOptions, not_reached, waited_for


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


@pytest.mark.parametrize(
    ("key", "wants_key", "why"),
    [
        ("", False, ""),
        ("", True, "; if it runs, it lets in nobody without a key: give --key-file, and its public key"),
        ("K", True, "; if it runs, it does not let in this key: K, or has another server key than was given"),
    ],
)
def test_who_is_not_answered_is_told_what_keys_may_have_to_do_with_it(
    key: str, wants_key: bool, why: str
) -> None:
    said = waited_for("/run/x", answered=False, unknown=(), key=key, wants_key=wants_key)
    assert said == f"waiting: no pipeline answers in /run/x{why}"


def test_what_is_waited_for_once_it_answers() -> None:
    assert waited_for("/run/x", answered=True, unknown=()) is None
    assert waited_for("/run/x", answered=True, unknown={"b", "a"}, wants_key=True) == (
        "waiting: no such scan yet: a, b"
    )
