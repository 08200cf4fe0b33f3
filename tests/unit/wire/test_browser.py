"""What browsers are told, field by field."""

from __future__ import annotations

import json

from pipeline import wire
from pipeline.wire import browser_batch, encode


def test_a_batch_for_the_browser() -> None:
    assert json.loads(browser_batch("s", 7, 1, 3, 1, (1, 2), b'[{"type":"x"},{}]')) == {
        "type": "batch",
        "scan_id": "s",
        "epoch": 7,
        "seq": [1, 3],
        "merged": 1,
        "filtered": 0,
        "at": [1, 2],
        "events": [{"type": "x"}, {}],
    }
    assert "at" not in json.loads(browser_batch("s", 7, 1, 1, 0, (), b"[{}]"))


def test_the_fields_a_browser_reads() -> None:
    lag = wire.BrowserLag(scan_id="s", skipped=3, from_=4, to=6, reason="slow")
    assert json.loads(encode(lag)) == {
        "type": "lag",
        "scanId": "s",
        "skippedMessages": 3,
        "from": 4,
        "to": 6,
        "reason": "slow",
    }
    reset = wire.BrowserReset(scan_id="s", epoch=8, reason="restarted")
    assert json.loads(encode(reset)) == {"type": "reset", "scan_id": "s", "epoch": 8, "reason": "restarted"}
    closing = wire.BrowserClosing(code=4000, reason="draining", reconnect=True, retry_ms=500)
    assert json.loads(encode(closing)) == {
        "type": "closing",
        "code": 4000,
        "reason": "draining",
        "reconnect": True,
        "retry_ms": 500,
    }


def test_heroforges_messages() -> None:
    assert json.loads(wire.heroforge_lag("scan/s", 3)) == {"type": "lag", "skippedMessages": 3, "scanId": "s"}
    assert json.loads(wire.heroforge_not_found("scan/s")) == {
        "type": "error",
        "message": "Scan channel not found",
        "scanId": "s",
    }
    assert json.loads(wire.heroforge_not_found("report/r")) == {
        "type": "error",
        "message": "Report channel not found",
        "reportId": "r",
    }
