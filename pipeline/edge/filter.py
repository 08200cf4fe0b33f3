"""Which events a reader wants: parsed from an address or a message, canonical, and matched. Pure.

Asked by `hub`, once a frame and distinct filter: readers whose filters mean the same share what is composed,
so a filter is hashable, and equal however it was written. Knows no session and no wire.

============== ======================================== ==================================================
part           an event is left out when                an event is not judged by it when
============== ======================================== ==================================================
`types`        its type is not one of them              -
`level`        its type is not of that level            -
`min_severity` its `severity` is below                  it has none, or none that the catalogue knows
`cidr`         its `ip` is in none of the networks      it has none, or one that is no address
============== ======================================== ==================================================

An event must pass every part given. A critical event and `lost` always pass: what must not be skipped is
not skipped on a reader's wish either, and what is missing is told to all.

========= ================================================================================================
level     passes
========= ================================================================================================
`summary` progress (`scanProgress`, `reportPhase`) and `vulnerabilityFound`
`hosts`   the same, and `hostDiscovered`
`all`     everything
========= ================================================================================================
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

import msgspec

from pipeline.event import SEVERITIES, Catalogue

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_TYPES = 64
MAX_TYPE_CHARACTERS = 128
MAX_NETWORKS = 64
MAX_NETWORK_CHARACTERS = 64

_SHOWN = 40
"""How much of a bad value an error repeats."""

_SUMMARY = frozenset({"scanProgress", "reportPhase", "vulnerabilityFound"})
LEVELS: dict[str, frozenset[str] | None] = {
    "summary": _SUMMARY,
    "hosts": _SUMMARY | {"hostDiscovered"},
    "all": None,
}
"""Level -> the types that pass; None for all."""

DEFAULT_CRITICAL = Catalogue().critical
_ALWAYS = frozenset({"lost"})

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
"""IPv4 addresses as IPv6 writes them; here they are IPv4, in events as in filters."""

_RANKS: dict[str, int] = {name: rank for rank, name in enumerate(SEVERITIES)}
_RANKS_BY_ANY_CASE = {name.lower(): rank for name, rank in _RANKS.items()}


class Gist(msgspec.Struct, frozen=True):
    """What a filter looks at of an event."""

    type: str
    severity: str | None = None
    ip: str | None = None


class _LooseGist(msgspec.Struct, frozen=True):
    """The same of an event the catalogue does not know, whose fields may be anything."""

    type: str
    severity: msgspec.Raw = msgspec.Raw(b"null")
    ip: msgspec.Raw = msgspec.Raw(b"null")


_decode_gists = msgspec.json.Decoder(list[Gist]).decode
_decode_loose = msgspec.json.Decoder(list[_LooseGist]).decode
_decode_text = msgspec.json.Decoder(str).decode


def read_gists(body: bytes) -> list[Gist]:
    """Decode, of an array of events that ingest has checked, what filters look at."""
    try:
        return _decode_gists(body)
    except msgspec.ValidationError:
        return [Gist(each.type, _text(each.severity), _text(each.ip)) for each in _decode_loose(body)]


def _text(raw: msgspec.Raw) -> str | None:
    try:
        return _decode_text(raw)
    except msgspec.DecodeError:
        return None


@lru_cache(maxsize=16_384)
def _address(text: str) -> Address | None:
    """Return the address an `ip` names; None if it is none. Hosts come again in a scan's events."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@dataclass(frozen=True, slots=True)
class Filter:
    """What a reader wants: from `read_filter`; then `over`, which makes equal what means the same.

    Attributes:
        types: types that pass beside those of `always`; None for all.
        max_rank: the place in `SEVERITIES` of the least severe that passes; None for all.
        networks: collapsed and in order; empty for everywhere.
        always: types that pass whatever else is asked.
    """

    types: frozenset[str] | None = None
    max_rank: int | None = None
    networks: tuple[Network, ...] = ()
    always: frozenset[str] = DEFAULT_CRITICAL | _ALWAYS

    def over(self, critical: Iterable[str]) -> Filter:
        """Return the same wish where these types are the critical ones, in its canonical form."""
        always = _ALWAYS.union(critical)
        types = None if self.types is None else self.types - always
        return replace(self, types=types, always=always)

    def keeps(self, gist: Gist) -> bool:
        """Say whether an event passes."""
        if gist.type in self.always:
            return True
        if self.types is not None and gist.type not in self.types:
            return False
        if self.max_rank is not None and gist.severity is not None:
            rank = _RANKS.get(gist.severity)
            if rank is not None and rank > self.max_rank:
                return False
        if self.networks and gist.ip is not None:
            address = _address(gist.ip)
            if address is not None and not any(address in network for network in self.networks):
                return False
        return True

    def told(self) -> dict[str, object]:
        """Return it as a `filter` message tells it; a part that is not there lets everything pass."""
        parts: dict[str, object] = {}
        if self.types is not None:
            parts["types"] = sorted(self.types)
        if self.max_rank is not None:
            parts["min_severity"] = SEVERITIES[self.max_rank]
        if self.networks:
            parts["cidr"] = [str(network) for network in self.networks]
        return parts


def read_filter(
    types: Sequence[str] = (),
    min_severity: str | None = None,
    cidr: Sequence[str] = (),
    level: str | None = None,
) -> Filter | None:
    """Read what a reader asks for, from the parts of an address or a message.

    Args:
        types: each a type, or several joined by commas.
        min_severity: one of `SEVERITIES`, in any case.
        cidr: each a network or an address, or several joined by commas. Host bits are taken off.
        level: one of `LEVELS`, in any case.

    Returns:
        The filter; None when everything passes.

    Raises:
        ValueError: with the part, the value and what is allowed.
    """
    wanted = _read_types(types)
    if level is not None:
        if level.lower() not in LEVELS:
            raise ValueError(f"level={level[:_SHOWN]!r}: one of {', '.join(LEVELS)} is needed")
        of_level = LEVELS[level.lower()]
        if of_level is not None:
            wanted = of_level if wanted is None else wanted & of_level
    max_rank = None
    if min_severity is not None:
        max_rank = _RANKS_BY_ANY_CASE.get(min_severity.lower())
        if max_rank is None:
            raise ValueError(
                f"min_severity={min_severity[:_SHOWN]!r}: one of {', '.join(SEVERITIES)} is needed"
            )
        if max_rank == len(SEVERITIES) - 1:
            max_rank = None  # the least of all: nothing is below
    networks = _read_networks(cidr)
    if wanted is None and max_rank is None and not networks:
        return None
    return Filter(wanted, max_rank, networks)


def _parts(name: str, given: Sequence[str], most: int, longest: int) -> list[str]:
    """Split values at commas; each part is there, and neither they nor their lengths pass the bounds."""
    parts = [part.strip() for value in given for part in value.split(",")]
    if len(parts) > most:
        raise ValueError(f"{name}: {len(parts)} are given, at most {most} are allowed")
    for part in parts:
        if not part:
            raise ValueError(f"{name}={','.join(given)[:_SHOWN]!r}: one of them is empty")
        if len(part) > longest:
            raise ValueError(
                f"{name}={part[:_SHOWN]!r}…: {len(part)} characters, at most {longest} are allowed"
            )
    return parts


def _read_types(given: Sequence[str]) -> frozenset[str] | None:
    return frozenset(_parts("types", given, MAX_TYPES, MAX_TYPE_CHARACTERS)) if given else None


def _read_networks(given: Sequence[str]) -> tuple[Network, ...]:
    four: list[ipaddress.IPv4Network] = []
    six: list[ipaddress.IPv6Network] = []
    for part in _parts("cidr", given, MAX_NETWORKS, MAX_NETWORK_CHARACTERS):
        try:
            network = ipaddress.ip_network(part, strict=False)
        except ValueError:
            raise ValueError(
                f"cidr={part!r}: an address or a network is needed, as 10.0.0.5 or 10.0.0.0/8"
            ) from None
        if isinstance(network, ipaddress.IPv4Network):
            four.append(network)
        elif network.subnet_of(_MAPPED):
            mapped = int(network.network_address) & 0xFFFF_FFFF
            four.append(ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED.prefixlen)))
        else:
            six.append(network)
    return (*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six))
