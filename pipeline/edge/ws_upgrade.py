"""The opening handshake of a WebSocket, as RFC 6455 wants it (4.2): a request in, an answer out. Pure.

The handler asks it after `access` has let the request in, and before the connection is a WebSocket's.

=================================================== ==================
the request                                         is answered
=================================================== ==================
is not HTTP/1.1                                     400
has an `Upgrade` that does not name `websocket`     400
has a `Connection` that does not name `upgrade`     400
has no `Sec-WebSocket-Key`, or one not of 16 bytes  400
has another `Sec-WebSocket-Version` than 13         426, with that one
is anything else                                    101
=================================================== ==================
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

VERSION = "13"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16

Fields = Callable[[str], list[str]]
"""Gives the values of a header, however often it was sent."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no WebSocket: an HTTP status, and in words."""

    status: int
    problem: str


def refusal(http: str, fields: Fields) -> Refusal | None:
    """Say why a request cannot be upgraded; None when it can.

    Args:
        http: its version.
        fields: its headers.
    """
    if http != "HTTP/1.1":
        return Refusal(400, "HTTP/1.1 is needed")
    if "websocket" not in _tokens(fields("Upgrade")):
        return Refusal(400, "Upgrade: websocket is needed")
    if "upgrade" not in _tokens(fields("Connection")):
        return Refusal(400, "Connection: Upgrade is needed")
    if fields("Sec-WebSocket-Version") != [VERSION]:
        return Refusal(426, f"Sec-WebSocket-Version: {VERSION} is needed")
    if not _is_key(fields("Sec-WebSocket-Key")):
        return Refusal(400, f"Sec-WebSocket-Key: {_KEY_BYTES} bytes in base64 are needed")
    return None


def protocols(fields: Fields) -> list[str]:
    """Return the subprotocols that the browser offers."""
    return [each.strip() for value in fields("Sec-WebSocket-Protocol") for each in value.split(",")]


def answer(fields: Fields, protocol: str | None, extensions: str | None) -> bytes:
    """Return the answer that makes the connection a WebSocket.

    Args:
        fields: the headers of a request that has no `refusal`.
        protocol: the subprotocol taken, of those offered; None for none.
        extensions: what is agreed on; None for nothing.
    """
    (key,) = fields("Sec-WebSocket-Key")
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
    ]
    if protocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {protocol}")
    if extensions is not None:
        lines.append(f"Sec-WebSocket-Extensions: {extensions}")
    return "\r\n".join([*lines, "", ""]).encode()


def _tokens(values: list[str]) -> set[str]:
    return {token.strip().lower() for value in values for token in value.split(",")}


def _is_key(values: list[str]) -> bool:
    try:
        return len(values) == 1 and len(base64.b64decode(values[0], validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):  # not of base64's letters, or not even ASCII
        return False
