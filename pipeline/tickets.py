"""Tickets: what stands for a token where only an address can be given, for one stream and a moment. Pure.

An `EventSource` cannot bring a token but in its address, and addresses end up in logs. So its page asks for a
ticket with its token, and puts that there. A ticket is signed, names its stream and its holder, ends after
`MAX_TICKET_S` at most, and is worth nothing once used; `edge.ticket_office` sees to the last.

====================================== =============
a ticket                                is refused as
====================================== =============
is longer than `MAX_TICKET_CHARS`, or   `malformed`
no ticket
was signed with another key             `signature`
is for another stream                   `audience`
is over                                 `expired`
was used before                         `revoked`
====================================== =============
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec

from pipeline.errors import TokenProblem, TokenRejected
from pipeline.tokens import Identity

MAX_TICKET_S = 30.0
MAX_TICKET_CHARS = 40_000
"""Room for an identity with all its patterns; more than an HTTP header line holds is refused before."""
KEY_BYTES = 32


class Ticket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Attributes:
    ticket_id: 32 hexadecimal digits; no two are the same.
    stream: what it is for, as `stream_of` names it.
    ends_at: epoch seconds.
    subject, admin, scans, expires_at, token_id: as in the `Identity` that asked for it.
    """

    ticket_id: str
    stream: str
    ends_at: float
    subject: str
    admin: bool
    scans: tuple[str, ...]
    expires_at: float
    token_id: str

    @property
    def identity(self) -> Identity:
        """Whose it is."""
        return Identity(self.subject, self.admin, self.scans, self.expires_at, self.token_id)


_decode = msgspec.json.Decoder(Ticket).decode


def stream_of(scan_id: str | None) -> str:
    """Return the name of a scan's stream; without a scan, that of the statistics."""
    return f"scan:{scan_id}" if scan_id is not None else "stats"


def issue(key: bytes, ticket_id: str, stream: str, ends_at: float, identity: Identity) -> str:
    """Return a signed ticket, as it stands in an address."""
    ticket = Ticket(
        ticket_id=ticket_id,
        stream=stream,
        ends_at=ends_at,
        subject=identity.subject,
        admin=identity.admin,
        scans=identity.scans,
        expires_at=identity.expires_at,
        token_id=identity.token_id,
    )
    said = _text(msgspec.json.encode(ticket))
    return f"{said}.{_signature(key, said)}"


def read_ticket(key: bytes, text: str, stream: str, now_s: float) -> Ticket:
    """Return what a ticket says.

    Args:
        key: what it must be signed with.
        text: as it came.
        stream: what is asked for with it.
        now_s: wall clock, epoch seconds.

    Raises:
        TokenRejected: it is not accepted.
    """
    said, _, signature = text.partition(".")
    if len(text) > MAX_TICKET_CHARS or not said or not text.isascii():
        raise TokenRejected(TokenProblem.MALFORMED, "no ticket")
    if not hmac.compare_digest(_signature(key, said), signature):
        raise TokenRejected(TokenProblem.SIGNATURE, "the ticket is not signed by this edge")
    try:
        ticket = _decode(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)))
    except (msgspec.DecodeError, ValueError):
        raise TokenRejected(TokenProblem.MALFORMED, "no ticket") from None
    if ticket.stream != stream:
        raise TokenRejected(TokenProblem.AUDIENCE, "the ticket is for another stream")
    if now_s >= min(ticket.ends_at, ticket.expires_at):
        raise TokenRejected(TokenProblem.EXPIRED, "the ticket is over")
    return ticket


def _signature(key: bytes, said: str) -> str:
    return _text(hmac.digest(key, said.encode(), hashlib.sha256))


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
