"""What an edge and a browser tell each other, on our wire and on HeroForge's. Pure.

Every message is one JSON object. On HeroForge's wire an event goes as it is; what is said besides is here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from pipeline.errors import MessageMalformed
from pipeline.wire.message import split_channel

SUBPROTOCOL = "scanstream.v1.json"
"""The WebSocket subprotocol of our wire."""

PING = '{"action":"ping"}'
"""What a browser sends to hear whether anybody is there."""

_encode = msgspec.json.Encoder().encode


def browser_batch(
    channel_id: str,
    epoch: int,
    first: int,
    last: int,
    merged: int,
    at: tuple[int, ...],
    body: bytes,
) -> bytes:
    """Compose the `batch` message of one frame or page; `body` is its JSON array of events."""
    offsets = b'"at":' + _encode(at) + b"," if merged else b""
    return (
        b'{"type":"batch","scan_id":"%b","epoch":%d,"seq":[%d,%d],"merged":%d,"filtered":0,%b"events":%b}'
        % (
            channel_id.encode(),
            epoch,
            first,
            last,
            merged,
            offsets,
            body,
        )
    )


class BrowserHello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """The first message to a browser: who it is, where the scan is, whether it was resumed."""

    scan_id: str
    connection_id: str
    epoch: int | None
    seq: int
    resumed: bool | None
    ping_interval: float
    client_timeout: float
    server_version: str
    features: tuple[str, ...]


class BrowserReset(msgspec.Struct, frozen=True, kw_only=True, tag="reset"):
    """The scan begins a new life: everything shown before belongs to the old one."""

    scan_id: str
    epoch: int
    reason: str


class BrowserLag(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="lag",
    rename={"scan_id": "scanId", "skipped": "skippedMessages", "from_": "from"},
):
    """Events this browser was not given: how many, which, and why."""

    scan_id: str
    skipped: int
    from_: int
    to: int
    reason: str


class BrowserDegraded(msgspec.Struct, frozen=True, kw_only=True, tag="degraded"):
    """The scan's worker is silent, or (`degraded` false) there again: what is shown may be behind."""

    scan_id: str
    degraded: bool
    reason: str


class BrowserClosing(msgspec.Struct, frozen=True, kw_only=True, tag="closing"):
    """The last message before a close, with what the client should do next."""

    code: int
    reason: str
    reconnect: bool
    retry_ms: int


class BrowserBatch(msgspec.Struct, frozen=True, kw_only=True, tag="batch"):
    """Events, as a client reads them; `browser_batch` composes them."""

    scan_id: str
    epoch: int
    seq: tuple[int, int]
    merged: int = 0
    filtered: int = 0
    at: tuple[int, ...] = ()
    events: tuple[dict[str, object], ...]


class BrowserSnapshot(msgspec.Struct, frozen=True, kw_only=True, tag="snapshot"):
    """The scan as it stands after the event `seq`: it replaces everything before."""

    scan_id: str
    epoch: int
    seq: int
    state: dict[str, object]


class BrowserPong(msgspec.Struct, frozen=True, kw_only=True, tag="pong"):
    """The answer to a browser's ping."""


BrowserMessage: TypeAlias = (
    BrowserHello
    | BrowserBatch
    | BrowserSnapshot
    | BrowserLag
    | BrowserReset
    | BrowserDegraded
    | BrowserClosing
    | BrowserPong
)


class _Typed(msgspec.Struct):
    type: str


_read_type = msgspec.json.Decoder(_Typed).decode
_read_message: Callable[[str | bytes], BrowserMessage] = msgspec.json.Decoder(BrowserMessage).decode
_KNOWN_TYPES = frozenset({"hello", "batch", "snapshot", "lag", "reset", "degraded", "closing", "pong"})


def decode_browser_message(data: str | bytes) -> BrowserMessage | None:
    """Read a message of our wire, as a client does.

    Returns:
        The message; None for a type that is not known, which a client passes over.

    Raises:
        MessageMalformed: it is no message.
    """
    try:
        if _read_type(data).type not in _KNOWN_TYPES:
            return None
        return _read_message(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageMalformed(f"no message of an edge: {error}") from None


class BrowserAction(msgspec.Struct, frozen=True):
    """What a browser says: which action it wants."""

    action: str


_read_action = msgspec.json.Decoder(BrowserAction).decode


def is_browser_ping(message: str | bytes) -> bool:
    """Return whether a browser's message asks for a pong."""
    try:
        return _read_action(message).action == "ping"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def heroforge_lag(channel: str, skipped: int) -> bytes:
    """Compose HeroForge's `lag` message."""
    kind, channel_id = split_channel(channel)
    return _encode({"type": "lag", "skippedMessages": skipped, f"{kind}Id": channel_id})


def heroforge_not_found(channel: str) -> bytes:
    """Compose HeroForge's answer to a subscription to a channel that does not exist."""
    kind, channel_id = split_channel(channel)
    return _encode(
        {"type": "error", "message": f"{kind.capitalize()} channel not found", f"{kind}Id": channel_id}
    )
