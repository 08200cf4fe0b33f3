"""A report as text and as JSON."""

from __future__ import annotations

import json

from pipeline.operate.findings import Finding, as_document, as_lines, healthy, summary

FINE = Finding("ingest-0", "ok", "process 7 answers", figures={"pid": 7})
WARNED = Finding("clock of edge", "warning", "2.0 s ahead of this one", "restart it")
FAILED = Finding("edge", "failed", "none runs", "start it")
SKIPPED = Finding("ack", "skipped", "no canary was sent")


def test_only_what_failed_is_not_healthy() -> None:
    assert healthy([FINE, WARNED, SKIPPED])
    assert not healthy([FINE, FAILED])
    assert summary([FINE, SKIPPED]) == "healthy"
    assert summary([FINE, WARNED]) == "healthy: 1 warnings"
    assert summary([FINE, WARNED, FAILED]) == "not healthy: 1 failed, 1 warnings"


def test_a_remedy_stands_below_what_it_is_for() -> None:
    assert as_lines([FINE, WARNED]) == [
        "ok       ingest-0       process 7 answers",
        "warning  clock of edge  2.0 s ahead of this one",
        "                        → restart it",
    ]
    assert as_lines([]) == []


def test_colours() -> None:
    lines = as_lines([FINE, FAILED], colour=True)
    assert lines[0].startswith("\x1b[32mok     \x1b[0m  ingest-0")
    assert lines[1].startswith("\x1b[1;31mfailed \x1b[0m")


def test_nothing_hostile_gets_through() -> None:
    hostile = Finding("a\x1b[2J", "failed", "b\n\u202e", "c\x9b")
    assert all(line.isprintable() for line in as_lines([hostile]))


def test_the_document() -> None:
    document = as_document([FINE, FAILED])
    assert json.loads(json.dumps(document)) == {
        "healthy": False,
        "checks": [
            {
                "name": "ingest-0",
                "status": "ok",
                "text": "process 7 answers",
                "remedy": None,
                "latency_ms": None,
                "figures": {"pid": 7},
            },
            {
                "name": "edge",
                "status": "failed",
                "text": "none runs",
                "remedy": "start it",
                "latency_ms": None,
                "figures": {},
            },
        ],
    }
