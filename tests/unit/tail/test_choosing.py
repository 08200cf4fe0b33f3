"""Which events a tail prints."""

from __future__ import annotations

import json

import pytest

from pipeline.event import SEVERITIES
from pipeline.tail.choosing import Choice


def wants(choice: Choice, **event: object) -> bool:
    kind = str(event.get("type", "vulnerabilityFound"))
    return choice.wants(kind, json.dumps({"type": kind, **event}).encode())


@pytest.mark.parametrize("lowest", SEVERITIES)
@pytest.mark.parametrize("spelled", [str, str.lower, str.upper])
def test_a_severity_and_those_above_it(lowest: str, spelled: type[str]) -> None:
    choice = Choice(severity=spelled(lowest))
    wanted = [severity for severity in SEVERITIES if wants(choice, severity=severity)]
    assert wanted == list(SEVERITIES[: SEVERITIES.index(lowest) + 1])  # type: ignore[arg-type]  # one of them


@pytest.mark.parametrize("severity", [None, 3, "", "odd", ["Info"], {}])
def test_what_has_no_severity_that_is_known_is_not_judged_by_it(severity: object) -> None:
    assert wants(Choice(severity="Critical"), severity=severity)


def test_a_severity_in_any_case_is_judged() -> None:
    assert not wants(Choice(severity="High"), severity="low")


def test_an_integer_that_cannot_be_read_is_not_judged() -> None:
    assert Choice(severity="High").wants("a", b'{"type":"a","n":' + b"9" * 5_000 + b"}")


def test_types() -> None:
    assert Choice().everything
    for choice in (Choice(types=frozenset("a")), Choice(not_types=frozenset("a")), Choice(severity="Low")):
        assert not choice.everything
    assert [wants(Choice(types=frozenset("ab"), not_types=frozenset("b")), type=name) for name in "abc"] == [
        True,
        False,
        False,
    ]
