"""What a producer's message becomes: checked once, event by event, and routed by channel. Pure.

Sits between ingest's PULL socket and its PUSH sockets. Keeps no state: an ingest can be killed at any time.

============================== =======================================================================
first byte                     taken as
============================== =======================================================================
0x01                           an envelope of a numbered producer: a rejected event stays behind as a
                               number without an event, so that it leaves no hole, and is nacked
`{` or white space             a foreign producer's JSON object or NDJSON, each with its `scan_id` (or,
                               for report events, its `report_id`)
anything else                  rejected whole, as `json`
============================== =======================================================================
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from msgspec.structs import replace

from pipeline.errors import EventRejected, MessageMalformed, RejectReason
from pipeline.event import check_event, check_events, check_scan_id
from pipeline.ingest.roundtrip import Last
from pipeline.wire import (
    ENVELOPE_MARK,
    MAX_ENVELOPE_EVENTS,
    MAX_FOREIGN_EVENTS,
    MAX_MESSAGE_BYTES,
    Envelope,
    EnvelopeHeader,
    Nack,
    channel_name,
    decode_envelope,
    encode_envelope,
    split_foreign,
)

_WHITE_SPACE = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Something that is not taken.

    Attributes:
        reason: of the closed list.
        message: what was wrong, with the value and the limit.
        nack: what to tell the producer; None for a foreign one, which has no way back.
    """

    reason: RejectReason
    message: str
    nack: Nack | None = None


@dataclass(slots=True)
class Admission:
    """What became of one message.

    Attributes:
        routed: (channel, envelope, its number of events) to hand on, in order.
        rejections: what was not taken, and why.
        last: the last event handed on of a numbered producer; None where there is none.
    """

    routed: list[tuple[str, bytes, int]] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    last: Last | None = None


def admit(message: bytes) -> Admission:
    """Check a producer's message, every event once.

    Args:
        message: as it came from the PULL socket; at most `MAX_MESSAGE_BYTES`.

    Returns:
        What to hand on and what was rejected; a good event is never lost for a bad one beside it.
    """
    if len(message) > MAX_MESSAGE_BYTES:
        return _rejected_whole(
            RejectReason.TOO_LARGE,
            f"message of {len(message)} bytes exceeds the limit of {MAX_MESSAGE_BYTES} bytes",
        )
    if not message:
        return _rejected_whole(RejectReason.JSON, "empty message")
    if message[0] == ENVELOPE_MARK:
        return _admit_envelope(message)
    if message[:1] == b"{" or message[0] in _WHITE_SPACE:
        return _admit_foreign(message)
    return _rejected_whole(
        RejectReason.JSON,
        f"first byte 0x{message[0]:02x} begins neither an envelope (0x01) nor a JSON object",
    )


def _rejected_whole(reason: RejectReason, text: str) -> Admission:
    return Admission(rejections=[Rejection(reason, text)])


def _admit_envelope(message: bytes) -> Admission:
    try:
        envelope = decode_envelope(message)
    except MessageMalformed as error:
        return _rejected_whole(RejectReason.SCHEMA, str(error))
    header = envelope.header
    with contextlib.suppress(EventRejected):
        check_events(envelope.events)
        if not header.rejected:
            return Admission([(header.channel, message, len(envelope.events))], last=_last(envelope))
    admission = Admission()
    good: list[bytes] = []
    rejected = dict(header.rejected)
    free = (offset for offset in range(len(envelope.events) + len(rejected)) if offset not in rejected)
    for offset, raw in zip(list(free), envelope.events, strict=True):
        try:
            check_event(raw)
        except EventRejected as error:
            nack = None
            if header.pid:
                pseq = header.pseq + offset
                nack = Nack(header.pid, header.inc, header.channel, pseq, error.reason, error.message)
                rejected[offset] = error.reason
            admission.rejections.append(Rejection(error.reason, error.message, nack))
        else:
            good.append(raw)
    if admission.rejections:
        message = encode_envelope(replace(header, rejected=tuple(sorted(rejected.items()))), good)
    if good or header.sign or (header.pid and rejected):
        admission.routed.append((header.channel, message, len(good)))
        admission.last = _last(envelope)
    return admission


def _last(envelope: Envelope) -> Last | None:
    header = envelope.header
    count = len(envelope.events) + len(header.rejected)
    return (header.pid, header.inc, header.channel, header.pseq + count - 1) if header.pid and count else None


def _admit_foreign(message: bytes) -> Admission:
    admission = Admission()
    by_channel: dict[str, list[bytes]] = {}
    events = split_foreign(message)
    if len(events) > MAX_FOREIGN_EVENTS:
        return _rejected_whole(
            RejectReason.TOO_LARGE,
            f"message of {len(events)} lines exceeds the limit of {MAX_FOREIGN_EVENTS} lines",
        )
    for raw in events:
        try:
            event = check_event(raw)
            report_id = getattr(event, "report_id", None)
            if event.scan_id is None and report_id is not None:
                channel = channel_name("report", check_scan_id(report_id))
            else:
                channel = channel_name("scan", check_scan_id(event.scan_id))
        except EventRejected as error:
            admission.rejections.append(Rejection(error.reason, error.message))
        else:
            by_channel.setdefault(channel, []).append(raw)
    for channel, events in by_channel.items():
        for start in range(0, len(events), MAX_ENVELOPE_EVENTS):
            part = events[start : start + MAX_ENVELOPE_EVENTS]
            admission.routed.append((channel, encode_envelope(EnvelopeHeader(channel), part), len(part)))
    return admission
