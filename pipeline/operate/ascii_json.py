"""What commands print as JSON, in printable ASCII: a terminal may be at the other end. Pure."""

from __future__ import annotations

import json

import msgspec


def as_ascii(document: object) -> str:
    """Return a document as JSON, on one line, that drives no terminal whatever a scan has said."""
    return json.dumps(msgspec.to_builtins(document), separators=(",", ":"))
