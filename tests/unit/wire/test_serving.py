"""Questions to an edge and its answers: whole, truncated, with rubbish behind."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.errors import MessageMalformed
from pipeline.wire import (
    ConnectionsReply,
    ConnectionsRequest,
    ConnectionSummary,
    ReadersSummary,
    StatsReply,
    StatsRequest,
    decode_edge_reply,
    decode_edge_request,
    encode,
)

SUMMARY = ConnectionSummary(
    id="c", edge=0, wire="sse", channels=["scan/demo"], address="::1", opened_ms=1, duration_s=0.5,
    messages=1, bytes=2, lag_events=0, frames_per_s=10, skipped=0,
)  # fmt: skip
REQUESTS = [StatsRequest(3), ConnectionsRequest(4), ConnectionsRequest(5, 10)]
REPLIES = [
    StatsReply(3, "edge-0", {"pages": 1.0}),
    StatsReply(3, "shard-1", {}, 4711, "1.2", 0.5, 0.001),
    ConnectionsReply(4, 2, [SUMMARY]),
    ConnectionsReply(4, 2, [], ReadersSummary({"sse": 2}, {10: 1, 5: 1}, 3, 4, 5, 6)),
]


@pytest.mark.parametrize("message", REQUESTS, ids=repr)
def test_a_question_comes_back_as_it_was(message: StatsRequest | ConnectionsRequest) -> None:
    raw = encode(message)
    assert decode_edge_request(raw) == message
    for end in range(len(raw)):
        with pytest.raises(MessageMalformed):
            decode_edge_request(raw[:end])
    with pytest.raises(MessageMalformed):
        decode_edge_request(raw + b"x")


@pytest.mark.parametrize("message", REPLIES, ids=repr)
def test_an_answer_comes_back_as_it_was(message: msgspec.Struct) -> None:
    raw = encode(message)
    assert decode_edge_reply(raw) == message
    for end in range(len(raw)):
        with pytest.raises(MessageMalformed):
            decode_edge_reply(raw[:end])


def test_a_question_has_a_bound() -> None:
    with pytest.raises(MessageMalformed, match="65536"):
        decode_edge_request(b'{"type":"stats","id":1}' + b" " * 65_536)
