"""Text frames: RFC 6455, section 5.2, around each of the three ways to write a length."""

from __future__ import annotations

import pytest
from tornado.websocket import WebSocketProtocol13
from websockets.frames import Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from pipeline.edge.ws_frame import text_frame
from tests.unit.edge.worker_model import text_payloads


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 300_000])
def test_another_implementation_reads_it_whole_and_truncated(size: int) -> None:
    payload = b"x" * size
    data = text_frame(payload)
    for cut in {min(cut, len(data) - 1) for cut in (0, 1, 2, 3, 5, 9, len(data) // 2, len(data))}:
        reader = Protocol(CLIENT, state=OPEN, max_size=None)
        reader.receive_data(data[:cut])
        assert reader.events_received() == []
        reader.receive_data(data[cut:] + data[:1])
        (frame,) = reader.events_received()
        assert (frame.opcode, frame.data, frame.fin) == (Opcode.TEXT, payload, True)


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_the_shortest_length_is_used(size: int, header: bytes) -> None:
    assert text_frame(b"x" * size)[: len(header)] == header
    assert text_payloads(text_frame(b"x" * size)) == [b"x" * size]


def test_the_rules_are_tornados() -> None:
    assert text_frame(b"")[0] == WebSocketProtocol13.FIN | 0x1
