"""httpx: answers become hosts, ports, services and findings."""

from __future__ import annotations

import pytest

from tests.unit.producer.adapters.reading import of_type, problems_of, read, recording


def test_answers() -> None:
    out = read("httpx", recording("httpx.jsonl"))
    assert [(host["ip"], host.get("hostname")) for host in of_type(out, "hostDiscovered")] == [
        ("10.0.0.5", "web.example.test"),
        ("10.0.0.6", None),
        ("10.0.0.9", "new.example.test"),
    ]
    assert [(port["ip"], port["port"]) for port in of_type(out, "portFound")] == [
        ("10.0.0.5", 443),
        ("10.0.0.6", 8080),
        ("10.0.0.9", 80),
    ]
    assert of_type(out, "serviceDetected")[0] == {
        "ip": "10.0.0.5",
        "port": 443,
        "protocol": "TCP",
        "service_name": "https",
        "version": "nginx/1.18.0",
        "url": "https://web.example.test",
        "status_code": 200,
        "ts": "2026-11-26T22:36:14.123456789+01:00",
    }
    assert [(found["finding_type"], found["value"]) for found in of_type(out, "enumerationFinding")] == [
        ("title", "Welcome to nginx!"),
        ("technology", "Nginx:1.18.0"),
        ("technology", "HSTS"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"host":"10.0.0.5"}', "no answer of httpx: it has neither url nor input"),
        (b'{"url":"gopher://a"}', "its url names no host and port"),
    ],
)
def test_what_cannot_be_said_is_told(line: bytes, reason: str) -> None:
    (problem,) = problems_of(read("httpx", line + b"\n"))
    assert problem.message == reason
