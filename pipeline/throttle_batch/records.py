"""What a journal keeps of a channel's life and of a producer: as the batcher wants it back. Pure.

A life's state is written now and then, as a checkpoint: the events after it are folded again when a worker
starts, so that the state is then the same as if it had never stopped.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import msgspec


class ScanAbout(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a scan's `scanStarted` says of it; texts are cut, lists are bounded, see `scan_state`.

    Attributes:
        name: what it is called; empty when it is not told, as are the others.
        targets: what is scanned.
        targets_left_out: how many more.
        labels: name -> value.
        owner: whose it is.
        shared_with: who may see it beside the owner, where there are accounts.
    """

    name: str = ""
    targets: tuple[str, ...] = ()
    targets_left_out: int = 0
    labels: dict[str, str] = {}
    owner: str = ""
    shared_with: tuple[str, ...] = ()


class Totals(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much was found: things, each once.

    Attributes:
        hosts: hosts.
        open_ports: open ports of all hosts.
        services: services of all hosts.
        vulnerabilities: severity -> vulnerabilities of all hosts.
        exact: False: there may have been more.
    """

    hosts: int = 0
    open_ports: int = 0
    services: int = 0
    vulnerabilities: dict[str, int] = {}
    exact: bool = True


class LifeState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of one life of a channel, folded up to `folded`.

    Attributes:
        folded: the seq of the last event in it.
        created_ms: wall clock at the first event, epoch milliseconds.
        frames: frames published.
        merged: state events that were left out of them.
        best_effort: some of it came from producers that do not number their events.
        owner: the pid of the producer that has this life for itself; empty for none.
        status: `running`, `stalled`, `orphaned`, `completed` or `failed`.
        phase: the phase last named.
        progress: percent.
        counts: type -> events.
        totals: how much was found.
        about: what `scanStarted` says.
        error: the message of the terminal `error`.
        message: of the last progress report, of a scan that has not ended.
        lost: events known to be missing.
        event_bytes: of all events.
        present: the producers that sent something and have not said `bye`, see `watchdog`.
    """

    folded: int
    created_ms: int
    frames: int = 0
    merged: int = 0
    best_effort: bool = False
    owner: str = ""
    status: str = "running"
    phase: str | None = None
    progress: float | None = None
    counts: dict[str, int] = {}
    totals: Totals = Totals()
    about: ScanAbout = ScanAbout()
    error: str = ""
    message: str = ""
    lost: int = 0
    event_bytes: int = 0
    present: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A life's state, to be kept.

    Attributes:
        detail: what of it grows with what was found, up to the same event; None leaves what is kept: then
            `state.folded` is as it was.
    """

    channel: str
    epoch: int
    state: LifeState
    detail: bytes | None = None


@dataclass(frozen=True, slots=True)
class LifeRecord:
    """One life of a channel, as it was when it was last committed.

    Attributes:
        channel: `kind/id`.
        epoch: the life.
        head: the seq of its last event.
        ended_ms: wall clock of its terminal event, epoch milliseconds; None while it has none.
        updated_ms: wall clock of its last event, epoch milliseconds.
        state: its last checkpoint.
        tail: the JSON of the events after the checkpoint, `state.folded + 1` to `head`; those that are
            damaged are left out.
        cut: its numbers may have been given to events that are gone: it takes no more events.
        detail: what was kept beside the state; empty when nothing was; None when it was not read: then there
            is no tail, and `Channel.wants_detail` asks for it.
    """

    channel: str
    epoch: int
    head: int
    ended_ms: int | None
    updated_ms: int
    state: LifeState
    tail: list[bytes] = field(default_factory=list)
    cut: bool = False
    detail: bytes | None = b""

    @property
    def ended(self) -> bool:
        """Whether its terminal event is in it."""
        return self.ended_ms is not None


@dataclass(frozen=True, slots=True)
class Posted:
    """What is kept of a producer that says `bye` with its events, beside how far it is.

    Attributes:
        epoch: the life that its last event taken is in; 0 while none is.
        seq: the number of that event there.
        digest: of what goes by this pid; empty when that is not decided.
    """

    epoch: int = 0
    seq: int = 0
    digest: str = ""


NOT_POSTED = Posted()
"""Of every other producer."""


@dataclass(frozen=True, slots=True)
class ProducerRecord:
    """How far one (producer, channel) is."""

    pid: str
    channel: str
    inc: int
    committed: int
    posted: Posted = NOT_POSTED


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a worker has to know when it starts: lives by ascending epoch, producers oldest first.

    `deleted_epoch` is the greatest epoch of a life that was deleted; 0 for none.
    """

    lives: list[LifeRecord]
    producers: list[ProducerRecord]
    deleted_epoch: int = 0


def row_checksum(*fields: object) -> int:
    """Return what stands in a row of the journal to check it by: over all its other fields, in order."""
    return zlib.crc32("\x1f".join(map(str, fields)).encode())


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(LifeState).decode


def encode_state(state: LifeState) -> bytes:
    """Return a state as the journal keeps it."""
    return _encode(state)


def decode_state(raw: bytes) -> LifeState:
    """Read what `encode_state` wrote.

    Raises:
        ValueError: it is nothing of the kind.
    """
    return _decode(raw)
