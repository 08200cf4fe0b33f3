"""Findings: checked events, hosts announced once, and values of any kind taken for what they are."""

from __future__ import annotations

import json

import pytest

from pipeline.event import MAX_EVENT_BYTES
from pipeline.producer.adapters import Problem
from pipeline.producer.adapters.findings import (
    MAX_REMEMBERED_HOSTS,
    MAX_TEXT,
    Findings,
    moment,
    place_of,
    port_number,
    severity,
    text,
    texts,
)
from tests.unit.producer.adapters.reading import events_of


def test_a_scan_starts_with_its_first_event_and_ends() -> None:
    findings = Findings("tool", part=False)
    findings.host("10.0.0.5", "a.example", 7)
    findings.host("10.0.0.5", ts=8)
    findings.end()
    assert events_of(findings.take()) == [
        {"type": "scanStarted", "scanner": "tool", "ts": 7},
        {"type": "hostDiscovered", "ip": "10.0.0.5", "hostname": "a.example", "ts": 7},
        {"type": "scanCompleted", "total_hosts": 1},
    ]
    assert findings.take() == []


def test_nothing_found_is_a_whole_scan() -> None:
    findings = Findings("tool", part=False)
    findings.end()
    assert [event["type"] for event in events_of(findings.take())] == ["scanStarted", "scanCompleted"]


@pytest.mark.parametrize(("part", "fatal"), [(False, None), (True, False)])
def test_nothing_understood_is_an_error(part: bool, fatal: bool | None) -> None:
    findings = Findings("tool", part=part)
    findings.note("nonsense")
    findings.end()
    assert [item for item in findings.take() if isinstance(item, Problem)] == [Problem("line 1", "nonsense")]
    findings = Findings("tool", part=part)
    findings.good = 1
    findings.end("line 9")
    error = events_of(findings.take())[-1]
    assert error["message"] == "tool ended early: its output is cut off in line 9"
    assert error.get("fatal") == fatal


def test_what_no_event_can_say_is_a_problem_at_its_place() -> None:
    findings = Findings("tool", part=True)
    findings.where = "line 3"
    findings.send("portFound", ip="10.0.0.5", port=70_000, protocol="TCP", state="Open")
    findings.send("note", text="\ud800")
    findings.send("note", text="x" * MAX_EVENT_BYTES)
    out = findings.take()
    assert [item.where for item in out if isinstance(item, Problem)] == ["line 3"] * 3
    assert findings.bad == 3


def test_hosts_are_remembered_up_to_the_limit() -> None:
    findings = Findings("tool", part=True)
    for number in range(MAX_REMEMBERED_HOSTS + 1):
        findings.host(str(number))
    findings.host("1")
    findings.host("0")
    last = findings.take()[-1]
    assert isinstance(last, bytes)
    assert json.loads(last)["ip"] == "0"


def test_texts_are_bounded() -> None:
    assert text("x" * (MAX_TEXT + 1)) == "x" * MAX_TEXT
    assert [text(value) for value in (None, "", True, [], {}, 7, 1.5)] == [
        None,
        None,
        None,
        None,
        None,
        "7",
        "1.5",
    ]
    assert texts(["a", None, "b", "c"], 3) == ["a", "b"]
    assert texts("abc", 3) == texts(None, 3) == []


@pytest.mark.parametrize(
    ("value", "port"),
    [
        (0, 0),
        (65_535, 65_535),
        ("443", 443),
        (65_536, None),
        (-1, None),
        ("x", None),
        (True, None),
        (1.0, None),
        ("99999", None),
        ("\u0663", None),
        ("9" * 5000, None),
        (None, None),
    ],
)
def test_ports(value: object, port: int | None) -> None:
    assert port_number(value) == port


def test_severities() -> None:
    assert [severity(value) for value in ("critical", "HIGH", "unknown", "?", None)] == [
        *("Critical", "High", "Info", "Info", "Info"),
    ]


@pytest.mark.parametrize(
    ("value", "ts"),
    [
        ("1795732577", 1795732577),
        (1795732577, 1795732577),
        ("2026-11-26T22:36:14.123456789+01:00", "2026-11-26T22:36:14.123456789+01:00"),
        ("2026-11-26T22:36:14Z", "2026-11-26T22:36:14Z"),
        ("yesterday", None),
        ("9" * 12, None),
        (0, None),
        (True, None),
        (None, None),
        ("2026-11-26T22:36:14" + "0" * 100, None),
    ],
)
def test_times(value: object, ts: object) -> None:
    assert moment(value) == ts


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("https://a.example/x", ("a.example", 443, "https")),
        ("http://[::1]:8080", ("::1", 8080, "http")),
        ("10.0.0.5:22", ("10.0.0.5", 22, None)),
        ("a.example", ("a.example", None, None)),
        ("http://a:99999/", (None, None, None)),
        ("http://[::1", (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_places(address: object, place: tuple[object, ...]) -> None:
    assert place_of(address) == place
