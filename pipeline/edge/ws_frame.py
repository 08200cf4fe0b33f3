"""A WebSocket text frame, as a server sends it (RFC 6455, section 5.2): header, then the payload. Pure.

Composed once and sent to every browser: a server's frames are not masked, so they are the same for all.
"""

from __future__ import annotations

_FIN_TEXT = 0x81

PING = b"\x89\x00"
"""A ping without a payload, as a whole frame."""


def text_frame(payload: bytes) -> bytes:
    """Return `payload`, which is UTF-8, as one unfragmented text frame."""
    size = len(payload)
    if size < 126:
        return bytes((_FIN_TEXT, size)) + payload
    if size < 65_536:
        return bytes((_FIN_TEXT, 126)) + size.to_bytes(2, "big") + payload
    return bytes((_FIN_TEXT, 127)) + size.to_bytes(8, "big") + payload
