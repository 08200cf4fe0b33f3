"""nmap: the XML it prints with `-oX -` becomes events while it runs.

Sits between `emit` and its standard input. Knows nmap's XML, no scan id and no file. What nmap prints, and
what becomes of it:

==================================== =================================================================
nmaprun                              scanStarted; every watcher sees it: scripts' arguments are masked
taskbegin, or taskprogress           phaseStarted, when the phase is another one than before
taskprogress, taskend                scanProgress: percent of that task
hosthint, host that is up            hostDiscovered, once a host
port, listed with its state          portFound; extraports are a count, not a list, and are left out
service of an open port              serviceDetected
script output that names a CVE       vulnerabilityFound, once a (host, port, CVE)
runstats, and the root's end tag     scanCompleted, or error when nmap says it failed
end of input before the root's end   error
==================================== =================================================================

Without `-v` nmap prints no taskbegin; with `--stats-every 1s` it prints a taskprogress a second. It prints a
host when the whole host group is done, and only a hosthint comes earlier. Nothing here can change that.

The parser is expat itself, because it keeps no tree and knows the byte it is at. An internal DTD subset, the
only place where an entity could be declared, ends the reading.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from xml.parsers import expat

from pipeline.errors import InputMalformed
from pipeline.event import encode_event
from pipeline.producer.adapters import Problem
from pipeline.producer.adapters.nmap_scripts import mask_script_arguments, names_cve, vulnerabilities

MAX_TAG_BYTES = 4 * 1024 * 1024
"""The largest single tag read, in bytes (a script's whole output is one attribute); past it reading stops."""

MAX_TEXT = 4_096
"""The most characters kept of one text field, so that an event stays below `MAX_EVENT_BYTES`."""

MAX_DEPTH = 64
"""The deepest nesting read; nmap's own is about 12. Past it reading stops."""

MAX_REMEMBERED_HOSTS = 65_536
"""How many hosts are remembered as announced; past it the oldest is forgotten, to be announced anew."""

MAX_CVES = 1_000
"""The most vulnerabilities sent for one port, or for one host's host scripts; the rest is one Problem."""

_HEAD_BYTES = 64
_NAME_LENGTH = 64  # characters of an address, a tag or a phase; real ones are shorter
_SKIP_REASONS = 16
_MOST_HOSTS = 2**53  # past it JSON readers lose count
_ADVICE = "run nmap with -oX -"
_STATES = {
    "open": "Open",
    "closed": "Closed",
    "filtered": "Filtered",
    "open|filtered": "Filtered",
    "closed|filtered": "Filtered",
}
_PROTOCOLS = {"tcp": "TCP", "udp": "UDP"}

# Where a task stands in nmap's own order, in percent of the whole: a place, not a measurement.
_PLACES = (("pre_scan", 0), ("ping", 0), ("dns", 10), ("service", 50), ("traceroute", 75), ("script", 85))
_PORT_SCAN_PLACE = 20

_DNS_COUNT = re.compile(r" of \d+ hosts?\b.*", re.DOTALL)
_NOT_WORD = re.compile(r"[^a-z0-9]+")


@dataclass(slots=True)
class _Port:
    number: int
    protocol: str
    is_open: bool = False
    cves: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Host:
    ip: str = ""
    hostname: str = ""
    is_up: bool = False
    port: _Port | None = None
    cves: set[str] = field(default_factory=set)
    skipped: dict[str, int] = field(default_factory=dict)


class NmapAdapter:
    """Reads one nmap XML document as it streams.

    An input that is not one whole document of a run that nmap calls a success ends with exactly one `error`
    event, so that those who watch are told; where the input, not the run, was at fault, also with a
    :class:`Problem` that names the byte. After that, or after bytes behind the document, the rest is ignored.

    Args:
        part: leave out `scanStarted` and `scanCompleted`, and say every error with `"fatal": false`.
    """

    def __init__(self, *, part: bool) -> None:
        self._part = part
        self._out: list[bytes | Problem] = []
        self._head = b""
        self._skipped_bytes = 0
        self._fed_bytes = 0
        self._refused_at = 0
        self._started = self._ended = self._stopped = False
        self._open_tags: list[str] = []
        self._phase = ""
        self._overall = 0
        self._announced: dict[str, None] = {}
        self._host: _Host | None = None
        self._finished: dict[str, str] | None = None
        self._hosts_up: int | None = None
        # Whatever a document declares: nmap prints UTF-8, and another codec's name could raise anything.
        parser = expat.ParserCreate("utf-8")
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        if hasattr(parser, "SetReparseDeferralEnabled"):
            # expat 2.6 puts off a tag cut between two chunks until more has come; a scan's next byte may be
            # minutes away. What that guards against, a huge tag read again and again, MAX_TAG_BYTES bounds.
            parser.SetReparseDeferralEnabled(False)
        self._parser = parser

    def feed(self, chunk: bytes) -> list[bytes | Problem]:
        """Take the next bytes; see :meth:`Adapter.feed`."""
        if not self._started:
            chunk = self._begin(chunk)
        if chunk and not self._stopped:
            self._parse(chunk, final=False)
        return self._take()

    def close(self) -> list[bytes | Problem]:
        """End the input; see :meth:`Adapter.close`."""
        if not self._stopped:
            if self._started:
                self._parse(b"", final=True)
            else:
                self._stop_without_xml()
        return self._take()

    def _take(self) -> list[bytes | Problem]:
        out, self._out = self._out, []
        return out

    # -- from bytes to tags

    def _begin(self, chunk: bytes) -> bytes:
        """Return what is to be parsed once the input turns out to be XML; before that, nothing."""
        if self._stopped:
            return b""
        if not self._head:
            stripped = chunk.lstrip()
            self._skipped_bytes += len(chunk) - len(stripped)
            chunk = stripped
        self._head += chunk
        text = self._head.removeprefix(b"\xef\xbb\xbf")
        if text.startswith(b"<"):
            head, self._head, self._started = self._head, b"", True
            return head
        if len(text) >= _HEAD_BYTES or b"\n" in text:
            self._stop_without_xml()
        return b""

    def _stop_without_xml(self) -> None:
        if self._head:
            shown = repr(self._head[:_HEAD_BYTES].splitlines()[0].decode("utf-8", "replace"))
            message = f"no nmap XML: the input starts with {shown}; {_ADVICE}"
        else:
            message = f"no nmap XML: input was empty; {_ADVICE}"
        self._stop(self._skipped_bytes, message, message)

    def _parse(self, chunk: bytes, *, final: bool) -> None:
        self._fed_bytes += len(chunk)
        try:
            self._parser.Parse(chunk, final)
            waiting = self._fed_bytes - self._parser.CurrentByteIndex
            if not final and waiting > MAX_TAG_BYTES:
                raise self._refusal(f"a tag of over {waiting} bytes exceeds the limit of {MAX_TAG_BYTES}")
        except InputMalformed as error:
            self._stop_reading(self._refused_at, str(error))
        except expat.ExpatError as error:
            if final and not self._ended:
                end = self._skipped_bytes + self._fed_bytes
                inside = f" inside <{self._open_tags[-1][:_NAME_LENGTH]}>" if self._open_tags else ""
                during = f", during {self._phase}" if self._phase else ""
                self._stop(
                    end,
                    f"nmap XML cut off{inside}: nmap was stopped, or its output is incomplete",
                    f"nmap ended early: its XML stops at byte {end}{inside}{during}",
                )
            else:
                self._stop_reading(self._parser.ErrorByteIndex, expat.ErrorString(error.code) or "not XML")

    def _stop_reading(self, index: int, reason: str) -> None:
        byte = self._skipped_bytes + max(index, 0)
        if self._ended:
            self._stop(byte, f"ignored what follows the nmap document: {reason}", "")
        else:
            self._stop(
                byte, f"nmap XML cannot be read on: {reason}", f"nmap XML unreadable at byte {byte}: {reason}"
            )

    def _stop(self, byte: int, message: str, event_message: str) -> None:
        """Give up the rest: a Problem for the sender and, unless the scan has ended, an error event."""
        self._stopped = True
        self._note(message, byte)
        if not self._ended:
            self._fail(event_message)

    def _refusal(self, reason: str) -> InputMalformed:
        self._refused_at = self._parser.CurrentByteIndex  # once it is raised, expat stands behind the tag
        return InputMalformed(reason)

    def _doctype(
        self, _name: str, _system: str | None, _public: str | None, has_internal_subset: int
    ) -> None:
        if has_internal_subset:
            raise self._refusal("a DOCTYPE with declarations of its own is refused; nmap prints none")

    # -- from tags to events

    def _start(self, name: str, attrs: dict[str, str]) -> None:
        parent = self._open_tags[-1] if self._open_tags else ""
        if len(self._open_tags) >= MAX_DEPTH:
            raise self._refusal(f"tags nested deeper than the limit of {MAX_DEPTH}")
        if not parent and name != "nmaprun":
            raise self._refusal(f"the root is <{name[:_NAME_LENGTH]}>, not <nmaprun>; {_ADVICE}")
        self._open_tags.append(name)
        host = self._host
        match parent, name:
            case "", _:
                self._scan_started(attrs)
            case "nmaprun", "taskbegin" | "taskprogress" | "taskend":
                self._task(name, attrs)
            case "nmaprun", "host" | "hosthint":
                self._host = _Host()
            case "nmaprun", _:
                pass
            case "runstats", "finished":
                self._finished = attrs
            case "runstats", "hosts":
                up = _number(attrs.get("up"))
                self._hosts_up = int(up) if up is not None and 0 <= up <= _MOST_HOSTS else None
            case "prescript" | "postscript", "script":
                if names_cve(attrs.get("output", "")):
                    self._note(f"script {_text(attrs.get('id'))!r} names a CVE, but no host; not sent")
            case _ if host is not None:
                self._in_host(host, parent, name, attrs)

    def _end(self, name: str) -> None:
        self._open_tags.pop()
        host = self._host
        if host is not None:
            if name == "hostnames" and host.is_up:
                self._announce(host)
            elif name == "port":
                host.port = None
            elif name in ("host", "hosthint"):
                self._end_host(host)
        if not self._open_tags:
            self._scan_ended()

    def _in_host(self, host: _Host, parent: str, name: str, attrs: dict[str, str]) -> None:
        match parent, name:
            case "host" | "hosthint", "status":
                host.is_up = attrs.get("state") == "up"
            case "host" | "hosthint", "address":
                if not host.ip and attrs.get("addrtype") in ("ipv4", "ipv6"):
                    host.ip = attrs.get("addr", "")[:_NAME_LENGTH]
            case "hostnames", "hostname":
                host.hostname = host.hostname or _text(attrs.get("name"))
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

    def _scan_started(self, attrs: dict[str, str]) -> None:
        if self._part:
            return
        self._send(
            "scanStarted",
            timestamp=_iso(attrs.get("start")),
            scanner=_text(f"nmap {attrs.get('version', '')}".strip()),
            args=_text(mask_script_arguments(_text(attrs.get("args")))) or None,
        )

    def _scan_ended(self) -> None:
        finished = self._finished
        if finished is None:
            message = "nmap ended early: its XML holds no <finished>"
            self._note(message)
            self._fail(message)
        elif finished.get("exit", "success") != "success":
            self._fail(_text(finished.get("errormsg")).strip() or "nmap failed and gave no reason")
        elif not self._part:
            self._send("scanCompleted", duration=_number(finished.get("elapsed")), total_hosts=self._hosts_up)
        self._ended = True

    def _task(self, kind: str, attrs: dict[str, str]) -> None:
        task = _text(attrs.get("task"))
        phase = self._phase_of(task, begins=kind == "taskbegin")
        if phase != self._phase:
            self._phase = phase
            place = next((at for word, at in _PLACES if word in phase), _PORT_SCAN_PLACE)
            self._overall = max(self._overall, place)  # tasks come again with every host group
            self._send("phaseStarted", phase=phase, progress=self._overall)
        if kind == "taskend":
            extra = _text(attrs.get("extrainfo"))
            self._send(
                "scanProgress", phase=phase, progress=100, message=f"{task}: done" + (extra and f", {extra}")
            )
        percent = _number(attrs.get("percent"))
        if kind == "taskprogress" and percent is not None:
            remaining, until = _text(attrs.get("remaining")), _iso(attrs.get("etc"))
            message = f"{task}: {percent:g} % done"
            message += f", about {remaining} s remaining" if remaining else ""
            message += f" (until {until})" if until else ""
            self._send("scanProgress", phase=phase, progress=percent, message=message)

    def _phase_of(self, task: str, *, begins: bool) -> str:
        if task != "NSE":
            return _NOT_WORD.sub("_", _DNS_COUNT.sub("", task).lower()).strip("_")[:_NAME_LENGTH] or "unnamed"
        # nmap calls three things so: scripts before all hosts, for each host group, and behind all hosts.
        # Only with -v, when it tells of every task, does coming first mean before all hosts.
        first = begins and not self._phase
        return "script_pre_scan" if first or self._phase == "script_pre_scan" else "script_scan"

    def _announce(self, host: _Host) -> None:
        if not host.ip or host.ip in self._announced:
            return
        if len(self._announced) >= MAX_REMEMBERED_HOSTS:
            del self._announced[next(iter(self._announced))]
        self._announced[host.ip] = None
        self._send("hostDiscovered", ip=host.ip, hostname=host.hostname or None)

    def _end_host(self, host: _Host) -> None:
        if host.is_up:
            self._announce(host)
        for why, count in host.skipped.items():
            self._note(f"{count} port(s) of {host.ip or 'a host without an address'} not sent: {why}")
        self._host = None

    def _begin_port(self, host: _Host, attrs: dict[str, str]) -> None:
        number = _number(attrs.get("portid"))
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
        self._send("portFound", ip=host.ip, port=port.number, protocol=port.protocol, state=state)

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
            service_name=_text(name),
            version=_text(version) or None,
        )

    def _script(self, host: _Host, port: _Port | None, attrs: dict[str, str]) -> None:
        seen = port.cves if port else host.cves
        for cve_id, severity, title in vulnerabilities(_text(attrs.get("id")), attrs.get("output", "")):
            if cve_id in seen:
                continue
            if len(seen) >= MAX_CVES:
                at = f"{host.ip}:{port.number}" if port else host.ip
                self._note(f"more than {MAX_CVES} CVEs at {at}; the rest is not sent")
                break
            seen.add(cve_id)
            self._send(
                "vulnerabilityFound",
                ip=host.ip,
                port=port.number if port else None,
                cve_id=cve_id,
                severity=severity,
                title=title,
            )

    # -- what goes out

    def _send(self, type_: str, **fields: object) -> None:
        known = {name: value for name, value in fields.items() if value is not None}
        self._out.append(encode_event({"type": type_, **known}))

    def _fail(self, message: str) -> None:
        self._send("error", message=message[:MAX_TEXT], fatal=False if self._part else None)

    def _note(self, message: str, byte: int | None = None) -> None:
        at = self._skipped_bytes + self._parser.CurrentByteIndex if byte is None else byte
        self._out.append(Problem(f"byte {at}", message))


def _text(value: str | None) -> str:
    """Return a text field as it came, at most `MAX_TEXT` characters of it."""
    return (value or "")[:MAX_TEXT]


def _number(value: str | None) -> float | None:
    """Return a finite number, or None where there is none."""
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _iso(epoch_s: str | None) -> str | None:
    """Return a time nmap gives in epoch seconds as ISO 8601, or None where there is none."""
    seconds = _number(epoch_s)
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return None
