"""WebSocket frames, as a server sends them (RFC 6455, section 5.2): header, then the payload. Pure.

A text frame is composed once and sent to every browser: a server's frames are not masked, so they are the
same for all.
"""

from __future__ import annotations

_FIN_TEXT, _FIN_CLOSE, _FIN_PONG = 0x81, 0x88, 0x8A
_RSV1 = 0x40
"""Set on a compressed message (RFC 7692, section 7.2.3.1)."""

PING = b"\x89\x00"
"""A ping without a payload, as a whole frame."""

MAX_REASON_BYTES = 123
"""What a close frame has room for beside its code (section 5.5)."""


def text_frame(payload: bytes, *, compressed: bool = False) -> bytes:
    """Return `payload`, which is UTF-8, or was before it was compressed, as one unfragmented text frame."""
    first = _FIN_TEXT | _RSV1 if compressed else _FIN_TEXT
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65_536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def close_frame(code: int | None, reason: str = "") -> bytes:
    """Return a close frame.

    Args:
        code: RFC 6455, 7.4; None for a frame that says nothing.
        reason: cut to what such a frame has room for.
    """
    if code is None:
        return bytes((_FIN_CLOSE, 0))
    payload = code.to_bytes(2, "big") + reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore").encode()
    return bytes((_FIN_CLOSE, len(payload))) + payload


def pong_frame(payload: bytes) -> bytes:
    """Return the answer to a ping of at most 125 bytes."""
    return bytes((_FIN_PONG, len(payload))) + payload
