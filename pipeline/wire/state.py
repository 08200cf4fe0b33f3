"""What a worker tells of a scan as a whole: its state at an event, and its hosts, a page at a time. Pure.

Under `reading`, which has the other answers; the worker composes a document once, and the edge passes its
bytes on.

======================= =============================================================================
message                 bytes
======================= =============================================================================
question                one JSON object, told apart by its `type`
answer                  a header as JSON, `\\n`, and a JSON document: an object of the state's fields, or an
                        array of hosts
======================= =============================================================================
"""

from __future__ import annotations

import msgspec

MAX_HOSTS_A_PAGE = 1_000
MAX_HOSTS_BYTES = 262_144
"""How many bytes of hosts a state, or a page of hosts, holds; at least one host, whatever its size."""

_encode = msgspec.json.Encoder().encode


class StateRequest(msgspec.Struct, frozen=True, tag="state"):
    """Asks for the state of a channel's life, of its present one unless `epoch` names another."""

    id: int
    channel: str
    epoch: int | None = None


class HostsRequest(msgspec.Struct, frozen=True, tag="hosts"):
    """Asks for hosts of a channel's life: at most `limit`, after the first `after` ones."""

    id: int
    channel: str
    epoch: int | None = None
    after: int = 0
    limit: int = MAX_HOSTS_A_PAGE


class StateHeader(msgspec.Struct, frozen=True, tag="state"):
    """The header line of a state.

    Attributes:
        epoch: the life it is of; None when the worker knows no such life: then the document is empty.
        seq: the last event in it. It is committed, and may be in no published frame yet.
        cleaned_up: the life's memory was freed; this is from the journal.
    """

    id: int
    channel: str
    epoch: int | None = None
    seq: int = 0
    cleaned_up: bool = False


class HostsHeader(msgspec.Struct, frozen=True, tag="hosts"):
    """The header line of a page of hosts.

    Attributes:
        epoch: the life they are of; None when the worker knows no such life.
        seq: the last event that is taken into account.
        next: `after` of the next page; None when there is none.
        total: hosts of the scan.
        left_out: hosts that were counted and are in no page.
    """

    id: int
    channel: str
    epoch: int | None = None
    seq: int = 0
    next: int | None = None
    total: int = 0
    left_out: int = 0


class Document(msgspec.Struct, frozen=True):
    """An answer as it came: `body` is JSON, not decoded."""

    header: StateHeader | HostsHeader
    body: bytes

    @property
    def id(self) -> int:
        """Which question it answers."""
        return self.header.id


class PhaseEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A phase of a scan's history; times are seconds since its first event."""

    phase: str
    started_s: float
    percent: float | None = None
    left_s: float | None = None


class TimeLeftEntry(msgspec.Struct, frozen=True):
    """How long it will take, in seconds; of the `scan`, or only of its `phase`."""

    of: str
    seconds: float
    low: float
    high: float


class FindingEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the latest findings; empty fields are left out."""

    seq: int
    type: str
    title: str
    severity: str = ""
    ip: str = ""
    port: int | None = None
    detail: str = ""


class TotalsEntry(msgspec.Struct, frozen=True):
    """How much was found: things, each once. `exact` false: there may have been more."""

    hosts: int = 0
    open_ports: int = 0
    services: int = 0
    vulnerabilities: dict[str, int] = {}
    exact: bool = True


class StateDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A scan as a late joiner is shown it.

    Attributes:
        status: `running`, `stalled`, `orphaned`, `completed` or `failed`.
        error: the message of the terminal `error`; None without one.
        message: of the last progress report; empty without one, and at the end.
        name, targets, targets_left_out, labels, owner: what `scanStarted` says.
        started_at, last_event_at: wall clock, ISO 8601.
        elapsed_time: seconds from the first event to the terminal one, or to now.
        phase: the phase last named.
        phases: all of them, in order of appearance; `phases_left_out` more have begun.
        progress: percent, as honest as can be.
        finalising: the work is done, the end has not come.
        nonsense: percentages that were not believed.
        time_left: None when there is no telling.
        events_per_s: as of now, smoothed.
        event_count, event_bytes: events taken, and their bytes.
        message_count, merged_count: frames published, state events left out of them.
        lost: events known to be missing, of foreign producers.
        counts: type -> events.
        best_effort: some came from producers that do not number their events.
        producers: producers that are there.
        stalls_after_s: how long a pause may be before the scan counts as stalled; 0: it never does.
        totals: how much was found.
        hosts: the first of them; `hosts_next` is where the next page begins, None when these are all.
        hosts_left_out: hosts that were counted and are in no page.
        findings: the latest, oldest first.
    """

    status: str
    error: str | None
    message: str
    name: str
    targets: tuple[str, ...]
    targets_left_out: int
    labels: dict[str, str]
    owner: str
    started_at: str
    last_event_at: str
    elapsed_time: float
    phase: str | None
    phases: list[PhaseEntry]
    phases_left_out: int
    progress: float | None
    finalising: bool
    nonsense: int
    time_left: TimeLeftEntry | None
    events_per_s: float
    event_count: int
    event_bytes: int
    message_count: int
    merged_count: int
    lost: int
    counts: dict[str, int]
    best_effort: bool
    producers: int
    stalls_after_s: float
    totals: TotalsEntry
    hosts: list[msgspec.Raw]
    hosts_next: int | None
    hosts_left_out: int
    findings: list[FindingEntry]


def encode_state(header: StateHeader, document: StateDocument | None) -> bytes:
    """Compose a worker's answer to a `StateRequest`."""
    return b"".join((_encode(header), b"\n", _encode(document) if document is not None else b"{}"))


def encode_hosts(header: HostsHeader, hosts: list[bytes]) -> bytes:
    """Compose a worker's answer to a `HostsRequest`."""
    return b"".join((_encode(header), b"\n[", b",".join(hosts), b"]"))
