from __future__ import annotations

import pytest

from pipeline.wire import (
    DeleteReply,
    DeleteRequest,
    HistoryReply,
    HistoryRequest,
    PastLife,
    PastReply,
    PastRequest,
    TotalsEntry,
    decode_history_reply,
    decode_history_request,
    encode,
)
from tests.unit.wire.messages import check_truncated

LIFE = PastLife(
    channel="scan/a",
    epoch=7,
    mark=(9_000, 3),
    present=True,
    status="completed",
    error=None,
    started_ms=1,
    ended_ms=None,
    last_event_ms=9_000,
    events=4,
    held_events=2,
    size_bytes=100,
    totals=TotalsEntry(1, 2, 3, {"High": 1}),
    name="office",
    targets=("10.0.0.0/8",),
    targets_left_out=0,
    labels={"site": "Berlin"},
    owner="",
)


@pytest.mark.parametrize(
    "question",
    [
        PastRequest(1),
        PastRequest(1, "berlin", ("10.0.0.0/8",), "scan/a", (9_000, 3), 5),
        DeleteRequest(1, "scan/a"),
        DeleteRequest(1, "scan/a", 7),
    ],
)
def test_a_question_is_read_as_it_was_written(question: HistoryRequest) -> None:
    assert decode_history_request(encode(question)) == question


@pytest.mark.parametrize(
    "reply",
    [
        PastReply(1, 2, [LIFE], (9_000, 3)),
        PastReply(1, 2, []),
        DeleteReply(1, "scan/a", [7]),
        DeleteReply(1, "scan/a", [], "running"),
    ],
)
def test_an_answer_is_read_as_it_was_written(reply: HistoryReply) -> None:
    assert decode_history_reply(encode(reply)) == reply
    check_truncated(decode_history_reply, encode(reply))
