"""Why the edge closes a connection: one table, for code, clients and docs/PROTOCOL.md. Pure.

A browser cannot read the HTTP status of a failed upgrade. So every connection but a flood's is accepted,
and closed with its code.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CloseCode:
    """One way a connection ends.

    Attributes:
        code: RFC 6455 close code; 4000 to 4999 are the application's own.
        reason: what the close frame says.
        reconnect: whether the client may try again.
    """

    code: int
    reason: str
    reconnect: bool


SCAN_COMPLETED = CloseCode(1000, "Scan completed", reconnect=False)
REPORT_COMPLETED = CloseCode(1000, "Report completed", reconnect=False)
SHUTDOWN = CloseCode(1001, "shutdown", reconnect=True)
TOO_SLOW = CloseCode(4008, "too slow", reconnect=True)
NO_PONG = CloseCode(4009, "no pong", reconnect=True)
LIMIT = CloseCode(4029, "too many connections", reconnect=True)
BAD_REQUEST = CloseCode(4400, "bad request", reconnect=False)
FORBIDDEN = CloseCode(4403, "origin not allowed", reconnect=False)
NOT_FOUND = CloseCode(4404, "no such scan", reconnect=False)
UNSUPPORTED_PROTOCOL = CloseCode(4406, "unsupported protocol", reconnect=False)

CLOSE_CODES = (
    SCAN_COMPLETED,
    REPORT_COMPLETED,
    SHUTDOWN,
    TOO_SLOW,
    NO_PONG,
    LIMIT,
    BAD_REQUEST,
    FORBIDDEN,
    NOT_FOUND,
    UNSUPPORTED_PROTOCOL,
)
