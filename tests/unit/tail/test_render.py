"""What stands in a line: the fields that matter, nothing that drives a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.event import DEFAULT_CATALOGUE, EventClass
from pipeline.tail.render import (
    MAX_VALUE_CHARACTERS,
    clock,
    delta,
    event_json,
    event_line,
    for_terminal,
    frame_line,
    moment_of,
    passing,
    template_line,
)
from pipeline.tail.template import Template

ARRIVED = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)


def line(event: dict[str, object], channel: str = "scan/demo", *, colour: bool = False) -> str:
    return event_line(passing(channel, 5, 42, msgspec.json.encode(event)), ARRIVED, colour=colour)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"type": "scanStarted"}, "scanStarted"),
        (
            {"type": "hostDiscovered", "ip": "10.0.0.5", "hostname": "a.test"},
            "hostDiscovered 10.0.0.5 a.test",
        ),
        (
            {"type": "portFound", "ip": "10.0.0.5", "port": 443, "protocol": "TCP", "state": "Open"},
            "portFound 10.0.0.5:443/TCP Open",
        ),
        (
            {"type": "serviceDetected", "ip": "fe80::1", "port": 22, "service_name": "ssh", "version": None},
            "serviceDetected [fe80::1]:22 ssh",
        ),
        (
            {"type": "vulnerabilityFound", "ip": "10.0.0.5", "severity": "High", "title": "Weak key"},
            "vulnerabilityFound 10.0.0.5 High Weak key",
        ),
        (
            {"type": "scanProgress", "phase": "dns", "progress": 12.5, "message": "3 of 24"},
            "scanProgress dns progress=12.5 3 of 24",
        ),
        ({"type": "custom", "a": {"b": [1, None]}, "ok": True}, 'custom a={"b":[1,null]} ok=true'),
        ({"type": "custom", "port": 5, "scan_id": "demo"}, "custom port=5"),
    ],
)
def test_the_fields_that_matter(event: dict[str, object], expected: str) -> None:
    assert line(event) == f"07:08:09.123 demo 42 {expected}"


def test_a_report_is_told_from_a_scan_of_the_same_id() -> None:
    event = {"type": "reportPhase", "report_id": "demo", "phase": "x", "progress": 0.5}
    assert line(event, "report/demo").startswith("07:08:09.123 report/demo 42 ")


@pytest.mark.parametrize(
    ("ts", "shown"),
    [
        (None, "07:08:09.123"),
        ("2024-01-02T03:04:05.678Z", "03:04:05.678"),
        ("2024-01-02T03:04:05+02:00", "01:04:05.000"),
        ("2024-01-02T03:04:05", "03:04:05.000"),
        (1700000000.25, "22:13:20.250"),
        (1700000000, "22:13:20.000"),
        ("yesterday", "07:08:09.123"),
        (True, "07:08:09.123"),
        (1e300, "07:08:09.123"),
        (float("nan"), "07:08:09.123"),
        (10**400, "07:08:09.123"),
        ("0001-01-01T00:00:00+23:00", "07:08:09.123"),
        ([], "07:08:09.123"),
    ],
)
def test_clock(ts: object, shown: str) -> None:
    assert clock(ts, ARRIVED) == shown


def test_what_did_not_come_live_has_no_time_but_its_own() -> None:
    event = passing("scan/demo", 5, 42, b'{"type":"a"}')
    assert event_line(event, ARRIVED, live=False) == "-            demo 42 a"
    assert template_line(event, Template("{time}|{seq}"), ARRIVED, live=False) == "-|42"
    assert moment_of(event, ARRIVED, live=False) is None
    assert delta(None, ARRIVED) == "-"
    assert clock(1700000000.25, ARRIVED, live=False) == "22:13:20.250"
    assert frame_line("scan/demo", 7, 3, 3, 0, 90, ARRIVED, live=False, mark="history") == (
        "-            demo 7:3-3 events=1 merged=0 bytes=90 history"
    )


def test_the_clock_is_in_the_zone_of_who_reads() -> None:
    arrived = ARRIVED.astimezone(timezone(timedelta(hours=-3)))
    assert clock("2024-01-02T03:04:05Z", arrived) == "00:04:05.000"
    assert clock(None, arrived) == "04:08:09.123"


def test_a_long_value_is_cut() -> None:
    found = line({"type": "custom", "message": "x" * 10_000, "last": 1})
    assert f" {'x' * MAX_VALUE_CHARACTERS}… last=1" in found


def test_an_event_that_python_cannot_read_whole_is_still_a_line() -> None:
    raw = b'{"type":"custom","n":' + b"9" * 5_000 + b"}"
    assert event_line(passing("scan/demo", 1, 1, raw), ARRIVED) == "07:08:09.123 demo 1 custom"


HOSTILE = "a\x1b[2J\x9b31m\r\n\x07\u202e\u2028\x7f"


def test_a_hostile_value_neither_drives_a_terminal_nor_forges_a_line() -> None:
    for event in (
        {"type": "custom", "message": HOSTILE},
        {"type": HOSTILE, "message": "x"},
        {"type": "custom", HOSTILE: 1},
        {"type": "custom", "deep": {HOSTILE: [HOSTILE]}},
        {"type": "hostDiscovered", "ip": HOSTILE},
    ):
        assert line(event).isprintable()


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text())))
def test_no_field_makes_a_line_unprintable(fields: dict[str, object]) -> None:
    fields.pop("scan_id", None)
    fields.pop("report_id", None)
    fields.pop("ts", None)
    assert line({**fields, "type": "custom"}).isprintable()


@given(st.dictionaries(st.text(), st.text() | st.none() | st.lists(st.text())))
def test_json_for_a_terminal_says_the_same_in_printable_ascii(fields: dict[str, object]) -> None:
    for indent in (None, 2):
        shown = for_terminal(json.dumps(fields, ensure_ascii=False, indent=indent))
        assert shown.isascii()
        assert shown.isprintable()
        assert json.loads(shown) == fields


def test_json_holds_the_event_as_it_came() -> None:
    raw = b'{"type":"custom", "x": 1.00}'
    assert event_json(passing("scan/demo", 5, 42, raw)) == (
        b'{"channel":"scan/demo","epoch":5,"seq":42,"event":{"type":"custom", "x": 1.00}}'
    )


def test_colour_by_class() -> None:
    assert line({"type": "scanStarted"}, colour=True).startswith("\x1b[1;31m")
    assert line({"type": "scanProgress", "phase": "x", "progress": 1}, colour=True).startswith("\x1b[2m")
    assert line({"type": "custom"}, colour=True) == line({"type": "custom"})
    assert line({"type": "scanStarted"}, colour=True).endswith("\x1b[0m")


def test_the_class_is_that_of_the_catalogue() -> None:
    assert DEFAULT_CATALOGUE["scanStarted"].event_class is EventClass.CRITICAL
    assert passing("scan/x", 1, 1, b'{"type":"scanStarted"}').event_class is EventClass.CRITICAL
    assert passing("scan/x", 1, 1, b'{"type":"other"}').event_class is EventClass.FACT


def test_frame_line() -> None:
    assert frame_line("scan/demo", 7, 3, 12, 4, 812, ARRIVED, mark="") == (
        "07:08:09.123 demo 7:3-12 events=6 merged=4 bytes=812"
    )
    assert frame_line("scan/demo", 7, 3, 3, 0, 90, ARRIVED, mark="critical").endswith(" bytes=90 critical")


def of_template(text: str, event: dict[str, object], before: str = "") -> str:
    found = passing("scan/demo", 5, 42, msgspec.json.encode(event))
    return template_line(found, Template(text), ARRIVED, before=before)


def test_a_template_makes_a_line() -> None:
    event = {"type": "custom", "ip": "10.0.0.5", "port": 443, "ok": True, "at": 1.5}
    assert (
        of_template("{time} {scan} {ip}:{port} {ok} {at} {no}", event)
        == "07:08:09.123 demo 10.0.0.5:443 true 1.5 -"
    )
    assert of_template("{type}", event, before="+0.100") == "+0.100 custom"


def test_what_a_template_shows_is_escaped_and_cut() -> None:
    shown = of_template("{x}|{a}", {"type": "t", "x": "\x1b[2J\n\u202e", "a": {"b": "\x9b" * 500}})
    assert shown.isprintable()
    assert shown.startswith("\\x1b[2J\\n\\u202e|")
    assert shown.endswith("…")


@pytest.mark.parametrize(
    ("ts", "seconds"),
    [
        (None, 0.0),
        (1700000000.25, -1.0),
        ("2024-05-06T07:08:10.623456Z", 1.5),
        ("2024-05-06T07:08:10.123456", 1.0),
    ],
)
def test_the_time_since_the_line_before(ts: object, seconds: float) -> None:
    moment = moment_of(passing("scan/demo", 5, 42, msgspec.json.encode({"type": "t", "ts": ts})), ARRIVED)
    if seconds >= 0:
        assert delta(moment, ARRIVED) == f"{seconds:+.3f}"
    else:
        assert delta(moment, ARRIVED).startswith("-")
    assert delta(moment, None) == "+0.000"


@pytest.mark.parametrize(
    ("severity", "start"),
    [("Critical", "\x1b[1;35m"), ("High", "\x1b[35m"), ("Medium", "\x1b[33m"), ("Low", "")],
)
def test_grave_findings_stand_out(severity: str, start: str) -> None:
    shown = line({"type": "vulnerabilityFound", "ip": "a", "severity": severity, "title": "x"}, colour=True)
    assert shown.startswith(f"{start}07:")
