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
PROTOCOL_ERROR = CloseCode(1002, "protocol error", reconnect=False)
NOT_TEXT = CloseCode(1003, "text messages only", reconnect=False)
NOT_UTF8 = CloseCode(1007, "invalid payload", reconnect=False)
TOO_LARGE = CloseCode(1009, "message too large", reconnect=False)
DRAINING = CloseCode(4000, "draining", reconnect=True)
TOO_SLOW = CloseCode(4008, "too slow", reconnect=True)
NO_PONG = CloseCode(4009, "no pong", reconnect=True)
LIMIT = CloseCode(4029, "too many connections", reconnect=True)
TOO_MANY_MESSAGES = CloseCode(4029, "too many messages", reconnect=True)
BAD_REQUEST = CloseCode(4400, "bad request", reconnect=False)
UNAUTHORISED = CloseCode(4401, "token missing, bad or expired", reconnect=False)
FORBIDDEN = CloseCode(4403, "origin not allowed", reconnect=False)
NOT_FOUND = CloseCode(4404, "no such scan", reconnect=False)
UNSUPPORTED_PROTOCOL = CloseCode(4406, "unsupported protocol", reconnect=False)

CLOSE_CODES = (
    SCAN_COMPLETED,
    REPORT_COMPLETED,
    SHUTDOWN,
    PROTOCOL_ERROR,
    NOT_TEXT,
    NOT_UTF8,
    TOO_LARGE,
    DRAINING,
    TOO_SLOW,
    NO_PONG,
    LIMIT,
    TOO_MANY_MESSAGES,
    BAD_REQUEST,
    UNAUTHORISED,
    FORBIDDEN,
    NOT_FOUND,
    UNSUPPORTED_PROTOCOL,
)
