"""A WebSocket text frame, as a server sends it (RFC 6455, section 5.2): header, then the payload. Pure.

Composed once and sent to every browser: a server's frames are not masked, so they are the same for all.
"""

from __future__ import annotations

_FIN_TEXT = 0x81
_RSV1 = 0x40
"""Set on a compressed message (RFC 7692, section 7.2.3.1)."""

PING = b"\x89\x00"
"""A ping without a payload, as a whole frame."""


def text_frame(payload: bytes, *, compressed: bool = False) -> bytes:
    """Return `payload`, which is UTF-8, or was before it was compressed, as one unfragmented text frame."""
    first = _FIN_TEXT | _RSV1 if compressed else _FIN_TEXT
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65_536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload
