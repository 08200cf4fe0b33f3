"""What a program posts to a scan: the body of a request becomes its events, or is refused. Pure.

Used by the handler of `POST /api/scans/ID/events`, with limits that keep the time it takes within
milliseconds, for the edge does nothing else meanwhile. A body with one bad event is refused whole.

================================= ====================================================================
the body                          is
================================= ====================================================================
`application/json`                one object, or an array of objects, written as one likes
`application/x-ndjson`            an object a line; blank lines count as lines, and hold nothing
`Content-Encoding: gzip`          one member, unpacked up to the limit and no further
of anything else                  refused, 415
over a limit                      refused, 413
with bad events                   refused, 400: the first `MAX_TOLD` of them are told, by line or item
================================= ====================================================================
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from pipeline.errors import EventRejected, RejectReason
from pipeline.event import MAX_DEPTH_NOTE, check_event, check_events

MAX_TOLD = 20
"""Bad events told of one body; what is behind them is not looked at."""
MAX_LINES = 16_384
"""Lines of a body, blank ones too."""

JSON_TYPE = "application/json"
NDJSON_TYPES = frozenset({"application/x-ndjson", "application/ndjson"})
_GZIP_NAMES = frozenset({"gzip", "x-gzip"})
_GZIP_FORMAT = 31  # zlib's way of saying: a gzip header, and a window of any size

_decode_array: Callable[[bytes], list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class Fault:
    """One event that is not taken: its line or item, from 1, and why."""

    number: int
    reason: str
    message: str


class BodyRefused(Exception):
    """A body of which nothing is taken.

    Args:
        status: of HTTP.
        problem: what is wrong, with the value and the limit.
        faults: the bad events, if it is these.
        unit: what `faults` are numbered by: `line` or `item`.
    """

    def __init__(self, status: int, problem: str, faults: Sequence[Fault] = (), unit: str = "line") -> None:
        super().__init__(problem)
        self.status = status
        self.problem = problem
        self.faults = tuple(faults)
        self.unit = unit


@dataclass(frozen=True, slots=True)
class Body:
    """The events of a request.

    Attributes:
        events: the JSON of each, on one line.
        numbers: the line or item of each, from 1.
        unit: which of the two: `line` or `item`.
    """

    events: list[bytes]
    numbers: list[int]
    unit: str


def media_type(content_type: str) -> str:
    """Return what a `Content-Type` names, without its parameters.

    Raises:
        BodyRefused: 415, nothing that is taken; a page elsewhere cannot send what is.
    """
    named = content_type.partition(";")[0].strip().lower()
    if named != JSON_TYPE and named not in NDJSON_TYPES:
        raise BodyRefused(
            415,
            f"Content-Type {named[:80]!r}: needed is application/json, for an object or an array, or "
            f"application/x-ndjson, for an object a line",
        )
    return named


def is_packed(content_encoding: str) -> bool:
    """Say whether a `Content-Encoding` is gzip; without one nothing is.

    Raises:
        BodyRefused: 415, it is another.
    """
    named = content_encoding.strip().lower()
    if named in _GZIP_NAMES:
        return True
    if named not in ("", "identity"):
        raise BodyRefused(415, f"Content-Encoding {named[:80]!r}: only gzip is taken")
    return False


def too_large(size: str, max_bytes: int) -> BodyRefused:
    """Return what is said of a body over the limit; `size` says how large it is."""
    return BodyRefused(413, f"body of {size} exceeds the limit of {max_bytes} bytes; send it in parts")


def unpack(body: bytes, max_bytes: int) -> bytes:
    """Return what a gzip file holds.

    Args:
        max_bytes: unpacking stops beyond it, whatever would still come.

    Raises:
        BodyRefused: 413, more than that; 400, no gzip file, or not the whole of one.
    """
    inflater = zlib.decompressobj(_GZIP_FORMAT)
    try:
        plain = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise BodyRefused(400, f"not gzip: {error}") from None
    if len(plain) > max_bytes:
        raise too_large(f"more than {max_bytes} bytes, unpacked,", max_bytes)
    if not inflater.eof:
        raise BodyRefused(400, f"gzip: cut off after {len(body)} bytes")
    if inflater.unused_data:
        raise BodyRefused(400, f"gzip: {len(inflater.unused_data)} bytes behind its end")
    return plain


def read_body(body: bytes, named: str, scan_id: str, max_events: int) -> Body:
    """Take a body apart and check each event.

    Args:
        body: unpacked, with or without a byte order mark.
        named: its media type.
        scan_id: the scan it is for; an event that names another is bad.
        max_events: how many it may hold.

    Raises:
        BodyRefused: 413, too many events or lines; 400, no event, or bad ones.
    """
    plain = body.removeprefix(codecs.BOM_UTF8)
    found = _array(plain) if named == JSON_TYPE else _lines(plain)
    if not found.events:
        raise BodyRefused(400, "the body holds no event")
    if len(found.events) > max_events:
        raise BodyRefused(
            413, f"{len(found.events)} events exceed the limit of {max_events} a request; send them in parts"
        )
    faults = _faults(found, scan_id)
    if faults:
        first = faults[0]
        raise BodyRefused(
            400,
            f"{found.unit} {first.number}: {first.reason}: {first.message}; nothing was taken",
            faults,
            found.unit,
        )
    return found


def _lines(body: bytes) -> Body:
    count = body.count(b"\n") + 1
    if count > MAX_LINES:
        raise BodyRefused(413, f"{count} lines exceed the limit of {MAX_LINES}; send them in parts")
    held = [
        (number, line) for number, raw in enumerate(body.split(b"\n"), 1) if (line := raw.strip(b" \t\r"))
    ]
    return Body([line for _, line in held], [number for number, _ in held], "line")


def _array(body: bytes) -> Body:
    stripped = body.strip(b" \t\r\n")
    try:
        raws = [bytes(raw) for raw in _decode_array(stripped)] if stripped[:1] == b"[" else [stripped]
        raws = [raw if b"\n" not in raw else _fold(raw) for raw in raws if raw]
    except RecursionError:
        raise _not_json(MAX_DEPTH_NOTE) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_json(str(error)) from None
    return Body(raws, list(range(1, len(raws) + 1)), "item")


def _fold(raw: bytes) -> bytes:
    """Return an event that is written over several lines on one."""
    return msgspec.json.format(raw, indent=-1)


def _not_json(problem: str) -> BodyRefused:
    return BodyRefused(
        400, f"not JSON: {problem}; an object a line is application/x-ndjson; nothing was taken"
    )


def _faults(body: Body, scan_id: str) -> list[Fault]:
    """Return the first bad events; none when all are good."""
    own = (None, scan_id)
    try:
        if all(event.scan_id in own for event in check_events(body.events)):
            return []
    except EventRejected:
        pass
    faults: list[Fault] = []
    for number, raw in zip(body.numbers, body.events, strict=True):
        try:
            event = check_event(raw)
            if event.scan_id not in own:
                raise EventRejected(
                    RejectReason.BAD_SCAN_ID, f"scan_id {event.scan_id!r:.80} is not that of the address"
                )
        except EventRejected as error:
            faults.append(Fault(number, error.reason, error.message))
            if len(faults) == MAX_TOLD:
                break
    return faults


class _Begun(msgspec.Struct):
    type: str
    owner: str | None = None


def owner_problem(events: Sequence[bytes], subject: str, *, begins: bool) -> str | None:
    """Say why somebody may not post events; None when they may.

    Args:
        events: their JSON, checked.
        subject: who posts them, no admin.
        begins: the scan is not there yet: who begins it says whose it is.
    """
    told = f"a scan begins with a scanStarted that names its owner, here {subject!r}"
    for number, raw in enumerate(events):
        begun = _read_begun(raw)
        if begun.type != "scanStarted":
            if begins and number == 0:
                return told
        elif begun.owner != subject:
            return told
    return None


_read_begun = msgspec.json.Decoder(_Begun).decode
