from __future__ import annotations

import json

import msgspec

from pipeline.edge.export.document import DOCUMENT_END, document_head, document_hosts, event_lines
from pipeline.producer.replay import read_line
from pipeline.wire import StateHeader


def test_the_document_is_the_state_with_all_hosts() -> None:
    body = b'{"status":"completed","hosts":[{"ip":"1"}],"hosts_next":1,"findings":[]}'
    pages = [b'[{"ip":"1"}]', b'[{"ip":"2"},{"ip":"3"}]', b"[]"]
    parts = [document_head("a", StateHeader(1, "scan/a", 7, 9), body)]
    parts += [document_hosts(page, first=page is pages[0]) for page in pages]
    assert json.loads(b"".join([*parts, DOCUMENT_END])) == {
        "scan_id": "a",
        "kind": "scan",
        "epoch": 7,
        "seq": 9,
        "status": "completed",
        "findings": [],
        "hosts": [{"ip": "1"}, {"ip": "2"}, {"ip": "3"}],
    }


def test_a_scan_without_hosts_is_a_document_too() -> None:
    head = document_head(
        "a", StateHeader(1, "scan/a", 7, 9), b'{"status":"failed","hosts":[],"hosts_next":null}'
    )
    assert json.loads(head + document_hosts(b"[]", first=True) + DOCUMENT_END)["hosts"] == []


def test_events_are_lines_that_a_replay_reads() -> None:
    events = [b'{"type":"scanStarted"}', b'{"type":"note","text":"a\\nb"}']
    lines = event_lines("a", 7, 4, events).splitlines()
    assert [msgspec.json.decode(line)["seq"] for line in lines] == [4, 5]
    assert [read_line(line).raw for line in lines] == events
    assert [read_line(line).target for line in lines] == [("scan", "a")] * 2
