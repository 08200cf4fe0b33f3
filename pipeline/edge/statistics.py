"""What REST tells of all scans: lists and statistics, from the workers' summaries. Pure.

`scan_statistics` has HeroForge's shape (`src/web/websocket/aggregator.rs`), its fields first and exactly
as it names them.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import msgspec

from pipeline.edge.filter import Filter, read_gists
from pipeline.edge.roster import ENDED, Known
from pipeline.event import SEVERITIES
from pipeline.frame import Position
from pipeline.wire import ChannelSummary, Document, Page, StateHeader, split_channel, split_events


def scan_statistics(summaries: list[ChannelSummary], *, complete: bool) -> dict[str, object]:
    """Return the answer of `GET /api/scans/stats`.

    Args:
        summaries: of every channel; reports are left out.
        complete: whether every shard has answered.

    Returns:
        HeroForge's fields: `message_count` counts published frames, times are seconds. Ours beside them:
        events accepted, merged and delivered (each once, however many readers there were), their bytes, what
        was found, and `complete`.
    """
    scans = channel_scans(summaries)
    totals = scan_totals(scans, complete=complete)
    return {
        **{name: totals[name] for name in _HEROFORGE_TOTALS},
        "scans": [
            {
                "scan_id": split_channel(scan.channel)[1],
                "message_count": scan.frames,
                "elapsed_time": scan.elapsed_s,
                "is_completed": scan.status in ENDED,
            }
            for scan in scans
        ],
        **{name: value for name, value in totals.items() if name not in _HEROFORGE_TOTALS},
    }


_HEROFORGE_TOTALS = (
    "total_scans",
    "running_scans",
    "completed_scans",
    "total_messages",
    "average_elapsed_time",
)


class Tally:
    """The sums over scans that `scan_statistics` tells beside the single ones, kept up to date one by one."""

    def __init__(self) -> None:
        self._sums: Counter[str] = Counter()
        self._ended_s = 0.0
        self._began = 0.0
        """The sum of when each scan that runs began: monotonic seconds."""

    def add(self, known: Known) -> None:
        """Count a scan in."""
        self._count(known, 1)

    def remove(self, known: Known) -> None:
        """Count a scan out that was counted in just so."""
        self._count(known, -1)

    def _count(self, known: Known, sign: int) -> None:
        scan, sums = known.summary, self._sums
        sums["scans"] += sign
        if scan.status in ENDED:
            sums["ended"] += sign
            self._ended_s += sign * scan.elapsed_s
        else:
            self._began += sign * (known.at - scan.elapsed_s)
        for name, value in (
            ("messages", scan.frames),
            ("events", scan.events),
            ("merged", scan.merged),
            ("delivered", scan.delivered),
            ("bytes", scan.event_bytes),
            ("hosts", scan.totals.hosts),
            ("open_ports", scan.totals.open_ports),
            ("services", scan.totals.services),
            *scan.totals.vulnerabilities.items(),
        ):
            sums[name] += sign * value

    def totals(self, now: float, *, complete: bool) -> dict[str, object]:
        """Return the sums as of `now`, monotonic seconds."""
        sums = self._sums
        running = sums["scans"] - sums["ended"]
        elapsed_s = self._ended_s + running * now - self._began
        return {
            "total_scans": sums["scans"],
            "running_scans": running,
            "completed_scans": sums["ended"],
            "total_messages": sums["messages"],
            "average_elapsed_time": max(0.0, round(elapsed_s / sums["scans"], 6)) if sums["scans"] else 0.0,
            "total_events": sums["events"],
            "total_merged": sums["merged"],
            "total_delivered": sums["delivered"],
            "total_bytes": sums["bytes"],
            "total_hosts": sums["hosts"],
            "total_open_ports": sums["open_ports"],
            "total_services": sums["services"],
            "total_vulnerabilities": {severity: sums[severity] for severity in SEVERITIES},
            "complete": complete,
        }


def scan_totals(scans: list[ChannelSummary], *, complete: bool) -> dict[str, object]:
    """Return what `scan_statistics` tells beside the single scans."""
    tally = Tally()
    for scan in scans:
        tally.add(Known(scan, 0.0))
    return tally.totals(0.0, complete=complete)


def scan_list(summaries: list[ChannelSummary], *, complete: bool) -> dict[str, object]:
    """Return the answer of `GET /api/scans`: every scan, by its start, and whether every shard answered."""
    scans = sorted(channel_scans(summaries), key=lambda scan: (scan.started_ms, scan.channel))
    return {"scans": [scan_entry(scan) for scan in scans], "complete": complete}


def scan_entry(scan: ChannelSummary) -> dict[str, object]:
    """Return one scan as lists show it."""
    kind, scan_id = split_channel(scan.channel)
    return {
        "scan_id": scan_id,
        "kind": kind,
        "status": scan.status,
        "phase": scan.phase,
        "progress": scan.progress,
        "started_at": iso(scan.started_ms),
        "elapsed_time": scan.elapsed_s,
        "message_count": scan.frames,
        "event_count": scan.events,
        "merged_count": scan.merged,
        "epoch": scan.epoch,
        "seq": scan.seq,
        "counts": scan.counts,
        "best_effort": scan.best_effort,
        "finalising": scan.finalising,
        "time_left": msgspec.to_builtins(scan.time_left),
        "events_per_s": scan.events_per_s,
        "event_bytes": scan.event_bytes,
        "delivered_count": scan.delivered,
        "totals": msgspec.to_builtins(scan.totals),
        "name": scan.name,
        "targets": list(scan.targets),
        "labels": scan.labels,
        "owner": scan.owner,
        "error": scan.error,
        "last_event_at": iso(scan.last_event_ms),
    }


MAX_EVENTS = 10_000
MAX_AFTER = 999_999_999


def read_number(name: str, text: str | None, default: int, least: int, most: int) -> int:
    """Read a whole number of a question; the default when it is not there.

    Raises:
        ValueError: it is no whole number from `least` to `most`.
    """
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
        raise ValueError(f"{name}={text[:40]!r}: a whole number from {least} to {most} is needed")
    return int(text)


def rest_document(scan_id: str, document: Document) -> bytes:
    """Compose the answer of `GET /api/scans/ID` and of `GET /api/scans/ID/hosts` from a worker's answer."""
    header = document.header
    about: dict[str, object] = {"scan_id": scan_id, "epoch": header.epoch, "seq": header.seq}
    if isinstance(header, StateHeader):
        about |= {"kind": "scan", "cleaned_up": header.cleaned_up}
        return msgspec.json.encode(about)[:-1] + b"," + document.body[1:]
    about |= {"total": header.total, "left_out": header.left_out, "next": header.next}
    return msgspec.json.encode(about)[:-1] + b',"hosts":' + document.body + b"}"


def rest_events(
    scan_id: str, page: Page, resumed: bool | None, limit: int, wanted: Filter | None = None
) -> bytes:
    """Compose the answer of `GET /api/scans/ID/events`.

    Args:
        page: what history gave.
        resumed: whether it goes on from the position asked for; None when none was.
        limit: the most events looked at; the page may hold fewer.
        wanted: which of them are given; None for all.

    Returns:
        JSON: `seq` is [first, last] of the events looked at, null when there are none; `next` the position to
        ask with for what follows; `head` the last event there is; `complete` whether that is reached and the
        scan has ended. `damaged` is [first, last] of events that nobody can be given any more, and there only
        when what was asked for begins with such.
    """
    header = page.header
    body, last = page.body, header.last
    damaged = {"damaged": [header.first, header.damaged]} if header.damaged else {}
    if last - header.first + 1 > limit:
        last = header.first + limit - 1
        body = b"[" + b",".join(split_events(body)[:limit]) + b"]"
    left_out: dict[str, object] = {}
    if wanted is not None:
        raws = split_events(body)
        passing = [at for at, gist in enumerate(read_gists(body)) if wanted.keeps(gist)]
        body = b"[" + b",".join(raws[at] for at in passing) + b"]"
        left_out = {"filtered": len(raws) - len(passing), "at": passing}
    about = {
        "scan_id": scan_id,
        "epoch": header.epoch,
        "seq": [header.first, last] if last >= header.first else None,
        "head": header.head,
        "next": str(Position(header.epoch, max(last, header.damaged))),
        "resumed": resumed,
        "complete": header.terminal and last == header.last,
        **damaged,
        **left_out,
    }
    return msgspec.json.encode(about)[:-1] + b',"events":' + body + b"}"


def channel_scans(summaries: list[ChannelSummary]) -> list[ChannelSummary]:
    """Return those of scans: reports are in no list."""
    return [summary for summary in summaries if summary.channel.startswith("scan/")]


def iso(at_ms: int) -> str:
    """Return a wall clock, epoch milliseconds, as ISO 8601."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
