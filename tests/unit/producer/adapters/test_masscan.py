"""masscan: its own output in three formats says the same; its progress."""

from __future__ import annotations

import pytest

from pipeline.producer.adapters.masscan import MasscanAdapter
from tests.unit.producer.adapters.reading import events_of, of_type, problems_of, read, recording


def test_three_formats_of_one_scan_give_the_same_events() -> None:
    ndjson, array, words = (
        events_of(read("masscan", recording(f"masscan.{end}"))) for end in ("ndjson", "json", "list")
    )
    assert ndjson == array == words
    assert ndjson[:3] == [
        {"type": "scanStarted", "scanner": "masscan", "ts": 1795732577},
        {"type": "hostDiscovered", "ip": "10.0.0.5", "ts": 1795732577},
        {
            "type": "portFound",
            "ip": "10.0.0.5",
            "port": 22,
            "protocol": "TCP",
            "state": "Open",
            "ts": 1795732577,
        },
    ]
    services = [event for event in ndjson if event["type"] == "serviceDetected"]
    assert services[:2] == [
        {
            "type": "serviceDetected",
            "ip": "10.0.0.5",
            "port": 22,
            "protocol": "TCP",
            "service_name": "ssh",
            "version": "SSH-2.0-OpenSSH_8.9p1",
            "ts": 1795732580,
        },
        {
            "type": "serviceDetected",
            "ip": "10.0.0.5",
            "port": 80,
            "protocol": "TCP",
            "service_name": "http",
            "version": "HTTP/1.1 200 OK\r\nServer: nginx/1.18.0\r\n<b>\x1b[2J",
            "ts": 1795732580,
        },
    ]
    assert ndjson[-1] == {"type": "scanCompleted", "total_hosts": 3}


def test_an_array_as_early_versions_wrote_it() -> None:
    record = b'{"ip":"10.0.0.5","timestamp":"7","ports":[{"port":1,"proto":"tcp","status":"open"}]}'
    document = b"[\n" + record + b",\n{finished: 1}\n]\n"
    out = read("masscan", document)
    assert problems_of(out) == []
    assert len(of_type(out, "portFound")) == 1


def test_an_array_without_its_end_is_an_error() -> None:
    (error,) = of_type(read("masscan", recording("masscan.json").removesuffix(b"]\n")), "error")
    assert error == {"message": "masscan ended early: its output is cut off in its JSON array"}


def test_a_banner_that_names_no_service_is_a_finding() -> None:
    out = read("masscan", b"banner tcp 443 10.0.0.5 7 X509 MIIB\nbanner tcp 80 10.0.0.5 7 title Hi there\n")
    assert [(event["finding_type"], event["value"]) for event in of_type(out, "enumerationFinding")] == [
        ("X509", "MIIB"),
        ("title", "Hi there"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"open sctp 80 10.0.0.5 7", "protocol 'sctp', and an event can say tcp or udp"),
        (b"open tcp 70000 10.0.0.5 7", "port '70000' is not within 0 to 65535"),
        (b"open tcp 80", "no record of masscan: 'open tcp 80'"),
        (b'{"ip":"10.0.0.5"}', "no record of masscan: it has neither rec_type nor ports"),
        (b'{"ports":[{"port":1,"proto":"tcp","status":"open"}]}', "it names no ip"),
        (
            b'{"ip":"::1","ports":[{"port":1,"proto":"tcp","status":"up"}]}',
            "state 'up', and masscan says open or closed",
        ),
    ],
)
def test_what_cannot_be_said_is_told(line: bytes, reason: str) -> None:
    (problem,) = problems_of(read("masscan", line + b"\n"))
    assert problem.message == reason


def test_its_progress_is_on_standard_error() -> None:
    adapter = MasscanAdapter(part=True)
    line = b"rate:  0.10-kpps, 42.50% done,   0:00:12 remaining, found=2       "
    out = adapter.aside(line)
    assert out is not None
    assert events_of(out) == [
        {
            "type": "scanProgress",
            "phase": "port_scan",
            "progress": 42.5,
            "message": "42.5 % done, 0:00:12 remaining",
        }
    ]
    for other in (
        b"Scanning 4 hosts [4 ports/host]",
        b"rate: 0, 142.50% done, 0:00:00 remaining",
        b"",
        b"\xff",
    ):
        assert adapter.aside(other) is None
