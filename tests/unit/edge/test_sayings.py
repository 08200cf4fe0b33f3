"""What readers are told besides events, word for word."""

from __future__ import annotations

import json

import pytest

from pipeline.edge import sayings
from pipeline.edge.action import Say
from pipeline.edge.filter import read_filter
from pipeline.edge.variant import Variant
from pipeline.frame import Position
from pipeline.wire import HeadReply

GREETING = sayings.Greeting(5.0, 30.0, "1.2.3")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            sayings.hello("scan/demo", "c1", GREETING, HeadReply(1, "scan/demo", 7, 3), resumed=True),
            {
                "type": "hello",
                "scan_id": "demo",
                "connection_id": "c1",
                "epoch": 7,
                "seq": 3,
                "resumed": True,
                "ping_interval": 5.0,
                "client_timeout": 30.0,
                "server_version": "1.2.3",
                "features": ["since", "snapshot", "lag", "reset", "ping", "filter"],
            },
        ),
        (
            sayings.not_found("report/r"),
            {"type": "error", "message": "Report channel not found", "reportId": "r"},
        ),
        (
            sayings.lag("scan/demo", 4, 9, 5, "too_slow", heroforge=False),
            {"type": "lag", "scanId": "demo", "skippedMessages": 5, "from": 4, "to": 9, "reason": "too_slow"},
        ),
        (
            sayings.lag("report/r", 4, 9, 5, "too_slow", heroforge=True),
            {"type": "lag", "skippedMessages": 5, "reportId": "r"},
        ),
        (
            sayings.reset("scan/demo", 8, "restarted"),
            {"type": "reset", "scan_id": "demo", "epoch": 8, "reason": "restarted"},
        ),
        (
            sayings.reset("scan/demo", 8, "forgotten"),
            {"type": "reset", "scan_id": "demo", "epoch": 8, "reason": "forgotten"},
        ),
        (
            sayings.degraded("scan/demo", is_so=True),
            {"type": "degraded", "scan_id": "demo", "degraded": True, "reason": "worker_silent"},
        ),
        (
            sayings.degraded("scan/demo", is_so=False),
            {"type": "degraded", "scan_id": "demo", "degraded": False, "reason": "worker_back"},
        ),
        (
            sayings.refiltered("scan/demo", 8, 4, read_filter(["b,a"])),
            {"type": "filter", "scan_id": "demo", "epoch": 8, "from": 4, "filter": {"types": ["a", "b"]}},
        ),
        (
            sayings.refiltered("scan/demo", None, 1, None),
            {"type": "filter", "scan_id": "demo", "epoch": None, "from": 1, "filter": None},
        ),
    ],
)
def test_each_message(said: Say, message: dict[str, object]) -> None:
    assert json.loads(said.message) == message


def test_a_reader_that_was_shown_the_state_is_behind_it() -> None:
    said = sayings.snapshot("scan/demo", 7, 42, b'{"phase":"p"}')
    assert said.position == Position(7, 42)
    assert b"id: 7:42\n" in Variant("sse").message(said.message, said.position)
