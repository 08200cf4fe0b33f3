"""Which event tells which hook."""

from __future__ import annotations

import json

import pytest

from pipeline.notify.config import Hook, Rule
from pipeline.notify.rules import MAX_ENTRIES, MAX_TEXT, About, Rules, Told, Watch, about

STARTED = b'{"type":"scanStarted","name":"Office","targets":"10.0.0.0/8","labels":{"team":"red"}}'
EVENTS: dict[Rule, bytes] = {
    "completed": b'{"type":"scanCompleted"}',
    "failed": b'{"type":"error","message":"no route"}',
    "stalled": b'{"type":"scanStalled","silent_s":60}',
    "resumed": b'{"type":"scanResumed"}',
    "orphaned": b'{"type":"scanOrphaned"}',
    "critical_finding": b'{"type":"vulnerabilityFound","ip":"10.0.0.1","severity":"Critical","title":"t"}',
}
ALL: list[Rule] = list(EVENTS)


def hook(
    *on: Rule, scans: tuple[str, ...] = (), labels: dict[str, str] | None = None, severity: str = "Critical"
) -> Hook:
    return Hook(
        url="http://h", on=list(on), scans=list(scans), labels=labels or {}, min_severity=severity  # type: ignore[arg-type]
    )  # fmt: skip


def finding(severity: str, **more: object) -> bytes:
    return json.dumps(
        {"type": "vulnerabilityFound", "ip": "10.0.0.1", "severity": severity, "title": "t", **more}
    ).encode()


def look(
    hooks: dict[str, Hook], *raws: bytes, scan_id: str = "office", watch: Watch | None = None
) -> list[Told]:
    return Rules(hooks).look(scan_id, list(raws), watch or Watch())


@pytest.mark.parametrize("rule", ALL)
def test_each_event_tells_those_who_want_its_rule(rule: Rule) -> None:
    others: list[Rule] = [other for other in ALL if other != rule]
    found = look({"a": hook(rule), "b": hook(*others), "c": hook(*ALL)}, STARTED, EVENTS[rule])
    assert found == [Told("a", rule, 1), Told("c", rule, 1)]


def test_of_a_scan_that_only_tries_the_way_nobody_is_told() -> None:
    canary = b'{"type":"scanStarted","labels":{"scanstream.canary":"doctor","team":"red"}}'
    assert look({"a": hook(*ALL), "b": hook(*ALL, labels={"team": "red"})}, canary, *EVENTS.values()) == []


def test_no_other_event_tells_anybody() -> None:
    events = [
        STARTED,
        b'{"type":"error","message":"one host","fatal":false}',
        b'{"type":"phaseStarted","phase":"x"}',
        b'{"type":"reportCompleted","report_id":"r"}',
        b'{"type":"vpnError","config_name":"x","message":"m"}',
        b'{"type":"custom","severity":"Critical","fatal":7}',
    ]
    assert look({"a": hook(*ALL)}, *events) == []


def test_the_first_grave_finding_only_and_once_for_each_hook() -> None:
    hooks = {"high": hook("critical_finding", severity="High"), "critical": hook("critical_finding")}
    watch = Watch()
    rules = Rules(hooks)
    assert rules.look("s", [finding("Medium"), finding("High"), finding("High")], watch) == [
        Told("high", "critical_finding", 1)
    ]
    assert rules.look("s", [finding("High"), finding("Critical")], watch) == [
        Told("critical", "critical_finding", 1)
    ]
    assert rules.look("s", [finding("Critical")], watch) == []
    assert rules.look("s", [finding("Critical")], Watch()) != []


@pytest.mark.parametrize("least", ["Critical", "High", "Medium", "Low", "Info"])
def test_how_grave_is_enough(least: str) -> None:
    ranks = ["Critical", "High", "Medium", "Low", "Info"]
    for severity in ranks:
        found = look({"a": hook("critical_finding", severity=least)}, finding(severity))
        assert bool(found) == (ranks.index(severity) <= ranks.index(least))


def test_what_stalls_again_is_told_again() -> None:
    found = look({"a": hook("stalled", "resumed")}, *[EVENTS["stalled"], EVENTS["resumed"]] * 2)
    assert [told.rule for told in found] == ["stalled", "resumed", "stalled", "resumed"]


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [((), True), (("office",), True), (("off*", "x"), True), (("x", "?ffice"), True), (("Office",), False)],
)
def test_the_scans_a_hook_wants(patterns: tuple[str, ...], wanted: bool) -> None:
    assert bool(look({"a": hook("completed", scans=patterns)}, EVENTS["completed"])) == wanted


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ({"team": "red"}, True),
        ({"team": "red", "x": ""}, False),
        ({"team": "blue"}, False),
        ({"Team": "red"}, False),
    ],
)
def test_the_labels_a_hook_wants(labels: dict[str, str], wanted: bool) -> None:
    hooks = {"a": hook("completed", labels=labels)}
    assert bool(look(hooks, STARTED, EVENTS["completed"])) == wanted
    assert look(hooks, EVENTS["completed"]) == []


def test_unusual_fields_of_an_event_do_not_hide_it() -> None:
    odd = finding("Critical", name=5, targets={"a": 1}, labels=7, fatal="no")
    assert look({"a": hook("critical_finding")}, odd) == [Told("a", "critical_finding", 0)]


def test_a_type_that_is_spelled_otherwise_is_the_same() -> None:
    odd = finding("Critical").replace(b"vulnerabilityFound", b"vulnerabilityF\\u006fund")
    rules = Rules({"a": hook("critical_finding")})
    body = b"[" + odd + b"]"
    assert rules.concern(body, critical=False, watch=Watch())
    assert rules.look("s", [odd], Watch()) == [Told("a", "critical_finding", 0)]


def test_what_need_not_be_looked_at() -> None:
    rules = Rules({"a": hook("critical_finding"), "b": hook("completed")})
    grave = b"[" + finding("Critical") + b"]"
    assert not rules.concern(b'[{"type":"portFound"}]', critical=False, watch=Watch())
    assert rules.concern(b'[{"type":"portFound"}]', critical=True, watch=Watch())
    assert rules.concern(grave, critical=False, watch=Watch())
    assert not rules.concern(grave, critical=False, watch=Watch(told={"a"}))
    assert not Rules({"b": hook("completed")}).concern(grave, critical=False, watch=Watch())


def test_what_a_scan_says_of_itself_is_cut() -> None:
    long = "x" * 1000
    found = about(long, [long] * 100, {f"{number}{long}": long for number in range(100)})
    assert len(found.name) == MAX_TEXT
    assert found.targets == ("x" * MAX_TEXT,) * MAX_ENTRIES
    assert len(found.labels) == MAX_ENTRIES
    assert {len(text) for pair in found.labels.items() for text in pair} == {MAX_TEXT}
    assert about(None, "10.0.0.1", ["a", "b"]) == About("", ("10.0.0.1",), {"a": "", "b": ""})
    assert about(None, None, None) == About()
