"""A hook's address: whether it can be used, and how it is shown. Pure.

Addresses often hold what lets one in: a user, a password, a key behind `?` or in the path. What is shown of
one is therefore its scheme, host and port.
"""

from __future__ import annotations

from urllib.parse import urlsplit


def target_problem(url: str) -> str | None:
    """Return what is wrong with an address, without showing it; None when nothing is."""
    if not url.isascii() or not url.isprintable() or " " in url:
        return "must be printable ASCII without spaces"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "is no address"
    try:
        port = parts.port
    except ValueError:
        return "its port is none"
    if parts.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    if not parts.hostname:
        return "names no host"
    if port == 0:
        return "port 0 cannot be connected to"
    if parts.fragment:
        return "must have no #fragment"
    return None


def shown_target(url: str) -> str:
    """Return of a usable address what may be shown: scheme, host and port."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port is not None else "")
