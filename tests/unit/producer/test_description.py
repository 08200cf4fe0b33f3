"""What a scan is found by: bounded, and put into its start."""

from __future__ import annotations

import json

import pytest

from pipeline.event import check_event
from pipeline.producer.description import MAX_LABELS, MAX_NAME, MAX_TARGET, MAX_TARGETS, Description


def test_it_is_put_into_the_start_and_nowhere_else() -> None:
    description = Description("Office", ["10.0.0.0/24", "a.example"], ["site=hq", "note=a=b"])
    for other in (b'{"type":"note","text":"scanStarted"}', b'{"type":"scanCompleted"}'):
        assert description.put(other) == other
    assert not description.used
    raw = description.put(b'{"type":"scanStarted","name":"other","scanner":"nmap","ts":7}')
    check_event(raw)
    assert description.used
    assert json.loads(raw) == {
        "type": "scanStarted",
        "name": "Office",
        "scanner": "nmap",
        "ts": 7,
        "targets": ["10.0.0.0/24", "a.example"],
        "labels": {"site": "hq", "note": "a=b"},
    }


def test_nothing_changes_nothing() -> None:
    description = Description(None, [], [])
    assert description.fields == {}
    assert description.put(b'{"type": "scanStarted"}') == b'{"type": "scanStarted"}'


@pytest.mark.parametrize(
    ("name", "targets", "labels", "reason"),
    [
        ("", [], [], "--name has 0 characters; it must have 1 to 200"),
        ("x" * (MAX_NAME + 1), [], [], "--name has 201 characters"),
        (None, ["x" * (MAX_TARGET + 1)], [], "--target has 256 characters"),
        (None, ["x"] * (MAX_TARGETS + 1), [], "101 targets exceed the limit of 100"),
        (None, [], ["x"], "--label 'x' is no KEY=VALUE"),
        (None, [], ["=x"], "--label '=x' is no KEY=VALUE"),
        (None, [], ["a=1", "a=2"], "--label 'a' is given twice"),
        (None, [], ["k" * 65 + "=x"], "the key of --label has 65 characters"),
        (None, [], ["k=" + "x" * 256], "--label k has 256 characters"),
        (None, [], [f"k{n}=x" for n in range(MAX_LABELS + 1)], "33 labels exceed the limit of 32"),
    ],
)
def test_beyond_a_bound_it_is_refused(
    name: str | None, targets: list[str], labels: list[str], reason: str
) -> None:
    with pytest.raises(ValueError, match=r"character|limit|KEY=VALUE|twice") as refused:
        Description(name, targets, labels)
    assert reason in str(refused.value)
