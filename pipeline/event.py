"""The event catalogue: which types there are, what their fields are, how each is treated.

Sits under everything: ingest checks an event with :func:`check_event`, the worker asks
the :class:`Catalogue` for its class, the adapters build what it describes. Knows no socket, no clock and
no message between processes.

The types, their fields and their values are HeroForge's (`src/types.rs`: types in camelCase, fields in
snake_case), so that its frontend runs unchanged. A field the catalogue knows is checked; any other
field, and any other type, passes through untouched.

======== ==================================================================================
class    treatment
======== ==================================================================================
critical at once, outside the frame budget, never dropped, never merged
fact     batched, never silently dropped; every type the catalogue does not know is a fact
state    the latest of a key in a frame survives, with its own seq; the rest counts as merged
======== ==================================================================================
"""

from __future__ import annotations

import enum
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

import msgspec

from pipeline.errors import EventRejected, RejectReason

MAX_EVENT_BYTES = 65_536
"""The largest event taken, in bytes of JSON; a larger one is rejected as `too_large`."""

MAX_DEPTH_NOTE = "nested too deeply to be read"

_SCAN_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}\Z")
_RESERVED_IDS = frozenset({"stats"})

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Protocol = Literal["TCP", "UDP"]
PortState = Literal["Open", "Closed", "Filtered"]
Severity = Literal["Critical", "High", "Medium", "Low", "Info"]
SEVERITIES: tuple[Severity, ...] = ("Critical", "High", "Medium", "Low", "Info")

CANARY_LABEL = "scanstream.canary"
"""A scan with this label is none: it only tries the way, and nobody is notified of it."""


class EventClass(enum.Enum):
    """How an event is treated on its way to a browser."""

    CRITICAL = "critical"
    FACT = "fact"
    STATE = "state"


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True, gc=False):
    """What every event may carry beside its type. None can hold itself, so none is looked at for garbage.

    `scan_id` is needed only where the event travels without an envelope. `ts` is the producer's wall
    clock, ISO 8601 or epoch seconds; it is shown, and never used to order or to time anything.
    """

    scan_id: str | None = None
    ts: str | int | float | None = None


class ScanStarted(Event, frozen=True, kw_only=True, tag="scanStarted"):
    """`name`, `targets`, `labels` and `owner` are what a scan can be found by later.

    Where there are accounts, `owner` and those in `shared_with` may see it.
    """

    timestamp: str | None = None
    name: str | None = None
    targets: str | list[str] | None = None
    labels: dict[str, str] | list[str] | None = None
    owner: str | None = None
    shared_with: list[str] | None = None


class PhaseStarted(Event, frozen=True, kw_only=True, tag="phaseStarted"):
    phase: str
    progress: float | None = None


class ScanCompleted(Event, frozen=True, kw_only=True, tag="scanCompleted"):
    duration: float | None = None
    total_hosts: int | None = None


class Error(Event, frozen=True, kw_only=True, tag="error"):
    message: str
    fatal: bool = True


class HostDiscovered(Event, frozen=True, kw_only=True, tag="hostDiscovered"):
    ip: str
    hostname: str | None = None


class PortFound(Event, frozen=True, kw_only=True, tag="portFound"):
    ip: str
    port: Port
    protocol: Protocol
    state: PortState


class ServiceDetected(Event, frozen=True, kw_only=True, tag="serviceDetected"):
    ip: str
    port: Port
    service_name: str
    version: str | None = None


class VulnerabilityFound(Event, frozen=True, kw_only=True, tag="vulnerabilityFound"):
    ip: str
    severity: Severity
    title: str
    cve_id: str | None = None


class EnumerationStarted(Event, frozen=True, kw_only=True, tag="enumerationStarted"):
    ip: str
    port: Port
    service_type: str | None = None


class EnumerationFinding(Event, frozen=True, kw_only=True, tag="enumerationFinding"):
    ip: str
    port: Port
    finding_type: str | None = None
    value: str | None = None


class EnumerationCompleted(Event, frozen=True, kw_only=True, tag="enumerationCompleted"):
    ip: str
    port: Port
    findings_count: int | None = None


class DnsRecordFound(Event, frozen=True, kw_only=True, tag="dnsRecordFound"):
    domain: str
    record_type: str
    value: str


class SubdomainFound(Event, frozen=True, kw_only=True, tag="subdomainFound"):
    subdomain: str


class ScanProgress(Event, frozen=True, kw_only=True, tag="scanProgress"):
    """`progress` is percent, and any JSON number: producers get it wrong, the scan state makes it honest."""

    phase: str
    progress: float
    message: str | None = None


class VpnConnecting(Event, frozen=True, kw_only=True, tag="vpnConnecting"):
    config_name: str


class VpnConnected(Event, frozen=True, kw_only=True, tag="vpnConnected"):
    config_name: str
    assigned_ip: str | None = None


class VpnDisconnecting(Event, frozen=True, kw_only=True, tag="vpnDisconnecting"):
    config_name: str


class VpnDisconnected(Event, frozen=True, kw_only=True, tag="vpnDisconnected"):
    config_name: str


class VpnError(Event, frozen=True, kw_only=True, tag="vpnError"):
    config_name: str
    message: str


class ReportStarted(Event, frozen=True, kw_only=True, tag="reportStarted"):
    report_id: str
    name: str
    format: str


class ReportPhase(Event, frozen=True, kw_only=True, tag="reportPhase"):
    """`progress` runs from 0 to 1 here, unlike a scan's: so HeroForge's frontend reads it."""

    report_id: str
    phase: str
    progress: float
    message: str | None = None


class ScreenshotCaptured(Event, frozen=True, kw_only=True, tag="screenshotCaptured"):
    report_id: str
    url: str
    index: int
    total: int


class ReportCompleted(Event, frozen=True, kw_only=True, tag="reportCompleted"):
    report_id: str
    file_path: str | None = None
    file_size: int | None = None


class ReportFailed(Event, frozen=True, kw_only=True, tag="reportFailed"):
    report_id: str
    error: str


class ScanStalled(Event, frozen=True, kw_only=True, tag="scanStalled"):
    silent_s: float | None = None


class ScanResumed(Event, frozen=True, kw_only=True, tag="scanResumed"):
    silent_s: float | None = None


class ScanOrphaned(Event, frozen=True, kw_only=True, tag="scanOrphaned"):
    message: str | None = None


class Lost(Event, frozen=True, kw_only=True, tag="lost"):
    """Events that are known to be missing: how many, and why."""

    count: int
    reason: str


class UnknownEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event whose type the catalogue does not know: passed on untouched, treated as a fact."""

    type: str
    scan_id: str | None = None
    report_id: str | None = None
    ts: str | int | float | None = None


KnownEvent: TypeAlias = (
    ScanStarted
    | PhaseStarted
    | ScanCompleted
    | Error
    | HostDiscovered
    | PortFound
    | ServiceDetected
    | VulnerabilityFound
    | EnumerationStarted
    | EnumerationFinding
    | EnumerationCompleted
    | DnsRecordFound
    | SubdomainFound
    | ScanProgress
    | VpnConnecting
    | VpnConnected
    | VpnDisconnecting
    | VpnDisconnected
    | VpnError
    | ReportStarted
    | ReportPhase
    | ScreenshotCaptured
    | ReportCompleted
    | ReportFailed
    | ScanStalled
    | ScanResumed
    | ScanOrphaned
    | Lost
)
AnyEvent: TypeAlias = KnownEvent | UnknownEvent

_decode_known: Callable[[bytes], KnownEvent] = msgspec.json.Decoder(KnownEvent).decode
_decode_unknown: Callable[[bytes], UnknownEvent] = msgspec.json.Decoder(UnknownEvent).decode


class CatalogueEntry(msgspec.Struct, frozen=True):
    """How one type is treated.

    `key` names the field whose latest value survives in a frame (state types only). `terminal` says
    whether the type ends its channel.
    """

    event_class: EventClass
    key: str | None = None
    terminal: bool = False


_CRITICAL = CatalogueEntry(EventClass.CRITICAL)
_TERMINAL = CatalogueEntry(EventClass.CRITICAL, terminal=True)
_FACT = CatalogueEntry(EventClass.FACT)

DEFAULT_CATALOGUE: Mapping[str, CatalogueEntry] = {
    "scanStarted": _CRITICAL,
    "phaseStarted": _CRITICAL,
    "scanCompleted": _TERMINAL,
    "error": _TERMINAL,
    "reportStarted": _CRITICAL,
    "reportCompleted": _TERMINAL,
    "reportFailed": _TERMINAL,
    "vpnError": _CRITICAL,
    "scanStalled": _CRITICAL,
    "scanResumed": _CRITICAL,
    "scanOrphaned": _CRITICAL,
    "hostDiscovered": _FACT,
    "portFound": _FACT,
    "serviceDetected": _FACT,
    "vulnerabilityFound": _FACT,
    "enumerationStarted": _FACT,
    "enumerationFinding": _FACT,
    "enumerationCompleted": _FACT,
    "dnsRecordFound": _FACT,
    "subdomainFound": _FACT,
    "screenshotCaptured": _FACT,
    "vpnConnecting": _FACT,
    "vpnConnected": _FACT,
    "vpnDisconnecting": _FACT,
    "vpnDisconnected": _FACT,
    "lost": _FACT,
    "scanProgress": CatalogueEntry(EventClass.STATE, key="phase"),
    "reportPhase": CatalogueEntry(EventClass.STATE, key="report_id"),
}


class Treatment(msgspec.Struct, frozen=True):
    """What the catalogue says of one event.

    Attributes:
        event_class: its class.
        key: the merge key (state only).
        terminal: it ends its channel.
        starts: it begins a new life of a channel that has ended.
    """

    event_class: EventClass
    key: str | None = None
    terminal: bool = False
    starts: bool = False


FACT = Treatment(EventClass.FACT)
"""How every plain fact is treated: the very same object, so that it can be told by identity."""

_STARTS = frozenset({"scanStarted", "reportStarted"})


class Catalogue:
    """The treatment of every type: the defaults, and what the operator changed.

    Args:
        overrides: type -> entry; replaces the default of that type, or adds one.
    """

    def __init__(self, overrides: Mapping[str, CatalogueEntry] | None = None) -> None:
        self._entries = {**DEFAULT_CATALOGUE, **(overrides or {})}
        # Most types are treated alike whatever stands in their events.
        self._fixed = {
            kind: self._fixed_treatment(name)
            for kind, name in _TYPE_OF.items()
            if self._entries[name].event_class is not EventClass.STATE and kind is not Error
        }
        self._facts = {kind for kind, treatment in self._fixed.items() if treatment is FACT}
        if self._entries.keys() == DEFAULT_CATALOGUE.keys():
            self._facts.add(UnknownEvent)

    def all_facts(self, events: Sequence[AnyEvent]) -> bool:
        """Say whether every one of `events` is a plain fact, as far as their types tell.

        Most are, and asked of many at once this costs a third of `treatments`.
        """
        return self._facts.issuperset(map(type, events))

    def treatments(self, events: Sequence[AnyEvent], raws: Sequence[bytes]) -> list[Treatment]:
        """Return how each of `events` is treated; `raws` is their JSON."""
        fixed = self._fixed.get
        return [
            fixed(type(event)) or self.treatment(event, raw) for event, raw in zip(events, raws, strict=True)
        ]

    @property
    def critical(self) -> frozenset[str]:
        """The types of class critical."""
        return frozenset(
            name for name, entry in self._entries.items() if entry.event_class is EventClass.CRITICAL
        )

    def treatment(self, event: AnyEvent, raw: bytes) -> Treatment:
        """Return how `event` is treated.

        Args:
            event: the checked event.
            raw: its JSON, read only for the merge key of a state type that is not in the default catalogue.
        """
        fixed = self._fixed.get(type(event))
        if fixed is not None:
            return fixed
        name = event_type(event)
        entry = self._entries.get(name, _FACT)
        if entry.event_class is EventClass.STATE:
            value = getattr(event, entry.key or "", None)
            if value is None and entry.key:
                value = _field(raw, entry.key)
            return Treatment(EventClass.STATE, f"{name}:{value}", starts=name in _STARTS)
        if isinstance(event, Error) and not event.fatal and entry.terminal:
            return Treatment(EventClass.CRITICAL)
        return self._fixed_treatment(name)

    def _fixed_treatment(self, name: str) -> Treatment:
        entry = self._entries.get(name, _FACT)
        found = Treatment(entry.event_class, None, entry.terminal, name in _STARTS)
        return FACT if found == FACT else found


def _field(raw: bytes, name: str) -> object:
    """Return one field of a checked event; None when it has none, or holds what Python will not read."""
    try:
        return msgspec.json.decode(raw, type=dict[str, object]).get(name)
    except (msgspec.DecodeError, RecursionError):  # integers beyond 4,300 digits are JSON all the same
        return None


_TYPE_OF: Mapping[type, str] = {
    known: str(known.__struct_config__.tag) for known in typing.get_args(KnownEvent)
}


def event_type(event: AnyEvent) -> str:
    """Return the type of a checked event, as it stands in its JSON."""
    return _TYPE_OF.get(type(event)) or event.type  # type: ignore[union-attr]  # only UnknownEvent gets there


def check_event(raw: bytes) -> AnyEvent:
    """Check one event's JSON, once and for all.

    The bytes may travel unchanged afterwards: they are valid UTF-8, valid JSON, within the size limit,
    and every field the catalogue knows has its type and range.

    Args:
        raw: the JSON of one event, at most `MAX_EVENT_BYTES` bytes.

    Returns:
        The typed event; an `UnknownEvent` where the type is not in the catalogue.

    Raises:
        EventRejected: `too_large`, `utf8`, `json` or `schema`, with what was wrong and the limit.
    """
    if len(raw) > MAX_EVENT_BYTES:
        raise EventRejected(
            RejectReason.TOO_LARGE, f"event of {len(raw)} bytes exceeds the limit of {MAX_EVENT_BYTES} bytes"
        )
    if (
        not raw.isascii()
    ):  # msgspec does not check UTF-8 in what it skips, and a browser would close with 1007
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            raise EventRejected(
                RejectReason.UTF8, f"invalid UTF-8 at byte {error.start}: 0x{raw[error.start]:02x}"
            ) from None
    try:
        return _decode_known(raw)
    except msgspec.ValidationError as error:
        known_error = error
    except msgspec.DecodeError as error:
        raise EventRejected(RejectReason.JSON, f"not JSON: {error}") from None
    except RecursionError:
        raise EventRejected(RejectReason.JSON, MAX_DEPTH_NOTE) from None
    try:
        unknown = _decode_unknown(raw)
    except msgspec.ValidationError as error:
        raise EventRejected(RejectReason.SCHEMA, str(error)) from None
    except msgspec.DecodeError as error:
        raise EventRejected(RejectReason.JSON, f"not JSON: {error}") from None
    except RecursionError:
        raise EventRejected(RejectReason.JSON, MAX_DEPTH_NOTE) from None
    if unknown.type in DEFAULT_CATALOGUE:
        raise EventRejected(RejectReason.SCHEMA, f"{unknown.type}: {known_error}")
    if not unknown.type:
        raise EventRejected(RejectReason.SCHEMA, "the type is empty")
    return unknown


def check_events(raws: Sequence[bytes]) -> list[AnyEvent]:
    """Check many events; as `check_event`, but the first that is rejected ends it.

    Raises:
        EventRejected: one of them is; `check_event` tells which.
    """
    if b"".join(raws).isascii() and max(map(len, raws), default=0) <= MAX_EVENT_BYTES:
        try:
            return [_decode_known(raw) for raw in raws]
        except (msgspec.DecodeError, RecursionError):
            pass
    return [check_event(raw) for raw in raws]


def read_event(raw: bytes) -> AnyEvent:
    """Decode an event that `check_event` has taken before, without checking it again.

    Raises:
        EventRejected: it never was checked, and is not an event.
    """
    try:
        return _decode_known(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return check_event(raw)


def read_events(raws: Sequence[bytes]) -> list[AnyEvent]:
    """Decode many events, as `read_event` does one.

    Raises:
        EventRejected: one of them is not an event.
    """
    try:
        return [_decode_known(raw) for raw in raws]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return [read_event(raw) for raw in raws]


_DEFAULT = Catalogue()
_TERMINAL_NAMES = tuple(name.encode() for name, entry in DEFAULT_CATALOGUE.items() if entry.terminal)


def ends_channel(raw: bytes) -> bool:
    """Say whether an event ends its channel, as far as a producer can know: an operator may say otherwise.

    Args:
        raw: its JSON, checked or not; of most events only looked through.
    """
    if not any(name in raw for name in _TERMINAL_NAMES):
        return False
    try:
        return _DEFAULT.treatment(read_event(raw), raw).terminal
    except EventRejected:
        return False


def is_scan_id(text: str) -> bool:
    """Say whether `text` is a usable scan or report id."""
    return _SCAN_ID.match(text) is not None and text not in _RESERVED_IDS


def check_scan_id(text: object) -> str:
    """Return `text` as a scan id.

    Raises:
        EventRejected: `bad_scan_id`, with what an id may be.
    """
    if isinstance(text, str) and is_scan_id(text):
        return text
    shown = repr(text)[:80]
    raise EventRejected(
        RejectReason.BAD_SCAN_ID,
        f"{shown} is no scan id: 1 to 64 of A-Z a-z 0-9 _ - . , not starting with a dot, not 'stats'",
    )
