"""How a channel is shown: as a line of a list, as a state at an event, as pages of hosts. Pure.

Used by `shard`, which answers readers' questions with it.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from pipeline.throttle_batch.channel import Channel
from pipeline.wire import (
    MAX_HOSTS_A_PAGE,
    MAX_HOSTS_BYTES,
    ChannelSummary,
    FindingEntry,
    HostsHeader,
    HostsRequest,
    PhaseEntry,
    StateDocument,
    TimeLeftEntry,
    TotalsEntry,
    encode_hosts,
)


def summary(channel: Channel, now: float) -> ChannelSummary:
    """Return what lists show of a channel."""
    state = channel.state
    return ChannelSummary(
        channel=channel.name,
        epoch=channel.epoch,
        seq=channel.published_seq,
        status=state.status,
        phase=state.phase,
        progress=state.progress.percent,
        started_ms=channel.created_ms,
        elapsed_s=round(channel.elapsed_s(now), 3),
        frames=channel.frames,
        events=channel.head_seq,
        merged=channel.merged,
        counts=state.counts,
        best_effort=channel.best_effort,
        finalising=state.progress.finalising,
        time_left=_time_left(channel, now),
        events_per_s=_rate(channel, now),
        event_bytes=channel.event_bytes,
        delivered=channel.published_seq - channel.merged,
        totals=_totals(channel),
        name=state.about.name,
        targets=state.about.targets,
        labels=state.about.labels,
        owner=state.about.owner,
        shared_with=state.about.shared_with,
        error=state.error or None,
        last_event_ms=_ms(channel, channel.last_event_at),
    )


def state_document(channel: Channel, now: float) -> StateDocument:
    """Return a channel's state, up to the last event committed."""
    state, about, progress = channel.state, channel.state.about, channel.state.progress
    hosts, following = state.hosts.page(0, MAX_HOSTS_A_PAGE, MAX_HOSTS_BYTES)
    dog = channel.watchdog
    return StateDocument(
        status=state.status,
        error=state.error or None,
        message=state.message,
        name=about.name,
        targets=about.targets,
        targets_left_out=about.targets_left_out,
        labels=about.labels,
        owner=about.owner,
        started_at=_iso(channel.created_ms),
        last_event_at=_iso(_ms(channel, channel.last_event_at)),
        elapsed_time=round(channel.elapsed_s(now), 3),
        phase=state.phase,
        phases=[
            PhaseEntry(
                phase.name,
                round(phase.started_s, 3),
                phase.percent,
                round(phase.left_s, 3) if phase.left_s is not None else None,
            )
            for phase in progress.phases.values()
        ],
        phases_left_out=progress.left_out,
        progress=progress.percent,
        finalising=progress.finalising,
        nonsense=progress.nonsense,
        time_left=_time_left(channel, now),
        events_per_s=_rate(channel, now),
        event_count=channel.committed_seq,
        event_bytes=channel.event_bytes,
        message_count=channel.frames,
        merged_count=channel.merged,
        lost=state.lost,
        counts=state.counts,
        best_effort=channel.best_effort,
        producers=len(dog.present) if dog is not None else 0,
        stalls_after_s=round(dog.patience_s, 1) if dog is not None else 0.0,
        totals=_totals(channel),
        hosts=[msgspec.Raw(raw) for raw in hosts],
        hosts_next=following,
        hosts_left_out=state.hosts.left_out,
        findings=[
            FindingEntry(
                finding.seq,
                finding.type,
                finding.title,
                finding.severity,
                finding.ip,
                finding.port,
                finding.detail,
            )
            for finding in state.findings()
        ],
    )


def hosts_page(channel: Channel, request: HostsRequest) -> bytes:
    """Return the answer to a question for hosts."""
    table = channel.state.hosts
    limit = min(max(1, request.limit), MAX_HOSTS_A_PAGE)
    hosts, following = table.page(max(0, request.after), limit, MAX_HOSTS_BYTES)
    header = HostsHeader(
        request.id,
        channel.name,
        channel.epoch,
        channel.committed_seq,
        following,
        len(table),
        table.left_out,
    )
    return encode_hosts(header, hosts)


def _totals(channel: Channel) -> TotalsEntry:
    totals = channel.state.totals()
    return TotalsEntry(totals.hosts, totals.open_ports, totals.services, totals.vulnerabilities, totals.exact)


def _time_left(channel: Channel, now: float) -> TimeLeftEntry | None:
    left = channel.state.progress.time_left(channel.elapsed_s(now)) if channel.terminal_at is None else None
    if left is None:
        return None
    return TimeLeftEntry(left.of, round(left.seconds, 1), round(left.low, 1), round(left.high, 1))


def _rate(channel: Channel, now: float) -> float:
    return round(channel.rate.per_s(now), 1) if channel.terminal_at is None else 0.0


def _ms(channel: Channel, at: float) -> int:
    return channel.created_ms + round((at - channel.created_at) * 1000)


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
