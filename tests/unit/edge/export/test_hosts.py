from __future__ import annotations

import pytest

from pipeline.edge.export.hosts import PortEntry, VulnerabilityEntry, plain, read_hosts


def test_hosts_are_read_as_workers_tell_them() -> None:
    (host,) = read_hosts(
        b'[{"ip":"10.0.0.5","hostname":null,"open_ports":1,"port_count":2,"ports":[[443,"TCP","Open","https",'
        b'"nginx"],[80,null,null,"http",""],[81,"TCP","Closed"]],"vulnerability_count":1,'
        b'"vulnerabilities":[["High","rapid reset","CVE-1"]]}]'
    )
    assert host.ports == [
        PortEntry(443, "TCP", "Open", "https", "nginx"),
        PortEntry(80, None, None, "http", ""),
        PortEntry(81, "TCP", "Closed"),
    ]
    assert host.vulnerabilities == [VulnerabilityEntry("High", "rapid reset", "CVE-1")]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, ""),
        ("  nginx 1.18 ", "nginx 1.18"),
        ("a\x1b[31mred", "a·[31mred"),
        ("a\r\n\tb", "a·b"),
        ("user\u202egpj.exe", "user·gpj.exe"),
        ("\ud800", "·"),
        ("Straße 道", "Straße 道"),
    ],
)
def test_what_would_deceive_shows(text: str | None, shown: str) -> None:
    assert plain(text) == shown
