"""Filters: what is equal, what passes, what is refused."""

from __future__ import annotations

import ipaddress
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.filter import (
    DEFAULT_CRITICAL,
    LEVELS,
    MAX_NETWORKS,
    MAX_TYPES,
    Filter,
    Gist,
    read_filter,
    read_gists,
)
from pipeline.event import DEFAULT_CATALOGUE, SEVERITIES, EventClass


def canonical(
    types: list[str] | None = None,
    min_severity: str | None = None,
    cidr: list[str] | None = None,
    level: str | None = None,
) -> Filter | None:
    wanted = read_filter(types or [], min_severity, cidr or [], level)
    return wanted.over(DEFAULT_CRITICAL) if wanted is not None else None


def keeps(wanted: Filter | None, kind: str, severity: str | None = None, ip: str | None = None) -> bool:
    assert wanted is not None
    return wanted.keeps(Gist(kind, severity, ip))


# --- what is equal ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"types": ["portFound,hostDiscovered"]}, {"types": ["hostDiscovered", "portFound", "portFound"]}),
        ({"types": ["portFound", "scanStarted", "lost"]}, {"types": [" portFound "]}),
        ({"min_severity": "High"}, {"min_severity": "hIGH"}),
        ({"cidr": ["10.0.0.0/8,10.1.0.0/16"]}, {"cidr": ["10.1.2.3/8"]}),
        ({"cidr": ["10.0.0.0/25", "10.0.0.128/25"]}, {"cidr": ["10.0.0.0/24"]}),
        ({"cidr": ["::1", "10.0.0.1"]}, {"cidr": ["10.0.0.1/32,::1/128"]}),
        ({"cidr": ["::ffff:10.0.0.0/120"]}, {"cidr": ["10.0.0.0/24"]}),
        ({"cidr": ["2001:DB8:0::/32"]}, {"cidr": ["2001:db8::/32"]}),
        (
            {"level": "summary"},
            {"level": "SUMMARY", "types": [*sorted(LEVELS["summary"] or ()), "portFound"]},
        ),
        ({"level": "hosts"}, {"types": sorted(LEVELS["hosts"] or ())}),
        ({"level": "all", "types": ["portFound"]}, {"types": ["portFound"]}),
    ],
)
def test_what_means_the_same_is_equal(one: dict[str, object], other: dict[str, object]) -> None:
    first, second = canonical(**one), canonical(**other)  # type: ignore[arg-type]  # as parametrized
    assert first == second
    assert hash(first) == hash(second)
    assert first is not None


@pytest.mark.parametrize("given", [{}, {"level": "all"}, {"min_severity": "Info"}, {"min_severity": "info"}])
def test_what_lets_everything_pass_is_no_filter(given: dict[str, str]) -> None:
    assert canonical(**given) is None  # type: ignore[arg-type]  # as parametrized


def test_what_is_told_can_be_asked_for_again() -> None:
    wanted = canonical(["portFound,vulnerabilityFound"], "medium", ["10.0.0.7/8", "::1"], "all")
    assert wanted is not None
    assert wanted.told() == {
        "types": ["portFound", "vulnerabilityFound"],
        "min_severity": "Medium",
        "cidr": ["10.0.0.0/8", "::1/128"],
    }
    assert canonical(**wanted.told()) == wanted  # type: ignore[arg-type]  # as told


# --- what passes --------------------------------------------------------------------------------------


@given(
    types=st.lists(st.sampled_from([*DEFAULT_CATALOGUE, "other"]), max_size=5),
    severity=st.sampled_from([None, *SEVERITIES]),
    cidr=st.sampled_from([[], ["192.0.2.0/24"]]),
    level=st.sampled_from([None, *LEVELS]),
)
def test_critical_events_and_what_is_lost_always_pass(
    types: list[str], severity: str | None, cidr: list[str], level: str | None
) -> None:
    wanted = canonical(types, severity, cidr, level)
    for name, entry in DEFAULT_CATALOGUE.items():
        if wanted is not None and (entry.event_class is EventClass.CRITICAL or name == "lost"):
            assert keeps(wanted, name, "Info", "10.0.0.1")


def test_which_types_are_critical_is_the_workers_to_say() -> None:
    wanted = read_filter(types=["portFound", "phaseStarted"])
    assert wanted is not None
    there = wanted.over({"hostDiscovered"})
    assert keeps(there, "hostDiscovered")
    assert keeps(there, "phaseStarted")  # asked for
    assert not keeps(there, "scanStarted")
    assert keeps(there, "lost")


@pytest.mark.parametrize("least", SEVERITIES[:-1])
def test_the_severity_judges_what_has_one(least: str) -> None:
    wanted = canonical(min_severity=least)
    passed = [name for name in SEVERITIES if keeps(wanted, "vulnerabilityFound", name)]
    assert passed == list(SEVERITIES[: SEVERITIES.index(least) + 1])
    assert keeps(wanted, "portFound")
    assert keeps(wanted, "custom", "dreadful")


@pytest.mark.parametrize(
    ("ip", "passes"),
    [
        ("10.0.0.5", True),
        ("10.0.1.5", False),
        ("::ffff:10.0.0.5", True),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("2001:db8::1%eth0", True),
        ("office.example", True),  # no address: it is not judged
        ("", True),
        (None, True),
    ],
)
def test_the_network_judges_what_has_an_address(ip: str | None, passes: bool) -> None:
    assert keeps(canonical(cidr=["10.0.0.0/24", "2001:db8::/32"]), "portFound", None, ip) is passes


@given(
    address=st.ip_addresses(),
    networks=st.lists(st.ip_addresses(), min_size=1, max_size=4),
    prefix=st.integers(0, 32),
)
def test_collapsed_networks_hold_what_they_held(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    networks: list[ipaddress.IPv4Address | ipaddress.IPv6Address],
    prefix: int,
) -> None:
    texts = [f"{network}/{prefix}" for network in networks]
    inside = any(address in ipaddress.ip_network(text, strict=False) for text in texts)
    mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    assert mapped or keeps(canonical(cidr=texts), "portFound", None, str(address)) is inside


@pytest.mark.parametrize("level", LEVELS)
def test_levels(level: str) -> None:
    wanted = canonical(level=level)
    names = [*DEFAULT_CATALOGUE, "custom"]
    passed = {
        name
        for name in names
        if wanted is None or (keeps(wanted, name) and name not in {*DEFAULT_CRITICAL, "lost"})
    }
    assert passed == {
        "summary": {"scanProgress", "reportPhase", "vulnerabilityFound"},
        "hosts": {"scanProgress", "reportPhase", "vulnerabilityFound", "hostDiscovered"},
        "all": set(names),
    }.get(level)


def test_every_part_must_pass() -> None:
    wanted = canonical(["vulnerabilityFound", "portFound"], "High", ["10.0.0.0/8"], "summary")
    assert keeps(wanted, "vulnerabilityFound", "High", "10.1.1.1")
    assert not keeps(wanted, "vulnerabilityFound", "Low", "10.1.1.1")
    assert not keeps(wanted, "vulnerabilityFound", "High", "11.1.1.1")
    assert not keeps(wanted, "portFound", None, "10.1.1.1")


# --- what is looked at of an event --------------------------------------------------------------------


def test_gists_are_read_of_any_event() -> None:
    events: list[object] = [
        {"type": "portFound", "ip": "10.0.0.5", "port": 1},
        {"type": "vulnerabilityFound", "ip": "10.0.0.6", "severity": "High", "title": "\u2028"},
    ]
    wanted = [Gist("portFound", None, "10.0.0.5"), Gist("vulnerabilityFound", "High", "10.0.0.6")]
    assert read_gists(json.dumps(events).encode()) == wanted
    events += [{"type": "custom", "ip": ["10.0.0.5"], "severity": 9}, {"type": "custom", "ip": None}]
    wanted += [Gist("custom"), Gist("custom")]
    assert read_gists(json.dumps(events).encode()) == wanted
    assert read_gists(b'[{"type":"x","ip":%b}]' % (b"9" * 5_000)) == [Gist("x")]
    assert read_gists(b"[]") == []


# --- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"types": [""]}, "types='': one of them is empty"),
        ({"types": ["a,,b"]}, "types='a,,b': one of them is empty"),
        ({"types": ["a"] * (MAX_TYPES + 1)}, "types: 65 are given, at most 64 are allowed"),
        ({"types": ["a" * 129]}, f"types={'a' * 40!r}…: 129 characters, at most 128 are allowed"),
        (
            {"min_severity": "Grave"},
            "min_severity='Grave': one of Critical, High, Medium, Low, Info is needed",
        ),
        ({"level": ""}, "level='': one of summary, hosts, all is needed"),
        (
            {"cidr": ["10.0.0.300"]},
            "cidr='10.0.0.300': an address or a network is needed, as 10.0.0.5 or 10.0.0.0/8",
        ),
        (
            {"cidr": ["10.0.0.0/33"]},
            "cidr='10.0.0.0/33': an address or a network is needed, as 10.0.0.5 or 10.0.0.0/8",
        ),
        ({"cidr": ["::1"] * (MAX_NETWORKS + 1)}, "cidr: 65 are given, at most 64 are allowed"),
        ({"cidr": ["1" * 65]}, f"cidr={'1' * 40!r}…: 65 characters, at most 64 are allowed"),
    ],
)
def test_a_bad_filter_is_refused_with_value_and_limit(given: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        read_filter(**given)  # type: ignore[arg-type]  # as parametrized
