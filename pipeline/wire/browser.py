"""What an edge tells a browser, on our wire and on HeroForge's. Pure.

Every message is one JSON object. On HeroForge's wire an event goes as it is; what is said besides is here.
"""

from __future__ import annotations

import msgspec

from pipeline.wire.message import split_channel

SUBPROTOCOL = "scanstream.v1.json"
"""The WebSocket subprotocol of our wire."""

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
