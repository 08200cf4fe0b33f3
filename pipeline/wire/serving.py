"""Edge to edge, and whoever looks after it: the connections an edge has. Pure.

Asked on `edge-I.control`; the answer is bounded, so that one edge with very many browsers cannot fill the
memory of another.
"""

from __future__ import annotations

import msgspec

from pipeline.errors import MessageMalformed
from pipeline.wire.message import MAX_CONTROL_BYTES, StatsReply, StatsRequest

MAX_CONNECTIONS_TOLD = 1_000
"""The most connections in one answer."""


class ConnectionsRequest(msgspec.Struct, frozen=True, tag="connections"):
    """Asks an edge for its connections, the oldest first, `limit` at most."""

    id: int
    limit: int = MAX_CONNECTIONS_TOLD


class ConnectionSummary(msgspec.Struct, frozen=True):
    """One connection.

    Attributes:
        id: its `connection_id`.
        edge: the index of its edge.
        wire: `native`, `heroforge`, `sse`.
        channels: what it reads, `kind/id` each.
        address: where it comes from.
        opened_ms: epoch milliseconds.
        duration_s: seconds since then.
        messages: sent to it.
        bytes: sent to it, framing included.
        lag_events: published events it has not been sent yet.
        frames_per_s: its pace: frames a second it is given at most; the least of its channels.
        skipped: events it was told it is not given.
    """

    id: str
    edge: int
    wire: str
    channels: list[str]
    address: str
    opened_ms: int
    duration_s: float
    messages: int
    bytes: int
    lag_events: int
    frames_per_s: int
    skipped: int


class ReadersSummary(msgspec.Struct, frozen=True):
    """All connections of an edge, added up at most a second ago or so.

    Attributes:
        wires: wire -> how many speak it.
        paces: frames a second -> how many are given so many at most; those of several scans by the least.
        messages: sent to them.
        bytes: sent to them, framing included.
        lag_events: of the one that is most behind: published events it has not been sent yet.
        skipped: events they were told they are not given.
    """

    wires: dict[str, int] = {}
    paces: dict[int, int] = {}
    messages: int = 0
    bytes: int = 0
    lag_events: int = 0
    skipped: int = 0


class ConnectionsReply(msgspec.Struct, frozen=True, tag="connections"):
    """Some connections of an edge, how many it has, and all of them added up."""

    id: int
    total: int
    connections: list[ConnectionSummary]
    readers: ReadersSummary = ReadersSummary()


EdgeRequest = StatsRequest | ConnectionsRequest
EdgeReply = StatsReply | ConnectionsReply

_requests: msgspec.json.Decoder[EdgeRequest] = msgspec.json.Decoder(EdgeRequest)
_replies: msgspec.json.Decoder[EdgeReply] = msgspec.json.Decoder(EdgeReply)


def decode_edge_request(message: bytes) -> EdgeRequest:
    """Take a question to an edge apart.

    Raises:
        MessageMalformed: it is none, or too large.
    """
    if len(message) > MAX_CONTROL_BYTES:
        raise MessageMalformed(f"a question of {len(message)} bytes; the limit is {MAX_CONTROL_BYTES}")
    try:
        return _requests.decode(message)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MessageMalformed(f"no question to an edge: {error}") from None


def decode_edge_reply(message: bytes) -> EdgeReply:
    """Take an edge's answer apart.

    Raises:
        MessageMalformed: it is none.
    """
    try:
        return _replies.decode(message)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MessageMalformed(f"no answer of an edge: {error}") from None
