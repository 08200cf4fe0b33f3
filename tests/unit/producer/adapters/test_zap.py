"""ZAP's report: alerts with their site, whatever pieces it comes in; cut off, broken, huge."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.producer.adapters import open_adapter
from tests.unit.producer.adapters.reading import events_of, of_type, problems_of, read, recording, terminals

TS = "2026-11-26T22:36:14.123456789Z"


def test_a_report_event_by_event() -> None:
    web = {"ip": "web.example.test", "port": 443}
    other = {"ip": "10.0.0.6", "port": 8080}
    out = read("zap", recording("zap.json"))
    assert problems_of(out) == []
    assert events_of(out) == [
        {"type": "scanStarted", "scanner": "ZAP", "ts": TS},
        {"type": "hostDiscovered", "ip": "web.example.test", "ts": TS},
        {"type": "portFound", **web, "protocol": "TCP", "state": "Open", "ts": TS},
        {"type": "serviceDetected", **web, "protocol": "TCP", "service_name": "https", "ts": TS},
        {
            "type": "vulnerabilityFound",
            **web,
            "severity": "High",
            "title": "SQL Injection",
            "plugin_id": "40018",
            "cwe_id": "CWE-89",
            "url": "https://web.example.test/q?id=1",
            "instances": 2,
            "ts": TS,
        },
        {
            "type": "vulnerabilityFound",
            **web,
            "severity": "Low",
            "title": "X-Content-Type-Options Header Missing",
            "plugin_id": "10021",
            "cwe_id": "CWE-693",
            "instances": 0,
            "ts": TS,
        },
        {"type": "hostDiscovered", "ip": "10.0.0.6", "ts": TS},
        {"type": "portFound", **other, "protocol": "TCP", "state": "Open", "ts": TS},
        {"type": "serviceDetected", **other, "protocol": "TCP", "service_name": "http", "ts": TS},
        {
            "type": "vulnerabilityFound",
            **other,
            "severity": "Info",
            "title": "Modern Web Application",
            "plugin_id": "10109",
            "url": "http://10.0.0.6:8080/",
            "instances": 1,
            "ts": TS,
        },
        {"type": "scanCompleted", "total_hosts": 2},
    ]


@pytest.mark.parametrize("chunk_bytes", [1, 97])
def test_in_pieces_it_reads_the_same(chunk_bytes: int) -> None:
    assert read("zap", recording("zap.json"), chunk_bytes) == read("zap", recording("zap.json"))
    compact = json.dumps(json.loads(recording("zap.json"))).encode()
    assert events_of(read("zap", compact, chunk_bytes)) == events_of(read("zap", recording("zap.json")))


def test_cut_off_at_every_byte_it_ends_with_one_error() -> None:
    document = recording("zap.json").rstrip()
    whole = events_of(read("zap", document))
    for end in range(len(document)):
        out = read("zap", document[:end])
        *before, last = events_of(out)
        assert before == whole[: len(before)] or len(before) == 1  # of an input without created: no ts
        assert last["message"] == f"ZAP ended early: its output is cut off in byte {end}"
        assert len(problems_of(out)) == 1
        assert terminals(out) == 1


def test_the_alerts_of_a_part_and_no_end() -> None:
    out = read("zap", recording("zap.json"), part=True)
    assert terminals(out) == 0
    assert len(of_type(out, "vulnerabilityFound")) == 3


@pytest.mark.parametrize("document", [b"]", b"what is this", b"<html>", b"\xff\xfe"])
def test_what_is_no_report_is_an_error(document: bytes) -> None:
    out = read("zap", document)
    assert len(problems_of(out)) == 1
    assert [event["type"] for event in events_of(out)] == ["scanStarted", "error"]


def test_an_alert_that_is_no_json_or_has_no_site_is_told_and_the_rest_comes() -> None:
    good = '{"riskcode":"2","alert":"x"}'
    document = f'{{"site":[{{"@host":"a","alerts":[{{"riskcode":x}},{good}]}},{{"alerts":[{good}]}}]}}'
    out = read("zap", document.encode())
    assert [problem.message for problem in problems_of(out)] == [
        "alert is no JSON",
        "alert of a site without a name; not sent",
    ]
    assert len(of_type(out, "vulnerabilityFound")) == 1


def test_a_large_report_is_not_held() -> None:
    adapter = open_adapter("zap", part=False)
    alert = json.dumps({"alert": "a", "riskcode": "1", "desc": "x" * 50_000, "instances": []}).encode()
    tracemalloc.start()
    try:
        adapter.feed(b'{"@version":"2","site":[{"@name":"http://a","@host":"a","alerts":[')
        for _ in range(500):
            adapter.feed(alert + b",")
        out = adapter.feed(alert + b"]}]}") + adapter.close()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert of_type(out, "scanCompleted") == [{"total_hosts": 1}]
    assert peak_bytes < 3_000_000


@given(st.integers(0, 100_000), st.binary(min_size=1, max_size=4), st.integers(1, 3000))
def test_however_broken_it_never_raises_and_ends_once(place: int, bytes_: bytes, chunk_bytes: int) -> None:
    document = bytearray(recording("zap.json"))
    place %= len(document)
    document[place : place + len(bytes_)] = bytes_
    out = read("zap", bytes(document), chunk_bytes)
    events_of(out)
    assert terminals(out) == 1
