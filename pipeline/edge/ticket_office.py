"""Where an edge's tickets are issued and taken in: each once, by whichever edge of a run directory. Shell.

`tickets` says what a ticket is. The edges share a key, a file of the run directory; a ticket that was used
leaves an empty file until it would be over, and making that file is what only one edge can do.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from pipeline.errors import TokenProblem, TokenRejected
from pipeline.runtime import wall_ms
from pipeline.tickets import KEY_BYTES, issue, read_ticket
from pipeline.tokens import Identity

KEY_NAME = "tickets.key"
USED_NAME = "tickets"
MAX_USED = 10_000
"""Used tickets that are not over yet; past them no ticket is taken."""
_SWEEP_S = 1.0


class TicketOffice:
    """Args:
    directory: the run directory, nobody else's.
    """

    def __init__(self, directory: Path) -> None:
        self._key_path = directory / KEY_NAME
        self._used = directory / USED_NAME
        self._key = b""
        self._held = 0
        self._swept_at = 0.0

    def issue(self, stream: str, lasts_s: float, identity: Identity) -> str:
        """Return a ticket.

        Args:
            stream: what it is for.
            lasts_s: how long it can be used.
            identity: whose it is.

        Raises:
            OSError: the run directory cannot be written.
        """
        ends_at = wall_ms() / 1000 + lasts_s
        return issue(self._shared_key(), secrets.token_hex(16), stream, ends_at, identity)

    def redeem(self, text: str, stream: str) -> Identity:
        """Return whose a ticket is; nobody can use it again.

        Raises:
            TokenRejected: it is not accepted.
            OSError: the run directory cannot be written.
        """
        now_s = wall_ms() / 1000
        ticket = read_ticket(self._shared_key(), text, stream, now_s)
        self._used.mkdir(mode=0o700, exist_ok=True)
        self._sweep(now_s)
        if self._held >= MAX_USED:
            raise TokenRejected(TokenProblem.REVOKED, "too many tickets are in use")
        # The end comes first in the name, so that a sweep needs to open none.
        path = self._used / f"{int(ticket.ends_at) + 1}-{ticket.ticket_id}"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            raise TokenRejected(TokenProblem.REVOKED, "the ticket was used before") from None
        self._held += 1
        return ticket.identity

    def _sweep(self, now_s: float) -> None:
        """Remove what is over; count the rest."""
        if 0 <= now_s - self._swept_at < _SWEEP_S:
            return
        self._swept_at = now_s
        self._held = 0
        with os.scandir(self._used) as entries:
            for entry in entries:
                ends, _, _ = entry.name.partition("-")
                if ends.isdigit() and int(ends) < now_s:
                    with contextlib.suppress(FileNotFoundError):  # another edge was quicker
                        Path(entry.path).unlink()
                else:
                    self._held += 1

    def _shared_key(self) -> bytes:
        """Return the key; the first edge that needs it makes it."""
        if not self._key:
            with contextlib.suppress(FileExistsError):
                self._make_key()
            self._key = self._key_path.read_bytes()
            if len(self._key) != KEY_BYTES:
                raise OSError(f"{self._key_path}: {len(self._key)} bytes; {KEY_BYTES} are needed")
        return self._key

    def _make_key(self) -> None:
        """Put a new key in its place, whole, and only where there is none."""
        if self._key_path.exists():
            return
        fresh = self._key_path.with_name(f"{KEY_NAME}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
            os.link(fresh, self._key_path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
