"""A scan as a report: one HTML file that needs nothing else, for reading, printing and keeping. Pure.

Everything a scan says is escaped, and the file's own policy forbids whatever could run or be fetched: it has
no script, and its one style sheet is allowed by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
from collections.abc import Iterable
from html import escape
from importlib.resources import files

import msgspec

from pipeline.edge.export.hosts import HostEntry, VulnerabilityEntry, plain
from pipeline.event import SEVERITIES

MAX_WORST = 500
"""The most findings in the list at the head of a report; every host has its own below."""
_BAR_WIDTH = 1_000

_STYLE = files("pipeline.edge.export").joinpath("report.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"


class _Totals(msgspec.Struct, frozen=True):
    hosts: int = 0
    open_ports: int = 0
    services: int = 0
    vulnerabilities: dict[str, int] = {}
    exact: bool = True


class Facts(msgspec.Struct, frozen=True):
    """What a report's head tells, of a scan's state."""

    status: str
    started_at: str = ""
    last_event_at: str = ""
    elapsed_time: float = 0.0
    name: str = ""
    targets: list[str] = []
    targets_left_out: int = 0
    labels: dict[str, str] = {}
    owner: str = ""
    error: str | None = None
    event_count: int = 0
    lost: int = 0
    totals: _Totals = _Totals()
    hosts_left_out: int = 0


read_facts = msgspec.json.Decoder(Facts).decode


class Worst:
    """The worst findings of a scan, gathered while its hosts pass: `MAX_WORST` of them."""

    def __init__(self) -> None:
        self._found: list[tuple[int, int, str, VulnerabilityEntry]] = []
        self._count = 0

    def take(self, hosts: list[HostEntry]) -> None:
        """Take in some hosts."""
        more = []
        for host in hosts:
            for each in host.vulnerabilities:
                self._count += 1
                more.append((_rank(each.severity), self._count, host.ip, each))
        self._found = heapq.nsmallest(MAX_WORST, [*self._found, *more], key=lambda each: each[:2])

    def rows(self) -> list[tuple[str, VulnerabilityEntry]]:
        """Return (address, finding), the worst first."""
        return [(ip, each) for _, _, ip, each in self._found]


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def report_head(scan_id: str, facts: Facts, worst: Worst) -> bytes:
    """Return a report up to its hosts."""
    title = plain(facts.name) or scan_id
    totals = facts.totals
    found = sum(totals.vulnerabilities.values())
    tiles = [
        ("Hosts", totals.hosts),
        ("Open ports", totals.open_ports),
        ("Services", totals.services),
        ("Vulnerabilities", found),
    ]
    return _join(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">',
        f"<title>{_text(title)} · scan report</title><style>{_STYLE}</style></head>\n<body><main>",
        f"<header><h1>{_text(title)}</h1>",
        f'<p><span class="status" data-status="{_text(facts.status)}">{_text(facts.status)}</span></p>',
        f"<dl>{''.join(_facts(scan_id, facts))}</dl></header>\n",
        '<section aria-label="Totals"><ul class="tiles">',
        *(f"<li><strong>{number:,}</strong><span>{name}</span></li>" for name, number in tiles),
        "</ul>" if totals.exact else "</ul><p>There may have been more than could be counted.</p>",
        "</section>\n",
        _severities(totals.vulnerabilities),
        _worst(worst.rows(), found),
        "<h2>Hosts</h2>\n",
    )


def _facts(scan_id: str, facts: Facts) -> Iterable[str]:
    targets = ", ".join(map(plain, facts.targets))
    if facts.targets_left_out:
        targets += f" and {facts.targets_left_out:,} more"
    labels = ", ".join(
        plain(name) + (f"={plain(value)}" if value else "") for name, value in facts.labels.items()
    )
    rows = [
        ("Scan", scan_id),
        ("Targets", targets),
        ("Labels", labels),
        ("Owner", facts.owner),
        ("Started", facts.started_at),
        ("Last event", facts.last_event_at),
        ("Duration", f"{facts.elapsed_time:,.1f} s"),
        ("Events", f"{facts.event_count:,}"),
        ("Events lost", f"{facts.lost:,}" if facts.lost else ""),
        ("Error", facts.error or ""),
    ]
    return (f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>" for name, value in rows if value)


def _severities(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    parts, at = [], 0.0
    for severity in SEVERITIES:
        width = _BAR_WIDTH * counts.get(severity, 0) / total if total else 0
        parts.append(f'<rect class="{severity.lower()}" x="{at:.2f}" width="{width:.2f}" height="14"/>')
        at += width
    named = "".join(
        f'<li><i class="{severity.lower()}"></i>{severity} <strong>{counts.get(severity, 0):,}</strong></li>'
        for severity in SEVERITIES
    )
    return "".join(
        (
            '<section aria-label="Severities"><h2>Severities</h2>',
            f'<svg viewBox="0 0 {_BAR_WIDTH} 14" preserveAspectRatio="none" aria-hidden="true">',
            *parts,
            f'</svg><ul class="legend">{named}</ul></section>\n',
        )
    )


def _worst(rows: list[tuple[str, VulnerabilityEntry]], found: int) -> str:
    if not rows:
        return "<section><h2>Findings</h2><p>No vulnerability was found.</p></section>\n"
    cells = "".join(f"<tr>{_finding(each)}<td>{_text(ip)}</td></tr>" for ip, each in rows)
    more = (
        f"<p>The worst {len(rows):,} of {found:,}; all are with their hosts below.</p>"
        if found > len(rows)
        else ""
    )
    return (
        f"<section><h2>Findings</h2>{more}<table><thead><tr><th>Severity</th><th>Finding</th><th>CVE</th>"
        f"<th>Host</th></tr></thead><tbody>{cells}</tbody></table></section>\n"
    )


def _finding(each: VulnerabilityEntry) -> str:
    kind = each.severity.lower() if each.severity in SEVERITIES else "info"
    return (
        f'<td><b class="{kind}">{_text(each.severity)}</b></td><td>{_text(each.title)}</td>'
        f"<td>{_text(each.cve)}</td>"
    )


def report_hosts(hosts: list[HostEntry]) -> bytes:
    """Return the sections of some hosts."""
    return _join(*(_host(host) for host in hosts))


def _host(host: HostEntry) -> str:
    name = f" <small>{_text(host.hostname)}</small>" if host.hostname else ""
    parts = [f'<section class="host"><h3>{_text(host.ip)}{name}</h3>']
    if host.ports:
        rows = "".join(
            f"<tr><td>{port.port}</td><td>{_text(port.protocol)}</td><td>{_text(port.state)}</td>"
            f"<td>{_text(port.service)}</td><td>{_text(port.version)}</td></tr>"
            for port in host.ports
        )
        parts.append(
            "<table><thead><tr><th>Port</th><th>Protocol</th><th>State</th><th>Service</th><th>Version</th></tr>"
            f"</thead><tbody>{rows}</tbody></table>"
        )
    if host.vulnerabilities:
        rows = "".join(f"<tr>{_finding(each)}</tr>" for each in host.vulnerabilities)
        parts.append(
            "<table><thead><tr><th>Severity</th><th>Finding</th><th>CVE</th></tr></thead>"
            f"<tbody>{rows}</tbody></table>"
        )
    left = host.port_count - len(host.ports) + host.vulnerability_count - len(host.vulnerabilities)
    if left > 0:
        parts.append(f"<p>{left:,} more ports and findings of this host are counted only.</p>")
    return "".join(parts) + "</section>\n"


def report_end(facts: Facts) -> bytes:
    """Return the end of a report."""
    left = f"<p>{facts.hosts_left_out:,} more hosts are counted only.</p>" if facts.hosts_left_out else ""
    none = "" if facts.totals.hosts else "<p>No host was found.</p>"
    return _join(none, left, "</main></body></html>\n")


def _text(value: str | None) -> str:
    return escape(plain(value))


def _join(*parts: str) -> bytes:
    return "".join(parts).encode(errors="replace")
