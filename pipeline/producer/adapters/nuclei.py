"""nuclei: what it prints with `-jsonl`, and its progress, `-stats-json`. Pure.

A result a line. Statistics come on standard error; where somebody has put both into one pipe they are known
by their fields.
"""

from __future__ import annotations

from pipeline.errors import InputMalformed
from pipeline.producer.adapters.findings import (
    Findings,
    moment,
    place_of,
    port_number,
    severity,
    text,
    texts,
)
from pipeline.producer.adapters.tool_lines import ToolLines, json_object

_MAX_EXTRACTED = 16


class NucleiAdapter(ToolLines):
    """Reads nuclei's results and statistics."""

    scanner = "nuclei"

    def _read(self, line: bytes, findings: Findings) -> None:
        record = json_object(line)
        if _is_statistics(record):
            _progress(record, findings)
            return
        info = record.get("info")
        if not isinstance(record.get("template-id"), str) or not isinstance(info, dict):
            raise InputMalformed("no result of nuclei: it has no template-id and info")
        if record.get("matcher-status") is False:
            return  # with -matcher-status it also prints what did not match
        _vulnerability(record, info, findings)

    def _aside(self, line: bytes) -> bool:
        if not line.startswith(b"{"):
            return False
        try:
            record = json_object(line)
        except InputMalformed:
            return False
        if not _is_statistics(record):
            return False
        _progress(record, self._findings)
        return True


def _vulnerability(record: dict[str, object], info: dict[str, object], findings: Findings) -> None:
    matched = record.get("matched-at") or record.get("matched") or record.get("url")
    host, port, _ = place_of(record.get("host"))
    at_host, at_port, _ = place_of(matched)
    hostname = host or at_host
    ip = text(record.get("ip")) or hostname
    if not ip:
        raise InputMalformed("it names neither ip nor host")
    ts = moment(record.get("timestamp"))
    kinds = info.get("classification")
    cves = kinds.get("cve-id") if isinstance(kinds, dict) else None
    named = texts(cves if isinstance(cves, list) else [cves], 1)
    port = port_number(record.get("port")) or port or at_port
    findings.host(ip, hostname, ts)
    findings.send(
        "vulnerabilityFound",
        ip=ip,
        port=port,
        severity=severity(info.get("severity")),
        title=text(info.get("name")) or text(record["template-id"]),
        cve_id=named[0].upper() if named else None,
        template_id=text(record["template-id"]),
        matcher=text(record.get("matcher-name")),
        url=text(matched),
        extracted=texts(record.get("extracted-results"), _MAX_EXTRACTED) or None,
        ts=ts,
    )


def _is_statistics(record: dict[str, object]) -> bool:
    return "template-id" not in record and "requests" in record and "total" in record


def _progress(record: dict[str, object], findings: Findings) -> None:
    """Tell its progress, from its counts: the percentage it prints is nonsense while nothing is to do."""
    done, total = _count(record.get("requests")), _count(record.get("total"))
    if done is None or not total or done > total:
        return
    said = [f"{done} of {total} requests"]
    said += [f"{text(record[name], 20)} {name}" for name in ("matched", "errors") if record.get(name)]
    findings.send(
        "scanProgress", phase="templates", progress=round(100 * done / total, 2), message=", ".join(said)
    )


def _count(value: object) -> int | None:
    known = text(value, 20)
    return int(known) if known and known.isascii() and known.isdigit() else None
