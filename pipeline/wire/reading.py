"""What a worker tells those who read: frames, its beacon, and the answers to questions about history. Pure.

======================= =============================================================================
message                 bytes
======================= =============================================================================
frame                   `F|kind/id|`, header JSON, `\\n`, a JSON array of events
beacon `H|`             `H|` and JSON: who the worker is, the heads of its channels
history's request       one JSON object, told apart by its `type`
history's answer        the same; a page is header JSON, `\\n`, a JSON array of events
======================= =============================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from pipeline.errors import MessageMalformed
from pipeline.frame import Frame
from pipeline.wire.access import AccessReply, AccessRequest
from pipeline.wire.message import MAX_CONTROL_BYTES, StatsReply, StatsRequest
from pipeline.wire.past import DeleteReply, DeleteRequest, PastReply, PastRequest
from pipeline.wire.state import (
    Document,
    HostsHeader,
    HostsRequest,
    StateHeader,
    StateRequest,
    TimeLeftEntry,
    TotalsEntry,
)

MAX_PAGE_BYTES = 262_144
"""How many bytes of events a history page holds; at least one event, whatever its size."""

FRAME_TOPIC = b"F|"
BEACON_TOPIC = b"H|"

_encode = msgspec.json.Encoder().encode

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
    taken_us: int = 0


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
        frame.taken_us,
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
        writable: whether it can commit; while it cannot, nothing is taken from producers.
    """

    shard: int
    shards: int
    hash: str
    boot: str
    heads: list[Head] = []
    gone: list[tuple[str, int]] = []
    writable: bool = True


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
    """Asks for the summary of every channel of the shard.

    Attributes:
        since: the `version` of an earlier answer; then of those that changed since, where that can be told.
    """

    id: int
    since: str | None = None


class HeadReply(msgspec.Struct, frozen=True, tag="head"):
    """How far a channel is.

    Attributes:
        epoch: its present life; None when the worker knows no such channel.
        seq: the last event of a published frame.
        held: the oldest seq still held in this life; `seq + 1` when none is.
        terminal: its terminal event is committed.
        asked_seq: the last event committed in the life that was asked for; it may be in no published frame
            yet, but a state may have shown it.
        asked_held: the oldest seq still held in that life; None when that life is forgotten.
        cleaned_up: its memory was freed; what it was stands in the journal.
        critical: the types of class critical; None where they are the catalogue's own.
    """

    id: int
    channel: str
    epoch: int | None = None
    seq: int = 0
    held: int = 1
    terminal: bool = False
    asked_seq: int = 0
    asked_held: int | None = None
    cleaned_up: bool = False
    critical: tuple[str, ...] | None = None


class PageHeader(msgspec.Struct, frozen=True, tag="page", omit_defaults=True):
    """The header line of a page; the events follow it.

    Attributes:
        epoch: the life asked for.
        first: the first event given. Greater than asked when older ones are no longer held.
        last: the last event given; `first - 1` when there are none (yet).
        head: the last event of a published frame in this life.
        held: False when nothing of this life is held any more.
        current: the channel's present life; None when the channel is unknown.
        terminal: the page reaches the head, and nothing of this life is to come but what follows a terminal
            event: that is behind, or the channel has a later life.
        damaged: the events `first` to this one are damaged in the journal, and given to nobody any more; the
            page has none. 0 when they are not.
        cut: this life takes no more events although it had not ended: its journal went back, and its later
            numbers may have been given to events that are gone.
        committed: the last event committed, where that is not `head`; else 0.
        next: the life after this one, told with its last events, where that is not the present one.
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
    damaged: int = 0
    cut: bool = False
    committed: int = 0
    next: int | None = None


class Page(msgspec.Struct, frozen=True):
    """A page as it came: `body` is the JSON array of its events, not decoded."""

    header: PageHeader
    body: bytes

    @property
    def id(self) -> int:
        """Which question it answers."""
        return self.header.id


class ChannelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What lists and statistics show of one channel.

    Attributes:
        channel: `kind/id`.
        status: `running`, `stalled`, `orphaned`, `completed` or `failed`.
        phase: the phase last named, if any.
        progress: percent, 0 to 100, if any is known.
        started_ms: wall clock at the first event, epoch milliseconds.
        elapsed_s: seconds from the first event to the terminal one, or to now.
        frames: frames published.
        events: events accepted.
        merged: state events that a later one replaced before it was sent.
        counts: type -> events accepted; types the catalogue does not know are counted as `other`.
        best_effort: some of it came from producers that do not number their events.
        finalising: the work is done, the end has not come.
        time_left: how long it will take; None when there is no telling.
        events_per_s: as of now, smoothed.
        event_bytes: of all events.
        delivered: events that went out in frames: published, without those merged away.
        totals: how much was found.
        name, targets, labels, owner, shared_with: what `scanStarted` says.
        error: the message of the terminal `error`; None without one.
        last_event_ms: wall clock at the last event, epoch milliseconds.
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
    finalising: bool = False
    time_left: TimeLeftEntry | None = None
    events_per_s: float = 0.0
    event_bytes: int = 0
    delivered: int = 0
    totals: TotalsEntry = TotalsEntry()
    name: str = ""
    targets: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    owner: str = ""
    shared_with: tuple[str, ...] = ()
    error: str | None = None
    last_event_ms: int = 0


class ChannelsReply(msgspec.Struct, frozen=True, tag="channels"):
    """The summary of every channel of a shard, or of those that changed.

    Attributes:
        version: to be given as `since`, to be told what changed after this answer.
        whole: these are all channels; otherwise those that changed.
        gone: names of channels that are no more, if the reader ever knew them; none in a whole.
    """

    id: int
    shard: int
    channels: list[ChannelSummary]
    version: str = ""
    whole: bool = True
    gone: list[str] = []


HistoryRequest: TypeAlias = (
    HeadRequest
    | PageRequest
    | ChannelsRequest
    | StateRequest
    | HostsRequest
    | StatsRequest
    | PastRequest
    | DeleteRequest
    | AccessRequest
)
HistoryReply: TypeAlias = (
    HeadReply | ChannelsReply | StatsReply | PastReply | DeleteReply | AccessReply | Page | Document
)

_Header: TypeAlias = (
    HeadReply
    | ChannelsReply
    | StatsReply
    | PastReply
    | DeleteReply
    | AccessReply
    | PageHeader
    | StateHeader
    | HostsHeader
)

_decode_history_request: Callable[[bytes], HistoryRequest] = msgspec.json.Decoder(HistoryRequest).decode
_decode_history_reply: Callable[[bytes], _Header] = msgspec.json.Decoder(_Header).decode


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
    if not isinstance(reply, PageHeader | StateHeader | HostsHeader):
        return reply
    if not newline:
        raise MessageMalformed("history reply: a header without what it is the header of")
    return Page(reply, body) if isinstance(reply, PageHeader) else Document(reply, body)
