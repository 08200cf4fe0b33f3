"""Bytes to objects and back, for every message between processes and every message to a browser.

The only file that knows a format; docs/PROTOCOL.md describes them. Pure: it parses and composes, and
decides nothing.

======================= =============================================================================
message                 bytes
======================= =============================================================================
foreign producer        one JSON object, or NDJSON, each object with its `scan_id` (or `report_id`)
envelope                0x01, header JSON, `\\n`, then one event a line
frame                   `F|kind/id|`, header JSON, `\\n`, a JSON array of events
page (history's answer) header JSON, `\\n`, a JSON array of events
feedback `A|`           `A|` and JSON: acks, retries and nacks of one commit
beacon `H|`             `H|` and JSON: who the worker is, the heads of its channels
control, history        one JSON object, told apart by its `type`
======================= =============================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from pipeline.errors import MessageMalformed
from pipeline.event import MAX_EVENT_BYTES, is_scan_id
from pipeline.frame import Frame

VERSION = 1
SUBPROTOCOL = "scanstream.v1.json"

MAX_MESSAGE_BYTES = 1_048_576
"""The largest message a producer may send, in bytes; a larger one is rejected whole as `too_large`."""
MAX_ENVELOPE_EVENTS = 4_096
"""How many events one envelope may carry."""
MAX_PAGE_BYTES = 262_144
"""How many bytes of events a history page holds; at least one event, whatever its size."""
MAX_CONTROL_BYTES = 65_536

ENVELOPE_MARK = 0x01
FRAME_TOPIC = b"F|"
FEEDBACK_TOPIC = b"A|"
BEACON_TOPIC = b"H|"

KINDS = ("scan", "report")

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
    """

    channel: str
    pid: str = ""
    inc: int = 0
    pseq: int = 0
    una: int = 0
    rejected: tuple[tuple[int, str], ...] = ()


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
    events = body.split(b"\n") if body else []
    count = len(events) + len(header.rejected)
    if count == 0 or count > MAX_ENVELOPE_EVENTS:
        raise MessageMalformed(f"envelope of {count} events; 1 to {MAX_ENVELOPE_EVENTS} are allowed")
    if header.pid:
        if len(header.pid) > 64:
            raise MessageMalformed(f"pid of {len(header.pid)} characters exceeds the limit of 64")
        if not 1 <= header.una <= header.pseq < 2**53:
            raise MessageMalformed(f"pseq {header.pseq} and una {header.una}: 1 <= una <= pseq is needed")
        if not 0 <= header.inc < 2**53:
            raise MessageMalformed(f"inc {header.inc}: 0 <= inc < 2**53 is needed")
        offsets = [offset for offset, _ in header.rejected]
        if any(not 0 <= offset < count for offset in offsets) or sorted(set(offsets)) != offsets:
            raise MessageMalformed("rejected: offsets must ascend and lie within the envelope")
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
    """The worker needs (pid, channel) again from `pseq` on.

    `reason` is `gap` (something before was lost on the way) or `full` (the channel's pending bytes are
    at their limit: wait a little).
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


class Feedback(msgspec.Struct, frozen=True, tag="feedback", omit_defaults=True):
    """What a worker, or an ingest, tells producers: one message for all of one wake-up."""

    acks: list[Ack] = []
    retries: list[Retry] = []
    nacks: list[Nack] = []


class StatsRequest(msgspec.Struct, frozen=True, tag="stats"):
    """Asks any stage for its counters."""

    id: int = 0


class StatsReply(msgspec.Struct, frozen=True, tag="stats"):
    """A stage's counters: name -> value; a label stands in the name as `rejected{reason=json}`."""

    id: int
    stage: str
    counters: dict[str, float]


ProducerMessage: TypeAlias = Hello | StatsRequest
IngestMessage: TypeAlias = Welcome | Feedback | StatsReply

_decode_producer_message: Callable[[bytes], ProducerMessage] = msgspec.json.Decoder(ProducerMessage).decode
_decode_ingest_message: Callable[[bytes], IngestMessage] = msgspec.json.Decoder(IngestMessage).decode
_decode_feedback = msgspec.json.Decoder(Feedback).decode


def encode(message: msgspec.Struct) -> bytes:
    """Compose any message that is one JSON object."""
    return _encode(message)


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


# --- worker -> readers --------------------------------------------------------------------------------


class FrameHeader(msgspec.Struct, frozen=True, omit_defaults=True):
    """The header line of a frame; the fields of `frame.Frame` that are not its events."""

    epoch: int
    first: int
    last: int
    merged: int = 0
    at: tuple[int, ...] = ()
    critical: bool = False
    terminal: bool = False
    state: tuple[tuple[int, str], ...] = ()


class FrameMessage(msgspec.Struct, frozen=True):
    """A frame as it came: `body` is the JSON array of its events, not decoded."""

    channel: str
    header: FrameHeader
    body: bytes


_decode_frame_header = msgspec.json.Decoder(FrameHeader).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def frame_topic(channel: str) -> bytes:
    """Return the topic to subscribe to for one channel's frames."""
    return FRAME_TOPIC + channel.encode() + b"|"


def encode_frame(frame: Frame) -> bytes:
    """Compose a frame for the XPUB socket."""
    header = FrameHeader(
        frame.epoch,
        frame.first,
        frame.last,
        frame.merged,
        frame.at,
        frame.critical,
        frame.terminal,
        frame.state,
    )
    return b"".join((frame_topic(frame.channel), _encode(header), b"\n[", b",".join(frame.events), b"]"))


def decode_frame(message: bytes) -> FrameMessage:
    """Take a frame apart, leaving its events as they are.

    Raises:
        MessageMalformed: it is no frame.
    """
    topic, newline, body = message.partition(b"\n")
    parts = topic.split(b"|", 2)
    if not newline or len(parts) != 3 or parts[0] != b"F":
        raise MessageMalformed("not a frame: F|kind/id|, a header line, then an array")
    try:
        return FrameMessage(parts[1].decode(), _decode_frame_header(parts[2]), body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MessageMalformed(f"frame header: {error}") from None


def split_events(body: bytes) -> list[bytes]:
    """Return the JSON of each event of a frame's or page's array.

    Raises:
        MessageMalformed: it is no JSON array.
    """
    try:
        return [bytes(raw) for raw in _decode_array(body)]
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageMalformed(f"events: {error}") from None


class Head(msgspec.Struct, frozen=True, array_like=True):
    """How far one channel is.

    Attributes:
        channel: `kind/id`.
        epoch: its life.
        seq: the last event of a published frame; 0 when there is none yet.
        terminal: its terminal event is committed.
    """

    channel: str
    epoch: int
    seq: int
    terminal: bool


class Beacon(msgspec.Struct, frozen=True, tag="beacon"):
    """A worker's sign of life for one shard.

    Attributes:
        shard: which shard, and of how many (`shards`), by which hash (`hash`).
        boot: names this run of the worker; another one means that it restarted.
        heads: channels whose head changed lately, and in rotation all others.
        gone: (channel, epoch) whose memory was freed by cleanup.
    """

    shard: int
    shards: int
    hash: str
    boot: str
    heads: list[Head] = []
    gone: list[tuple[str, int]] = []


_decode_beacon = msgspec.json.Decoder(Beacon).decode


def encode_beacon(beacon: Beacon) -> bytes:
    """Compose a message of topic `H|`."""
    return BEACON_TOPIC + _encode(beacon)


def decode_beacon(message: bytes) -> Beacon:
    """Read a message of topic `H|`.

    Raises:
        MessageMalformed: it is none.
    """
    if not message.startswith(BEACON_TOPIC):
        raise MessageMalformed("not a beacon: H|, then JSON")
    try:
        return _decode_beacon(message[len(BEACON_TOPIC) :])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MessageMalformed(f"beacon: {error}") from None


# --- edge, tail <-> worker: history -------------------------------------------------------------------


class HeadRequest(msgspec.Struct, frozen=True, tag="head"):
    """Asks how far a channel is and what is held of it.

    `epoch` names the life the asker has seen; the reply tells whether that one is still held.
    """

    id: int
    channel: str
    epoch: int | None = None


class PageRequest(msgspec.Struct, frozen=True, tag="page"):
    """Asks for the events of a channel's life from `first` on."""

    id: int
    channel: str
    epoch: int
    first: int


class ChannelsRequest(msgspec.Struct, frozen=True, tag="channels"):
    """Asks for the summary of every channel of the shard."""

    id: int


class HeadReply(msgspec.Struct, frozen=True, tag="head"):
    """How far a channel is.

    Attributes:
        epoch: its present life; None when the worker knows no such channel.
        seq: the last event of a published frame.
        held: the oldest seq still held in this life; `seq + 1` when none is.
        terminal: its terminal event is committed.
        asked_seq: the last event of a published frame in the life that was asked for.
        asked_held: the oldest seq still held in that life; None when that life is forgotten.
    """

    id: int
    channel: str
    epoch: int | None = None
    seq: int = 0
    held: int = 1
    terminal: bool = False
    asked_seq: int = 0
    asked_held: int | None = None


class PageHeader(msgspec.Struct, frozen=True, tag="page", omit_defaults=True):
    """The header line of a page; the events follow it.

    Attributes:
        epoch: the life asked for.
        first: the first event given. Greater than asked when older ones are no longer held.
        last: the last event given; `first - 1` when there are none (yet).
        head: the last event of a published frame in this life.
        held: False when nothing of this life is held any more.
        current: the channel's present life; None when the channel is unknown.
        terminal: the page reaches the head, and the terminal event is behind.
    """

    id: int
    channel: str
    epoch: int
    first: int
    last: int
    head: int
    held: bool
    current: int | None
    terminal: bool = False


class Page(msgspec.Struct, frozen=True):
    """A page as it came: `body` is the JSON array of its events, not decoded."""

    header: PageHeader
    body: bytes


class ChannelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What lists and statistics show of one channel.

    Attributes:
        channel: `kind/id`.
        status: `running`, `completed` or `failed`.
        phase: the phase last named, if any.
        progress: percent, 0 to 100, if any is known.
        started_ms: wall clock at the first event, epoch milliseconds.
        elapsed_s: seconds from the first event to the terminal one, or to now.
        frames: frames published.
        events: events accepted.
        merged: state events that a later one replaced before it was sent.
        counts: type -> events accepted; types the catalogue does not know are counted as `other`.
        best_effort: some of it came from producers that do not number their events.
    """

    channel: str
    epoch: int
    seq: int
    status: str
    phase: str | None
    progress: float | None
    started_ms: int
    elapsed_s: float
    frames: int
    events: int
    merged: int
    counts: dict[str, int]
    best_effort: bool


class ChannelsReply(msgspec.Struct, frozen=True, tag="channels"):
    """The summary of every channel of a shard."""

    id: int
    shard: int
    channels: list[ChannelSummary]


HistoryRequest: TypeAlias = HeadRequest | PageRequest | ChannelsRequest | StatsRequest
HistoryReply: TypeAlias = HeadReply | ChannelsReply | StatsReply | Page

_decode_history_request: Callable[[bytes], HistoryRequest] = msgspec.json.Decoder(HistoryRequest).decode
_decode_history_reply: Callable[[bytes], HeadReply | ChannelsReply | StatsReply | PageHeader] = (
    msgspec.json.Decoder(HeadReply | ChannelsReply | StatsReply | PageHeader).decode
)


def decode_history_request(message: bytes) -> HistoryRequest:
    """Read what a reader asks of a worker.

    Raises:
        MessageMalformed: it is none of `HistoryRequest`.
    """
    if len(message) > MAX_CONTROL_BYTES:
        raise MessageMalformed(f"history request of {len(message)} bytes exceeds {MAX_CONTROL_BYTES} bytes")
    try:
        return _decode_history_request(message)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MessageMalformed(f"history request: {error}") from None


def encode_page(header: PageHeader, events: list[bytes]) -> bytes:
    """Compose a worker's answer to a `PageRequest`."""
    return b"".join((_encode(header), b"\n[", b",".join(events), b"]"))


def decode_history_reply(message: bytes) -> HistoryReply:
    """Read a worker's answer.

    Raises:
        MessageMalformed: it is none of `HistoryReply`.
    """
    head, newline, body = message.partition(b"\n")
    try:
        reply = _decode_history_reply(head)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MessageMalformed(f"history reply: {error}") from None
    if isinstance(reply, PageHeader):
        if not newline:
            raise MessageMalformed("history reply: a page without its events")
        return Page(reply, body)
    return reply


# --- edge -> browser ----------------------------------------------------------------------------------


def browser_batch(
    channel_id: str,
    epoch: int,
    first: int,
    last: int,
    merged: int,
    at: tuple[int, ...],
    body: bytes,
) -> bytes:
    """Compose the `batch` message of one frame or page; `body` is its JSON array of events."""
    offsets = b'"at":' + _encode(at) + b"," if merged else b""
    return (
        b'{"type":"batch","scan_id":"%b","epoch":%d,"seq":[%d,%d],"merged":%d,"filtered":0,%b"events":%b}'
        % (
            channel_id.encode(),
            epoch,
            first,
            last,
            merged,
            offsets,
            body,
        )
    )


class BrowserHello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """The first message to a browser: who it is, where the scan is, whether it was resumed."""

    scan_id: str
    connection_id: str
    epoch: int | None
    seq: int
    resumed: bool | None
    ping_interval: float
    client_timeout: float
    server_version: str
    features: tuple[str, ...]


class BrowserReset(msgspec.Struct, frozen=True, kw_only=True, tag="reset"):
    """The scan begins a new life: everything shown before belongs to the old one."""

    scan_id: str
    epoch: int
    reason: str


class BrowserLag(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="lag",
    rename={"scan_id": "scanId", "skipped": "skippedMessages", "from_": "from"},
):
    """Events this browser was not given: how many, which, and why."""

    scan_id: str
    skipped: int
    from_: int
    to: int
    reason: str


class BrowserClosing(msgspec.Struct, frozen=True, kw_only=True, tag="closing"):
    """The last message before a close, with what the client should do next."""

    code: int
    reason: str
    reconnect: bool
    retry_ms: int


def heroforge_lag(channel: str, skipped: int) -> bytes:
    """Compose HeroForge's `lag` message."""
    kind, channel_id = split_channel(channel)
    return _encode({"type": "lag", "skippedMessages": skipped, f"{kind}Id": channel_id})


def heroforge_not_found(channel: str) -> bytes:
    """Compose HeroForge's answer to a subscription to a channel that does not exist."""
    kind, channel_id = split_channel(channel)
    return _encode(
        {"type": "error", "message": f"{kind.capitalize()} channel not found", f"{kind}Id": channel_id}
    )


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
