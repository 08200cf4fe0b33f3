"""ZAP: its JSON report (`traditional-json`, also the form with requests and responses). Pure.

One document: sites, each with its alerts. An alert becomes events as soon as it is there; the document is
never held.
"""

from __future__ import annotations

import msgspec

from pipeline.event import Severity
from pipeline.producer.adapters import Problem
from pipeline.producer.adapters.findings import Findings, moment, place_of, port_number, text
from pipeline.producer.adapters.json_parts import MAX_PART_BYTES, JsonParts, Part

_ALERT_DEPTH = 4  # within {"site": [{"alerts": [
MAX_SITES = 10_000
"""How many sites' ports are told; those of further ones are not."""

_RISKS: dict[str, Severity] = {"3": "High", "2": "Medium", "1": "Low", "0": "Info"}


class ZapAdapter:
    """Reads one report of ZAP.

    Args:
        part: leave out `scanStarted` and `scanCompleted`, and say an error with `"fatal": false`.
    """

    def __init__(self, *, part: bool) -> None:
        self._parts = JsonParts(_ALERT_DEPTH)
        self._findings = Findings("ZAP", part=part)
        self._sites: set[tuple[str, int]] = set()
        self._broken = False

    def feed(self, chunk: bytes) -> list[bytes | Problem]:
        """Take the next bytes; see :meth:`Adapter.feed`."""
        if not self._broken and chunk:
            try:
                for part in self._parts.feed(chunk):
                    self._read(part)
            except ValueError as error:
                self._broken = True
                self._findings.where = f"byte {self._parts.fed_bytes}"
                self._findings.note(f"no report of ZAP: not JSON: {error}")
            else:
                if self._parts.whole:
                    self._findings.good += 1
        return self._findings.take()

    def close(self) -> list[bytes | Problem]:
        """End the input; see :meth:`Adapter.close`."""
        findings = self._findings
        if not self._parts.whole and not self._broken:
            findings.where = f"byte {self._parts.fed_bytes}"
            findings.note("report of ZAP cut off: it is no whole JSON document")
        findings.end("" if self._parts.whole and not self._broken else f"byte {self._parts.fed_bytes}")
        return findings.take()

    def aside(self, _line: bytes) -> None:
        """Take nothing; see :meth:`Adapter.aside`."""
        return

    def _read(self, part: Part) -> None:
        findings = self._findings
        findings.where = f"byte {part.byte}"
        if part.text is None:
            findings.note(f"object exceeds the limit of {MAX_PART_BYTES} bytes; not sent")
            return
        alert = _object(part.text)
        if alert is None:
            findings.note("alert is no JSON")
            return
        risk = _RISKS.get(str(alert.get("riskcode")))
        if risk is None:
            return  # of another list in the report
        report, _, site, _ = map(_object, part.heads)
        host, port, scheme = place_of(site.get("@name")) if site else (None, None, None)
        if site is None or not (host := text(site.get("@host")) or host):
            findings.note("alert of a site without a name; not sent")
            return
        findings.good += 1
        port = port_number(site.get("@port")) or port
        self._alert(host, port, scheme, alert, risk, moment((report or {}).get("created")))

    def _alert(
        self,
        host: str,
        port: int | None,
        scheme: str | None,
        alert: dict[str, object],
        risk: Severity,
        ts: object,
    ) -> None:
        findings = self._findings
        findings.host(host, ts=ts)
        if port is not None and (host, port) not in self._sites and len(self._sites) < MAX_SITES:
            self._sites.add((host, port))
            at = {"ip": host, "port": port, "protocol": "TCP"}
            findings.send("portFound", **at, state="Open", ts=ts)
            findings.send("serviceDetected", **at, service_name=scheme or "http", ts=ts)
        instances = alert.get("instances")
        first = instances[0] if isinstance(instances, list) and instances else None
        cwe = text(alert.get("cweid"), 16)
        findings.send(
            "vulnerabilityFound",
            ip=host,
            port=port,
            severity=risk,
            title=text(alert.get("alert")) or text(alert.get("name")) or "alert without a name",
            plugin_id=text(alert.get("pluginid"), 64),
            cwe_id=f"CWE-{cwe}" if cwe and cwe.isdigit() and cwe != "0" else None,
            url=text(first.get("uri")) if isinstance(first, dict) else None,
            instances=len(instances) if isinstance(instances, list) else None,
            ts=ts,
        )


def _object(text_: bytes) -> dict[str, object] | None:
    try:
        value: object = msgspec.json.decode(text_)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError):
        return None
    return value if isinstance(value, dict) else None
