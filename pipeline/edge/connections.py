"""What `GET /api/connections` tells: the connections of all edges of a pipeline. Pure.

Each edge answers for itself; the one that is asked puts the answers together.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.wire import MAX_CONNECTIONS_TOLD, ConnectionsReply, ConnectionSummary, split_channel


def read_limit(text: str | None) -> int:
    """Read the `limit` of the question; `MAX_CONNECTIONS_TOLD` when none is given.

    Raises:
        ValueError: it is no whole number from 1 to `MAX_CONNECTIONS_TOLD`.
    """
    if text is None:
        return MAX_CONNECTIONS_TOLD
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_CONNECTIONS_TOLD):
        raise ValueError(f"limit={text[:40]!r}: a whole number from 1 to {MAX_CONNECTIONS_TOLD} is needed")
    return int(text)


def connection_list(replies: list[ConnectionsReply], limit: int, *, complete: bool) -> dict[str, object]:
    """Return the answer: the oldest connections, `limit` at most, and how many there are.

    Args:
        replies: of every edge that answered.
        limit: the most connections told.
        complete: whether all edges have answered.
    """
    found = sorted(
        (connection for reply in replies for connection in reply.connections),
        key=lambda connection: (connection.opened_ms, connection.edge, connection.id),
    )
    return {
        "connections": [_entry(connection) for connection in found[:limit]],
        "total": sum(reply.total for reply in replies),
        "edges": len(replies),
        "complete": complete,
    }


def _entry(connection: ConnectionSummary) -> dict[str, object]:
    opened = datetime.fromtimestamp(connection.opened_ms / 1000, UTC)
    channels = [split_channel(channel) for channel in connection.channels]
    return {
        "connection_id": connection.id,
        "edge": connection.edge,
        "wire": connection.wire,
        "scans": [channel_id for kind, channel_id in channels if kind == "scan"],
        "reports": [channel_id for kind, channel_id in channels if kind == "report"],
        "address": connection.address,
        "opened_at": opened.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "duration": round(connection.duration_s, 3),
        "messages": connection.messages,
        "bytes": connection.bytes,
        "lag": connection.lag_events,
        "pace": connection.frames_per_s,
        "skipped": connection.skipped,
    }
