"""What browsers are told, field by field."""

from __future__ import annotations

import json

import pytest

from pipeline import wire
from pipeline.errors import MessageMalformed
from pipeline.wire import browser_batch, decode_browser_message, encode


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
    filtered = json.loads(browser_batch("s", 7, 1, 4, 0, (3,), b"[{}]", 3))
    assert (filtered["filtered"], filtered["at"]) == (3, [3])


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


def test_what_is_answered_to_a_browsers_wishes() -> None:
    told = wire.BrowserFilter(scan_id="s", epoch=8, from_=4, wanted={"types": ["portFound"]})
    assert json.loads(encode(told)) == {
        "type": "filter",
        "scan_id": "s",
        "epoch": 8,
        "from": 4,
        "filter": {"types": ["portFound"]},
    }
    error = wire.BrowserError(code=4400, message="no", temporary=False)
    assert json.loads(encode(error)) == {"type": "error", "code": 4400, "message": "no", "temporary": False}
    error = wire.BrowserError(code=4404, message="no", temporary=False, scan_id="s")
    assert json.loads(encode(error))["scan_id"] == "s"
    over = wire.BrowserUnsubscribed(code=1000, reason="unsubscribed", reconnect=True, stats=True)
    assert json.loads(encode(over)) == {
        "type": "unsubscribed",
        "code": 1000,
        "reason": "unsubscribed",
        "reconnect": True,
        "stats": True,
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


HELLO = wire.BrowserHello(
    scan_id="s",
    connection_id="c",
    epoch=None,
    seq=0,
    resumed=None,
    ping_interval=5.0,
    client_timeout=30.0,
    server_version="1",
    features=("ping",),
)


@pytest.mark.parametrize(
    "message",
    [
        HELLO,
        wire.BrowserLag(scan_id="s", skipped=3, from_=4, to=6, reason="slow"),
        wire.BrowserReset(scan_id="s", epoch=8, reason="restarted"),
        wire.BrowserDegraded(scan_id="s", degraded=True, reason="worker_silent"),
        wire.BrowserClosing(code=4000, reason="draining", reconnect=True, retry_ms=500),
        wire.BrowserSnapshot(scan_id="s", epoch=8, seq=4, state={"phase": "x"}),
        wire.BrowserPong(),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_client_reads_what_an_edge_says(message: wire.BrowserMessage) -> None:
    assert decode_browser_message(encode(message)) == message
    assert decode_browser_message(encode(message).decode()) == message


def test_a_client_reads_a_batch() -> None:
    made = browser_batch("s", 7, 1, 3, 1, (1, 2), b'[{"type":"x"},{}]')
    assert decode_browser_message(made) == wire.BrowserBatch(
        scan_id="s", epoch=7, seq=(1, 3), merged=1, at=(1, 2), events=({"type": "x"}, {})
    )


def test_a_client_is_fed_a_batch_cut_short_at_every_byte() -> None:
    made = browser_batch("s", 7, 1, 1, 0, (), b'[{"type":"x"}]')
    for length in range(len(made)):
        with pytest.raises(MessageMalformed):
            decode_browser_message(made[:length])
    with pytest.raises(MessageMalformed):
        decode_browser_message(made + b"x")


def test_a_client_passes_over_what_a_later_edge_says() -> None:
    assert decode_browser_message(b'{"type":"later","anything":[1]}') is None
