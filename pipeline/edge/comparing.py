"""What changed between two scans of the same targets: hosts, ports, services, vulnerabilities. Pure.

Of the earlier scan all hosts are taken in first; those of the later one then pass, a page at a time.

================ =====================================================================================
thing            is new, gone or changed when
================ =====================================================================================
host             only the later scan has its address; only the earlier one; anything of it differs
port             only the later scan found it open; only the earlier one; a port open in neither is none
service          a port open in both has a name or version only now; only before; another one
vulnerability    only the later scan has its title and CVE on the host; only the earlier one; its severity
                 is another
================ =====================================================================================

What a scan counts but does not list (`hosts_left_out`, more than 1,000 ports of a host) is not compared; the
answer says so.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from pipeline.edge.export.hosts import HostEntry, PortEntry, read_host

MAX_CHANGES = 2_000
"""The most hosts listed with what changed; beyond it they are only counted."""
MAX_HELD_BYTES = 134_217_728
"""The most of the earlier scan that is held; a larger one is not compared."""

Change: TypeAlias = Literal["new", "gone", "changed"]
THINGS = ("hosts", "ports", "services", "vulnerabilities")


class TooLarge(ValueError):
    """The earlier scan has more hosts than can be held."""


class PortChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """A port that is open only now, or only was before."""

    change: Change
    port: int
    protocol: str | None
    service: str = ""
    version: str = ""


class ServiceChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """Another service on a port that is open in both scans; `before` and `now` are name and version."""

    change: Change
    port: int
    protocol: str | None
    before: tuple[str, str] | None = None
    now: tuple[str, str] | None = None


class VulnerabilityChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """A vulnerability that is there only now, only was before, or has another severity: `before`."""

    change: Change
    severity: str
    title: str
    cve: str = ""
    before: str = ""


class HostChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """A host, and all that changed of it."""

    change: Change
    ip: str
    hostname: str | None = None
    ports: list[PortChange] = []
    services: list[ServiceChange] = []
    vulnerabilities: list[VulnerabilityChange] = []


class Counts(msgspec.Struct):
    """How many things of one kind are new, gone, changed, and the same."""

    new: int = 0
    gone: int = 0
    changed: int = 0
    same: int = 0

    def add(self, change: Change | None) -> None:
        """Count one thing; None for one that is the same."""
        if change == "new":
            self.new += 1
        elif change == "gone":
            self.gone += 1
        elif change == "changed":
            self.changed += 1
        else:
            self.same += 1


_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Address(msgspec.Struct, frozen=True):
    ip: str


_read_address = msgspec.json.Decoder(_Address).decode


class Comparison:
    """Two scans being compared.

    Attributes:
        counts: thing -> how many are new, gone, changed and the same.
        changes: the hosts that differ; `MAX_CHANGES` at most.
        left_out: how many more hosts differ.
        partial: a host had more ports or vulnerabilities than are listed: those are not compared.
    """

    def __init__(self) -> None:
        self.counts = {thing: Counts() for thing in THINGS}
        self.changes: list[HostChange] = []
        self.left_out = 0
        self.partial = False
        self._before: dict[str, msgspec.Raw] = {}
        self._held_bytes = 0

    def take_before(self, hosts: bytes) -> None:
        """Take in hosts of the earlier scan, a JSON array.

        Raises:
            TooLarge: they are more than `MAX_HELD_BYTES`.
        """
        self._held_bytes += len(hosts)
        if self._held_bytes > MAX_HELD_BYTES:
            raise TooLarge(f"the earlier scan has more than {MAX_HELD_BYTES} bytes of hosts")
        for raw in _split(hosts):
            self._before[_read_address(raw).ip] = raw

    def take_now(self, hosts: bytes) -> None:
        """Compare hosts of the later scan, a JSON array; all of the earlier one were taken in."""
        for raw in _split(hosts):
            now = read_host(raw)
            known = self._before.pop(now.ip, None)
            self._compare(read_host(known) if known is not None else None, now)

    def finish(self) -> None:
        """Take what is left of the earlier scan as gone."""
        for raw in self._before.values():
            self._compare(read_host(raw), None)
        self._before = {}

    def _compare(self, before: HostEntry | None, now: HostEntry | None) -> None:
        present = now or before
        assert present is not None
        for host in (before, now):
            if host is not None and (
                host.port_count > len(host.ports) or host.vulnerability_count > len(host.vulnerabilities)
            ):
                self.partial = True
        ports, services = self._ports(before, now)
        vulnerabilities = self._vulnerabilities(before, now)
        change = _change(before, now)
        renamed = before is not None and now is not None and before.hostname != now.hostname
        if change is None and (ports or services or vulnerabilities or renamed):
            change = "changed"
        self.counts["hosts"].add(change)
        if change is None:
            return
        if len(self.changes) >= MAX_CHANGES:
            self.left_out += 1
            return
        self.changes.append(
            HostChange(change, present.ip, present.hostname, ports, services, vulnerabilities)
        )

    def _ports(
        self, before: HostEntry | None, now: HostEntry | None
    ) -> tuple[list[PortChange], list[ServiceChange]]:
        old, new = _open_ports(before), _open_ports(now)
        ports: list[PortChange] = []
        services: list[ServiceChange] = []
        for key in sorted({*old, *new}, key=lambda each: (each[0], each[1] or "")):
            was, found = old.get(key), new.get(key)
            change = _change(was, found)
            self.counts["ports"].add(change)
            either = found or was
            assert either is not None
            if change is not None:
                ports.append(PortChange(change, *key, either.service, either.version))
            pair_before, pair_now = _service(was), _service(found)
            if pair_before is None and pair_now is None:
                continue
            service = _change(pair_before, pair_now)
            if service is None and pair_before != pair_now:
                service = "changed"
            self.counts["services"].add(service)
            if service is not None and change is None:
                services.append(ServiceChange(service, *key, pair_before, pair_now))
        return ports, services

    def _vulnerabilities(self, before: HostEntry | None, now: HostEntry | None) -> list[VulnerabilityChange]:
        old, new = _found(before), _found(now)
        changes: list[VulnerabilityChange] = []
        for key in {**new, **old}:
            was, found = old.get(key), new.get(key)
            change = _change(was, found)
            if change is None and was != found:
                change = "changed"
            self.counts["vulnerabilities"].add(change)
            if change is not None:
                changes.append(
                    VulnerabilityChange(
                        change, found or was or "", *key, (was or "") if change == "changed" else ""
                    )
                )
        return changes


def _change(before: object, now: object) -> Change | None:
    if before is None:
        return "new"
    return "gone" if now is None else None


def _open_ports(host: HostEntry | None) -> dict[tuple[int, str | None], PortEntry]:
    """Return the open ports; one of which only the service was told has answered, and counts as open."""
    if host is None:
        return {}
    return {(each.port, each.protocol): each for each in host.ports if each.state in ("Open", None)}


def _service(port: PortEntry | None) -> tuple[str, str] | None:
    return (port.service, port.version) if port is not None and port.service else None


def _found(host: HostEntry | None) -> dict[tuple[str, str], str]:
    if host is None:
        return {}
    return {(each.title, each.cve): each.severity for each in host.vulnerabilities}
