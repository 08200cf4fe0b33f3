"""RFC 6455 from the server's side, frame by frame: what Autobahn's sections 1 to 7 look at, cut anywhere."""

from __future__ import annotations

import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.close_codes import NOT_UTF8, PROTOCOL_ERROR, TOO_LARGE, CloseCode
from pipeline.edge.ws_reading import (
    Closed,
    Failed,
    Inbound,
    Message,
    Ping,
    Pong,
    WebSocketReader,
    may_be_sent,
)

LIMIT = 16_384
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA
FIN, RSV1 = 0x80, 0x40


def frame(first: int, payload: bytes = b"", *, mask: bytes | None = b"\x01\x80\xff\x3c") -> bytes:
    """Return a frame as a browser sends it."""
    size = len(payload)
    masked = 0x80 if mask is not None else 0
    if size < 126:
        head = bytes((first, masked | size))
    elif size < 65_536:
        head = bytes((first, masked | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, masked | 127)) + size.to_bytes(8, "big")
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ key for byte, key in zip(payload, itertools.cycle(mask), strict=False))


def close(code: int | None, reason: bytes = b"") -> bytes:
    return frame(FIN | CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def read(data: bytes, *, deflate: bool = False, limit: int = LIMIT) -> list[Inbound]:
    """Read bytes whole, and byte by byte; both must say the same."""
    whole = WebSocketReader(limit, deflate=deflate).receive(data)
    reader = WebSocketReader(limit, deflate=deflate)
    assert [each for byte in data for each in reader.receive(bytes((byte,)))] == whole
    return whole


def failed(data: bytes, *, deflate: bool = False) -> CloseCode:
    """Return the code that reading these bytes ends with."""
    found = read(data, deflate=deflate)
    assert isinstance(found[-1], Failed), found
    assert found[-1].problem
    return found[-1].code


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 1_000, LIMIT])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_messages_of_every_length_come_whole(size: int, opcode: int) -> None:
    payload = (b"0123456789" * (size // 10 + 1))[:size]
    assert read(frame(FIN | opcode, payload)) == [Message(payload, opcode == TEXT)]


def test_a_message_above_the_limit_fails_at_its_header() -> None:
    assert failed(frame(FIN | TEXT, b"x" * (LIMIT + 1))) is TOO_LARGE
    reader = WebSocketReader(LIMIT)
    [found] = reader.receive(frame(FIN | TEXT, b"x" * 70_000)[:10])
    assert isinstance(found, Failed)


def test_fragments_above_the_limit_fail_at_the_header_of_the_one_too_many() -> None:
    half = LIMIT // 2
    data = frame(TEXT, b"x" * half) + frame(CONTINUATION, b"x" * half) + frame(FIN | CONTINUATION, b"x")
    assert failed(data) is TOO_LARGE


@pytest.mark.parametrize("size", [0, 1, 125])
def test_pings_are_given_with_their_payload_and_pongs_without(size: int) -> None:
    payload = bytes(range(256))[:size]
    assert read(frame(FIN | PING, payload) + frame(FIN | PONG, payload)) == [Ping(payload), Pong()]


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_control_frame_is_short_and_whole(opcode: int) -> None:
    assert failed(frame(FIN | opcode, b"\x03\xe8" + b"x" * 124)) is PROTOCOL_ERROR
    assert failed(frame(opcode, b"")) is PROTOCOL_ERROR


@pytest.mark.parametrize("bits", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
@pytest.mark.parametrize("deflate", [False, True])
def test_reserved_bits_fail(bits: int, opcode: int, deflate: bool) -> None:
    if deflate and bits == 4 and opcode in (TEXT, BINARY):
        return  # that one is agreed
    assert failed(frame(FIN | opcode | bits << 4), deflate=deflate) is PROTOCOL_ERROR


@pytest.mark.parametrize("opcode", [*range(3, 8), *range(11, 16)])
def test_reserved_opcodes_fail(opcode: int) -> None:
    before = frame(FIN | TEXT, b"before")
    assert read(before + frame(FIN | opcode))[0] == Message(b"before", True)
    assert failed(before + frame(FIN | opcode)) is PROTOCOL_ERROR


def test_a_frame_that_is_not_masked_fails() -> None:
    for opcode in (TEXT, BINARY, PING, PONG, CLOSE):
        assert failed(frame(FIN | opcode, b"\x03\xe8", mask=None)) is PROTOCOL_ERROR


@pytest.mark.parametrize(
    "head",
    [
        b"\x81\xfe" + (125).to_bytes(2, "big"),
        b"\x81\xff" + (126).to_bytes(8, "big"),
        b"\x81\xff" + (65_535).to_bytes(8, "big"),
        b"\x81\xff" + (1 << 63).to_bytes(8, "big"),
    ],
)
def test_a_length_is_told_in_as_few_bytes_as_can_be(head: bytes) -> None:
    assert failed(head) is PROTOCOL_ERROR


def test_fragments_make_one_message_and_control_frames_come_between() -> None:
    data = frame(TEXT, b"one ") + frame(FIN | PING, b"?") + frame(CONTINUATION, b"two ")
    data += frame(FIN | PONG) + frame(CONTINUATION) + frame(FIN | CONTINUATION, b"three")
    assert read(data) == [Ping(b"?"), Pong(), Message(b"one two three", True)]


@pytest.mark.parametrize("first", [CONTINUATION, FIN | CONTINUATION])
def test_a_continuation_of_nothing_fails(first: int) -> None:
    assert failed(frame(first, b"x")) is PROTOCOL_ERROR
    whole = frame(TEXT, b"x") + frame(FIN | CONTINUATION, b"y")
    assert failed(whole + frame(first, b"x")) is PROTOCOL_ERROR


@pytest.mark.parametrize("first", [TEXT, FIN | TEXT, BINARY, FIN | BINARY])
def test_a_message_within_a_message_fails(first: int) -> None:
    assert failed(frame(TEXT, b"x") + frame(first, b"y")) is PROTOCOL_ERROR


VALID = [
    "",
    "Hello-µ@ßöäüàá-UTF-8!!",
    "κόσμε",
    "\u0000",
    "\u007f",
    "\u07ff",
    "\ud7ff",
    "\ue000",
    "\U0010ffff",
]
INVALID = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",  # a surrogate
    b"\xf4\x90\x80\x80",  # beyond U+10FFFF
    b"\x80",
    b"\xbf",
    b"\xc0\xaf",  # too long a form
    b"\xe0\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xfe",
    b"\xff",
    b"\xce",  # ends too early
    b"\xf0\x9f\x98",
]


@pytest.mark.parametrize("text", VALID)
def test_text_in_utf8_is_taken_however_it_is_fragmented(text: str) -> None:
    payload = text.encode()
    assert read(frame(FIN | TEXT, payload)) == [Message(payload, True)]
    parts = b"".join(
        frame(TEXT if not at else CONTINUATION, payload[at : at + 1]) for at in range(len(payload))
    )
    if parts:
        assert read(parts + frame(FIN | CONTINUATION)) == [Message(payload, True)]


@pytest.mark.parametrize("payload", INVALID)
def test_text_that_is_no_utf8_fails(payload: bytes) -> None:
    assert failed(frame(FIN | TEXT, payload)) is NOT_UTF8
    assert failed(frame(TEXT, b"ok") + frame(FIN | CONTINUATION, payload)) is NOT_UTF8
    assert read(frame(FIN | BINARY, payload)) == [Message(payload, False)]


def test_fragmented_text_fails_where_it_goes_wrong() -> None:
    assert failed(frame(TEXT, b"\xce\xba") + frame(CONTINUATION, b"\xed\xa0\x80")) is NOT_UTF8


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_a_close_code_that_may_be_sent_is_given(code: int) -> None:
    assert may_be_sent(code)
    assert read(close(code)) == [Closed(code, "")]
    assert read(close(code, "tschüß".encode())) == [Closed(code, "tschüß")]


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])
def test_a_close_code_that_nobody_may_send_fails(code: int) -> None:
    assert not may_be_sent(code)
    assert failed(close(code)) is PROTOCOL_ERROR


def test_a_close_frame_may_be_empty_but_not_of_one_byte() -> None:
    assert read(close(None)) == [Closed(None, "")]
    assert failed(frame(FIN | CLOSE, b"\x03")) is PROTOCOL_ERROR


def test_a_close_reason_is_utf8_of_at_most_123_bytes() -> None:
    assert read(close(1000, b"x" * 123)) == [Closed(1000, "x" * 123)]
    assert failed(close(1000, b"x" * 124)) is PROTOCOL_ERROR
    assert failed(close(1000, b"\xce\xba\xed\xa0\x80")) is NOT_UTF8


@pytest.mark.parametrize("last", [close(1000), frame(FIN | TEXT, b"\xff")])
def test_nothing_is_read_after_the_end(last: bytes) -> None:
    reader = WebSocketReader(LIMIT)
    assert len(reader.receive(last + frame(FIN | TEXT, b"more") + frame(FIN | PING))) == 1
    assert reader.over
    assert reader.receive(frame(FIN | TEXT, b"more") * 1_000) == []


def deflated(payload: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_compressed_messages_are_inflated_each_for_itself() -> None:
    payload = b'{"action":"ack","seq":12}' * 20
    whole = deflated(payload)
    data = frame(FIN | RSV1 | TEXT, whole) + frame(FIN | TEXT, b"plain")
    data += frame(RSV1 | TEXT, whole[:5]) + frame(FIN | CONTINUATION, whole[5:])
    assert read(data, deflate=True) == [
        Message(payload, True),
        Message(b"plain", True),
        Message(payload, True),
    ]


def test_a_continuation_has_no_bit_of_its_own_for_compression() -> None:
    data = frame(RSV1 | TEXT, b"x") + frame(FIN | RSV1 | CONTINUATION, b"y")
    assert failed(data, deflate=True) is PROTOCOL_ERROR


def test_what_inflates_beyond_the_limit_fails_and_so_does_what_does_not_inflate() -> None:
    assert failed(frame(FIN | RSV1 | TEXT, deflated(b"x" * (LIMIT + 1))), deflate=True) is TOO_LARGE
    assert failed(frame(FIN | RSV1 | TEXT, deflated(b"x" * 10_000_000)), deflate=True) is TOO_LARGE
    assert read(frame(FIN | RSV1 | TEXT, deflated(b"x" * LIMIT)), deflate=True) == [
        Message(b"x" * LIMIT, True)
    ]
    assert failed(frame(FIN | RSV1 | TEXT, b"\xff\xff\xff\xff"), deflate=True) is NOT_UTF8
    assert failed(frame(FIN | RSV1 | TEXT, deflated(b"\xff")), deflate=True) is NOT_UTF8


def test_frames_are_counted_whatever_they_are() -> None:
    reader = WebSocketReader(LIMIT)
    reader.receive(frame(TEXT) + frame(CONTINUATION) * 3 + frame(FIN | PING) + frame(FIN | PONG)[:3])
    assert reader.frames == 5


@given(
    st.lists(st.sampled_from([TEXT, CONTINUATION, FIN | CONTINUATION, FIN | PING, FIN | TEXT]), max_size=8)
)
def test_a_reader_may_be_let_go_between_messages_and_frames(firsts: list[int]) -> None:
    """Read as one does that begins a new reader whenever the last one is not within anything."""
    data = b"".join(frame(first, b"some") for first in firsts)
    whole = WebSocketReader(LIMIT).receive(data)
    found: list[Inbound] = []
    reader = WebSocketReader(LIMIT)
    for byte in data:
        found += reader.receive(bytes((byte,)))
        if reader.over:
            assert not reader.within or isinstance(found[-1], Failed)
            break
        if not reader.within:
            reader = WebSocketReader(LIMIT)
    assert found == whole


def test_a_reader_is_within_what_has_begun() -> None:
    reader = WebSocketReader(LIMIT)
    assert not reader.within
    reader.receive(frame(FIN | PONG)[:5])
    assert reader.within
    reader.receive(frame(FIN | PONG)[5:])
    assert not reader.within
    reader.receive(frame(TEXT, b"begun"))
    assert reader.within
    reader.receive(frame(FIN | PING))
    assert reader.within
    reader.receive(frame(FIN | CONTINUATION))
    assert not reader.within


@given(st.binary(max_size=300), st.booleans())
def test_rubbish_ends_in_a_failure_or_waits_for_more(data: bytes, deflate: bool) -> None:
    found = read(data, deflate=deflate)
    assert all(not isinstance(each, Failed | Closed) for each in found[:-1])


@given(
    st.lists(st.tuples(st.sampled_from([TEXT, BINARY]), st.text(max_size=200)), max_size=8),
    st.lists(st.integers(1, 50), min_size=1, max_size=20),
)
def test_messages_come_whole_however_the_bytes_are_cut(
    messages: list[tuple[int, str]], cuts: list[int]
) -> None:
    data = b"".join(frame(FIN | opcode, text.encode()) for opcode, text in messages)
    reader, found, at = WebSocketReader(LIMIT), [], 0
    for size in itertools.cycle(cuts):
        if at >= len(data):
            break
        found += reader.receive(data[at : at + size])
        at += size
    assert found == [Message(text.encode(), opcode == TEXT) for opcode, text in messages]
