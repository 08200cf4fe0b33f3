"""masscan: what it prints with `-oD`, `-oJ` and `-oL`. Pure.

One record a line in all three: JSON lines; a JSON array with one object a line, whose commas stand before or
behind it; or words (`open tcp 80 10.0.0.5 1390380064`). The line is what tells. Its progress stands in what
it prints on standard error.
"""

from __future__ import annotations

import re

from pipeline.errors import InputMalformed
from pipeline.producer.adapters.findings import Findings, moment, port_number, text
from pipeline.producer.adapters.tool_lines import ToolLines, json_object

_STATES = {"open": "Open", "closed": "Closed"}
_PROTOCOLS = {"tcp": "TCP", "udp": "UDP"}
_TALK = frozenset({"http.server", "title", "html_full", "X509", "X509CA", "cert", "favicon", "vuln"})
"""What it calls a banner that names no service but says something of one."""
_FINISHED = re.compile(rb"\{ *\"?finished\"? *: *1 *\}")
_DONE = re.compile(rb"(\d{1,3}\.\d+)% done, *([\d:]{1,12}) remaining")
_UNESCAPED = re.compile(r"\\x([0-9a-fA-F]{2})")
_MAX_BANNER = 4_096


class MasscanAdapter(ToolLines):
    """Reads masscan's output, and its progress."""

    scanner = "masscan"

    def __init__(self, *, part: bool) -> None:
        super().__init__(part=part)
        self._in_array = False

    def _unfinished(self) -> str:
        return "its JSON array" if self._in_array else ""

    def _read(self, line: bytes, findings: Findings) -> None:
        line = line.strip()
        if line in (b"[", b"]") or line.startswith((b"[{", b"[ {")) or line.endswith(b"}]"):
            self._in_array = not line.endswith(b"]")
        if line.startswith(b"#") or line in (b"[", b"]", b","):
            return
        line = line.lstrip(b"[,").rstrip(b",]" if line.startswith((b"[{", b",{", b"{")) else b"").strip()
        if not line or _FINISHED.fullmatch(line):
            return
        if line.startswith(b"{"):
            self._read_object(json_object(line), findings)
        else:
            self._read_words(line.decode("utf-8", "replace").split(" ", 6), findings)

    def _read_object(self, record: dict[str, object], findings: Findings) -> None:
        ip, ts = record.get("ip"), moment(record.get("timestamp"))
        if "rec_type" in record:
            data = record.get("data")
            data = data if isinstance(data, dict) else {}
            port, proto = record.get("port"), record.get("proto")
            if record["rec_type"] == "banner":
                self._banner(findings, ip, port, proto, data.get("service_name"), data.get("banner"), ts)
            else:
                self._status(findings, ip, port, proto, data.get("status"), ts)
            return
        ports = record.get("ports")
        if not isinstance(ports, list):
            raise InputMalformed("no record of masscan: it has neither rec_type nor ports")
        for entry in ports:
            entry = entry if isinstance(entry, dict) else {}
            port, proto, service = entry.get("port"), entry.get("proto"), entry.get("service")
            if isinstance(service, dict):
                self._banner(findings, ip, port, proto, service.get("name"), service.get("banner"), ts)
            else:
                self._status(findings, ip, port, proto, entry.get("status"), ts)

    def _read_words(self, words: list[str], findings: Findings) -> None:
        if len(words) >= 5 and words[0] in _STATES:
            self._status(findings, words[3], words[2], words[1], words[0], moment(words[4]))
        elif len(words) >= 6 and words[0] == "banner":
            said = _UNESCAPED.sub(lambda found: chr(int(found[1], 16)), " ".join(words[6:]))
            self._banner(findings, words[3], words[2], words[1], words[5], said, moment(words[4]))
        else:
            raise InputMalformed(f"no record of masscan: {' '.join(words)[:60]!r}")

    def _status(
        self, findings: Findings, ip: object, port: object, proto: object, status: object, ts: object
    ) -> None:
        at = _place(ip, port, proto)
        state = _STATES.get(str(status))
        if state is None:
            raise InputMalformed(f"state {str(status)[:16]!r}, and masscan says open or closed")
        findings.host(str(at["ip"]), ts=ts)
        findings.send("portFound", **at, state=state, ts=ts)

    def _banner(
        self,
        findings: Findings,
        ip: object,
        port: object,
        proto: object,
        name: object,
        banner: object,
        ts: object,
    ) -> None:
        at = _place(ip, port, proto)
        said = text(banner, _MAX_BANNER)
        findings.host(str(at["ip"]), ts=ts)
        if name in _TALK:
            findings.send("enumerationFinding", **at, finding_type=name, value=said, ts=ts)
        else:
            findings.send("serviceDetected", **at, service_name=text(name) or "unknown", version=said, ts=ts)

    def _aside(self, line: bytes) -> bool:
        done = _DONE.search(line)
        if done is None or float(done[1]) > 100:
            return False
        percent, remaining = float(done[1]), done[2].decode().strip()
        message = f"{percent:g} % done, {remaining} remaining"
        self._findings.send("scanProgress", phase="port_scan", progress=percent, message=message)
        return True


def _place(ip: object, port: object, proto: object) -> dict[str, object]:
    number, protocol = port_number(port), _PROTOCOLS.get(str(proto))
    if not text(ip):
        raise InputMalformed("it names no ip")
    if protocol is None:
        raise InputMalformed(f"protocol {str(proto)[:16]!r}, and an event can say tcp or udp")
    if number is None:
        raise InputMalformed(f"port {str(port)[:16]!r} is not within 0 to 65535")
    return {"ip": text(ip), "port": number, "protocol": protocol}
