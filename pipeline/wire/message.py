"""What all messages share: a channel's name, the one-object form, the question for a stage's counters. Pure.

Under the other files of `wire`.
"""

from __future__ import annotations

import msgspec

from pipeline.errors import MessageMalformed
from pipeline.event import is_scan_id

VERSION = 1
"""Of what processes say to each other; it stands in `Hello` and `Welcome`."""

MAX_CONTROL_BYTES = 65_536
"""The largest request taken, on a control or a history socket, in bytes."""

KINDS = ("scan", "report")
"""The kinds of channels."""

_encode = msgspec.json.Encoder().encode


def channel_name(kind: str, channel_id: str) -> str:
    """Return a channel's name, `kind/id`."""
    return f"{kind}/{channel_id}"


def split_channel(channel: str) -> tuple[str, str]:
    """Return (kind, id) of a channel's name.

    Raises:
        MessageMalformed: it names no channel.
    """
    kind, _, channel_id = channel.partition("/")
    if kind not in KINDS or not is_scan_id(channel_id):
        raise MessageMalformed(f"{channel[:80]!r} is no channel: scan/ID or report/ID")
    return kind, channel_id


def encode(message: msgspec.Struct) -> bytes:
    """Compose any message that is one JSON object."""
    return _encode(message)


class StatsRequest(msgspec.Struct, frozen=True, tag="stats"):
    """Asks any stage for its counters, and how it is."""

    id: int = 0


class StatsReply(msgspec.Struct, frozen=True, tag="stats", omit_defaults=True):
    """A stage's counters, and how it is.

    Attributes:
        stage: its name, such as `ingest-0` or `shard-2`.
        counters: name -> value; a label stands in the name as `rejected{reason=json}`.
        pid: the process that answers, so that whoever started one knows its own; 0 where it is not told.
        version: of its program.
        uptime_s: seconds since it was started.
        delay_s: the longest it kept others waiting, of the last 5 to 10 s: how long a wake-up worked, or
            how late a timer came.
    """

    id: int
    stage: str
    counters: dict[str, float]
    pid: int = 0
    version: str = ""
    uptime_s: float = 0.0
    delay_s: float = 0.0
