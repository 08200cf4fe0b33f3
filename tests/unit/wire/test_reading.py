"""Frames, beacons, and the questions and answers of history."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import wire
from pipeline.errors import MessageMalformed
from pipeline.frame import Frame
from pipeline.wire import (
    MAX_CONTROL_BYTES,
    Beacon,
    Feedback,
    FrameHeader,
    FrameMessage,
    Head,
    HeadRequest,
    Page,
    PageHeader,
    decode_beacon,
    decode_frame,
    decode_history_reply,
    decode_history_request,
    encode,
    encode_beacon,
    encode_feedback,
    encode_frame,
    encode_page,
    frame_topic,
    split_events,
)
from tests.unit.wire.messages import (
    CHANNELS,
    EVENTS,
    NO_MESSAGES,
    Decoder,
    any_struct,
    check_bytes_replaced,
    check_rubbish_behind,
    check_truncated,
    check_understood_or_malformed,
    members,
)


def whole(message: object) -> object:
    """A frame or page with its events taken apart as well: until then its body is not looked at."""
    if isinstance(message, FrameMessage | Page):
        return message.header, split_events(message.body)
    return message


DECODERS: dict[str, Decoder] = {
    "frame": lambda message: whole(decode_frame(message)),
    "events": split_events,
    "beacon": decode_beacon,
    "history request": decode_history_request,
    "history reply": lambda message: whole(decode_history_reply(message)),
}
SAMPLES: list[tuple[str, bytes]] = [
    (
        "frame",
        encode_frame(Frame("scan/a", 7, 1, 3, (b'{"a":"|"}', b"{}"), 1, (1, 2), True, False, ((0, "|"),))),
    ),
    ("events", b'[{"type":"x"},{"type":"y"}]'),
    ("beacon", encode_beacon(Beacon(0, 4, "h", "b", [Head("scan/a", 7, 3, False)], [("scan/b", 1)]))),
    ("history request", encode(wire.PageRequest(1, "scan/a", 7, 1))),
    ("history request", encode(wire.ChannelsRequest(1))),
    ("history reply", encode(wire.HeadReply(1, "scan/a", 7, 3, 1, True))),
    ("history reply", encode_page(PageHeader(1, "scan/a", 7, 1, 2, 2, True, 7), [b"{}", b'{"a":1}'])),
]
IDS = [f"{name}-{number}" for number, (name, _) in enumerate(SAMPLES)]

# --- round trips --------------------------------------------------------------------------------------

OBJECTS = [
    *[(kind, encode, decode_history_request) for kind in members(wire.HistoryRequest)],
    *[(kind, encode, decode_history_reply) for kind in members(wire.HistoryReply)],
    (Beacon, encode_beacon, decode_beacon),
]


@pytest.mark.parametrize(
    ("kind", "write", "read"), OBJECTS, ids=[f"{kind.__name__}-{read.__name__}" for kind, _, read in OBJECTS]
)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_message_is_read_as_it_was_written(kind, write, read, data: st.DataObject) -> None:
    message = data.draw(any_struct(kind))
    assert read(write(message)) == message


@given(header=any_struct(FrameHeader), channel=CHANNELS, events=EVENTS)
@settings(max_examples=50, deadline=None)
def test_a_frame_is_read_as_it_was_written(header: FrameHeader, channel: str, events: list[bytes]) -> None:
    fields = msgspec.structs.asdict(header)
    message = encode_frame(Frame(channel=channel, events=tuple(events), **fields))
    assert message.startswith(frame_topic(channel))
    decoded = decode_frame(message)
    assert (decoded.channel, decoded.header) == (channel, header)
    assert split_events(decoded.body) == events


@given(header=any_struct(PageHeader), events=EVENTS)
@settings(max_examples=50, deadline=None)
def test_a_page_is_read_as_it_was_written(header: PageHeader, events: list[bytes]) -> None:
    page = decode_history_reply(encode_page(header, events))
    assert isinstance(page, Page)
    assert page.header == header
    assert split_events(page.body) == events


def test_the_bytes_other_languages_read() -> None:
    """What docs/PROTOCOL.md promises: these may not change without a new version."""
    frame = Frame("scan/a", 7, 1, 3, (b'{"type":"x"}', b"{}"), 1, (1, 2), True, True, ((0, "k"),))
    assert encode_frame(frame) == (
        b'F|scan/a|{"epoch":7,"first":1,"last":3,"merged":1,"at":[1,2],"critical":true,"terminal":true,'
        b'"state":[[0,"k"]]}\n[{"type":"x"},{}]'
    )
    assert (
        encode_frame(Frame("scan/a", 7, 1, 1, (b"{}",))) == b'F|scan/a|{"epoch":7,"first":1,"last":1}\n[{}]'
    )
    assert encode_beacon(Beacon(0, 4, "h", "b", [Head("scan/a", 7, 3, False)])) == (
        b'H|{"type":"beacon","shard":0,"shards":4,"hash":"h","boot":"b","heads":[["scan/a",7,3,false]],"gone":[],'
        b'"writable":true}'
    )


def test_what_a_worker_of_before_says() -> None:
    """Where it has no word for it, its journal is taken to be writable, and its lives to be whole."""
    assert decode_beacon(b'H|{"type":"beacon","shard":0,"shards":4,"hash":"h","boot":"b"}').writable
    page = decode_history_reply(
        b'{"type":"page","id":1,"channel":"scan/a","epoch":7,"first":1,"last":0,"head":0,"held":true,"current":7}\n[]'
    )
    assert isinstance(page, Page)
    assert (page.header.damaged, page.header.cut) == (0, False)


def test_no_topic_begins_another() -> None:
    """A subscription is to a prefix: `scan/a` must not get what is of `scan/ab`."""
    assert not frame_topic("scan/ab").startswith(frame_topic("scan/a"))


def test_a_request_of_any_number_can_be_answered() -> None:
    """What a peer asks is echoed: no number it may use must break the answer."""
    request = decode_history_request(b'{"type":"head","id":%d,"channel":"x"}' % 2**64)
    assert isinstance(request, HeadRequest)
    assert decode_history_reply(encode(wire.HeadReply(request.id, request.channel))).id == 2**64


# --- what is none -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "message"), SAMPLES, ids=IDS)
def test_truncated_at_every_byte(name: str, message: bytes) -> None:
    check_truncated(DECODERS[name], message)


@pytest.mark.parametrize(("name", "message"), SAMPLES, ids=IDS)
def test_rubbish_behind(name: str, message: bytes) -> None:
    check_rubbish_behind(DECODERS[name], message)


@pytest.mark.parametrize(("name", "message"), SAMPLES, ids=IDS)
def test_every_byte_replaced(name: str, message: bytes) -> None:
    check_bytes_replaced(DECODERS[name], message)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("message", NO_MESSAGES, ids=range(len(NO_MESSAGES)))
def test_what_is_no_message_at_all(name: str, message: bytes) -> None:
    with pytest.raises(MessageMalformed):
        DECODERS[name](message)


@pytest.mark.parametrize("name", DECODERS)
@given(message=st.binary(max_size=60))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_understood_or_malformed(name: str, message: bytes) -> None:
    for start in (b"", b"\x01{", b"F|scan/a|{", b"A|{", b"H|{", b'{"type":"hello",'):
        check_understood_or_malformed(DECODERS[name], start + message)


def test_another_topic_is_not_taken_for_a_frame_or_beacon() -> None:
    frame = encode_frame(Frame("scan/a", 1, 1, 1, (b"{}",)))
    beacon = encode_beacon(Beacon(0, 1, "h", "b"))
    for decode, message in (
        (decode_frame, b"A" + frame[1:]),
        (decode_beacon, b"A" + beacon[1:]),
        (decode_beacon, encode_feedback(Feedback())),
    ):
        with pytest.raises(MessageMalformed):
            decode(message)


def test_a_page_without_its_events() -> None:
    header = PageHeader(1, "scan/a", 7, 1, 2, 2, True, 7)
    with pytest.raises(MessageMalformed, match="a header without what it is the header of"):
        decode_history_reply(encode(header))


def test_a_long_question_is_not_even_read() -> None:
    with pytest.raises(
        MessageMalformed, match=f"of {MAX_CONTROL_BYTES + 1} bytes exceeds {MAX_CONTROL_BYTES} bytes"
    ):
        decode_history_request(b" " * (MAX_CONTROL_BYTES + 1))
