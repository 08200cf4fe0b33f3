"""nuclei: results with all that is known of them, and its progress, honest."""

from __future__ import annotations

import json

import pytest

from pipeline.producer.adapters.nuclei import NucleiAdapter
from tests.unit.producer.adapters.reading import events_of, of_type, problems_of, read, recording


def test_results() -> None:
    assert of_type(read("nuclei", recording("nuclei.jsonl")), "vulnerabilityFound") == [
        {
            "ip": "10.0.0.5",
            "port": 443,
            "severity": "Info",
            "title": "Nginx version detect",
            "template_id": "nginx-version",
            "url": "https://web.example.test/",
            "extracted": ["nginx/1.18.0"],
            "ts": "2026-11-26T22:36:14.123456789+01:00",
        },
        {
            "ip": "10.0.0.5",
            "port": 8443,
            "severity": "Critical",
            "title": "Apache Log4j2 Remote Code Injection",
            "cve_id": "CVE-2021-44228",
            "template_id": "CVE-2021-44228",
            "matcher": "dns",
            "url": "https://web.example.test:8443/?x=${jndi:ldap://a}",
            "ts": "2026-11-26T22:36:15Z",
        },
        {
            "ip": "10.0.0.6",
            "port": 22,
            "severity": "Low",
            "title": "SSH weak MAC",
            "template_id": "ssh-weak-mac",
            "url": "10.0.0.6:22",
            "ts": "2026-11-26T22:36:16Z",
        },
    ]


def test_hosts_are_announced_with_their_names() -> None:
    hosts = of_type(read("nuclei", recording("nuclei.jsonl")), "hostDiscovered")
    assert [(host["ip"], host.get("hostname")) for host in hosts] == [
        ("10.0.0.5", "web.example.test"),
        ("10.0.0.6", None),
    ]


def test_statistics_are_progress_in_the_pipe_or_aside() -> None:
    progress = [
        {
            "phase": "templates",
            "progress": 25.0,
            "message": "24 of 96 requests, 2 matched, 1 errors",
        }
    ]
    assert of_type(read("nuclei", recording("nuclei.jsonl")), "scanProgress") == progress
    out = NucleiAdapter(part=True).aside(recording("nuclei.jsonl").splitlines()[2])
    assert out is not None
    assert of_type(out, "scanProgress") == progress


@pytest.mark.parametrize("line", [b"[INF] Templates loaded: 2", b"{", b"{}", b'{"a":1}', b"", b"\xff"])
def test_what_else_is_on_standard_error_is_for_a_person(line: bytes) -> None:
    assert NucleiAdapter(part=True).aside(line) is None


@pytest.mark.parametrize(
    ("requests", "total"),
    [("10", "0"), ("11", "10"), ("18446744073709551616", "1"), ("x", "10"), (None, "9")],
)
def test_a_percentage_that_is_none_is_not_told(requests: object, total: object) -> None:
    statistics = {"requests": requests, "total": total, "templates": "1", "percent": "18446744073709551615"}
    out = read("nuclei", json.dumps(statistics).encode() + b"\n")
    assert of_type(out, "scanProgress") == []
    assert problems_of(out) == []


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"template-id": "x"}, "no result of nuclei: it has no template-id and info"),
        ({"template-id": "x", "info": {}}, "it names neither ip nor host"),
    ],
)
def test_what_is_no_result_is_told(record: object, reason: str) -> None:
    (problem,) = problems_of(read("nuclei", json.dumps(record).encode() + b"\n"))
    assert problem.message == reason


def test_a_result_with_nearly_nothing_in_it() -> None:
    (found,) = of_type(
        read("nuclei", b'{"template-id":"x","info":{},"host":"a.example"}\n'), "vulnerabilityFound"
    )
    assert found == {"ip": "a.example", "severity": "Info", "title": "x", "template_id": "x"}
    assert events_of(read("nuclei", b""))[-1]["type"] == "scanCompleted"
