"""What changed between two scans."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.edge import comparing
from pipeline.edge.comparing import (
    Comparison,
    Counts,
    HostChange,
    PortChange,
    ServiceChange,
    TooLarge,
    VulnerabilityChange,
)


def host(ip: str, *ports: tuple[object, ...], found: list[list[str]] | None = None, **more: object) -> object:
    return {
        "ip": ip,
        "ports": ports,
        "port_count": len(ports),
        "vulnerabilities": found or [],
        "vulnerability_count": len(found or []),
        **more,
    }


def compare(before: list[object], now: list[object]) -> Comparison:
    comparison = Comparison()
    for each in before:
        comparison.take_before(msgspec.json.encode([each]))
    for each in now:
        comparison.take_now(msgspec.json.encode([each]))
    comparison.finish()
    return comparison


def test_hosts_that_are_new_gone_changed_and_the_same() -> None:
    found = compare(
        [host("same", (22, "TCP", "Open")), host("gone"), host("named")],
        [host("named", hostname="gate"), host("same", (22, "TCP", "Open")), host("new")],
    )
    assert found.counts["hosts"] == Counts(new=1, gone=1, changed=1, same=1)
    assert [(each.change, each.ip) for each in found.changes] == [
        ("changed", "named"), ("new", "new"), ("gone", "gone"),
    ]  # fmt: skip


def test_ports_count_while_they_are_open() -> None:
    before = host("h", (22, "TCP", "Open"), (80, "TCP", "Open"), (81, "TCP", "Closed"), (53, "UDP", "Open"))
    now = host("h", (22, "TCP", "Open"), (80, "TCP", "Filtered"), (81, "TCP", "Open"), (53, "TCP", "Open"))
    found = compare([before], [now])
    assert found.counts["ports"] == Counts(new=2, gone=2, same=1)
    assert found.changes == [
        HostChange(
            "changed",
            "h",
            ports=[
                PortChange("new", 53, "TCP"),
                PortChange("gone", 53, "UDP"),
                PortChange("gone", 80, "TCP"),
                PortChange("new", 81, "TCP"),
            ],
        )
    ]


def test_services_of_ports_that_are_open_in_both() -> None:
    before = host("h", (1, "TCP", "Open", "ssh", "8"), (2, "TCP", "Open"), (3, None, None, "http", ""))
    now = host(
        "h", (1, "TCP", "Open", "ssh", "9"), (2, "TCP", "Open", "dns", ""), (3, None, None, "http", "")
    )
    found = compare([before], [now])
    assert found.counts["services"] == Counts(new=1, changed=1, same=1)
    assert found.counts["ports"] == Counts(same=3)
    assert found.changes[0].services == [
        ServiceChange("changed", 1, "TCP", ("ssh", "8"), ("ssh", "9")),
        ServiceChange("new", 2, "TCP", None, ("dns", "")),
    ]


def test_vulnerabilities_by_title_and_cve() -> None:
    before = host("h", found=[["High", "a", "1"], ["Low", "b", ""], ["Low", "c", "2"]])
    now = host("h", found=[["Critical", "a", "1"], ["Low", "b", ""], ["Low", "c", "3"]])
    found = compare([before], [now])
    assert found.counts["vulnerabilities"] == Counts(new=1, gone=1, changed=1, same=1)
    assert found.changes[0].vulnerabilities == [
        VulnerabilityChange("changed", "Critical", "a", "1", "High"),
        VulnerabilityChange("new", "Low", "c", "3"),
        VulnerabilityChange("gone", "Low", "c", "2"),
    ]


def test_what_is_listed_is_bounded_and_what_is_counted_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "MAX_CHANGES", 3)
    found = compare([], [host(str(number)) for number in range(10)])
    assert (found.counts["hosts"].new, len(found.changes), found.left_out) == (10, 3, 7)


def test_a_scan_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "MAX_HELD_BYTES", 100)
    with pytest.raises(TooLarge, match="more than 100 bytes of hosts"):
        compare([host("h"), host("i")], [])


def test_it_says_when_not_all_could_be_compared() -> None:
    assert not compare([host("h")], [host("h")]).partial
    assert compare([host("h")], [host("h", port_count=2)]).partial
    assert compare([host("h", vulnerability_count=2)], []).partial
