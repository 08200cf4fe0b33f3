"""naabu: ports, services, and what early versions wrote."""

from __future__ import annotations

import pytest

from tests.unit.producer.adapters.reading import of_type, problems_of, read, recording


def test_ports_and_services() -> None:
    out = read("naabu", recording("naabu.jsonl"))
    assert [
        (event["ip"], event["port"], event["protocol"], event.get("tls"))
        for event in of_type(out, "portFound")
    ] == [
        ("10.0.0.5", 443, "TCP", True),
        ("10.0.0.6", 22, "TCP", None),
        ("2001:db8::1", 53, "UDP", None),
        ("10.0.0.7", 80, "TCP", None),
    ]
    assert of_type(out, "serviceDetected") == [
        {
            "ip": "10.0.0.6",
            "port": 22,
            "protocol": "TCP",
            "service_name": "ssh",
            "version": "OpenSSH 8.9p1 Ubuntu",
            "ts": "2026-11-26T22:36:15.1Z",
        }
    ]
    hosts = [(host["ip"], host.get("hostname")) for host in of_type(out, "hostDiscovered")]
    assert hosts[0] == ("10.0.0.5", "web.example.test")
    assert hosts[-1] == ("10.0.0.8", None)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"ip":"10.0.0.5"}', "no port of naabu: it has no ip and port"),
        (b'{"port":1}', "no port of naabu: it has no ip and port"),
        (b'{"ip":"10.0.0.5","port":"x"}', "port 'x' is not within 0 to 65535"),
        (b'{"ip":"10.0.0.5","port":1,"protocol":"sctp"}', "protocol 'sctp', and an event can say tcp or udp"),
    ],
)
def test_what_cannot_be_said_is_told(line: bytes, reason: str) -> None:
    (problem,) = problems_of(read("naabu", line + b"\n"))
    assert problem.message == reason
