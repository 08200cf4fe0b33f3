"""A recording, line by line, and when each of its events is due. Pure: it reads no file and no clock.

A line is what `tail --record` and `tail --json` write, or an event by itself. The events' own `ts` set the
pace; what has none goes with the event before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from pipeline.errors import EventRejected, MessageMalformed, RejectReason
from pipeline.event import MAX_EVENT_BYTES, check_event
from pipeline.wire import split_channel

MAX_LINE_BYTES = MAX_EVENT_BYTES + 256
"""The longest line read: an event, and its place."""
MAX_PAUSE_S = 300.0
"""A longer pause in the recording is cut to this: one wrong clock must not stop a replay for years."""


class _Recorded(msgspec.Struct, frozen=True):
    channel: str
    event: msgspec.Raw


_decode_recorded = msgspec.json.Decoder(_Recorded).decode


@dataclass(frozen=True, slots=True)
class Replayed:
    """One event of a recording.

    Attributes:
        raw: its JSON, as it was recorded.
        target: the kind and id of the channel it was recorded from; None for an event by itself.
        ts: its own time, epoch seconds; None when it has none that can be read.
    """

    raw: bytes
    target: tuple[str, str] | None
    ts: float | None


def read_line(line: bytes) -> Replayed:
    """Read one line of a recording.

    Raises:
        EventRejected: it is neither a recorded event nor an event.
    """
    target = None
    raw = line
    try:
        recorded = _decode_recorded(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass  # an event by itself, or nothing at all: the check says
    else:
        raw = bytes(recorded.event)
        try:
            target = split_channel(recorded.channel)
        except MessageMalformed as error:
            raise EventRejected(RejectReason.BAD_SCAN_ID, str(error)) from None
    return Replayed(raw, target, _seconds(check_event(raw).ts))


class Pace:
    """When the events of a recording are due, one after the other."""

    def __init__(self) -> None:
        self._latest: float | None = None
        self._due_s = 0.0

    def due_s(self, ts: float | None) -> float:
        """Return when the next event is due.

        Args:
            ts: its own time, epoch seconds; None for none.

        Returns:
            Seconds after the first event; never less than before. A clock that goes back makes no pause.
        """
        if ts is not None:
            if self._latest is not None and ts > self._latest:
                self._due_s += min(ts - self._latest, MAX_PAUSE_S)
            self._latest = ts if self._latest is None else max(self._latest, ts)
        return self._due_s


def _seconds(ts: object) -> float | None:
    try:
        if isinstance(ts, str):
            moment = datetime.fromisoformat(ts)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        return float(ts) if isinstance(ts, int | float) else None
    except (ValueError, OverflowError):  # no time at all, or one beyond what a calendar holds
        return None
