"""One line of text for an event or a frame; reads no clock and touches nothing outside.

Sits between the subscriber and standard output. What a scan says is written by attackers: nothing that
could drive a terminal leaves here unescaped. The time of arrival is given, with whether it says when an event
was: what comes from history has no time but its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo

import msgspec

from pipeline.event import Catalogue, EventClass, event_type, read_event
from pipeline.log import escape
from pipeline.tail.template import Template

MAX_VALUE_CHARACTERS = 160
"""A longer value in a line of text is cut, with a mark that it was."""

_BARE = frozenset(
    (
        "phase",
        "state",
        "severity",
        "cve_id",
        "title",
        "service_name",
        "version",
        "hostname",
        "service_type",
        "finding_type",
        "value",
        "domain",
        "record_type",
        "subdomain",
        "message",
        "error",
        "name",
        "config_name",
    )
)
"""Fields that say what they are by themselves; the others are written as name=value."""

_SHOWN_BEFORE = frozenset({"type", "ts", "scan_id"})
_PLACE = frozenset({"ip", "port", "protocol"})
_COLOURS = {EventClass.CRITICAL: "\x1b[1;31m", EventClass.STATE: "\x1b[2m"}
_SEVERITY_COLOURS = {"Critical": "\x1b[1;35m", "High": "\x1b[35m", "Medium": "\x1b[33m"}
_PLAIN = "\x1b[0m"
_UNPRINTABLE = re.compile(r"[^ -~]")

NO_TIME = "-"
"""What stands for the time of an event that has none and did not come live."""
_TIME_CHARACTERS = len("HH:MM:SS.mmm")


@dataclass(frozen=True, slots=True)
class Passing:
    """One event on its way past.

    Attributes:
        channel: `kind/id`.
        epoch: the channel's life.
        seq: its number.
        raw: its JSON, as its producer sent it.
        type: its type.
        event_class: how the default catalogue treats it.
    """

    channel: str
    epoch: int
    seq: int
    raw: bytes
    type: str
    event_class: EventClass


_decode_fields = msgspec.json.Decoder(dict[str, object]).decode
_catalogue = Catalogue()


def passing(channel: str, epoch: int, seq: int, raw: bytes) -> Passing:
    """Return an event of a frame with what is needed to choose and print it.

    Args:
        raw: the JSON of an event that ingest has checked.
    """
    event = read_event(raw)
    treatment = _catalogue.treatment(event, raw)
    return Passing(channel, epoch, seq, raw, event_type(event), treatment.event_class)


def event_line(
    event: Passing, arrived: datetime, *, live: bool = True, colour: bool = False, before: str = ""
) -> str:
    """Return an event as a line of text: time, scan, seq, type and what it says.

    Args:
        event: the event.
        arrived: when it came, with a time zone; shown, in that zone, when the event has no time of its own.
        live: whether it came when it was published; if not, `arrived` is not its time, and a `-` as wide as
            one is shown instead.
        colour: whether a critical event and a grave finding stand out and a state event stands back.
        before: what the line begins with.
    """
    fields = fields_of(event)
    parts = [
        *([before] if before else []),
        clock(fields.get("ts"), arrived, live=live).ljust(_TIME_CHARACTERS),
        short_channel(event.channel),
        str(event.seq),
        _shown(event.type),
        *_values(fields),
    ]
    line = " ".join(parts)
    start = _colour(event, fields) if colour else None
    return f"{start}{line}{_PLAIN}" if start else line


def _colour(event: Passing, fields: Mapping[str, object]) -> str | None:
    severity = fields.get("severity")
    if isinstance(severity, str) and severity in _SEVERITY_COLOURS:
        return _SEVERITY_COLOURS[severity]
    return _COLOURS.get(event.event_class)


def template_line(
    event: Passing, template: Template, arrived: datetime, *, live: bool = True, before: str = ""
) -> str:
    """Return an event as the line that a template makes of it; each value is escaped and cut.

    Args:
        event: the event.
        template: the line.
        arrived: as for `event_line`.
        live: the same; the `-` is as wide as any other field that is not there.
        before: what the line begins with.
    """
    fields = fields_of(event)
    place = {
        "time": clock(fields.get("ts"), arrived, live=live),
        "scan": short_channel(event.channel),
        "channel": escape(event.channel),
        "epoch": str(event.epoch),
        "seq": str(event.seq),
    }
    parts = [part if isinstance(part, str) else _shown(part[0]) for part in template.fill(place, fields)]
    return "".join([f"{before} ", *parts] if before else parts)


def event_json(event: Passing) -> bytes:
    """Return an event as one JSON object with its place: channel, epoch, seq, event."""
    return b'{"channel":%b,"epoch":%d,"seq":%d,"event":%b}' % (
        msgspec.json.encode(event.channel),
        event.epoch,
        event.seq,
        event.raw,
    )


def frame_line(
    channel: str,
    epoch: int,
    first: int,
    last: int,
    merged: int,
    size_bytes: int,
    arrived: datetime,
    *,
    live: bool = True,
    mark: str = "",
    before: str = "",
) -> str:
    """Return a frame as a line of text: time, scan, epoch:first-last, how much it holds, and a mark."""
    parts = [
        *([before] if before else []),
        clock(None, arrived, live=live).ljust(_TIME_CHARACTERS),
        short_channel(channel),
        f"{epoch}:{first}-{last}",
        f"events={last - first + 1 - merged}",
        f"merged={merged}",
        f"bytes={size_bytes}",
    ]
    return " ".join([*parts, mark] if mark else parts)


def for_terminal(text: str) -> str:
    """Return JSON that says the same in printable ASCII only."""
    return _UNPRINTABLE.sub(_as_json_escape, text)


def _as_json_escape(match: re.Match[str]) -> str:
    character = match.group()
    if character in "\t\r\n":
        return " "  # between tokens: within a string JSON does not allow it
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def clock(ts: object, arrived: datetime, *, live: bool = True) -> str:
    """Return HH:MM:SS.mmm of an event: its own time if it has a readable one, else when it came live.

    Args:
        ts: what the event says: ISO 8601, epoch seconds, or anything else. One without a zone is shown as it
            stands.
        arrived: when it came; the time is shown in its zone.
        live: whether it came live; without, and without a time of its own, it is `NO_TIME`.
    """
    moment = _moment(ts, arrived.tzinfo) or (arrived if live else None)
    if moment is None:
        return NO_TIME
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"


def moment_of(event: Passing, arrived: datetime, *, live: bool = True) -> datetime | None:
    """Return the time that the event's line shows, with a time zone; None when it shows none."""
    moment = _moment(fields_of(event).get("ts"), arrived.tzinfo) or (arrived if live else None)
    return moment.replace(tzinfo=arrived.tzinfo) if moment is not None and not moment.tzinfo else moment


def delta(moment: datetime | None, before: datetime | None) -> str:
    """Return how much later a line's time is than that of the line before, in seconds, as `+1.250`.

    It is negative when events come in another order than their times, 0 in the first line, and `NO_TIME` for
    a line without a time.
    """
    if moment is None:
        return NO_TIME
    return f"{(moment - before).total_seconds() if before is not None else 0.0:+.3f}"


def _moment(ts: object, zone: tzinfo | None) -> datetime | None:
    try:
        if isinstance(ts, str):
            moment = datetime.fromisoformat(ts)
            return moment.astimezone(zone) if moment.tzinfo else moment
        if isinstance(ts, int | float) and not isinstance(ts, bool):
            return datetime.fromtimestamp(ts, zone)
    except (ValueError, OverflowError, OSError):  # no time at all, or one beyond what a calendar holds
        return None
    return None


def fields_of(event: Passing) -> Mapping[str, object]:
    """Return an event's fields; none when its numbers are beyond what can be read."""
    try:
        return _decode_fields(event.raw)
    except (msgspec.DecodeError, RecursionError):  # integers beyond 4,300 digits are JSON all the same
        return {}


def short_channel(channel: str) -> str:
    """Return a channel as lines show it: a scan by its id alone."""
    return escape(channel.removeprefix("scan/"))


def _values(fields: Mapping[str, object]) -> list[str]:
    values = []
    done = _SHOWN_BEFORE
    if fields.get("ip") is not None:
        done |= _PLACE
        where = _shown(fields["ip"])
        if "port" in fields:
            host = f"[{where}]" if ":" in where else where
            where = f"{host}:{_shown(fields['port'])}"
        if "protocol" in fields:
            where = f"{where}/{_shown(fields['protocol'])}"
        values.append(where)
    for name, value in fields.items():
        if name in done or value is None:
            continue
        text = _shown(value)
        values.append(text if name in _BARE else f"{_shown(name)}={text}")
    return values


def _shown(value: object) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, float):
        text = f"{value:g}"
    else:
        text = msgspec.json.encode(value).decode()
    if len(text) > MAX_VALUE_CHARACTERS:
        text = text[:MAX_VALUE_CHARACTERS] + "…"
    return escape(text)
