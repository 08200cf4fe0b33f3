"""Frames as a server sends them: RFC 6455, sections 5.2 and 5.5, around each way to write a length."""

from __future__ import annotations

import pytest
from websockets.frames import Close, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from pipeline.edge.ws_frame import MAX_REASON_BYTES, PING, close_frame, pong_frame, text_frame
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


def read(data: bytes) -> tuple[Opcode, bytes]:
    """Return (opcode, payload) of one whole frame, as another implementation reads it."""
    reader = Protocol(CLIENT, state=OPEN, max_size=None)
    reader.receive_data(data)
    (frame,) = reader.events_received()
    assert frame.fin
    return frame.opcode, bytes(frame.data)


def test_control_frames_are_read_by_another_implementation() -> None:
    assert read(PING) == (Opcode.PING, b"")
    assert read(pong_frame(b"")) == (Opcode.PONG, b"")
    assert read(pong_frame(b"x" * 125)) == (Opcode.PONG, b"x" * 125)
    assert read(close_frame(None)) == (Opcode.CLOSE, b"")
    assert read(close_frame(4404, "no such scan")) == (Opcode.CLOSE, Close(4404, "no such scan").serialize())


@pytest.mark.parametrize("reason", ["x" * 500, "x" + "\u00e9" * 100, "\u20ac" * 41, "\u20ac" * 42])
def test_a_reason_is_cut_between_letters(reason: str) -> None:
    opcode, payload = read(close_frame(1000, reason))
    assert opcode == Opcode.CLOSE
    assert MAX_REASON_BYTES - 3 < len(payload[2:]) <= MAX_REASON_BYTES
    assert reason.startswith(payload[2:].decode())
