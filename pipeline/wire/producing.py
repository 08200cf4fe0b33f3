"""What goes from a producer over ingest to a worker, and what comes back to it. Pure.

================= ===================================================================================
message           bytes
================= ===================================================================================
foreign producer  one JSON object, or NDJSON, each object with its `scan_id` (or `report_id`)
envelope          0x01, header JSON, `\\n`, then one event a line
control           one JSON object, told apart by its `type`
feedback `A|`     `A|` and JSON: acks, retries and nacks of one commit
================= ===================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from pipeline.errors import MessageMalformed
from pipeline.event import MAX_EVENT_BYTES
from pipeline.wire.message import MAX_CONTROL_BYTES, VERSION, StatsReply, StatsRequest, split_channel

MAX_MESSAGE_BYTES = 1_048_576
"""The largest message a producer may send, in bytes; a larger one is rejected whole as `too_large`."""
MAX_ENVELOPE_EVENTS = 4_096
"""How many events one envelope may carry."""

MAX_FOREIGN_EVENTS = 16_384
"""How many lines a foreign message may have: a million of them would hold an ingest for seconds."""
ENVELOPE_MARK = 0x01
FEEDBACK_TOPIC = b"A|"

_encode = msgspec.json.Encoder().encode

# --- producer -> ingest -> worker ---------------------------------------------------------------------


class EnvelopeHeader(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stands before the events of one (producer, channel).

    Attributes:
        channel: `kind/id`.
        pid: the producer's id, 1 to 64 characters; empty for a foreign producer, which does not number.
        inc: the producer's incarnation; a later one of the same pid is greater.
        pseq: number of the first event, from 1 for each (pid, channel); 0 when not numbered.
        una: the oldest number the producer has no ack for; it holds nothing before it any more.
        rejected: (offset from `pseq`, reason) of numbers that carry no event: ingest took them out. Sorted.
        own: the producer claims the channel's life for itself.
        sign: `alive` in an envelope without events: the producer lives. `bye`, with events or without: it has
            nothing more to say here for now; with events it is told the position they reached.
        digest: of all that goes by this pid, if that is decided once and for all: another one is refused.
        by: the name of the key it was sent with, where producers have keys: a scan of another owner takes
            nothing of it. Ingest puts it there; empty for none, and for one that may act for others.
    """

    channel: str
    pid: str = ""
    inc: int = 0
    pseq: int = 0
    una: int = 0
    rejected: tuple[tuple[int, str], ...] = ()
    own: bool = False
    sign: Literal["", "alive", "bye"] = ""
    digest: str = ""
    by: str = ""


class Envelope(msgspec.Struct, frozen=True):
    """An envelope taken apart: its header and the JSON of each event."""

    header: EnvelopeHeader
    events: list[bytes]


_decode_envelope_header = msgspec.json.Decoder(EnvelopeHeader).decode


def encode_envelope(header: EnvelopeHeader, events: list[bytes]) -> bytes:
    """Compose an envelope. No event may hold a raw line break: compact JSON never does."""
    return b"\x01" + _encode(header) + b"\n" + b"\n".join(events)


def decode_envelope(message: bytes) -> Envelope:
    """Take an envelope apart.

    Raises:
        MessageMalformed: it is no envelope, its numbers make no sense, or it is over a limit.
    """
    head, newline, body = message[1:].partition(b"\n")
    if not newline or message[0] != ENVELOPE_MARK:
        raise MessageMalformed("not an envelope: 0x01, a header line, then one event a line")
    try:
        header = _decode_envelope_header(head)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MessageMalformed(f"envelope header: {error}") from None
    split_channel(header.channel)
    if len(header.by) > 64:
        raise MessageMalformed(f"by of {len(header.by)} characters exceeds the limit of 64")
    events = body.split(b"\n") if body else []
    count = len(events) + len(header.rejected)
    if header.sign and (not header.pid or (count and header.sign != "bye")):
        raise MessageMalformed(f"sign {header.sign}: only a numbered producer's; alive without events")
    if (count == 0 and not header.sign) or count > MAX_ENVELOPE_EVENTS:
        raise MessageMalformed(f"envelope of {count} events; 1 to {MAX_ENVELOPE_EVENTS} are allowed")
    if header.pid:
        if len(header.pid) > 64:
            raise MessageMalformed(f"pid of {len(header.pid)} characters exceeds the limit of 64")
        if not 1 <= header.una <= header.pseq < 2**53:
            raise MessageMalformed(f"pseq {header.pseq} and una {header.una}: 1 <= una <= pseq is needed")
        if not 0 <= header.inc < 2**53:
            raise MessageMalformed(f"inc {header.inc}: 0 <= inc < 2**53 is needed")
        if len(header.digest) > 64:
            raise MessageMalformed(f"digest of {len(header.digest)} characters exceeds the limit of 64")
        offsets = [offset for offset, _ in header.rejected]
        if any(not 0 <= offset < count for offset in offsets) or sorted(set(offsets)) != offsets:
            raise MessageMalformed("rejected: offsets must ascend and lie within the envelope")
    elif header.rejected or header.own or header.digest:
        raise MessageMalformed("rejected, own, digest: only a numbered producer has them")
    return Envelope(header, events)


# --- ingest <-> producer ------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """A producer's first words to an ingest, and its sign of life."""

    pid: str
    inc: int
    version: int = VERSION


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """The ingest's answer to `Hello`: it is there, and will pass on acks."""

    ingest: int
    version: int = VERSION


class Ack(msgspec.Struct, frozen=True, array_like=True):
    """Everything of (pid, channel) up to `committed` is durable, or was rejected and told."""

    pid: str
    inc: int
    channel: str
    committed: int


class Retry(msgspec.Struct, frozen=True, array_like=True):
    """(pid, channel) is needed again from `pseq` on.

    `reason` is `gap` (something before was lost on the way), `full` (the channel's pending bytes are at
    their limit: wait a little), `max_channels` (the shard can open no further channel: wait), `rate` or
    `quota` (the producer sends more, or has more scans open, than the ingest lets it: a `Wait` tells when).
    """

    pid: str
    inc: int
    channel: str
    pseq: int
    reason: str


class Nack(msgspec.Struct, frozen=True, array_like=True):
    """One event of (pid, channel) is not taken, for good. `reason` is a `RejectReason`."""

    pid: str
    inc: int
    channel: str
    pseq: int
    reason: str
    message: str


class Reached(msgspec.Struct, frozen=True, array_like=True):
    """Where the last event taken of (pid, channel) is: told to one that said `bye` with its events.

    `epoch` is 0 when none was taken. `digest` is the one that the pid stands for: the ack beside it is for a
    message with that one.
    """

    pid: str
    inc: int
    channel: str
    epoch: int
    seq: int
    digest: str = ""


class Wait(msgspec.Struct, frozen=True, array_like=True):
    """How many seconds a producer waits before it does what the `Retry` of (pid, channel) beside it asks."""

    pid: str
    inc: int
    channel: str
    wait_s: float


class Feedback(msgspec.Struct, frozen=True, tag="feedback", omit_defaults=True):
    """What a worker, or an ingest, tells producers: one message for all of one wake-up."""

    acks: list[Ack] = []
    retries: list[Retry] = []
    nacks: list[Nack] = []
    reached: list[Reached] = []
    waits: list[Wait] = []


ProducerMessage: TypeAlias = Hello | StatsRequest
IngestMessage: TypeAlias = Welcome | Feedback | StatsReply

_decode_producer_message: Callable[[bytes], ProducerMessage] = msgspec.json.Decoder(ProducerMessage).decode
_decode_ingest_message: Callable[[bytes], IngestMessage] = msgspec.json.Decoder(IngestMessage).decode
_decode_feedback = msgspec.json.Decoder(Feedback).decode


def decode_producer_message(message: bytes) -> ProducerMessage:
    """Read what a producer sent to an ingest's control socket.

    Raises:
        MessageMalformed: it is none of `ProducerMessage`.
    """
    if len(message) > MAX_CONTROL_BYTES:
        raise MessageMalformed(f"control message of {len(message)} bytes exceeds {MAX_CONTROL_BYTES} bytes")
    try:
        return _decode_producer_message(message)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MessageMalformed(f"control message: {error}") from None


def decode_ingest_message(message: bytes) -> IngestMessage:
    """Read what an ingest sent to a producer.

    Raises:
        MessageMalformed: it is none of `IngestMessage`.
    """
    try:
        return _decode_ingest_message(message)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MessageMalformed(f"message from ingest: {error}") from None


def encode_feedback(feedback: Feedback) -> bytes:
    """Compose what a worker publishes on `A|`."""
    return FEEDBACK_TOPIC + _encode(feedback)


def decode_feedback(message: bytes) -> Feedback:
    """Read a message of topic `A|`.

    Raises:
        MessageMalformed: it is none.
    """
    if not message.startswith(FEEDBACK_TOPIC):
        raise MessageMalformed("not feedback: A|, then JSON")
    try:
        return _decode_feedback(message[len(FEEDBACK_TOPIC) :])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MessageMalformed(f"feedback: {error}") from None


# --- foreign producers --------------------------------------------------------------------------------

_decode_any = msgspec.json.Decoder(msgspec.Raw).decode


def split_foreign(message: bytes) -> list[bytes]:
    """Return the objects of a foreign message: the one it is, or one a line.

    An object that is written over several lines is folded onto one; whether each is a good event is not
    looked at here.
    """
    stripped = message.strip()
    if b"\n" not in stripped:
        return [stripped]
    if len(stripped) <= MAX_EVENT_BYTES:
        try:
            _decode_any(stripped)
            return [msgspec.json.format(stripped, indent=-1)]
        except (msgspec.DecodeError, RecursionError):
            pass
    return [line for line in (line.strip() for line in stripped.split(b"\n")) if line]
