"""The format of an emitter's spool: what is numbered and not acked outlives its process. Pure.

Sits under `spool_file`, which owns the file. It is only ever appended to; `pack` gives the short form of
what counts, which replaces it now and then. A last record that was not written whole is no record.

========= ========================================================== ===================================
record    bytes                                                      says
========= ========================================================== ===================================
header    `{"spool":1,"pid":"…","inc":…}`, line break                who numbers, first of all
event     `E kind/id number size`, line break, `size` bytes, line    the channel's next number; or its
          break                                                      last one again, which replaces it
acked     `A kind/id number`, line break                             all up to it are durable
========= ========================================================== ===================================

A number is given twice when a signal ended `emit` between the file and the memory: the second one counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from pipeline.event import MAX_EVENT_BYTES

VERSION = 1

_EVENT = re.compile(rb"E ((?:scan|report)/[A-Za-z0-9._-]{1,64}) ([0-9]{1,16}) ([0-9]{1,5})")
_ACKED = re.compile(rb"A ((?:scan|report)/[A-Za-z0-9._-]{1,64}) ([0-9]{1,16})")


class _Header(msgspec.Struct, frozen=True):
    spool: int
    pid: str
    inc: int


_decode_header = msgspec.json.Decoder(_Header).decode
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Unacked:
    """What of one channel is not acked: the number of the first event, and the events from there on."""

    una: int = 1
    events: list[bytes] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The last number given out."""
        return self.una + len(self.events) - 1


@dataclass(frozen=True, slots=True)
class Spool:
    """What a spool says.

    Attributes:
        pid: the producer's id.
        inc: its incarnation.
        channels: `kind/id` -> what is not acked; also those of which everything is.
        whole_bytes: where the last whole record ends.
    """

    pid: str
    inc: int
    channels: dict[str, Unacked]
    whole_bytes: int


def header_record(pid: str, inc: int) -> bytes:
    """Return the first record of a spool."""
    return _encode(_Header(VERSION, pid, inc)) + b"\n"


def event_record(channel: str, number: int, raw: bytes) -> bytes:
    """Return the record that gives an event its number."""
    return b"E %b %d %d\n%b\n" % (channel.encode(), number, len(raw), raw)


def acked_record(channel: str, committed: int) -> bytes:
    """Return the record that says that everything up to a number is durable."""
    return b"A %b %d\n" % (channel.encode(), committed)


def pack(pid: str, inc: int, channels: Iterable[tuple[str, int, Iterable[bytes]]]) -> bytes:
    """Return the shortest spool that says the same.

    Args:
        channels: of each, its name, the number of its first un-acked event, and the events from there on.
    """
    records = [header_record(pid, inc)]
    for channel, una, events in channels:
        if una > 1:
            records.append(acked_record(channel, una - 1))
        records.extend(event_record(channel, number, raw) for number, raw in enumerate(events, una))
    return b"".join(records)


def read_spool(data: bytes) -> Spool | None:
    """Read a spool.

    Returns:
        What it says; None when not even its header is whole: then nothing was ever numbered in it.

    Raises:
        ValueError: it is no spool, or damaged; where, and what was met.
    """
    end = data.find(b"\n")
    if end < 0:
        if data and not b'{"spool":'.startswith(data[:9]):
            raise ValueError("it does not begin as a spool does")
        return None
    try:
        header = _decode_header(data[:end])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"it does not begin as a spool does: {error}") from None
    if header.spool != VERSION:
        raise ValueError(f"spool of version {header.spool}; this version reads {VERSION}")
    channels: dict[str, Unacked] = {}
    at = end + 1
    while (end := data.find(b"\n", at)) >= 0:
        line = data[at:end]
        if match := _EVENT.fullmatch(line):
            size = int(match[3])
            stop = end + 1 + size
            if size > MAX_EVENT_BYTES or data[stop : stop + 1] not in (b"", b"\n"):
                raise ValueError(f"byte {at}: the event does not end where it should")
            if stop >= len(data):
                break
            unacked = channels.setdefault(match[1].decode(), Unacked())
            if int(match[2]) == unacked.last and unacked.events:
                unacked.events.pop()
            if int(match[2]) != unacked.last + 1:
                raise ValueError(f"byte {at}: event {int(match[2])} where {unacked.last + 1} is due")
            unacked.events.append(data[end + 1 : stop])
            at = stop + 1
        elif match := _ACKED.fullmatch(line):
            _acked(channels.setdefault(match[1].decode(), Unacked()), int(match[2]))
            at = end + 1
        else:
            raise ValueError(f"byte {at}: no record: {line[:40]!r}")
    return Spool(header.pid, header.inc, channels, at)


def _acked(unacked: Unacked, committed: int) -> None:
    if committed >= unacked.una:
        del unacked.events[: committed - unacked.una + 1]
        unacked.una = committed + 1
