"""How a run begins and ends: once each, whatever its output says, with its exit status."""

from __future__ import annotations

import json

import pytest

from pipeline.event import Catalogue, check_event
from pipeline.producer.adapters import Problem
from pipeline.producer.outcome import Outcome

PORT = b'{"type":"note","text":"scanStarted"}'
COMPLETED = b'{"type":"scanCompleted","duration":4.1,"total_hosts":3}'
FAILED = b'{"type":"error","message":"cut off"}'
WARNING = b'{"type":"error","message":"slow","fatal":false}'


def ended(outcome: Outcome, status: int = 0, **more: str) -> dict[str, object] | None:
    raw = outcome.end(status, 1.23456, 7.5, **more)
    if raw is None:
        return None
    check_event(raw)
    found: dict[str, object] = json.loads(raw)
    return found


def test_the_outputs_own_start_and_end_are_held_back_and_the_rest_goes_on() -> None:
    problem = Problem("line 1", "x")
    outcome = Outcome("nmap", part=False)
    items = [b'{"type":"scanStarted"}', PORT, problem, WARNING, COMPLETED]
    assert outcome.pass_on(items) == [PORT, problem, WARNING]
    assert ended(outcome) == {
        "type": "scanCompleted",
        "duration": 4.1,
        "ts": 7.5,
        "exit_status": 0,
        "total_hosts": 3,
    }


def test_a_start() -> None:
    raw = Outcome("nmap", part=False).start({"args": "nmap a"}, 7.5)
    assert raw is not None
    assert json.loads(raw) == {"type": "scanStarted", "scanner": "nmap", "ts": 7.5, "args": "nmap a"}
    assert Outcome("nmap", part=True).start({}, 7.5) is None


@pytest.mark.parametrize(
    ("items", "status", "more", "message"),
    [
        ([COMPLETED], 2, {}, "nmap ended with exit status 2"),
        ([FAILED], 2, {}, "nmap ended with exit status 2: cut off"),
        ([FAILED], 0, {}, "cut off"),
        ([], -9, {"ended_by": "SIGKILL"}, "nmap was ended by SIGKILL"),
        ([COMPLETED], 0, {"stopped": "SIGINT"}, "nmap was told to stop (SIGINT)"),
        ([FAILED], -15, {"ended_by": "SIGTERM", "stopped": "SIGTERM"},
         "nmap was told to stop (SIGTERM): cut off"),
        ([], -9, {"ended_by": "SIGKILL", "why": "cannot tell what this is"}, "cannot tell what this is"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("part", [False, True])
def test_what_went_wrong_is_told(
    items: list[bytes | Problem], status: int, more: dict[str, str], message: str, part: bool
) -> None:
    outcome = Outcome("nmap", part=part)
    outcome.pass_on(items)
    event = ended(outcome, status, **more)
    assert event is not None
    assert (event["type"], event["message"]) == ("error", message)
    assert event.get("exit_status", event.get("exit_signal")) == (status if status >= 0 else more["ended_by"])
    raw = json.dumps(event).encode()
    assert Catalogue().treatment(check_event(raw), raw).terminal is not part


def test_a_part_that_did_well_has_no_end() -> None:
    outcome = Outcome("nmap", part=True)
    outcome.pass_on([COMPLETED])
    assert ended(outcome) is None
    assert not outcome.failed


def test_a_message_of_any_length_fits() -> None:
    outcome = Outcome("nmap", part=False)
    outcome.pass_on([json.dumps({"type": "error", "message": "\U0001f4a3" * 10_000}).encode()])
    event = ended(outcome, 1)
    assert event is not None
    assert len(str(event["message"])) == 4_096
