"""naabu: what it prints with `-json`, an open port a line. Pure."""

from __future__ import annotations

from pipeline.errors import InputMalformed
from pipeline.producer.adapters.findings import Findings, moment, port_number, text
from pipeline.producer.adapters.tool_lines import ToolLines, json_object


class NaabuAdapter(ToolLines):
    """Reads naabu's ports, and the services it asked nmap for."""

    scanner = "naabu"

    def _read(self, line: bytes, findings: Findings) -> None:
        record = json_object(line)
        ip = text(record.get("ip")) or text(record.get("host"))
        given = record.get("port")
        protocol = record.get("protocol")
        if isinstance(given, dict):  # so early versions wrote it
            protocol = "udp" if given.get("Protocol") == 1 else "tcp"
            given = dict[str, object](given).get("Port")
        if not ip or "port" not in record:
            raise InputMalformed("no port of naabu: it has no ip and port")
        ts = moment(record.get("timestamp"))
        if given == 0 and not protocol:  # a host that is up, and has no open port
            findings.host(ip, text(record.get("host")), ts)
            return
        port = port_number(given)
        if port is None:
            raise InputMalformed(f"port {str(given)[:16]!r} is not within 0 to 65535")
        spoken = str(protocol or "tcp").upper()
        if spoken not in ("TCP", "UDP"):
            raise InputMalformed(f"protocol {str(protocol)[:16]!r}, and an event can say tcp or udp")
        findings.host(ip, text(record.get("host")), ts)
        at = {"ip": ip, "port": port, "protocol": spoken}
        findings.send("portFound", **at, state="Open", tls=record.get("tls") is True or None, ts=ts)
        if name := text(record.get("name")):
            said = [text(record.get(key)) for key in ("product", "version", "extra_info")]
            version = " ".join(word for word in said if word) or None
            findings.send("serviceDetected", **at, service_name=name, version=version, ts=ts)
