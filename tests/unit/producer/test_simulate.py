"""The simulated reference scan: its size, its order, that it fits together, and that it repeats."""

from __future__ import annotations

import ipaddress
from collections import Counter

import pytest

from pipeline.event import (
    DEFAULT_CATALOGUE,
    SEVERITIES,
    AnyEvent,
    Catalogue,
    EnumerationCompleted,
    EnumerationFinding,
    EnumerationStarted,
    Error,
    EventClass,
    HostDiscovered,
    PhaseStarted,
    PortFound,
    ScanCompleted,
    ScanProgress,
    ScanStarted,
    ServiceDetected,
    VulnerabilityFound,
    check_event,
    event_type,
)
from pipeline.producer.simulate import EVENTS, EVENTS_PER_S, heroforge

NOT_A_SCANS = {
    *("reportStarted", "reportPhase", "screenshotCaptured", "reportCompleted", "reportFailed"),
    *("scanStalled", "scanResumed", "scanOrphaned", "lost"),
}


@pytest.fixture(scope="module", params=[0, 1, 2024])
def played(request: pytest.FixtureRequest) -> list[tuple[float, bytes]]:
    return list(heroforge(request.param, "demo"))


@pytest.fixture(scope="module")
def events(played: list[tuple[float, bytes]]) -> list[AnyEvent]:
    return [check_event(raw) for _, raw in played]


def test_it_is_15000_events_evenly_over_60_s(played: list[tuple[float, bytes]]) -> None:
    assert (EVENTS, EVENTS_PER_S) == (15_000, 250)
    assert [offset for offset, _ in played] == [index / 250 for index in range(15_000)]


def test_every_type_a_scan_can_have_occurs_and_no_other(events: list[AnyEvent]) -> None:
    assert {event_type(event) for event in events} == set(DEFAULT_CATALOGUE) - NOT_A_SCANS


def test_a_third_is_progress_and_at_most_20_are_critical(played: list[tuple[float, bytes]]) -> None:
    catalogue = Catalogue()
    classes = Counter(catalogue.treatment(check_event(raw), raw).event_class for _, raw in played)
    assert classes[EventClass.STATE] == 5_000
    assert classes[EventClass.CRITICAL] <= 20


def test_only_the_last_event_ends_the_scan(played: list[tuple[float, bytes]]) -> None:
    catalogue = Catalogue()
    assert [
        i for i, (_, raw) in enumerate(played) if catalogue.treatment(check_event(raw), raw).terminal
    ] == [14_999]


def test_it_begins_and_ends_as_a_scan_does(events: list[AnyEvent]) -> None:
    first, last = events[0], events[-1]
    assert isinstance(first, ScanStarted)
    assert first.scan_id == "demo"
    assert isinstance(last, ScanCompleted)
    assert (last.scan_id, last.total_hosts) == ("demo", 256)
    assert last.duration == pytest.approx(60, abs=0.01)
    assert [event.fatal for event in events if isinstance(event, Error)] == [False]
    assert [event_type(event) for event in events if event_type(event).startswith("vpn")] == [
        *("vpnConnecting", "vpnError", "vpnConnecting", "vpnConnected", "vpnDisconnecting", "vpnDisconnected")
    ]


def test_the_phases_are_heroforges(events: list[AnyEvent]) -> None:
    assert [(event.phase, event.progress) for event in events if isinstance(event, PhaseStarted)] == [
        ("discovery", 0),
        ("port_scan", 20),
        ("service_detection", 40),
        ("enumeration", 50),
        ("os_fingerprint", 70),
        ("vuln_scan", 85),
    ]


def test_progress_rises_within_its_phase(events: list[AnyEvent]) -> None:
    phase, progress, told = "", 0.0, Counter[str]()
    for event in events:
        if isinstance(event, PhaseStarted):
            assert event.progress is not None
            assert event.progress >= progress
            phase, progress = event.phase, event.progress
        elif isinstance(event, ScanProgress):
            assert event.phase == phase
            assert progress <= event.progress <= 100
            progress = event.progress
            told[phase] += 1
    assert progress == 100
    assert len(told) == 6


def test_what_is_found_fits_together(events: list[AnyEvent]) -> None:
    hosts: set[str] = set()
    ports: dict[tuple[str, int, str], str] = {}
    is_open: set[tuple[str, int]] = set()
    enumerating: dict[tuple[str, int], int] = {}
    services = Counter[tuple[str, int]]()
    for event in events:
        match event:
            case HostDiscovered(ip=ip):
                assert ipaddress.ip_address(ip) in ipaddress.ip_network("10.0.0.0/24")
                assert ip not in hosts
                hosts.add(ip)
            case PortFound(ip=ip, port=port, protocol=protocol, state=state):
                assert ip in hosts
                assert 1 <= port <= 1000
                assert (ip, port, protocol) not in ports
                ports[ip, port, protocol] = state
                if state == "Open":
                    is_open.add((ip, port))
            case ServiceDetected(ip=ip, port=port):
                assert (ip, port) in is_open
                services[ip, port] += 1
            case EnumerationStarted(ip=ip, port=port):
                assert (ip, port) in services
                assert (ip, port) not in enumerating
                enumerating[ip, port] = 0
            case EnumerationFinding(ip=ip, port=port):
                enumerating[ip, port] += 1
            case EnumerationCompleted(ip=ip, port=port, findings_count=count):
                assert enumerating[ip, port] == count
            case VulnerabilityFound(ip=ip):
                assert ip in hosts
    assert len(hosts) == 256
    assert set(ports.values()) == {"Open", "Closed", "Filtered"}
    transports = Counter((ip, port) for (ip, port, _), state in ports.items() if state == "Open")
    assert all(count <= transports[at] for at, count in services.items())


def test_all_severities_occur(events: list[AnyEvent]) -> None:
    assert {event.severity for event in events if isinstance(event, VulnerabilityFound)} == set(SEVERITIES)


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others() -> None:
    assert list(heroforge(7, "a")) == list(heroforge(7, "a"))
    first, second = list(heroforge(7, "a")), list(heroforge(8, "a"))
    assert len(first) == len(second)
    assert first != second


@pytest.mark.parametrize("seed", [-1, 3, 99, 2**40])
def test_any_seed_gives_a_scan_of_the_same_size(seed: int) -> None:
    assert sum(1 for _ in heroforge(seed, "a")) == 15_000
