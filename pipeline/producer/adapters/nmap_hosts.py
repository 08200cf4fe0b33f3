"""nmap's hosts: what stands inside a host's tags becomes events. Pure.

Under `nmap_document`, which reads the document and knows the byte it is at. Knows no XML parser: a tag comes
as its parent's name, its own and its attributes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pipeline.event_json import encode_event
from pipeline.producer.adapters.nmap_scripts import vulnerabilities

MAX_TEXT = 4_096
"""The most characters kept of one text field, so that an event stays below `MAX_EVENT_BYTES`."""

MAX_REMEMBERED_HOSTS = 65_536
"""How many hosts are remembered as announced; past it the oldest is forgotten, to be announced anew."""

MAX_CVES = 1_000
"""The most vulnerabilities sent for one port, or for one host's host scripts; the rest is one Problem."""

MAX_NAME = 64
"""Characters of an address, a tag or a phase; real ones are shorter."""

_LATEST_S = 253_402_300_799  # the last second of the year 9999
_SKIP_REASONS = 16
_STATES = {
    "open": "Open",
    "closed": "Closed",
    "filtered": "Filtered",
    "open|filtered": "Filtered",
    "closed|filtered": "Filtered",
}
_PROTOCOLS = {"tcp": "TCP", "udp": "UDP"}


@dataclass(slots=True)
class _Port:
    number: int
    protocol: str
    is_open: bool = False
    cves: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Host:
    began: int | None = None
    ended: int | None = None
    ip: str = ""
    hostname: str = ""
    is_up: bool = False
    port: _Port | None = None
    cves: set[str] = field(default_factory=set)
    skipped: dict[str, int] = field(default_factory=dict)
    os_told: bool = False


class HostReader:
    """Reads one host after the other. What its methods return is what a tag gives: events, and the texts of
    problems, in their order.
    """

    def __init__(self) -> None:
        self._announced: dict[str, None] = {}
        self._host: _Host | None = None
        self._found: list[bytes | str] = []

    @property
    def inside(self) -> bool:
        """Whether a host has begun and not ended."""
        return self._host is not None

    def begin(self, attrs: dict[str, str]) -> None:
        """Begin with the next host; of its own attributes, its times are kept."""
        self._host = _Host(epoch_of(attrs.get("starttime")), epoch_of(attrs.get("endtime")))

    def leave(self) -> None:
        """Forget a host that has begun and will not end."""
        self._host = None

    def tag(self, parent: str, name: str, attrs: dict[str, str]) -> list[bytes | str]:
        """Take a tag that begins inside a host."""
        if self._host is not None:
            self._tag(self._host, parent, name, attrs)
        return self._take()

    def end(self, name: str) -> list[bytes | str]:
        """Take the end of a tag."""
        host = self._host
        if host is not None:
            if name == "hostnames" and host.is_up:
                self._announce(host)
            elif name == "port":
                host.port = None
            elif name in ("host", "hosthint"):
                self._end_host(host)
        return self._take()

    def _take(self) -> list[bytes | str]:
        found, self._found = self._found, []
        return found

    def _tag(self, host: _Host, parent: str, name: str, attrs: dict[str, str]) -> None:
        match parent, name:
            case "host" | "hosthint", "status":
                host.is_up = attrs.get("state") == "up"
            case "host" | "hosthint", "address":
                if not host.ip and attrs.get("addrtype") in ("ipv4", "ipv6"):
                    host.ip = attrs.get("addr", "")[:MAX_NAME]
            case "hostnames", "hostname":
                host.hostname = host.hostname or text_of(attrs.get("name"))
            case "ports", "port":
                self._begin_port(host, attrs)
            case "port", "state" if host.port:
                self._port_found(host, host.port, attrs)
            case "port", "service" if host.port and host.port.is_open:
                self._service_detected(host, host.port, attrs)
            case "port", "script" if host.port:
                self._script(host, host.port, attrs)
            case "hostscript", "script" if host.ip:
                self._announce(host)
                self._script(host, None, attrs)
            case "os", "osmatch" if host.ip and not host.os_told:
                self._os_detected(host, attrs)

    def _announce(self, host: _Host) -> None:
        if not host.ip or host.ip in self._announced:
            return
        if len(self._announced) >= MAX_REMEMBERED_HOSTS:
            del self._announced[next(iter(self._announced))]
        self._announced[host.ip] = None
        self._send("hostDiscovered", ip=host.ip, hostname=host.hostname or None, ts=host.began)

    def _end_host(self, host: _Host) -> None:
        if host.is_up:
            self._announce(host)
        for why, count in host.skipped.items():
            self._found.append(f"{count} port(s) of {host.ip or 'a host without an address'} not sent: {why}")
        self._host = None

    def _begin_port(self, host: _Host, attrs: dict[str, str]) -> None:
        number = number_of(attrs.get("portid"))
        protocol = attrs.get("protocol", "")
        if not host.ip:
            self._skip(host, "no IP address")
        elif protocol not in _PROTOCOLS:
            self._skip(host, f"protocol {protocol[:16]!r}, and an event can say tcp or udp")
        elif number is None or not number.is_integer() or not 0 <= number <= 65_535:
            self._skip(host, "port number not within 0 to 65535")
        else:
            self._announce(host)
            host.port = _Port(int(number), _PROTOCOLS[protocol])

    def _port_found(self, host: _Host, port: _Port, attrs: dict[str, str]) -> None:
        state = _STATES.get(attrs.get("state", ""))
        if state is None:
            self._skip(
                host, f"state {attrs.get('state', '')[:16]!r}, and an event can say open, closed or filtered"
            )
            return
        port.is_open = state == "Open"
        self._send(
            "portFound",
            ip=host.ip,
            port=port.number,
            protocol=port.protocol,
            state=state,
            ts=host.ended,
        )

    def _skip(self, host: _Host, why: str) -> None:
        if why not in host.skipped and len(host.skipped) >= _SKIP_REASONS:
            why = "and other reasons"
        host.skipped[why] = host.skipped.get(why, 0) + 1

    def _service_detected(self, host: _Host, port: _Port, attrs: dict[str, str]) -> None:
        name = attrs.get("name", "")
        if not name:
            return
        if "tunnel" in attrs:
            name = f"{attrs['tunnel']}/{name}"  # as nmap shows it: ssl/http
        version = " ".join(attrs[key] for key in ("product", "version", "extrainfo") if attrs.get(key))
        self._send(
            "serviceDetected",
            ip=host.ip,
            port=port.number,
            protocol=port.protocol,
            service_name=text_of(name),
            version=text_of(version) or None,
            ts=host.ended,
        )

    def _os_detected(self, host: _Host, attrs: dict[str, str]) -> None:
        """Tell the first match: nmap lists the best one first."""
        host.os_told = True
        accuracy = number_of(attrs.get("accuracy"))
        name = text_of(attrs.get("name"))
        if name:
            self._announce(host)
            self._send("osDetected", ip=host.ip, os=name, accuracy=accuracy, ts=host.ended)

    def _script(self, host: _Host, port: _Port | None, attrs: dict[str, str]) -> None:
        seen = port.cves if port else host.cves
        self._finding(host, port, attrs)
        for cve_id, severity, title in vulnerabilities(text_of(attrs.get("id")), attrs.get("output", "")):
            if cve_id in seen:
                continue
            if len(seen) >= MAX_CVES:
                at = f"{host.ip}:{port.number}" if port else host.ip
                self._found.append(f"more than {MAX_CVES} CVEs at {at}; the rest is not sent")
                break
            seen.add(cve_id)
            self._send(
                "vulnerabilityFound",
                ip=host.ip,
                port=port.number if port else None,
                cve_id=cve_id,
                severity=severity,
                title=title,
                ts=host.ended,
            )

    def _finding(self, host: _Host, port: _Port | None, attrs: dict[str, str]) -> None:
        said = text_of(attrs.get("output")).strip()
        if not said:
            return
        kind = text_of(attrs.get("id")) or "script"
        if port is None:
            self._send("hostFinding", ip=host.ip, finding_type=kind, value=said, ts=host.ended)
        else:
            self._send(
                "enumerationFinding",
                ip=host.ip,
                port=port.number,
                finding_type=kind,
                value=said,
                ts=host.ended,
            )

    def _send(self, type_: str, **fields: object) -> None:
        self._found.append(event_of(type_, **fields))


def event_of(type_: str, **fields: object) -> bytes:
    """Return an event's JSON, without the fields that are None."""
    known = {name: value for name, value in fields.items() if value is not None}
    return encode_event({"type": type_, **known})


def text_of(value: str | None) -> str:
    """Return a text field as it came, at most `MAX_TEXT` characters of it."""
    return (value or "")[:MAX_TEXT]


def number_of(value: str | None) -> float | None:
    """Return a finite number, or None where there is none."""
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def epoch_of(value: str | None) -> int | None:
    """Return a time nmap gives in epoch seconds, or None where there is none."""
    seconds = number_of(value)
    return int(seconds) if seconds is not None and 0 < seconds <= _LATEST_S else None
