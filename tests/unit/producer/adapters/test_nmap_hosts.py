"""A host's tags, without a document around them; test_nmap_document has whole ones."""

from __future__ import annotations

import json

import pytest

from pipeline.producer.adapters.nmap_hosts import MAX_TEXT, HostReader, event_of, number_of, text_of

Tag = tuple[str, str, dict[str, str]]
UP: list[Tag] = [
    ("host", "status", {"state": "up"}),
    ("host", "address", {"addr": "10.0.0.5", "addrtype": "ipv4"}),
]


def read(tags: list[Tag], ends: tuple[str, ...] = ("host",)) -> list[object]:
    """Events, decoded, and the texts of problems."""
    reader = HostReader()
    reader.begin({"starttime": "1795415117", "endtime": "1795415123"})
    assert reader.inside
    found = [item for tag in tags for item in reader.tag(*tag)]
    found += [item for name in ends for item in reader.end(name)]
    assert not reader.inside
    return [json.loads(item) if isinstance(item, bytes) else item for item in found]


def test_a_host_that_is_up_is_announced_once() -> None:
    host = {"type": "hostDiscovered", "ip": "10.0.0.5", "ts": 1795415117}
    assert read(UP) == [host]
    assert read([("host", "status", {"state": "down"}), UP[1]]) == []
    named = [*UP, ("hostnames", "hostname", {"name": "a.example"})]
    assert read(named, ("hostnames", "host")) == [{**host, "hostname": "a.example"}]


def test_a_port_and_its_service() -> None:
    at = {"ip": "10.0.0.5", "port": 443, "protocol": "TCP"}
    tags: list[Tag] = [
        *UP,
        ("ports", "port", {"portid": "443", "protocol": "tcp"}),
        ("port", "state", {"state": "open"}),
        ("port", "service", {"name": "http", "tunnel": "ssl", "product": "nginx", "version": "1.25"}),
    ]
    assert read(tags, ("port", "ports", "host"))[1:] == [
        {"type": "portFound", **at, "state": "Open", "ts": 1795415123},
        {
            "type": "serviceDetected",
            **at,
            "service_name": "ssl/http",
            "version": "nginx 1.25",
            "ts": 1795415123,
        },
    ]


def test_what_an_event_cannot_say_is_told_at_the_end_of_the_host() -> None:
    tags: list[Tag] = [
        *UP,
        ("ports", "port", {"portid": "1", "protocol": "sctp"}),
        ("port", "state", {"state": "open"}),
        ("ports", "port", {"portid": "70000", "protocol": "tcp"}),
    ]
    assert read(tags, ("port", "host"))[1:] == [
        "1 port(s) of 10.0.0.5 not sent: protocol 'sctp', and an event can say tcp or udp",
        "1 port(s) of 10.0.0.5 not sent: port number not within 0 to 65535",
    ]


def test_outside_a_host_nothing_is_taken() -> None:
    reader = HostReader()
    assert not reader.inside
    assert reader.tag(*UP[0]) == reader.end("host") == []


def test_an_event_has_no_empty_fields() -> None:
    assert event_of("x", a=1, b=None) == b'{"type":"x","a":1}'


@pytest.mark.parametrize(
    ("text", "number"), [("1.5", 1.5), ("", None), (None, None), ("x", None), ("nan", None), ("1e999", None)]
)
def test_numbers(text: str | None, number: float | None) -> None:
    assert number_of(text) == number


def test_texts_are_bounded() -> None:
    assert text_of(None) == ""
    assert text_of("x" * (MAX_TEXT + 1)) == "x" * MAX_TEXT
