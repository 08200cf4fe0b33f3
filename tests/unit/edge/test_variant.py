"""Framing by kind of reader."""

from __future__ import annotations

import zlib

import pytest

from pipeline.edge.deflate import Deflate
from pipeline.edge.variant import HEROFORGE, NATIVE, Variant
from pipeline.frame import Position
from tests.unit.edge.worker_model import text_payloads

SSE = b'id: 7:4\ndata: {"a":1}\n\n'


@pytest.mark.parametrize(
    ("variant", "framed"),
    [
        (NATIVE, b'\x81\x07{"a":1}'),
        (HEROFORGE, b'\x81\x07{"a":1}'),
        (Variant("sse"), SSE),
        (Variant("sse", chunked=True), b"%x\r\n%b\r\n" % (len(SSE), SSE)),
    ],
)
def test_a_message_as_each_reader_gets_it(variant: Variant, framed: bytes) -> None:
    assert variant.message(b'{"a":1}', Position(7, 4)) == framed


def test_a_message_without_a_position_tells_none() -> None:
    assert Variant("sse").message(b"{}") == b"data: {}\n\n"


def test_several_messages_go_in_one() -> None:
    assert text_payloads(HEROFORGE.messages([b"{}", b"[1]", b"2"])) == [b"{}", b"[1]", b"2"]


def test_a_compressed_message_is_marked_and_a_small_one_is_not() -> None:
    variant = Variant("native", deflate=Deflate(15, 1, 100))
    payload = b'"' + b"a" * 1_000 + b'"'
    frame = variant.message(payload)
    assert frame[0] == 0xC1, "FIN, RSV1, text"
    assert zlib.decompressobj(-15).decompress(frame[2:] + b"\x00\x00\xff\xff") == payload
    assert variant.message(b"{}") == b"\x81\x02{}"
    packed, small, again = payload, b"{}", payload
    assert variant.messages([packed, small, again]) == frame + b"\x81\x02{}" + frame


def test_the_same_kind_is_the_same_key() -> None:
    assert {Variant("native"): 1}[NATIVE] == 1
    assert len({NATIVE, HEROFORGE, Variant("sse"), Variant("sse", chunked=True)}) == 4
