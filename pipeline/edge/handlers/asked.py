"""What the query of a browser's address asks for; the same for WebSocket and server-sent events."""

from __future__ import annotations

from tornado.web import HTTPError, RequestHandler

from pipeline.edge.filter import Filter, read_filter
from pipeline.edge.since import Since, read_since


def asked_since(handler: RequestHandler) -> Since:
    """Return where to go on from.

    Raises:
        ValueError: that is no position, or no UTF-8.
    """
    return read_since(_one(handler, "since"))


def asked_filter(handler: RequestHandler) -> Filter | None:
    """Return which events are wanted; None for all.

    Raises:
        ValueError: with the part, the value and what is allowed.
    """
    return read_filter(
        _all(handler, "types"), _one(handler, "min_severity"), _all(handler, "cidr"), _one(handler, "level")
    )


def _one(handler: RequestHandler, name: str) -> str | None:
    values = _all(handler, name)
    return values[-1] if values else None


def _all(handler: RequestHandler, name: str) -> list[str]:
    try:
        return handler.get_query_arguments(name)
    except HTTPError:
        raise ValueError(f"{name}: not UTF-8") from None
