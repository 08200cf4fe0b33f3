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
TOKEN_PROTOCOL = "scanstream.token."  # noqa: S105  # what stands before one
"""Before a token, where a browser can bring it nowhere else: a subprotocol that is never agreed on."""

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
    filtered: int = 0,
) -> bytes:
    """Compose the `batch` message of one frame or page.

    Args:
        channel_id: the scan.
        epoch: its life.
        first: seq of the first event of the range.
        last: seq of the last one.
        merged: how many of them a later one replaced.
        at: each remaining event's offset from `first`; told when something is left out.
        body: the JSON array of the remaining events.
        filtered: how many of them the reader's filter left out.
    """
    offsets = b'"at":' + _encode(at) + b"," if merged or filtered else b""
    return (
        b'{"type":"batch","scan_id":"%b","epoch":%d,"seq":[%d,%d],"merged":%d,"filtered":%d,%b"events":%b}'
        % (
            channel_id.encode(),
            epoch,
            first,
            last,
            merged,
            filtered,
            offsets,
            body,
        )
    )


def browser_snapshot(channel_id: str, epoch: int, seq: int, state: bytes) -> bytes:
    """Compose the `snapshot` message; `state` is the JSON of a scan's state at `seq`."""
    return b'{"type":"snapshot","scan_id":"%b","epoch":%d,"seq":%d,"state":%b}' % (
        channel_id.encode(),
        epoch,
        seq,
        state,
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


class BrowserFilter(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="filter",
    rename={"from_": "from", "wanted": "filter"},
):
    """The answer to another filter: it holds from event `from` of the life on; null lets everything pass."""

    scan_id: str
    epoch: int | None
    from_: int
    wanted: dict[str, object] | None


class BrowserError(msgspec.Struct, frozen=True, kw_only=True, tag="error", omit_defaults=True):
    """What a browser asked for and does not get, as a close code would say it; the connection goes on."""

    code: int
    message: str
    temporary: bool
    scan_id: str | None = None


class BrowserUnsubscribed(msgspec.Struct, frozen=True, kw_only=True, tag="unsubscribed", omit_defaults=True):
    """A scan, or (`stats`) the statistics, is given no more on this connection, and why."""

    code: int
    reason: str
    reconnect: bool
    scan_id: str | None = None
    stats: bool = False


class BrowserStats(msgspec.Struct, frozen=True, kw_only=True, tag="stats"):
    """Statistics of all scans: the whole, or what changed since the message before.

    Attributes:
        whole: everything: forget what was told before.
        stats: as `GET /api/scans/stats`; in a change without its `scans`.
        scans: as `GET /api/scans` lists them; in a change those that changed.
        gone: scans that are in no list any more.
    """

    whole: bool
    stats: dict[str, object]
    scans: list[dict[str, object]]
    gone: list[str]


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
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MessageMalformed(f"no message of an edge: {error}") from None


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
