"""Who may reach the edge at all: no accounts, so this machine's own pages and programs, and who a proxy lets
through. Pure.

A web page elsewhere must not reach a local edge: neither by its own requests (checked by `Origin`) nor by
a name of its own that resolves to 127.0.0.1 (DNS rebinding, checked by `Host`). A proxy is believed only if
its address is listed, and only for names that are listed: so nobody makes an edge public by accident.

===================================================== ================================================
the request                                           is
===================================================== ================================================
has a forwarded header, not from `trusted_proxies`    refused, 403
says by two ways where it comes from                  refused, 403: one of them the proxy did not write
names the proxy's client by no address                refused, 403
is forwarded, and its host is not in `hosts`          refused, 403
is not forwarded, and its `Host` is neither a         refused, 403
loopback name nor in `hosts`
has an `Origin` that is neither the scheme and host   refused: 403, or close 4403 on a WebSocket
it asks for nor in `origins`
is anything else                                      served
===================================================== ================================================

The host of a forwarded request is `X-Forwarded-Host`, else `Host`; its scheme `X-Forwarded-Proto`, or
`proto` of `Forwarded`; its address the last one that is no trusted proxy itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from pipeline.edge.sections import HttpSection, networks
from pipeline.sections import is_loopback

_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:]+))(?::[0-9]{1,5})?")
_PAIR = re.compile(r'\s*([A-Za-z]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*(;|,|$)')
_MAX_HOPS = 32

NO_HOST = "no Host header: no browser, perhaps a probe"
"""Why a request is refused that does not say what it asks for."""

FORWARDED_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip")


@dataclass(frozen=True, slots=True)
class Visit:
    """One request, taken for what it is.

    Attributes:
        address: where it comes from, as far as can be trusted.
        scheme: `http` or `https`, as the browser sees it.
        refused: why it is refused for where it claims to come in; None if it is not.
        foreign: why it is refused for the page it comes from; None if it is not.
        guest: the origin in `origins` whose page it comes from; None for any other.
    """

    address: str
    scheme: str
    refused: str | None
    foreign: str | None
    guest: str | None = None


class Access:
    """Args:
    http: which names, proxies and pages of other origins are trusted.
    """

    def __init__(self, http: HttpSection) -> None:
        self._proxies = networks(http.trusted_proxies)
        self._hosts = {name.lower() for name in http.hosts}
        self._guests = frozenset(http.origins)

    def judge(self, headers: Mapping[str, str], peer: str, scheme: str) -> Visit:
        """Return what a request is.

        Args:
            headers: the request's headers; names without regard to case.
            peer: the address at the other end of the connection.
            scheme: `https` if the connection is encrypted, else `http`.
        """
        host = headers.get("Host", "")
        sent = [name for name in FORWARDED_HEADERS if name in headers]
        if sent:
            if not self._is_proxy(peer):
                return Visit(peer, scheme, _not_trusted(sent[0], peer), None)
            hops, said = _hops(headers)
            if isinstance(hops, str):
                return Visit(peer, scheme, hops, None)
            peer = next((hop for hop in reversed(hops) if not self._is_proxy(hop)), hops[0])
            scheme = said if said in {"http", "https"} else scheme
            host = headers.get("X-Forwarded-Host", host)
            if _host_name(host).lower() not in self._hosts:
                return Visit(peer, scheme, f"a forwarded request for {host[:80]!r}, not in http.hosts", None)
        elif not host:
            return Visit(peer, scheme, NO_HOST, None)
        elif not is_loopback(_host_name(host)) and _host_name(host).lower() not in self._hosts:
            return Visit(peer, scheme, f"Host {host[:80]!r} is not a loopback name", None)
        origin = headers.get("Origin")
        if origin in self._guests:
            return Visit(peer, scheme, None, None, origin)
        return Visit(peer, scheme, None, _foreign(origin, scheme, host))

    def _is_proxy(self, address: str) -> bool:
        found = _address(address)
        return found is not None and any(
            found.version == network.version and found in network for network in self._proxies
        )


def _not_trusted(header: str, peer: str) -> str:
    return (
        f"a forwarded request ({header}) from {peer}, not in http.trusted_proxies: this edge has no accounts "
        f"and serves this machine only"
    )


def _hops(headers: Mapping[str, str]) -> tuple[list[str] | str, str]:
    """Return (addresses a request came by, nearest last; or what is wrong with them, the scheme told)."""
    one, many = headers.get("Forwarded"), headers.get("X-Forwarded-For")
    said = headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
    if one is not None and (many is not None or said):
        return "Forwarded and X-Forwarded-… at once: the proxy must remove what it does not write", ""
    if one is not None:
        pairs = _forwarded(one)
        names = [value for name, value in pairs if name == "for"]
        said = next((value.lower() for name, value in reversed(pairs) if name == "proto"), "")
    else:
        names = (many or "").split(",")
    hops = [_host_name(name.strip()) or name.strip() for name in names]
    if not hops or len(hops) > _MAX_HOPS or any(_address(hop) is None for hop in hops):
        return "a forwarded request that does not tell its client's address", ""
    return hops, said


def _forwarded(text: str) -> list[tuple[str, str]]:
    """Return the pairs of a `Forwarded` header (RFC 7239), in order; none if it is malformed."""
    pairs, at = [], 0
    while at < len(text):
        match = _PAIR.match(text, at)
        if match is None:
            return []
        value = match[2]
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        pairs.append((match[1].lower(), value))
        at = match.end()
    return pairs


def _foreign(origin: str | None, scheme: str, host: str) -> str | None:
    """Return why a page is not the edge's own; a request without `Origin` comes from no page."""
    if origin is None:
        return None
    try:
        parts = urlsplit(origin)
    except ValueError:  # brackets without an address, characters that look like others
        parts = urlsplit("")
    if parts.scheme == scheme and parts.netloc.lower() == host.lower():
        return None
    return f"Origin {origin[:80]!r} is neither this edge, {scheme}://{host[:80]}, nor in http.origins"


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _host_name(host: str) -> str:
    """Return the name or address of a `Host` header without its port; empty if it is none."""
    match = _HOST.fullmatch(host)
    return (match["address"] or match["name"]) if match else ""
