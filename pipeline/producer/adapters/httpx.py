"""httpx, the HTTP prober: what it prints with `-json`, an answer a line. Pure."""

from __future__ import annotations

from pipeline.errors import InputMalformed
from pipeline.producer.adapters.findings import Findings, moment, place_of, port_number, text, texts
from pipeline.producer.adapters.tool_lines import ToolLines, json_object

_MAX_TECHNOLOGIES = 32


class HttpxAdapter(ToolLines):
    """Reads httpx's answers: host, port, server, title, technologies."""

    scanner = "httpx"

    def _read(self, line: bytes, findings: Findings) -> None:
        record = json_object(line)
        if "url" not in record and "input" not in record:
            raise InputMalformed("no answer of httpx: it has neither url nor input")
        if record.get("failed") is True:
            return  # with -probe it also prints what did not answer
        hostname, port, scheme = place_of(record.get("url") or record.get("input"))
        addresses = [*texts(record.get("a"), 1), *texts(record.get("aaaa"), 1)]
        ip = text(record.get("host_ip")) or (addresses[0] if addresses else None)
        ip = ip or text(record.get("host")) or hostname
        port = port_number(record.get("port")) or port
        if ip is None or port is None:
            raise InputMalformed("its url names no host and port")
        ts = moment(record.get("timestamp"))
        at = {"ip": ip, "port": port}
        findings.host(ip, hostname, ts)
        findings.send("portFound", **at, protocol="TCP", state="Open", ts=ts)
        findings.send(
            "serviceDetected",
            **at,
            protocol="TCP",
            service_name=text(record.get("scheme")) or scheme or "http",
            version=text(record.get("webserver")),
            url=text(record.get("url")),
            status_code=record["status_code"] if isinstance(record.get("status_code"), int) else None,
            ts=ts,
        )
        if title := text(record.get("title")):
            findings.send("enumerationFinding", **at, finding_type="title", value=title, ts=ts)
        for technology in texts(record.get("tech"), _MAX_TECHNOLOGIES):
            findings.send("enumerationFinding", **at, finding_type="technology", value=technology, ts=ts)
