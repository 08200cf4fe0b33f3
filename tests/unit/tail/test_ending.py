"""When a scan has ended, and how."""

from __future__ import annotations

import json

import pytest

from pipeline.errors import MessageMalformed
from pipeline.frame import Position
from pipeline.tail.ending import Endings


def state(status: str, error: str | None = None) -> bytes:
    return json.dumps({"status": status, "error": error, "hosts": []}).encode()


def test_it_has_ended_when_everything_before_is_printed() -> None:
    endings = Endings(["scan/a"])
    at: dict[str, Position | None] = {"scan/a": None}
    assert not endings.look(at.get)
    endings.tell("scan/a", Position(5, 9), state("completed"))
    assert not endings.look(at.get)
    at["scan/a"] = Position(5, 8)
    assert not endings.look(at.get)
    assert endings.waiting == ["scan/a"]
    at["scan/a"] = Position(5, 9)
    assert endings.look(at.get)
    assert endings.waiting == []
    assert endings.failures() == []


@pytest.mark.parametrize("status", ["running", "stalled", "orphaned"])
def test_what_goes_on_has_not_ended(status: str) -> None:
    endings = Endings(["scan/a"])
    endings.tell("scan/a", Position(5, 9), state(status))
    assert not endings.look({"scan/a": Position(5, 9)}.get)


def test_the_first_end_counts_and_a_later_life_does_not_undo_it() -> None:
    endings = Endings(["scan/a"])
    endings.tell("scan/a", Position(5, 9), state("failed", "no route"))
    endings.tell("scan/a", Position(6, 1), state("running"))
    endings.tell("scan/a", Position(6, 2), state("completed"))
    assert endings.look({"scan/a": Position(6, 1)}.get)
    assert endings.failures() == ["scan/a failed: no route"]


def test_all_are_awaited_and_each_failure_is_told() -> None:
    endings = Endings(["scan/a", "scan/b", "scan/c"])
    there = {channel: Position(5, 9) for channel in ("scan/a", "scan/b", "scan/c")}
    endings.tell("scan/a", Position(5, 1), state("failed"))
    endings.tell("scan/b", Position(5, 1), state("completed"))
    assert not endings.look(there.get)
    assert endings.waiting == ["scan/c"]
    endings.tell("scan/c", Position(5, 1), state("failed", "x"))
    assert endings.look(there.get)
    assert endings.failures() == ["scan/a failed", "scan/c failed: x"]


def test_what_is_no_state_is_refused() -> None:
    for body in (b"", b"[]", b"{}", b'{"status":1}', b"[" * 100_000):
        with pytest.raises(MessageMalformed):
            Endings(["scan/a"]).tell("scan/a", Position(5, 9), body)
