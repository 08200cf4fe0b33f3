"""What a browser asks of the edge in a message: read and checked. Pure.

The handlers give each text they hear to `read_action`, and what it returns to the reader it concerns. A
message that is none is answered with `error` and counted; it never ends a connection. Knows no session.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from pipeline.edge.filter import Filter, read_filter
from pipeline.event import is_scan_id


class FilterParts(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", forbid_unknown_fields=True):
    """The parts of a filter, as `filter.read_filter` takes them; a single text stands for a list."""

    types: list[str] | str = []
    min_severity: str | None = None
    cidr: list[str] | str = []
    level: str | None = None

    def read(self) -> Filter | None:
        """Return the filter; None when everything passes.

        Raises:
            ValueError: with the part, the value and what is allowed.
        """
        return read_filter(_listed(self.types), self.min_severity, _listed(self.cidr), self.level)


class FilterAction(FilterParts, frozen=True, kw_only=True, tag="filter"):
    """Another filter from now on; without parts, none. `scan_id` on a stream of several scans."""

    scan_id: str | None = None


class SubscribeAction(FilterParts, frozen=True, kw_only=True, tag="subscribe"):
    """Begin to give a scan, from `since` on and through a filter; or the statistics of all."""

    scan_id: str | None = None
    stats: bool = False
    since: str | None = None


class UnsubscribeAction(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="action",
    tag="unsubscribe",
    forbid_unknown_fields=True,
):
    """Give a scan, or the statistics, no more."""

    scan_id: str | None = None
    stats: bool = False


class PingAction(msgspec.Struct, frozen=True, tag_field="action", tag="ping", forbid_unknown_fields=True):
    """Is anybody there?"""


class AckAction(msgspec.Struct, frozen=True, kw_only=True, tag_field="action", tag="ack"):
    """It has done with all events up to `seq` of the present life. Other fields may come later."""

    seq: int
    scan_id: str | None = None


class TokenAction(msgspec.Struct, frozen=True, tag_field="action", tag="refresh", forbid_unknown_fields=True):
    """Who the browser is: its first message where it has brought no token, later in the place of that."""

    token: str


Action: TypeAlias = FilterAction | SubscribeAction | UnsubscribeAction | PingAction | AckAction

ACTIONS_OF_ONE: tuple[type[Action], ...] = (PingAction, AckAction, FilterAction)
"""What may be asked on the stream of one scan."""
ACTIONS_OF_SEVERAL: tuple[type[Action], ...] = (
    PingAction,
    AckAction,
    FilterAction,
    SubscribeAction,
    UnsubscribeAction,
)
"""What may be asked on a stream of several scans."""
ACTIONS_OF_STATS: tuple[type[Action], ...] = (PingAction,)
"""What may be asked on the stream of statistics."""

_decode_token = msgspec.json.Decoder(TokenAction).decode
_decode = msgspec.json.Decoder(Action).decode


class BadAction(ValueError):
    """A message that asks nothing the edge knows, or asks it wrongly.

    Args:
        problem: what is wrong with it.
        scan_id: the scan it speaks of, if it could be read.
    """

    def __init__(self, problem: str, scan_id: str | None = None) -> None:
        super().__init__(problem)
        self.scan_id = scan_id


def read_token(message: str | bytes) -> str | None:
    """Return the token that a message brings; None when it brings none."""
    try:
        return _decode_token(message).token
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_action(message: str | bytes, allowed: tuple[type[Action], ...]) -> Action:
    """Read a browser's message.

    Args:
        message: as it came.
        allowed: the actions that its stream knows.

    Returns:
        One of `allowed`. On a stream of several it names either a scan, by a good id, or the statistics; on
        the stream of one neither.

    Raises:
        BadAction: it is none.
    """
    try:
        action = _decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAction(f"not understood: {error}") from None
    if not isinstance(action, allowed):
        raise BadAction(f"action {action.__struct_config__.tag!r} is not for this stream")
    if isinstance(action, PingAction):
        return action
    of_scans = isinstance(action, FilterAction | AckAction)
    stats = isinstance(action, SubscribeAction | UnsubscribeAction) and action.stats
    if SubscribeAction not in allowed:
        if action.scan_id is not None:
            raise BadAction("scan_id: this stream is of one scan")
        return action
    if stats == (action.scan_id is not None):
        raise BadAction("scan_id is needed" if of_scans else "scan_id or stats is needed")
    if action.scan_id is not None and not is_scan_id(action.scan_id):
        raise BadAction(f"scan_id={action.scan_id[:40]!r} is no scan id")
    return action


def _listed(given: list[str] | str) -> list[str]:
    return [given] if isinstance(given, str) else given
