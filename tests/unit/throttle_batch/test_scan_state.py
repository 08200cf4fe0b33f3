from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.event import DEFAULT_CATALOGUE, FACT, SEVERITIES, read_event
from pipeline.event_json import encode_event
from pipeline.producer.simulate import heroforge
from pipeline.throttle_batch.records import LifeState, ScanAbout
from pipeline.throttle_batch.scan_state import (
    MAX_LABELS,
    MAX_OTHER_FINDINGS_SHOWN,
    MAX_TARGETS,
    MAX_VULNERABILITIES_SHOWN,
)
from tests.unit.throttle_batch.conftest import TERMINAL, Core, fact, treatment


def fold(core: Core, *events: bytes):
    state = core.scan_state.ScanState()
    for raw in events:
        state.fold(read_event(raw), treatment(raw))
    return state


def progress(value: float, phase: str = "p") -> bytes:
    return encode_event({"type": "scanProgress", "phase": phase, "progress": value})


def phase(name: str, value: float | None = None) -> bytes:
    return encode_event({"type": "phaseStarted", "phase": name, "progress": value})


def report(value: float) -> bytes:
    return encode_event({"type": "reportPhase", "report_id": "r", "phase": "p", "progress": value})


FAILED = b'{"type":"error","message":"m"}'
WARNING = b'{"type":"error","message":"m","fatal":false}'
REPORT_FAILED = b'{"type":"reportFailed","report_id":"r","error":"e"}'
STALLED = b'{"type":"scanStalled","silent_s":300.0}'
RESUMED = b'{"type":"scanResumed"}'
ORPHANED = b'{"type":"scanOrphaned"}'
REPORT_DONE = b'{"type":"reportCompleted","report_id":"r"}'

STATES = {
    "nothing yet": ([], ("running", None, None)),
    "a phase without progress": ([phase("p")], ("running", "p", None)),
    "a phase with progress": ([phase("p", 3.0)], ("running", "p", 3.0)),
    "progress": ([progress(1.0), progress(40.0)], ("running", "p", 40.0)),
    "never back within a phase": ([progress(40.0), progress(1.0)], ("running", "p", 40.0)),
    "back with another phase": ([progress(40.0), progress(1.0, "q")], ("running", "q", 1.0)),
    "a new phase that names none keeps it": ([progress(40.0), phase("q")], ("running", "q", 40.0)),
    "below 0 is not shown": ([progress(40.0), progress(-1.0)], ("running", "p", 40.0)),
    "above 100 is not shown": ([progress(40.0), progress(101.0)], ("running", "p", 40.0)),
    "nor when nothing is known": ([progress(1e300)], ("running", "p", None)),
    "100 only once completed": ([progress(100.0)], ("running", "p", 99.9)),
    "completed": ([progress(40.0), TERMINAL], ("completed", "p", 100.0)),
    "completed for good": ([TERMINAL, progress(40.0, "q")], ("completed", "q", 100.0)),
    "failed keeps its progress": ([progress(40.0), FAILED], ("failed", "p", 40.0)),
    "a warning ends nothing": ([progress(40.0), WARNING], ("running", "p", 40.0)),
    "a report counts from 0 to 1": ([report(0.25)], ("running", "p", 25.0)),
    "a report is done": ([report(0.25), REPORT_DONE], ("completed", "p", 100.0)),
    "a report fails": ([report(0.25), REPORT_FAILED], ("failed", "p", 25.0)),
    "stalled": ([progress(40.0), STALLED], ("stalled", "p", 40.0)),
    "it goes on": ([STALLED, RESUMED], ("running", None, None)),
    "any event says that it does": ([STALLED, fact()], ("running", None, None)),
    "stalled, then orphaned": ([STALLED, ORPHANED], ("orphaned", None, None)),
    "orphaned is more than stalled": ([ORPHANED, STALLED], ("orphaned", None, None)),
    "an orphan goes on": ([ORPHANED, RESUMED, progress(40.0)], ("running", "p", 40.0)),
    "an orphan ends": ([ORPHANED, FAILED], ("failed", None, None)),
    "what has ended does not stall": ([TERMINAL, STALLED, ORPHANED, fact()], ("completed", None, 100.0)),
    "a long phase is cut": ([phase("x" * 5_000)], ("running", "x" * 200, None)),
    "and known again": (
        [progress(40.0, "x" * 5_000), progress(1.0, "x" * 5_000)],
        ("running", "x" * 200, 40.0),
    ),
}


def check_states(core: Core) -> None:
    for name, (events, expected) in STATES.items():
        state = fold(core, *events)
        assert (state.status, state.phase, state.progress.percent) == expected, name


@pytest.mark.parametrize("name", STATES)
def test_state(core: Core, name: str) -> None:
    events, expected = STATES[name]
    state = fold(core, *events)
    assert (state.status, state.phase, state.progress.percent) == expected


def test_counts_stay_bounded(core: Core) -> None:
    state = fold(core, *[b'{"type":"mine-%d"}' % number for number in range(1_000)], progress(1.0), TERMINAL)
    assert state.counts == {"other": 1_000, "scanProgress": 1, "scanCompleted": 1}


@given(types=st.lists(st.one_of(st.sampled_from(["note", "x", "y"]), st.text(max_size=5)), max_size=30))
@settings(max_examples=30, deadline=None)
def test_every_event_is_counted_once(core: Core, types: list[str]) -> None:
    events = [encode_event({"type": name}) for name in types if name and name not in DEFAULT_CATALOGUE]
    state = fold(core, *events, fact(1))
    assert state.counts == {"other": len(events) + 1}


def raw(kind: str, **fields: object) -> bytes:
    return encode_event({"type": kind, **fields})


def vulnerability(number: int, severity: str = "High") -> bytes:
    return raw("vulnerabilityFound", ip="10.0.0.5", severity=severity, title=f"t{number}")


def test_findings_are_counted_as_things(core: Core) -> None:
    state = fold(
        core,
        raw("hostDiscovered", ip="10.0.0.5", hostname="web"),
        raw("portFound", ip="10.0.0.5", port=443, protocol="TCP", state="Open"),
        raw("portFound", ip="10.0.0.5", port=443, protocol="TCP", state="Open"),
        raw("portFound", ip="10.0.0.5", port=80, protocol="TCP", state="Closed"),
        raw("serviceDetected", ip="10.0.0.5", port=443, service_name="https", version="nginx"),
        raw("enumerationStarted", ip="10.0.0.6", port=22),
        raw("enumerationFinding", ip="10.0.0.7", port=22, finding_type="user", value="root"),
        raw("enumerationCompleted", ip="10.0.0.8", port=22),
        vulnerability(1),
        vulnerability(1, "Low"),
    )
    totals = state.totals()
    assert (totals.hosts, totals.open_ports, totals.services, totals.exact) == (4, 1, 1, True)
    assert totals.vulnerabilities == {**dict.fromkeys(SEVERITIES, 0), "Low": 1}


def test_the_latest_findings_are_kept_in_order(core: Core) -> None:
    state = core.scan_state.ScanState()
    events = [
        vulnerability(1),
        raw("enumerationFinding", ip="10.0.0.5", port=22, finding_type="user", value="root"),
        raw("dnsRecordFound", domain="example.test", record_type="MX", value="10 mail"),
        vulnerability(1),
        raw("subdomainFound", subdomain="www.example.test"),
        raw("vulnerabilityFound", ip="::1", severity="Info", title="t" * 999, cve_id="CVE-1"),
    ]
    for seq, event in enumerate(events, 11):
        state.fold(read_event(event), treatment(event), seq)
    assert [
        tuple(getattr(finding, name) for name in finding.__struct_fields__) for finding in state.findings()
    ] == [
        (11, "vulnerabilityFound", "High", "10.0.0.5", None, "t1", ""),
        (12, "enumerationFinding", "", "10.0.0.5", 22, "root", "user"),
        (13, "dnsRecordFound", "", "", None, "example.test", "MX 10 mail"),
        (15, "subdomainFound", "", "", None, "www.example.test", ""),
        (16, "vulnerabilityFound", "Info", "::1", None, "t" * 300, "CVE-1"),
    ]


def test_the_latest_findings_are_bounded(core: Core) -> None:
    events = [
        event
        for number in range(1_000)
        for event in (vulnerability(number), raw("subdomainFound", subdomain=f"{number}.example.test"))
    ]
    state = fold(core, *events)
    kinds = [finding.type for finding in state.findings()]
    assert kinds.count("vulnerabilityFound") == MAX_VULNERABILITIES_SHOWN
    assert kinds.count("subdomainFound") == MAX_OTHER_FINDINGS_SHOWN
    assert state.findings()[-1].title == "999.example.test"


ABOUT = {
    "nothing": ({}, ScanAbout()),
    "everything": (
        {"name": "n", "targets": ["a", "b"], "labels": {"site": "x"}, "owner": "o"},
        ScanAbout(name="n", targets=("a", "b"), labels={"site": "x"}, owner="o"),
    ),
    "one target": ({"targets": "10.0.0.0/24"}, ScanAbout(targets=("10.0.0.0/24",))),
    "labels that are words": ({"labels": ["a", "b"]}, ScanAbout(labels={"a": "", "b": ""})),
    "too much of it": (
        {
            "name": "n" * 9_999,
            "targets": [str(number) for number in range(100)],
            "labels": {str(number): "v" * 999 for number in range(100)},
        },
        ScanAbout(
            name="n" * 300,
            targets=tuple(str(number) for number in range(MAX_TARGETS)),
            targets_left_out=100 - MAX_TARGETS,
            labels={str(number): "v" * 300 for number in range(MAX_LABELS)},
        ),
    ),
}


@pytest.mark.parametrize("name", ABOUT)
def test_what_a_scan_says_of_itself(core: Core, name: str) -> None:
    fields, expected = ABOUT[name]
    assert fold(core, raw("scanStarted", **fields)).about == expected


def test_why_it_failed_and_what_is_lost(core: Core) -> None:
    state = fold(core, raw("lost", count=3, reason="x"), raw("lost", count=-9, reason="x"), FAILED)
    assert (state.error, state.lost) == ("m", 3)
    assert fold(core, REPORT_FAILED).error == "e"
    assert fold(core, WARNING).error == ""


SAID = raw("scanProgress", phase="p", progress=1, message="3 of 9")


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ((SAID, fact()), "3 of 9"),
        ((raw("scanProgress", phase="p", progress=1, message="m" * 1_000),), "m" * 300),
        ((SAID, raw("scanProgress", phase="p", progress=2)), ""),
        ((SAID, raw("phaseStarted", phase="p", progress=2)), ""),
        ((SAID, TERMINAL), ""),
        ((SAID, FAILED), ""),
    ],
)
def test_the_last_message_holds_until_something_else_is_said(
    core: Core, events: tuple[bytes, ...], message: str
) -> None:
    assert fold(core, *events).message == message


def life_state(state, folded: int) -> LifeState:
    """The small part of a checkpoint, as `Channel` writes it."""
    return LifeState(
        folded=folded,
        created_ms=0,
        status=state.status,
        phase=state.phase,
        progress=state.progress.percent,
        counts=state.counts,
        totals=state.totals(),
        about=state.about,
        error=state.error,
        message=state.message,
        lost=state.lost,
    )


def everything(state) -> tuple[object, ...]:
    return life_state(state, 0), state.record(), state.findings(), state.hosts.page(0, 1_000, 1 << 30)


REFERENCE = [raw for _, raw in heroforge(3, "demo")]
ANY_EVENT = st.one_of(
    st.sampled_from(REFERENCE),
    st.sampled_from([STALLED, RESUMED, ORPHANED, FAILED, TERMINAL, REPORT_DONE, WARNING, fact()]),
    st.builds(progress, st.floats(allow_nan=False, allow_infinity=False), st.sampled_from("pqr")),
    st.builds(report, st.floats(-1, 2)),
    st.builds(vulnerability, st.integers(0, 3), st.sampled_from(SEVERITIES)),
    st.just(raw("scanStarted", name="n", targets=["a"], labels={"b": "c"}, owner="o")),
    st.just(raw("lost", count=2, reason="x")),
    st.just(SAID),
)


def check_restart(core: Core, events: list[bytes], cut: int) -> None:
    """Folding all is the same as folding some, keeping it, and folding the rest after a restart."""
    whole, first, second = (core.scan_state.ScanState(3, 200) for _ in range(3))
    for seq, event in enumerate(events, 1):
        whole.fold(read_event(event), treatment(event), seq, seq / 4)
        if seq <= cut:
            first.fold(read_event(event), treatment(event), seq, seq / 4)
    second.restore(life_state(first, cut), first.record())
    for seq, event in enumerate(events[cut:], cut + 1):
        second.fold(read_event(event), treatment(event), seq, seq / 4)
    assert everything(second) == everything(whole)


@given(events=st.lists(ANY_EVENT, max_size=60), cut=st.integers(0, 60))
@settings(deadline=None)
def test_a_restart_changes_nothing(core: Core, events: list[bytes], cut: int) -> None:
    check_restart(core, events, min(cut, len(events)))


def check_runs(core: Core, events: list[bytes], size: int) -> None:
    """Folding runs is the same as folding one by one."""
    single, runs = (core.scan_state.ScanState(3, 200) for _ in range(2))
    for seq, event in enumerate(events, 1):
        single.fold(read_event(event), treatment(event), seq, 2.0)
    first = 1
    for treated, group in groupby(events, treatment):
        alike = [read_event(event) for event in group]
        for start in range(0, len(alike), size):
            part = alike[start : start + size]
            runs.fold_run(part, treated, first, 2.0)
            first += len(part)
    assert everything(runs) == everything(single)


@given(events=st.lists(ANY_EVENT, max_size=60), size=st.integers(1, 20))
@settings(deadline=None)
def test_a_run_is_folded_as_if_its_events_came_one_by_one(core: Core, events: list[bytes], size: int) -> None:
    check_runs(core, events, size)


@pytest.mark.parametrize("pause", [STALLED, ORPHANED])
def test_what_an_operator_calls_a_fact_may_pause_a_scan_in_the_midst_of_a_run(
    core: Core, pause: bytes
) -> None:
    state = core.scan_state.ScanState()
    run = [read_event(event) for event in (progress(10.0), pause, fact(), pause)]
    state.fold_run(run[:3], FACT, 1, 0.0)
    assert state.status == "running", "the fact behind it says that it goes on"
    state.fold_run(run[3:], FACT, 4, 0.0)
    assert state.status != "running"


def check_restart_in_the_midst(core: Core) -> None:
    check_restart(core, REFERENCE, 7_000)


def test_nor_in_the_midst_of_the_reference_scan(core: Core) -> None:
    check_restart_in_the_midst(core)


def test_a_checkpoint_of_an_earlier_version_says_that_it_does_not_know(core: Core) -> None:
    state = core.scan_state.ScanState()
    old = LifeState(
        folded=40,
        created_ms=0,
        status="running",
        phase="p",
        progress=40.0,
        counts={"portFound": 40, "later": 2},
    )
    state.restore(old, b"")
    assert (state.status, state.phase, state.progress.percent) == ("running", "p", 40.0)
    assert state.counts == {"portFound": 40}
    assert not state.totals().exact
    ended = core.scan_state.ScanState()
    ended.restore(LifeState(folded=40, created_ms=0, status="completed", phase="p", progress=100.0), b"")
    assert (ended.status, ended.progress.percent, ended.progress.finalising) == ("completed", 100.0, False)


def test_a_life_without_a_checkpoint_is_exact(core: Core) -> None:
    state = core.scan_state.ScanState()
    state.restore(LifeState(folded=0, created_ms=0), b"")
    assert state.totals().exact


@pytest.mark.parametrize("detail", [b"x", b"\xff", b"\x90", b"{}", b"\x94\x90\x90\x90"])
def test_rubbish_is_no_detail(core: Core, detail: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        core.scan_state.ScanState().restore(LifeState(folded=1, created_ms=0), detail)


def test_the_weight_grows_with_what_a_checkpoint_holds(core: Core) -> None:
    state = fold(core, *REFERENCE)
    assert 5_000 < state.weight < 15_000
    assert len(state.record()) < 30 * state.weight
