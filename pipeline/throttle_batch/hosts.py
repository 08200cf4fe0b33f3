"""What a scan found out about hosts: each host, port, service and vulnerability once. Pure.

Part of `scan_state`. Knows nothing of events, phases or the journal.

======================== =============================================================================
thing                    is the same when it has the same
======================== =============================================================================
host                     address, as text
port                     host, number, protocol. Its latest state counts: open, closed or filtered
service                  host, number (its event names no protocol). The latest name and version count
vulnerability            host, title, CVE. The latest severity counts
======================== =============================================================================

A host is an address of which anything was told, but a filtered port alone is no sign of one.

Up to `max_hosts` the table holds all of this. What is found on a host beyond that is only counted, once each,
by an 8-byte fingerprint: the numbers stay exact, the table says how many hosts it leaves out; there a port
that closes again stays counted as open. Everything held counts as entries. Beyond `max_entries` of one scan,
or `max_total_entries` of all, nothing new is held or counted: `exact` turns false, and the numbers are then
the least there were.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

from pipeline.event import SEVERITIES, PortState, Protocol, Severity

MAX_ADDRESS_LENGTH = 255
MAX_TEXT_LENGTH = 300
MAX_SHOWN_A_HOST = 1_000
"""Ports, and vulnerabilities, that a page shows of one host; the counts beside them are exact."""

_UDP = 1 << 16
_NO_PROTOCOL = 2 << 16
_STATES: tuple[PortState | None, ...] = (None, "Open", "Closed", "Filtered")
_STATE_NUMBER: dict[PortState, int] = {"Open": 1, "Closed": 2, "Filtered": 3}
_SEVERITY_NUMBER: dict[Severity, int] = {severity: number for number, severity in enumerate(SEVERITIES)}
_STATE_MASK = 3
_OPEN = 1
_TEXT_PER_ENTRY = 64


class Budget:
    """What all scans of a shard may hold together.

    Args:
        max_entries: how many entries.
    """

    __slots__ = ("left",)

    def __init__(self, max_entries: int) -> None:
        self.left = max_entries


class Host(msgspec.Struct, array_like=True, gc=False):
    """One host, as it is kept.

    Attributes:
        ip: its address.
        hostname: empty when it was not told.
        ports: number, plus 65,536 for UDP, plus 131,072 for a service whose port was not told -> the state,
            plus four times the number of its service's name.
        vulnerabilities: number of the title -> number of the severity.
        open_ports: how many of the ports are open.
    """

    ip: str
    hostname: str = ""
    ports: dict[int, int] = {}
    vulnerabilities: dict[int, int] = {}
    open_ports: int = 0


AnyHost = TypeVar("AnyHost", Host, msgspec.Raw)


class HostsRecord(msgspec.Struct, Generic[AnyHost], array_like=True):
    """Everything found, as it outlives a restart; hosts that are `Raw` are read when they are shown."""

    hosts: list[AnyHost] = []
    services: list[tuple[str, str]] = []
    titles: list[tuple[str, str]] = []
    beyond: bytes = b""
    left_out: int = 0
    open_ports: int = 0
    service_count: int = 0
    severities: list[int] = []
    exact: bool = True


class _Texts:
    """Pairs of texts that occur again and again, held once: a number each, from 2.

    0 stands for nothing, 1 for a text there was no room for.
    """

    __slots__ = ("_numbers", "pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs: list[tuple[str, str]] = [("", ""), ("", ""), *pairs]
        self._numbers = {pair: number for number, pair in enumerate(self.pairs)}

    def find(self, pair: tuple[str, str]) -> int | None:
        return self._numbers.get(pair)

    def add(self, pair: tuple[str, str]) -> int:
        self._numbers[pair] = number = len(self.pairs)
        self.pairs.append(pair)
        return number


class HostTable:
    """Args:
    max_hosts: hosts in the table.
    max_entries: entries of this scan.
    budget: what all scans may hold together.

    Attributes:
        open_ports: ports that are open.
        services: services.
        severities: vulnerabilities by severity, in the order of `SEVERITIES`.
        exact: the counts are exact; False: they are the least there were.
        entries: how much is held.
    """

    __slots__ = (
        "_beyond",
        "_budget",
        "_by_ip",
        "_hosts",
        "_left_out",
        "_max_entries",
        "_max_hosts",
        "_services",
        "_titles",
        "_unread",
        "entries",
        "exact",
        "open_ports",
        "services",
        "severities",
    )

    def __init__(self, max_hosts: int, max_entries: int, budget: Budget) -> None:
        self._max_hosts = max_hosts
        self._max_entries = max_entries
        self._budget = budget
        self._by_ip: dict[str, Host] = {}
        self._hosts: list[Host] = []
        self._unread: list[msgspec.Raw] = []
        self._left_out = 0
        self._services = _Texts()
        self._titles = _Texts()
        self._beyond: set[int] = set()
        self.entries = 0
        self.open_ports = 0
        self.services = 0
        self.severities = [0] * len(SEVERITIES)
        self.exact = True

    def __len__(self) -> int:
        return len(self._hosts) + len(self._unread) + self._left_out

    @property
    def left_out(self) -> int:
        """How many hosts are counted, but not in the table."""
        return self._left_out

    # --- what was found ---------------------------------------------------------------------------

    def host(self, ip: str, hostname: str | None = None) -> None:
        """Take in that there is a host, and what it is called."""
        host = self._by_ip.get(ip) or self._admit(ip)
        if hostname and host is not None and host.hostname != hostname:
            hostname = hostname[:MAX_TEXT_LENGTH]
            if self._take(len(hostname) // _TEXT_PER_ENTRY):
                host.hostname = hostname

    def port(self, ip: str, port: int, protocol: Protocol, state: PortState) -> None:
        """Take in a port and its state."""
        host = self._by_ip.get(ip)
        if host is None:
            if state == "Filtered":
                return
            host = self._admit(ip)
            if host is None:
                if state == "Open" and self._is_new("p", ip, port, protocol):
                    self.open_ports += 1
                return
        key = port if protocol == "TCP" else port + _UDP
        number = _STATE_NUMBER[state]
        ports = host.ports
        before = ports.get(key)
        if before is None:
            service = ports.pop(port + _NO_PROTOCOL, 0)
            if not service and not self._take(1):
                return
            before = service
        elif before & _STATE_MASK == number:
            return
        opened = (number == _OPEN) - (before & _STATE_MASK == _OPEN)
        ports[key] = before & ~_STATE_MASK | number
        if opened:
            host.open_ports += opened
            self.open_ports += opened

    def service(self, ip: str, port: int, name: str, version: str | None) -> None:
        """Take in what answers at a port."""
        host = self._by_ip.get(ip) or self._admit(ip)
        if host is None:
            if self._is_new("s", ip, port):
                self.services += 1
            return
        ports = host.ports
        key = port if port in ports else port + _UDP if port + _UDP in ports else port + _NO_PROTOCOL
        before = ports.get(key)
        if before is None:
            if not self._take(1):
                return
            before = 0
        pair = (name[:MAX_TEXT_LENGTH], version[:MAX_TEXT_LENGTH] if version else "")
        number = self._number(self._services, pair)
        if before <= _STATE_MASK:  # without a service so far
            other = ports.get(port + _UDP, 0) if key == port else 0
            if other > _STATE_MASK:  # told before the TCP port was: it is the same one
                ports[port + _UDP] = other & _STATE_MASK
            else:
                self.services += 1
        ports[key] = before & _STATE_MASK | number << 2

    def vulnerability(self, ip: str, severity: Severity, title: str, cve_id: str | None) -> bool:
        """Take in a vulnerability.

        Returns:
            Whether it was not known before, as far as that can be told.
        """
        level = _SEVERITY_NUMBER[severity]
        host = self._by_ip.get(ip) or self._admit(ip)
        if host is None:
            new = self._is_new("v", ip, title, cve_id)
            self.severities[level] += new
            return new
        number = self._number(self._titles, (title[:MAX_TEXT_LENGTH], (cve_id or "")[:MAX_TEXT_LENGTH]))
        before = host.vulnerabilities.get(number)
        if before is None:
            if not self._take(1):
                return True
        else:
            self.severities[before] -= 1
        self.severities[level] += 1
        host.vulnerabilities[number] = level
        return before is None

    def _admit(self, ip: str) -> Host | None:
        """Return a new host of the table; None when it can only be counted."""
        if len(ip) > MAX_ADDRESS_LENGTH:
            ip = ip[:MAX_ADDRESS_LENGTH]
            known = self._by_ip.get(ip)
            if known is not None:
                return known
        if len(self._hosts) >= self._max_hosts:
            self._left_out += self._is_new("h", ip)
            return None
        if not self._take(1 + len(ip) // _TEXT_PER_ENTRY):
            return None
        host = self._by_ip[ip] = Host(ip, "", {}, {})
        self._hosts.append(host)
        return host

    def _number(self, texts: _Texts, pair: tuple[str, str]) -> int:
        """Return the number of a pair of texts."""
        number = texts.find(pair)
        if number is None:
            size = len(pair[0]) + len(pair[1])
            number = texts.add(pair) if self._take(1 + size // _TEXT_PER_ENTRY) else 1
        return number

    def _is_new(self, *parts: object) -> bool:
        """Say whether something beyond the table comes for the first time."""
        text = "\x1f".join(map(str, parts)).encode(errors="surrogatepass")
        mark = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
        if mark in self._beyond or not self._take(1):
            return False
        self._beyond.add(mark)
        return True

    def _take(self, entries: int) -> bool:
        if self.entries + entries > self._max_entries or entries > self._budget.left:
            self.exact = False
            return False
        self.entries += entries
        self._budget.left -= entries
        return True

    def release(self) -> None:
        """Give back what this scan holds of the budget; it is not used any more."""
        self._budget.left += self.entries
        self.entries = 0

    # --- what is shown ----------------------------------------------------------------------------

    def page(self, after: int, limit: int, max_bytes: int) -> tuple[list[bytes], int | None]:
        """Return hosts of the table as JSON, in the order in which they were found.

        Args:
            after: how many to leave out at the beginning.
            limit: the most given.
            max_bytes: the page ends before it grows past so many bytes, but holds at least one host.

        Returns:
            (the hosts, `after` of the next page; None when there is none).
        """
        given: list[bytes] = []
        size = 0
        some = self._hosts[after : after + limit] or map(_read_host, self._unread[after : after + limit])
        for host in some:
            raw = _encode(self._shown(host))
            size += len(raw) + 1
            if size > max_bytes and given:
                break
            given.append(raw)
        following = after + len(given)
        return given, following if following < len(self._hosts) + len(self._unread) else None

    def _shown(self, host: Host) -> dict[str, object]:
        ports: list[tuple[object, ...]] = []
        services = self._services.pairs
        for key, value in sorted(host.ports.items())[:MAX_SHOWN_A_HOST]:
            protocol = ("TCP", "UDP", None)[key >> 16]
            state = _STATES[value & _STATE_MASK]
            known = value > _STATE_MASK
            ports.append((key & 0xFFFF, protocol, state, *(services[value >> 2] if known else ())))
        titles = self._titles.pairs
        worst = sorted((level, number) for number, level in host.vulnerabilities.items())
        return {
            "ip": host.ip,
            "hostname": host.hostname or None,
            "open_ports": host.open_ports,
            "port_count": len(host.ports),
            "ports": ports,
            "vulnerability_count": len(worst),
            "vulnerabilities": [
                (SEVERITIES[level], *titles[number]) for level, number in worst[:MAX_SHOWN_A_HOST]
            ],
        }

    # --- what outlives a restart ------------------------------------------------------------------

    def record(self) -> HostsRecord[Host]:
        """Return everything there is; it is to be encoded at once, for it changes on."""
        return HostsRecord(
            self._hosts,
            self._services.pairs[2:],
            self._titles.pairs[2:],
            array("Q", sorted(self._beyond)).tobytes(),
            self._left_out,
            self.open_ports,
            self.services,
            self.severities,
            self.exact,
        )

    def look_at(self, record: HostsRecord[msgspec.Raw]) -> None:
        """Show what `record` returned, however much it is; nothing can be added to it then."""
        self._unread = record.hosts
        self._take_over(record)

    def _take_over(self, record: HostsRecord[Host] | HostsRecord[msgspec.Raw]) -> None:
        self._services = _Texts(record.services)
        self._titles = _Texts(record.titles)
        self._left_out = record.left_out
        self.open_ports = record.open_ports
        self.services = record.service_count
        self.severities = record.severities
        self.exact = record.exact

    def restore(self, record: HostsRecord[Host]) -> None:
        """Go on from what `record` returned."""
        self._take_over(record)
        self._hosts = record.hosts
        self._by_ip = {host.ip: host for host in record.hosts}
        beyond = array("Q")
        beyond.frombytes(record.beyond)
        self._beyond = set(beyond)
        self.entries = len(self._beyond) + sum(
            1 + len(pair[0] + pair[1]) // _TEXT_PER_ENTRY
            for texts in (record.services, record.titles)
            for pair in texts
        )
        for host in record.hosts:
            self.entries += 1 + len(host.ip) // _TEXT_PER_ENTRY + len(host.hostname) // _TEXT_PER_ENTRY
            self.entries += len(host.ports) + len(host.vulnerabilities)
        self._budget.left -= self.entries  # below 0 when the bound was lowered: nothing new is held then


_encode = msgspec.json.Encoder().encode
_read_host = msgspec.msgpack.Decoder(Host).decode
