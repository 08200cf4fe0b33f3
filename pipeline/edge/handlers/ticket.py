"""`POST /api/tickets`: a ticket for one stream of server-sent events, for whoever brings a token. Shell."""

from __future__ import annotations

import msgspec

from pipeline.edge.handlers.guarded import Guarded
from pipeline.event import is_scan_id
from pipeline.tickets import stream_of

MAX_BODY_BYTES = 4_096


class TicketRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For which stream: that of a scan, or that of the statistics."""

    scan_id: str | None = None
    stats: bool = False


class Tickets(Guarded):
    """One ticket a request. Whether the scan may be seen is found out when it is asked for."""

    async def post(self) -> None:
        if not self.service.accounts.on:
            self.answer({"error": "this edge has no accounts: no ticket is needed"}, 404)
            return
        try:
            stream = _stream(self.request.body)
        except ValueError as error:
            self.answer({"error": str(error)}, 400)
            return
        lasts_s = self.service.config.accounts.ticket_s
        try:
            ticket = self.service.tickets.issue(stream, lasts_s, self.identity)
        except OSError as error:
            self.service.log.error("no tickets", problem=error.strerror or str(error))
            self.answer({"error": "the run directory cannot be written"}, 503)
            return
        self.answer({"ticket": ticket, "expires_in_s": lasts_s})


def _stream(body: bytes) -> str:
    if len(body) > MAX_BODY_BYTES:
        raise ValueError(f"{len(body)} bytes; at most {MAX_BODY_BYTES} are read")
    try:
        asked = msgspec.json.decode(body, type=TicketRequest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not understood: {error}") from None
    if asked.stats == (asked.scan_id is not None):
        raise ValueError("scan_id or stats is needed, and not both")
    if asked.scan_id is not None and not is_scan_id(asked.scan_id):
        raise ValueError(f"{asked.scan_id[:40]!r} is no scan id")
    return stream_of(asked.scan_id)
