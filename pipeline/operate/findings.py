"""What the doctor found: one line each, what is wrong in words, and what to do about it. Pure.

Between what judges the facts and the terminal. Names and messages may come from other processes, and are
escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.log import escape

Status = Literal["ok", "warning", "failed", "skipped"]
"""`warning`: it works, and somebody should look at it. `skipped`: it could not be looked at, because of
something else that failed."""

_COLOURS = {"ok": "\x1b[32m", "warning": "\x1b[33m", "failed": "\x1b[1;31m", "skipped": "\x1b[2m"}
_PLAIN = "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what it is; unique in a report.
        status: how it is.
        text: that in words.
        remedy: what to do about it; empty when it is ok.
        latency_ms: how long it took, where that is what was looked at.
        figures: numbers and names behind the text.
    """

    name: str
    status: Status
    text: str
    remedy: str = ""
    latency_ms: float | None = None
    figures: dict[str, object] = field(default_factory=dict)


def healthy(findings: Iterable[Finding]) -> bool:
    """Say whether nothing failed."""
    return all(finding.status != "failed" for finding in findings)


def as_lines(findings: Sequence[Finding], *, colour: bool = False) -> list[str]:
    """Return the findings as lines of text, a remedy below what it is for."""
    width = max([0, *(len(escape(finding.name)) for finding in findings)])
    lines = []
    for finding in findings:
        status = f"{finding.status:7}"
        if colour:
            status = f"{_COLOURS[finding.status]}{status}{_PLAIN}"
        lines.append(f"{status}  {escape(finding.name):{width}}  {escape(finding.text)}")
        if finding.remedy:
            lines.append(f"{'':{width + 11}}→ {escape(finding.remedy)}")
    return lines


def as_document(findings: Sequence[Finding]) -> dict[str, object]:
    """Return the findings as `--json` prints them."""
    return {
        "healthy": healthy(findings),
        "checks": [
            {
                "name": finding.name,
                "status": finding.status,
                "text": finding.text,
                "remedy": finding.remedy or None,
                "latency_ms": finding.latency_ms,
                "figures": finding.figures,
            }
            for finding in findings
        ],
    }


def summary(findings: Sequence[Finding]) -> str:
    """Return the last line: how it is altogether."""
    failed = sum(finding.status == "failed" for finding in findings)
    warnings = sum(finding.status == "warning" for finding in findings)
    if failed:
        return f"not healthy: {failed} failed, {warnings} warnings"
    return f"healthy: {warnings} warnings" if warnings else "healthy"
