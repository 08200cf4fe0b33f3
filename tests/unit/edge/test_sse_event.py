"""One server-sent event, and a part of a chunked answer."""

from __future__ import annotations

import pytest

from pipeline.edge.sse_event import chunk, sse_event
from pipeline.frame import Position


@pytest.mark.parametrize(
    ("message", "position", "event"),
    [
        (b'{"a":1}', None, b'data: {"a":1}\n\n'),
        (b'{"a":1}', Position(5, 7), b'id: 5:7\ndata: {"a":1}\n\n'),
        (b'{"a":\r1,\n"b":2}', None, b'data: {"a": 1, "b":2}\n\n'),
        (b'{"a":"\\r\\n"}', None, b'data: {"a":"\\r\\n"}\n\n'),
    ],
)
def test_an_event_is_one_line_of_data(message: bytes, position: Position | None, event: bytes) -> None:
    assert sse_event(message, position) == event


def test_a_chunk_says_its_size_in_hexadecimal() -> None:
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
