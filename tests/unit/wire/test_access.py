from __future__ import annotations

from pipeline.wire import (
    AccessReply,
    AccessRequest,
    decode_history_reply,
    decode_history_request,
    encode,
)


def test_the_question_and_its_answer_come_as_they_were_sent() -> None:
    for request in (AccessRequest(1, "scan/a"), AccessRequest(2, "scan/a", 7)):
        assert decode_history_request(encode(request)) == request
    for reply in (AccessReply(1, "scan/a"), AccessReply(2, "scan/a", 7, "ada", ("bob",))):
        assert decode_history_reply(encode(reply)) == reply
