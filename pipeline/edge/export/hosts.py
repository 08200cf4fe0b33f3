"""Hosts as a worker tells them, read for a file or for a comparison; and hostile text made plain. Pure."""

from __future__ import annotations

import re

import msgspec

# Control characters, and the marks that reverse or hide text: a banner could pretend to be another one.
_DECEPTIVE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+"
)


class PortEntry(msgspec.Struct, frozen=True, array_like=True):
    """A port of a host; `protocol` and `state` are None where only its service was told."""

    port: int
    protocol: str | None = None
    state: str | None = None
    service: str = ""
    version: str = ""


class VulnerabilityEntry(msgspec.Struct, frozen=True, array_like=True):
    """A vulnerability of a host."""

    severity: str
    title: str
    cve: str = ""


class HostEntry(msgspec.Struct, frozen=True):
    """A host; the counts are exact, the lists bounded (1,000 each, the worst vulnerabilities first)."""

    ip: str
    hostname: str | None = None
    open_ports: int = 0
    port_count: int = 0
    ports: list[PortEntry] = []
    vulnerability_count: int = 0
    vulnerabilities: list[VulnerabilityEntry] = []


read_hosts = msgspec.json.Decoder(list[HostEntry]).decode
read_host = msgspec.json.Decoder(HostEntry).decode


def plain(text: str | None) -> str:
    """Return foreign text with "·" in place of what would drive a terminal or deceive a reader."""
    return _DECEPTIVE.sub("·", text).strip() if text else ""
