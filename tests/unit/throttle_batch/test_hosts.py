from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.event import SEVERITIES
from pipeline.throttle_batch.hosts import MAX_SHOWN_A_HOST, Budget, Host, HostsRecord, HostTable

Finding = Callable[[HostTable], object]


def table(max_hosts: int = 100, max_entries: int = 10_000, budget: Budget | None = None) -> HostTable:
    return HostTable(max_hosts, max_entries, budget or Budget(1_000_000))


def port(number: int, state: str = "Open", protocol: str = "TCP", ip: str = "a") -> Finding:
    return lambda hosts: hosts.port(ip, number, protocol, state)


def service(number: int, name: str = "http", version: str | None = None, ip: str = "a") -> Finding:
    return lambda hosts: hosts.service(ip, number, name, version)


def weak(severity: str = "High", title: str = "t", cve: str | None = None, ip: str = "a") -> Finding:
    return lambda hosts: hosts.vulnerability(ip, severity, title, cve)


def host(ip: str = "a", name: str | None = None) -> Finding:
    return lambda hosts: hosts.host(ip, name)


def counts(hosts: HostTable) -> tuple[int, int, int, int]:
    return len(hosts), hosts.open_ports, hosts.services, sum(hosts.severities)


def shown(hosts: HostTable) -> list[dict[str, object]]:
    return [json.loads(raw) for raw in hosts.page(0, 1_000, 1 << 30)[0]]


# what was found -> (hosts, open ports, services, vulnerabilities), how the first host is shown
FOUND: dict[str, tuple[list[Finding], tuple[int, int, int, int], dict[str, object]]] = {
    "a host twice is one": ([host(), host("a", "web")], (1, 0, 0, 0), {"hostname": "web"}),
    "its latest name counts": ([host("a", "x"), host("a", "y"), host()], (1, 0, 0, 0), {"hostname": "y"}),
    "a port twice is one": ([port(80), port(80)], (1, 1, 0, 0), {"ports": [[80, "TCP", "Open"]]}),
    "a closed one is not open": ([port(80, "Closed")], (1, 0, 0, 0), {"ports": [[80, "TCP", "Closed"]]}),
    "a filtered one is no sign of a host": ([port(80, "Filtered")], (0, 0, 0, 0), {}),
    "but is shown of a known one": (
        [host(), port(80, "Filtered")],
        (1, 0, 0, 0),
        {"ports": [[80, "TCP", "Filtered"]]},
    ),
    "it closes": ([port(80), port(80, "Closed")], (1, 0, 0, 0), {"open_ports": 0}),
    "it opens": ([port(80, "Closed"), port(80)], (1, 1, 0, 0), {"open_ports": 1}),
    "protocols are apart": (
        [port(53), port(53, protocol="UDP")],
        (1, 2, 0, 0),
        {"ports": [[53, "TCP", "Open"], [53, "UDP", "Open"]]},
    ),
    "hosts are apart": ([port(80), port(80, ip="b")], (2, 2, 0, 0), {"open_ports": 1}),
    "port 0 is one": ([port(0), service(0)], (1, 1, 1, 0), {"ports": [[0, "TCP", "Open", "http", ""]]}),
    "a service twice is one": ([port(80), service(80), service(80)], (1, 1, 1, 0), {"port_count": 1}),
    "its latest version counts": (
        [port(80), service(80), service(80, "http", "2")],
        (1, 1, 1, 0),
        {"ports": [[80, "TCP", "Open", "http", "2"]]},
    ),
    "a service without its port": ([service(80)], (1, 0, 1, 0), {"ports": [[80, None, None, "http", ""]]}),
    "the port comes later": (
        [service(80), port(80)],
        (1, 1, 1, 0),
        {"ports": [[80, "TCP", "Open", "http", ""]]},
    ),
    "and is a UDP one": (
        [service(53), port(53, protocol="UDP"), service(53, "dns")],
        (1, 1, 1, 0),
        {"ports": [[53, "UDP", "Open", "dns", ""]]},
    ),
    "and both are": (
        [port(53, protocol="UDP"), service(53, "dns"), port(53), service(53, "dns", "9")],
        (1, 2, 1, 0),
        {"ports": [[53, "TCP", "Open", "dns", "9"], [53, "UDP", "Open"]]},
    ),
    "a service survives its port's state": (
        [port(80), service(80), port(80, "Closed")],
        (1, 0, 1, 0),
        {"ports": [[80, "TCP", "Closed", "http", ""]]},
    ),
    "a vulnerability twice is one": (
        [weak(), weak()],
        (1, 0, 0, 1),
        {"vulnerabilities": [["High", "t", ""]], "vulnerability_count": 1},
    ),
    "CVEs are apart": ([weak(), weak(cve="CVE-1")], (1, 0, 0, 2), {"vulnerability_count": 2}),
    "its latest severity counts": (
        [weak(), weak("Low")],
        (1, 0, 0, 1),
        {"vulnerabilities": [["Low", "t", ""]]},
    ),
    "the worst comes first": (
        [weak("Info", "i"), weak("Critical", "c")],
        (1, 0, 0, 2),
        {"vulnerabilities": [["Critical", "c", ""], ["Info", "i", ""]]},
    ),
    "long texts are cut": (
        [host("a" * 999), host("a" * 999), weak(title="t" * 9_999, ip="a" * 999)],
        (1, 0, 0, 1),
        {"ip": "a" * 255, "vulnerabilities": [["High", "t" * 300, ""]]},
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_things_are_counted_and_shown_once(name: str) -> None:
    findings, expected, first = FOUND[name]
    hosts = table()
    for finding in findings:
        finding(hosts)
    assert counts(hosts) == expected
    assert hosts.exact
    if first:
        found = shown(hosts)[0]
        assert {key: found[key] for key in first} == first


def test_severities_are_counted_apart() -> None:
    hosts = table()
    for severity, number in zip(SEVERITIES, (1, 2, 3, 4, 5), strict=True):
        for title in range(number):
            hosts.vulnerability("a", severity, str(title) + severity, None)
    assert hosts.severities == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("finding", "new"), [(weak(), False), (weak("Low"), False), (weak(title="u"), True), (weak(ip="b"), True)]
)
def test_a_vulnerability_says_whether_it_is_new(finding: Finding, new: bool) -> None:
    for max_hosts in (10, 0):
        hosts = table(max_hosts)
        weak()(hosts)
        assert finding(hosts) is new


def test_beyond_the_table_things_are_counted_once_all_the_same() -> None:
    hosts = table(max_hosts=1)
    for _ in range(3):
        for ip in ("a", "b", "c"):
            for finding in (
                host(ip),
                port(80, ip=ip),
                port(81, "Closed", ip=ip),
                service(80, ip=ip),
                weak(ip=ip),
            ):
                finding(hosts)
    assert counts(hosts) == (3, 3, 3, 3)
    assert (hosts.left_out, hosts.exact) == (2, True)
    assert [entry["ip"] for entry in shown(hosts)] == ["a"]


def test_beyond_the_entries_the_numbers_are_the_least() -> None:
    hosts = table(max_entries=4)
    for number in range(10):
        hosts.port("a", number, "TCP", "Open")
    assert counts(hosts) == (1, 3, 0, 0)
    assert not hosts.exact
    hosts.service("a", 1, "http", None)
    hosts.service("a", 1, "http", None)
    assert hosts.services == 1, "the name has no room, the service has"


def test_all_scans_share_a_budget_and_give_it_back() -> None:
    budget = Budget(5)
    one, two = table(budget=budget), table(budget=budget)
    for number in range(3):
        port(number)(one)
    assert (budget.left, one.exact) == (1, True)
    host()(two)
    port(1)(two)
    assert (budget.left, two.exact, counts(two)) == (0, False, (1, 0, 0, 0))
    one.release()
    assert budget.left == 4
    port(2)(two)
    assert counts(two) == (1, 1, 0, 0)


def test_a_page_is_bounded_in_hosts_and_in_bytes() -> None:
    hosts = table()
    for number in range(10):
        hosts.host(f"h{number}")
    given, following = hosts.page(2, 3, 1 << 20)
    assert ([json.loads(raw)["ip"] for raw in given], following) == (["h2", "h3", "h4"], 5)
    given, following = hosts.page(9, 3, 1)
    assert (len(given), following) == (1, None), "at least one"
    given, following = hosts.page(0, 100, 2 * (len(given[0]) + 1))
    assert (len(given), following) == (2, 2)
    assert hosts.page(10, 3, 1) == ([], None)
    assert hosts.page(1 << 60, 3, 1) == ([], None)


def test_a_host_shows_so_many_ports_and_counts_all() -> None:
    hosts = table(max_entries=1 << 20)
    for number in range(3_000):
        port(number)(hosts)
    found = shown(hosts)[0]
    assert (len(found["ports"]), found["port_count"], found["open_ports"]) == (MAX_SHOWN_A_HOST, 3_000, 3_000)


IPS = st.sampled_from(["10.0.0.1", "10.0.0.2", "::1", "h" * 300])
FINDINGS = st.lists(
    st.one_of(
        st.builds(host, IPS, st.sampled_from([None, "", "n", "m" * 400])),
        st.builds(
            port,
            st.integers(0, 4),
            st.sampled_from(["Open", "Closed", "Filtered"]),
            st.sampled_from(["TCP", "UDP"]),
            IPS,
        ),
        st.builds(
            service, st.integers(0, 4), st.sampled_from(["", "x", "y"]), st.sampled_from([None, "1"]), IPS
        ),
        st.builds(
            weak, st.sampled_from(SEVERITIES), st.sampled_from("tu"), st.sampled_from([None, "C"]), IPS
        ),
    ),
    max_size=80,
)


def snapshot(hosts: HostTable) -> HostsRecord[Host]:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(hosts.record()), type=HostsRecord[Host])


@given(findings=FINDINGS, cut=st.integers(0, 80), max_hosts=st.integers(0, 4), max_entries=st.integers(1, 60))
def test_a_restart_changes_nothing(
    findings: list[Finding], cut: int, max_hosts: int, max_entries: int
) -> None:
    whole, first, second = (table(max_hosts, 1_000) for _ in range(3))
    for finding in findings:
        finding(whole)
    for finding in findings[:cut]:
        finding(first)
    second.restore(snapshot(first))
    raw = msgspec.msgpack.encode(first.record())
    looked_at = table(max_hosts, 1_000)
    looked_at.look_at(msgspec.msgpack.decode(raw, type=HostsRecord[msgspec.Raw]))
    assert (shown(looked_at), counts(looked_at)) == (shown(first), counts(first))
    assert [looked_at.page(1, 1, 1 << 20), len(looked_at)] == [first.page(1, 1, 1 << 20), len(first)]
    for finding in findings[cut:]:
        finding(second)
    assert snapshot(second) == snapshot(whole)
    assert shown(second) == shown(whole)
    small = table(max_hosts, max_entries)
    for finding in findings:
        finding(small)
    assert small.entries <= max_entries
    assert small.exact is False or counts(small) == counts(whole)


@given(findings=FINDINGS)
def test_what_is_shown_adds_up_to_what_is_counted(findings: list[Finding]) -> None:
    hosts = table()
    for finding in findings:
        finding(hosts)
    found = shown(hosts)
    open_ports = [entry for one in found for entry in one["ports"] if entry[2] == "Open"]
    services = {(one["ip"], entry[0]) for one in found for entry in one["ports"] if len(entry) > 3}
    assert counts(hosts) == (
        len(found),
        len(open_ports),
        len(services),
        sum(len(one["vulnerabilities"]) for one in found),
    )
    assert sum(one["open_ports"] for one in found) == len(open_ports)
