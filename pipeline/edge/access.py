"""Who may reach the edge at all: no accounts, so this machine's own pages and programs only. Pure.

A web page elsewhere must not reach a local edge: neither by its own requests (checked by `Origin`) nor by
a name of its own that resolves to 127.0.0.1 (DNS rebinding, checked by `Host`).

================================== ===================================================================
the request                        is
================================== ===================================================================
`Host` is no loopback name         refused, 403
carries a forwarded header         refused, 403: somebody proxies an edge that has no accounts
`Origin` there, not equal `Host`   refused: 403, or close 4403 on a WebSocket
everything else                    served
================================== ===================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from pipeline.edge.config import is_loopback

_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:]+))(?::[0-9]{1,5})?")

FORWARDED_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip")


def refused_host(headers: Mapping[str, str]) -> str | None:
    """Return why a request is refused for where it claims to come in, or None.

    Args:
        headers: the request's headers; names without regard to case.
    """
    host = headers.get("Host", "")
    if not is_loopback(_host_name(host)):
        return f"Host {host[:80]!r} is not a loopback name"
    for name in FORWARDED_HEADERS:
        if name in headers:
            return f"a forwarded request ({name}): this edge has no accounts and serves this machine only"
    return None


def refused_origin(headers: Mapping[str, str]) -> str | None:
    """Return why a request is refused for the page it comes from, or None.

    A request without `Origin` comes from no page: a program of this machine.
    """
    origin = headers.get("Origin")
    if origin is None:
        return None
    try:
        parts = urlsplit(origin)
    except ValueError:  # brackets without an address, characters that look like others
        parts = urlsplit("")
    if parts.scheme in {"http", "https"} and parts.netloc.lower() == headers.get("Host", "").lower():
        return None
    return f"Origin {origin[:80]!r} is not this edge"


def _host_name(host: str) -> str:
    """Return the name or address of a `Host` header without its port; empty if it is none."""
    match = _HOST.fullmatch(host)
    return (match["address"] or match["name"]) if match else ""
