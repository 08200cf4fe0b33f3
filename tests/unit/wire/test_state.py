from __future__ import annotations

import json

import msgspec
import pytest

from pipeline.errors import MessageMalformed
from pipeline.wire import (
    Document,
    HostsHeader,
    HostsRequest,
    StateHeader,
    StateRequest,
    decode_history_reply,
    decode_history_request,
    encode,
    encode_hosts,
    encode_state,
)
from tests.unit.wire.messages import check_truncated


@pytest.mark.parametrize(
    "question",
    [
        StateRequest(1, "scan/a"),
        StateRequest(1, "scan/a", 7),
        HostsRequest(1, "scan/a"),
        HostsRequest(1, "scan/a", 7, 1_000, 5),
    ],
)
def test_a_question_is_read_as_it_was_written(question: StateRequest | HostsRequest) -> None:
    assert decode_history_request(encode(question)) == question


def test_hosts_are_asked_for_from_the_first_on() -> None:
    question = decode_history_request(b'{"type":"hosts","id":1,"channel":"scan/a"}')
    assert question == HostsRequest(1, "scan/a", None, 0, 1_000)


def test_an_unknown_life_has_an_empty_state() -> None:
    reply = decode_history_reply(encode_state(StateHeader(3, "scan/a"), None))
    assert reply == Document(StateHeader(3, "scan/a", None, 0), b"{}")
    assert reply.id == 3


def test_hosts_follow_their_header() -> None:
    header = HostsHeader(3, "scan/a", 7, 9, 2, 5, 1)
    reply = decode_history_reply(encode_hosts(header, [b'{"ip":"a"}', b'{"ip":"b"}']))
    assert isinstance(reply, Document)
    assert (reply.header, json.loads(reply.body)) == (header, [{"ip": "a"}, {"ip": "b"}])


@pytest.mark.parametrize("header", [StateHeader(3, "scan/a", 7), HostsHeader(3, "scan/a", 7)])
def test_a_header_alone_is_no_answer(header: msgspec.Struct) -> None:
    with pytest.raises(MessageMalformed, match="a header without"):
        decode_history_reply(encode(header))


def test_a_header_that_is_cut_off_is_no_answer() -> None:
    check_truncated(decode_history_reply, encode(StateHeader(3, "scan/a", 7)) + b"\n")
