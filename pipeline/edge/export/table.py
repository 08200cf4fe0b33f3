"""A scan as CSV: a row for each port of each host, and one for a host without ports. Pure.

RFC 4180, UTF-8, with a line of names. A cell that a spreadsheet would take for a formula begins with an
apostrophe: a service's banner must not run anything on the reader's machine.
"""

from __future__ import annotations

import csv
import io

from pipeline.edge.export.hosts import HostEntry, PortEntry, plain
from pipeline.event import SEVERITIES

COLUMNS = (
    "ip",
    "hostname",
    "port",
    "protocol",
    "state",
    "service",
    "version",
    *(f"host_{severity.lower()}" for severity in SEVERITIES),
    "host_findings",
)
"""The counts and findings are the host's: events do not say which port a vulnerability is of. `host_findings`
stands in the first row of a host only."""

_FORMULA = ("=", "+", "-", "@")


def table_head() -> bytes:
    """Return the line of names."""
    return _lines([list(COLUMNS)])


def table_rows(hosts: list[HostEntry]) -> bytes:
    """Return the rows of some hosts."""
    return _lines([row for host in hosts for row in _rows(host)])


def _rows(host: HostEntry) -> list[list[str]]:
    found = [each.severity for each in host.vulnerabilities]
    counts = [str(found.count(severity)) for severity in SEVERITIES]
    findings = "; ".join(
        f"{each.severity}: {each.title}" + (f" ({each.cve})" if each.cve else "")
        for each in host.vulnerabilities
    )
    ports: list[PortEntry | None] = [*host.ports] or [None]  # a host without ports has a row, too
    rows = [[host.ip, host.hostname or "", *_port(port), *counts, ""] for port in ports]
    rows[0][-1] = findings
    return [[cell(text) for text in row] for row in rows]


def _port(port: PortEntry | None) -> list[str]:
    if port is None:
        return [""] * 5
    return [str(port.port), port.protocol or "", port.state or "", port.service, port.version]


def cell(text: str) -> str:
    """Return foreign text as a spreadsheet shows it: never as a formula."""
    shown = plain(text)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def _lines(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
