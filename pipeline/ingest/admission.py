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

Where producers have keys, each message comes with the name of its sender's: `ownership` says what that may
do, and the worker is told the name, in the envelope's `by`, unless it may act for others. Where
producers have quotas, `quotas` is asked before an event is looked at.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from msgspec.structs import replace

from pipeline.errors import EventRejected, MessageMalformed, RejectReason
from pipeline.event import AnyEvent, ScanStarted, check_event, check_events, check_scan_id
from pipeline.ingest.ownership import PidOwners, with_owner
from pipeline.ingest.quotas import Held, Quotas, producer_of
from pipeline.ingest.roundtrip import Last
from pipeline.wire import (
    ENVELOPE_MARK,
    MAX_ENVELOPE_EVENTS,
    MAX_FOREIGN_EVENTS,
    MAX_MESSAGE_BYTES,
    Envelope,
    EnvelopeHeader,
    Nack,
    Retry,
    Wait,
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
        count: how many events it is; 1 for a whole message that nobody looked into.
    """

    reason: RejectReason
    message: str
    nack: Nack | None = None
    count: int = 1


@dataclass(slots=True)
class Admission:
    """What became of one message.

    Attributes:
        routed: (channel, envelope, its number of events) to hand on, in order.
        rejections: what was not taken, and why.
        last: the last event handed on of a numbered producer; None where there is none.
        held: that the message is held back, to be sent again, and when; None where it is not.
        left_out: it was a sign of life that is not passed on, of which nobody is told.
    """

    routed: list[tuple[str, bytes, int]] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    last: Last | None = None
    held: tuple[Retry, Wait] | None = None
    left_out: bool = False


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a message, where producers have keys.

    Attributes:
        credential: the name of its key.
        pids: which producer ids belong to whom.
        names_owners: whether it may begin scans of others, and feed them.
    """

    credential: str
    pids: PidOwners
    names_owners: bool = False

    @property
    def by(self) -> str:
        """What the worker is told of it."""
        return "" if self.names_owners else self.credential


@dataclass(frozen=True, slots=True)
class Gate:
    """What a producer may send, where that is limited.

    Attributes:
        quotas: of all producers.
        now: monotonic seconds.
    """

    quotas: Quotas
    now: float


def admit(message: bytes, sender: Sender | None = None, gate: Gate | None = None) -> Admission:
    """Check a producer's message, every event once.

    Args:
        message: as it came from the PULL socket; at most `MAX_MESSAGE_BYTES`.
        sender: who sent it; None where producers have no keys.
        gate: what it may send; None where that is not limited. Who may act for others has no quota.

    Returns:
        What to hand on and what was rejected; a good event is never lost for a bad one beside it.
    """
    if len(message) > MAX_MESSAGE_BYTES:
        return _rejected(
            RejectReason.TOO_LARGE,
            f"message of {len(message)} bytes exceeds the limit of {MAX_MESSAGE_BYTES} bytes",
        )
    if not message:
        return _rejected(RejectReason.JSON, "empty message")
    if message[0] == ENVELOPE_MARK:
        return _admit_envelope(message, sender, gate)
    if message[:1] == b"{" or message[0] in _WHITE_SPACE:
        return _admit_foreign(message, sender, gate)
    return _rejected(
        RejectReason.JSON,
        f"first byte 0x{message[0]:02x} begins neither an envelope (0x01) nor a JSON object",
    )


def _rejected(reason: RejectReason, text: str, count: int = 1) -> Admission:
    return Admission(rejections=[Rejection(reason, text, count=count)])


def _admit_envelope(message: bytes, sender: Sender | None, gate: Gate | None) -> Admission:
    try:
        envelope = decode_envelope(message)
    except MessageMalformed as error:
        return _rejected(RejectReason.SCHEMA, str(error))
    header = envelope.header
    if sender is not None and header.pid:
        try:
            sender.pids.check(header.pid, sender.by)
        except EventRejected as error:  # no nack: whoever has said hello by this pid is not to blame
            return _rejected(error.reason, error.message)
    who = _limited(sender, header.pid)
    if gate is not None and who:
        beyond = gate.quotas.judge(envelope, who, len(message), gate.now)
        if isinstance(beyond, Held):
            return _held(envelope, beyond)
        if beyond is not None:
            return _refused(envelope, beyond.problem)
    if sender is not None:
        return _admit_owned(envelope, sender)
    with contextlib.suppress(EventRejected):
        check_events(envelope.events)
        if not header.rejected:
            return Admission([(header.channel, message, len(envelope.events))], last=_last(envelope))
    return _admit_each(envelope, None)


def _admit_owned(envelope: Envelope, sender: Sender) -> Admission:
    header = replace(envelope.header, by=sender.by)
    envelope = Envelope(header, envelope.events)
    with contextlib.suppress(EventRejected):
        events = check_events(envelope.events)
        if not header.rejected and not (
            sender.by and any(isinstance(event, ScanStarted) for event in events)
        ):
            message = encode_envelope(header, envelope.events)
            return Admission([(header.channel, message, len(events))], last=_last(envelope))
    return _admit_each(envelope, sender)


def _admit_each(envelope: Envelope, sender: Sender | None) -> Admission:
    header = envelope.header
    admission = Admission()
    good: list[bytes] = []
    rejected = dict(header.rejected)
    free = (offset for offset in range(len(envelope.events) + len(rejected)) if offset not in rejected)
    for offset, raw in zip(list(free), envelope.events, strict=True):
        try:
            good.append(_checked(raw, sender)[1])
        except EventRejected as error:
            nack = None
            if header.pid:
                pseq = header.pseq + offset
                nack = Nack(header.pid, header.inc, header.channel, pseq, error.reason, error.message)
                rejected[offset] = error.reason
            admission.rejections.append(Rejection(error.reason, error.message, nack))
    if good or header.sign or (header.pid and rejected):
        message = encode_envelope(replace(header, rejected=tuple(sorted(rejected.items()))), good)
        admission.routed.append((header.channel, message, len(good)))
        admission.last = _last(envelope)
    return admission


def _limited(sender: Sender | None, pid: str) -> str:
    """Return whose quotas hold; empty for one that has none."""
    if sender is None:
        return producer_of("", pid)
    return "" if sender.names_owners else producer_of(sender.credential, pid)


def _held(envelope: Envelope, held: Held) -> Admission:
    """Return what becomes of an envelope that is more than its producer may send now."""
    header, count = envelope.header, len(envelope.events) + len(envelope.header.rejected)
    if not count:
        return Admission(left_out=True)
    if not header.pid:
        return _rejected(held.reason, held.problem, count)
    producer = header.pid, header.inc, header.channel
    return Admission(held=(Retry(*producer, header.pseq, held.reason), Wait(*producer, held.wait_s)))


def _refused(envelope: Envelope, problem: str) -> Admission:
    """Return what becomes of the events of a scan that is one too many: numbers without an event."""
    header = envelope.header
    if not header.pid:
        return _rejected(RejectReason.QUOTA, problem, len(envelope.events))
    rejected = dict(header.rejected)
    nacks = [
        Nack(header.pid, header.inc, header.channel, header.pseq + offset, RejectReason.QUOTA, problem)
        for offset in range(len(envelope.events) + len(rejected))
        if offset not in rejected
    ]
    rejected |= {nack.pseq - header.pseq: nack.reason for nack in nacks}
    message = encode_envelope(replace(header, rejected=tuple(sorted(rejected.items())), own=False, by=""), [])
    return Admission(
        [(header.channel, message, 0)],
        [Rejection(RejectReason.QUOTA, problem, nack) for nack in nacks],
        _last(envelope),
    )


def _checked(raw: bytes, sender: Sender | None) -> tuple[AnyEvent, bytes]:
    """Return an event, and its JSON as it goes on."""
    event = check_event(raw)
    if sender is not None and sender.by:
        raw = with_owner(event, raw, sender.credential)
    return event, raw


def _last(envelope: Envelope) -> Last | None:
    header = envelope.header
    count = len(envelope.events) + len(header.rejected)
    return (header.pid, header.inc, header.channel, header.pseq + count - 1) if header.pid and count else None


def _admit_foreign(message: bytes, sender: Sender | None, gate: Gate | None) -> Admission:
    admission = Admission()
    by_channel: dict[str, list[bytes]] = {}
    events = split_foreign(message)
    if len(events) > MAX_FOREIGN_EVENTS:
        return _rejected(
            RejectReason.TOO_LARGE,
            f"message of {len(events)} lines exceeds the limit of {MAX_FOREIGN_EVENTS} lines",
        )
    who = _limited(sender, "")
    if gate is not None and who:
        held = gate.quotas.hold(who, len(events), len(message), gate.now)
        if held is not None:
            return _rejected(held.reason, held.problem, len(events))
    for line in events:
        try:
            event, raw = _checked(line, sender)
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
        problem = gate.quotas.refuse(who, channel, events, gate.now) if gate is not None and who else ""
        if problem:
            admission.rejections.append(Rejection(RejectReason.QUOTA, problem, count=len(events)))
            continue
        header = EnvelopeHeader(channel, by=sender.by if sender is not None else "")
        for start in range(0, len(events), MAX_ENVELOPE_EVENTS):
            part = events[start : start + MAX_ENVELOPE_EVENTS]
            admission.routed.append((channel, encode_envelope(header, part), len(part)))
    return admission
