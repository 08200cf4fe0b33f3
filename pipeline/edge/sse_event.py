"""A server-sent event (HTML standard, section 9.2), and a part of a chunked answer (RFC 9112, 7.1). Pure."""

from __future__ import annotations

from pipeline.frame import Position

HEARTBEAT = b":\n\n"
"""A comment: it keeps proxies from closing a quiet stream, and tells a dead one."""


def sse_event(message: bytes, position: Position | None = None) -> bytes:
    """Return one event.

    Args:
        message: its JSON. A carriage return in it can only be white space, and would end the line.
        position: where a reader that comes back goes on from: its `id`, which it sends as `Last-Event-ID`.
    """
    if b"\r" in message or b"\n" in message:
        message = message.replace(b"\r", b" ").replace(b"\n", b" ")
    mark = b"id: %b\n" % str(position).encode() if position is not None else b""
    return b"%bdata: %b\n\n" % (mark, message)


def chunk(part: bytes) -> bytes:
    """Return `part` as one chunk."""
    return b"%x\r\n%b\r\n" % (len(part), part)
