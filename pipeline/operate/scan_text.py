"""Scans as lines of text: a list, one scan, and what changed between two.

Whatever a scan says is escaped: these lines go to terminals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.event import SEVERITIES
from pipeline.log import escape

_MAX_TARGETS = 3
_ENDED = ("completed", "failed")
_MARKS = {"new": "+", "gone": "-", "changed": "~"}

Entry = Mapping[str, Any]


def in_memory(scans: Sequence[dict[str, Any]], search: str, *, running: bool) -> list[dict[str, Any]]:
    """Return those of an edge's list that are wanted, the latest first; reports are none.

    Args:
        scans: as `GET /api/scans` has them.
        search: words that all stand in the id, the name, a target or a label, as for past scans.
        running: whether only those that have not ended are wanted.
    """
    wanted = [
        scan
        for scan in scans
        if scan["kind"] == "scan"
        and not (running and scan["status"] in _ENDED)
        and all(word in _searched(scan) for word in search.casefold().split())
    ]
    return sorted(wanted, key=lambda scan: str(scan["started_at"]), reverse=True)


def _searched(scan: Entry) -> str:
    labels = [f"{name}={value}" if value else name for name, value in scan["labels"].items()]
    return "\n".join([scan["scan_id"], scan["name"], *scan["targets"], *labels]).casefold()


def list_lines(scans: Sequence[Entry]) -> list[str]:
    """Return one line a scan, under a line of names; columns are as wide as they must be."""
    rows: list[tuple[str, ...]] = [
        ("SCAN", "STATUS", "STARTED", "DURATION", "HOSTS", "PORTS", "VULNERABILITIES", "NAME", "TARGETS")
    ]
    rows += [_row(scan) for scan in scans]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]


def _row(scan: Entry) -> tuple[str, ...]:
    totals = scan["totals"]
    return (
        reference(scan),
        str(scan["status"]),
        str(scan["started_at"])[:19].replace("T", " "),
        duration(scan["elapsed_time"]),
        f"{totals['hosts']:,}",
        f"{totals['open_ports']:,}",
        severities(totals["vulnerabilities"]),
        escape(str(scan["name"]))[:40],
        targets(scan),
    )


def reference(scan: Entry) -> str:
    """Return what names a scan on the command line: its id, of an earlier life `ID@EPOCH`."""
    return str(scan["scan_id"]) if scan.get("present", True) else f"{scan['scan_id']}@{scan['epoch']}"


def severities(counts: Mapping[str, int]) -> str:
    """Return how many there are of each severity, the worst first: `1C 2H`; `-` for none."""
    found = [f"{counts[severity]:,}{severity[0]}" for severity in SEVERITIES if counts.get(severity)]
    return " ".join(found) or "-"


def duration(seconds: float) -> str:
    """Return seconds as `4s`, `3:07` or `1:03:07`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    hours, minutes = divmod(whole // 60, 60)
    clock = f"{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
    return f"{hours}:{clock}" if hours else clock


def targets(scan: Entry) -> str:
    """Return the first targets, and how many more there are."""
    told = [escape(str(target)) for target in scan["targets"]]
    more = len(told) - _MAX_TARGETS + int(scan.get("targets_left_out", 0))
    return ",".join(told[:_MAX_TARGETS]) + (f" +{more}" if more > 0 else "")


def scan_lines(scan: Entry) -> list[str]:
    """Return what there is to say of one scan."""
    totals = scan["totals"]
    labels = ", ".join(f"{name}={value}" if value else name for name, value in scan["labels"].items())
    rows = [
        ("scan", f"{scan['scan_id']}  epoch {scan['epoch']}"),
        ("status", scan["status"] + (f": {scan['error']}" if scan.get("error") else "")),
        ("name", scan["name"]),
        ("targets", ", ".join(scan["targets"])),
        ("labels", labels),
        ("owner", scan["owner"]),
        ("started", scan["started_at"]),
        ("last event", scan["last_event_at"]),
        ("duration", duration(scan["elapsed_time"])),
        ("events", f"{scan['event_count']:,}"),
        ("hosts", f"{totals['hosts']:,}"),
        ("open ports", f"{totals['open_ports']:,}"),
        ("services", f"{totals['services']:,}"),
        ("vulnerabilities", severities(totals["vulnerabilities"])),
    ]
    return [f"{name:16}{escape(str(value))}" for name, value in rows if value]


def comparison_lines(found: Entry) -> list[str]:
    """Return what changed between two scans: counts, then `+` new, `-` gone, `~` changed."""
    now, before = found["scan"], found["with"]
    lines = [
        f"{now['scan_id']} ({now['started_at']}) compared with {before['scan_id']} ({before['started_at']})"
    ]
    for thing, counts in found["counts"].items():
        told = ", ".join(f"{counts[kind]:,} {kind}" for kind in ("new", "gone", "changed", "same"))
        lines.append(f"{thing:16}{told}")
    for host in found["changes"]:
        lines.append(_mark(host, escape(f"{host['ip']} {host.get('hostname') or ''}").rstrip()))
        for port in host.get("ports", ()):
            service = f"{port.get('service', '')} {port.get('version', '')}".strip()
            lines.append("  " + _mark(port, f"{_port(port)} {escape(service)}".rstrip()))
        for service in host.get("services", ()):
            was, is_now = (_service(service.get(side)) for side in ("before", "now"))
            lines.append("  " + _mark(service, f"{_port(service)} {was} -> {is_now}"))
        for each in host.get("vulnerabilities", ()):
            was = f" (was {each['before']})" if each.get("before") else ""
            title = f"{each['severity']} {each['title']} {each.get('cve', '')}".rstrip()
            lines.append("  " + _mark(each, escape(title) + was))
    if found["left_out"]:
        lines.append(f"{found['left_out']:,} more hosts differ")
    if not found["same_targets"]:
        lines.append("the two scans have other targets")
    if found["partial"]:
        lines.append("not all was compared: a scan has more than is kept in its tables")
    return lines


def _mark(change: Entry, text: str) -> str:
    return f"{_MARKS.get(change['change'], '?')} {text}"


def _port(port: Entry) -> str:
    return f"{port['port']}/{(port.get('protocol') or '?').lower()}"


def _service(pair: Sequence[str] | None) -> str:
    return escape(" ".join(part for part in pair if part)) if pair else "none"
