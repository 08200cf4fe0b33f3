"""What is known of a channel as a whole: folded from its events, for lists and late joiners. Pure.

Folded when events are committed, never before, so that what is shown is never ahead of what is durable.
`progress` makes percentages honest, `hosts` has what was found; this has the rest. Times are seconds since
the channel's first event.

=================== ==================================================================================
status              from
=================== ==================================================================================
`running`           the first event; after `stalled` or `orphaned` the next event of another kind
`stalled`           `scanStalled`, of the watchdog
`orphaned`          `scanOrphaned`, of the watchdog
`completed`         a terminal event, for good
`failed`            a terminal `error` or `reportFailed`, for good
=================== ==================================================================================
"""

from __future__ import annotations

import typing
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, cast

import msgspec

from pipeline.event import (
    SEVERITIES,
    AnyEvent,
    DnsRecordFound,
    EnumerationCompleted,
    EnumerationFinding,
    EnumerationStarted,
    Error,
    HostDiscovered,
    KnownEvent,
    Lost,
    PhaseStarted,
    PortFound,
    ReportFailed,
    ReportPhase,
    ScanOrphaned,
    ScanProgress,
    ScanStalled,
    ScanStarted,
    ServiceDetected,
    SubdomainFound,
    Treatment,
    UnknownEvent,
    VulnerabilityFound,
)
from pipeline.throttle_batch.hosts import AnyHost, Budget, Host, HostsRecord, HostTable
from pipeline.throttle_batch.progress import Progress, ProgressRecord
from pipeline.throttle_batch.records import LifeState, ScanAbout, Totals

MAX_VULNERABILITIES_SHOWN = 200
MAX_OTHER_FINDINGS_SHOWN = 100
MAX_TARGETS = 32
MAX_SHARED = 100
"""Subjects a scan is shared with; those beyond do not see it."""
MAX_LABELS = 32
_MAX_TEXT_LENGTH = 300
_ENDED = ("completed", "failed")
_PAUSED = ("stalled", "orphaned")
_FINDING_WEIGHT = 4
"""A finding is about so many times as large as an entry of the table, where it is kept."""

UNBOUNDED = 1 << 62


class Finding(msgspec.Struct, array_like=True, gc=False):
    """One of the latest findings.

    Attributes:
        seq: of its event.
        type: of its event.
        severity: of a vulnerability; else empty.
        ip: the host; empty for names.
        port: None where its event has none.
        title: the vulnerability's title, what an enumeration found, or the name.
        detail: the CVE, what kind of finding, or what the DNS record says.
    """

    seq: int
    type: str
    severity: str
    ip: str
    port: int | None
    title: str
    detail: str


class Detail(msgspec.Struct, Generic[AnyHost], array_like=True):
    """The part of a state that grows with what was found; kept beside `LifeState`."""

    progress: ProgressRecord
    hosts: HostsRecord[AnyHost]
    vulnerabilities: list[Finding]
    others: list[Finding]


_encode_detail = msgspec.msgpack.Encoder().encode
_decode_detail = msgspec.msgpack.Decoder(Detail[Host]).decode
_decode_to_look_at = msgspec.msgpack.Decoder(Detail[msgspec.Raw]).decode


class ScanState:
    """The state of one life of a channel.

    Args:
        max_hosts: hosts in the table.
        max_entries: what is held of one scan.
        budget: what all scans of a shard may hold together.

    Attributes:
        status: see the table above.
        progress: phases, percentage, time left.
        hosts: what was found.
        about: what `scanStarted` says of the scan.
        error: the message of the terminal `error`; empty without one.
        message: of the last `scanProgress`; empty without one, when another phase begins, and at the end.
        lost: events that are known to be missing, as `lost` events tell.
    """

    __slots__ = (
        "_counts",
        "_others",
        "_vulnerabilities",
        "about",
        "error",
        "hosts",
        "lost",
        "message",
        "progress",
        "status",
    )

    def __init__(
        self, max_hosts: int = 65_536, max_entries: int = 1_000_000, budget: Budget | None = None
    ) -> None:
        self.status = "running"
        self.progress = Progress()
        self.hosts = HostTable(max_hosts, max_entries, budget or Budget(UNBOUNDED))
        self.about = ScanAbout()
        self.error = ""
        self.message = ""
        self.lost = 0
        self._counts: dict[type, int] = {}
        self._vulnerabilities: deque[Finding] = deque(maxlen=MAX_VULNERABILITIES_SHOWN)
        self._others: deque[Finding] = deque(maxlen=MAX_OTHER_FINDINGS_SHOWN)

    def fold(self, event: AnyEvent, treatment: Treatment, seq: int = 0, at_s: float = 0.0) -> None:
        """Take in the next event.

        Args:
            event: as it was checked.
            treatment: what the catalogue says of it.
            seq: its number.
            at_s: when it came, seconds since the first event.
        """
        kind = type(event)
        counts = self._counts
        counts[kind] = counts.get(kind, 0) + 1
        if self.status != "running":
            self._go_on(kind)
        fold = _FOLDS.get(kind)
        if fold is not None:
            fold(self, event, seq, at_s)
        if treatment.terminal:
            self._end(event, at_s)

    def fold_run(self, events: Sequence[AnyEvent], treatment: Treatment, first: int, at_s: float) -> None:
        """Take in consecutive events that are treated alike, as `fold` would one by one.

        Args:
            events: as they were checked.
            treatment: of each.
            first: the number of the first.
            at_s: when they came, seconds since the first event.
        """
        counted = Counter(map(type, events))
        if treatment.terminal or self.status != "running" or not _CHANGES_STATUS.isdisjoint(counted):
            for seq, event in enumerate(events, first):
                self.fold(event, treatment, seq, at_s)
            return
        for kind, count in counted.items():
            self._counts[kind] = self._counts.get(kind, 0) + count
        if counted.keys() == _PORTS_ALONE:  # what most scans consist of
            port = self.hosts.port
            for event in cast("Sequence[PortFound]", events):
                port(event.ip, event.port, event.protocol, event.state)
            return
        for seq, event in enumerate(events, first):
            fold = _FOLDS.get(type(event))
            if fold is not None:
                fold(self, event, seq, at_s)

    @property
    def counts(self) -> dict[str, int]:
        """Type -> events; types the catalogue does not know count as `other`, so that it stays bounded."""
        return {_NAME_OF[kind]: count for kind, count in self._counts.items()}

    @property
    def phase(self) -> str | None:
        """The phase last named."""
        return self.progress.phase

    @property
    def severities(self) -> dict[str, int]:
        """Severity -> vulnerabilities; all of them, from 0."""
        return dict(zip(SEVERITIES, self.hosts.severities, strict=True))

    @property
    def weight(self) -> int:
        """How much a checkpoint has to write, in entries of the table."""
        return self.hosts.entries + _FINDING_WEIGHT * (len(self._vulnerabilities) + len(self._others))

    def findings(self) -> list[Finding]:
        """Return the latest findings, oldest first."""
        return sorted((*self._vulnerabilities, *self._others), key=lambda finding: finding.seq)

    def _go_on(self, kind: type) -> None:
        if self.status in _PAUSED and kind is not ScanStalled and kind is not ScanOrphaned:
            self.status = "running"
            self.progress.observe_anew()

    def _end(self, event: AnyEvent, at_s: float) -> None:
        self.message = ""
        if isinstance(event, Error | ReportFailed):
            self.status = "failed"
            self.error = (event.message if isinstance(event, Error) else event.error)[:_MAX_TEXT_LENGTH]
            self.progress.fail(at_s)
        else:
            self.status = "completed"
            self.progress.complete(at_s)

    # --- what each type does; the signature is that of `_FOLDS` -----------------------------------

    def belongs_to(self, owner: str) -> None:
        """Take notice whose it is, before any event says so."""
        self.about = msgspec.structs.replace(self.about, owner=_cut(owner))

    def _scan_started(self, event: ScanStarted, _seq: int, _at_s: float) -> None:
        # Whose it is, the first word says: whoever may send events cannot make a scan another's.
        before = self.about
        owner = before.owner or _cut(event.owner)
        is_first = not before.owner or before == ScanAbout(owner=_cut(event.owner))
        shared_with = tuple(map(_cut, event.shared_with or [])) if is_first else before.shared_with
        self.about = ScanAbout(
            name=_cut(event.name),
            targets=tuple(map(_cut, _listed(event.targets)[:MAX_TARGETS])),
            targets_left_out=max(0, len(_listed(event.targets)) - MAX_TARGETS),
            labels=_labels(event.labels),
            owner=owner,
            shared_with=shared_with[:MAX_SHARED],
        )

    def _phase_started(self, event: PhaseStarted, _seq: int, at_s: float) -> None:
        self.progress.report(event.phase, event.progress, at_s)
        self.message = ""

    def _scan_progress(self, event: ScanProgress, _seq: int, at_s: float) -> None:
        self.progress.report(event.phase, event.progress, at_s)
        message = event.message
        self.message = message[:_MAX_TEXT_LENGTH] if message else ""

    def _report_phase(self, event: ReportPhase, _seq: int, at_s: float) -> None:
        self.progress.report(event.phase, event.progress * 100, at_s)

    def _host(self, event: HostDiscovered, _seq: int, _at_s: float) -> None:
        self.hosts.host(event.ip, event.hostname)

    def _port(self, event: PortFound, _seq: int, _at_s: float) -> None:
        self.hosts.port(event.ip, event.port, event.protocol, event.state)

    def _service(self, event: ServiceDetected, _seq: int, _at_s: float) -> None:
        self.hosts.service(event.ip, event.port, event.service_name, event.version)

    def _vulnerability(self, event: VulnerabilityFound, seq: int, _at_s: float) -> None:
        if self.hosts.vulnerability(event.ip, event.severity, event.title, event.cve_id):
            self._vulnerabilities.append(
                Finding(
                    seq,
                    "vulnerabilityFound",
                    event.severity,
                    _cut(event.ip),
                    None,
                    _cut(event.title),
                    _cut(event.cve_id),
                )
            )

    def _enumeration(self, event: EnumerationStarted | EnumerationCompleted, _seq: int, _at_s: float) -> None:
        self.hosts.host(event.ip)

    def _enumeration_finding(self, event: EnumerationFinding, seq: int, _at_s: float) -> None:
        self.hosts.host(event.ip)
        self._others.append(
            Finding(
                seq,
                "enumerationFinding",
                "",
                _cut(event.ip),
                event.port,
                _cut(event.value),
                _cut(event.finding_type),
            )
        )

    def _dns_record(self, event: DnsRecordFound, seq: int, _at_s: float) -> None:
        detail = f"{event.record_type[:20]} {event.value}"
        self._others.append(
            Finding(seq, "dnsRecordFound", "", "", None, _cut(event.domain), detail[:_MAX_TEXT_LENGTH])
        )

    def _subdomain(self, event: SubdomainFound, seq: int, _at_s: float) -> None:
        self._others.append(Finding(seq, "subdomainFound", "", "", None, _cut(event.subdomain), ""))

    def _stalled(self, _event: ScanStalled, _seq: int, _at_s: float) -> None:
        if self.status == "running":
            self.status = "stalled"

    def _orphaned(self, _event: ScanOrphaned, _seq: int, _at_s: float) -> None:
        if self.status not in _ENDED:
            self.status = "orphaned"

    def _lost(self, event: Lost, _seq: int, _at_s: float) -> None:
        self.lost += max(0, event.count)

    # --- what outlives a restart ------------------------------------------------------------------

    def totals(self) -> Totals:
        """Return how much was found: things, not events."""
        return Totals(
            len(self.hosts), self.hosts.open_ports, self.hosts.services, self.severities, self.hosts.exact
        )

    def record(self) -> bytes:
        """Return what grows with what was found, as the journal keeps it beside a `LifeState`."""
        return _encode_detail(
            Detail(
                self.progress.record(),
                self.hosts.record(),
                list(self._vulnerabilities),
                list(self._others),
            )
        )

    def restore(self, state: LifeState, detail: bytes, *, to_look_at: bool = False) -> None:
        """Go on from a checkpoint.

        Args:
            state: the small part.
            detail: what `record` returned with it; empty when an earlier version wrote the checkpoint, or it
                is lost: what was found before is then not known, and the totals say so.
            to_look_at: nothing will be folded: of the hosts only those are read that are shown.

        Raises:
            ValueError: `detail` is nothing of the kind.
        """
        self.status = state.status
        self.about = state.about
        self.error = state.error
        self.message = state.message
        self.lost = state.lost
        self._counts = {_KIND_OF[name]: count for name, count in state.counts.items() if name in _KIND_OF}
        if detail:
            found: Detail[Host] | Detail[msgspec.Raw]
            if to_look_at:
                found = _decode_to_look_at(detail)
                self.hosts.look_at(found.hosts)
            else:
                found = _decode_detail(detail)
                self.hosts.restore(found.hosts)
            self.progress.restore(found.progress, ended=self.status in _ENDED)
            self._vulnerabilities.extend(found.vulnerabilities)
            self._others.extend(found.others)
            return
        if state.phase is not None:
            self.progress.report(state.phase, state.progress, 0.0)
        self.progress.percent = state.progress
        if self.status in _ENDED:
            self.progress.fail(0.0)
        if state.folded:
            self.hosts.exact = False


def _cut(text: str | None) -> str:
    return text[:_MAX_TEXT_LENGTH] if text else ""


def _listed(found: str | list[str] | None) -> list[str]:
    return [found] if isinstance(found, str) else found or []


def _labels(found: dict[str, str] | list[str] | None) -> dict[str, str]:
    """Return labels as they are kept: those that are only a word have an empty value."""
    pairs = list(found.items()) if isinstance(found, dict) else [(word, "") for word in found or ()]
    return {_cut(name): _cut(value) for name, value in pairs[:MAX_LABELS]}


_Fold = Callable[[ScanState, Any, int, float], None]

_FOLDS: dict[type, _Fold] = {
    ScanStarted: ScanState._scan_started,
    PhaseStarted: ScanState._phase_started,
    ScanProgress: ScanState._scan_progress,
    ReportPhase: ScanState._report_phase,
    HostDiscovered: ScanState._host,
    PortFound: ScanState._port,
    ServiceDetected: ScanState._service,
    VulnerabilityFound: ScanState._vulnerability,
    EnumerationStarted: ScanState._enumeration,
    EnumerationCompleted: ScanState._enumeration,
    EnumerationFinding: ScanState._enumeration_finding,
    DnsRecordFound: ScanState._dns_record,
    SubdomainFound: ScanState._subdomain,
    ScanStalled: ScanState._stalled,
    ScanOrphaned: ScanState._orphaned,
    Lost: ScanState._lost,
}

_PORTS_ALONE = {PortFound}
_CHANGES_STATUS = frozenset({ScanStalled, ScanOrphaned})

_NAME_OF: dict[type, str] = {
    **{kind: str(kind.__struct_config__.tag) for kind in typing.get_args(KnownEvent)},
    UnknownEvent: "other",
}
_KIND_OF = {name: kind for kind, name in _NAME_OF.items()}
