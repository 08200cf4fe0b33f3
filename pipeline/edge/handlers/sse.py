"""Server-sent events at `/sse/scans/ID` and `/sse/stats`: what the WebSockets give downstream. Shell.

For whom a WebSocket is out of reach. `id` is a position; a browser that comes back sends it as
`Last-Event-ID` and goes on from there.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from tornado.iostream import StreamClosedError

from pipeline.edge.accounts import Holder
from pipeline.edge.close_codes import UNAUTHORISED, CloseCode
from pipeline.edge.gate import Gate
from pipeline.edge.handlers.asked import asked_filter, asked_since
from pipeline.edge.handlers.guarded import Guarded
from pipeline.edge.reader import Reader
from pipeline.edge.service import Service
from pipeline.edge.session import Session
from pipeline.edge.since import read_since
from pipeline.edge.sse_event import HEARTBEAT, chunk
from pipeline.edge.told import Figures
from pipeline.edge.transmit import Transmitter
from pipeline.edge.transmit_stream import StreamTransmitter, http_stream
from pipeline.edge.variant import Variant
from pipeline.edge.watcher import StatsWatcher, Watcher, closing
from pipeline.errors import TokenProblem, TokenRejected
from pipeline.event import is_scan_id
from pipeline.tickets import stream_of
from pipeline.tokens import Identity
from pipeline.wire import channel_name

RETRY_AFTER_S = 5


class EventStream(Guarded):
    """One reader's stream."""

    waits = True

    def initialize(self, service: Service) -> None:
        super().initialize(service)
        self._opened_at = time.monotonic()
        self._over = asyncio.Event()
        self._holder: Holder | None = None
        self._ended: CloseCode | None = None
        self._transmitter: Transmitter | None = None
        self._reader: Reader | None = None
        self._variant = Variant("sse", chunked=self.request.version == "HTTP/1.1")
        self.connection_id = secrets.token_hex(8)
        self._facts = service.log.bind(connection=self.connection_id, wire="sse")

    def address_waits(self) -> float:
        return self.service.visitors.knock(self.request.remote_ip or "", time.monotonic())

    def user_waits(self) -> float:
        return 0.0  # it is counted when it is given its seat

    def identify(self) -> Identity:
        ticket = self.get_query_argument("ticket", None)
        if ticket is None:
            return super().identify()
        stream = stream_of(self.path_args[0] if self.path_args else None)
        try:
            identity = self.service.tickets.redeem(ticket, stream)
        except OSError as error:
            self._facts.error("no tickets", problem=error.strerror or str(error))
            raise TokenRejected(TokenProblem.MISSING, "the run directory cannot be written") from None
        if not self.service.accounts.still_holds(identity):
            raise TokenRejected(TokenProblem.REVOKED, "the ticket's token is over, or revoked")
        return identity

    async def _give(self, read: Callable[[Transmitter], Reader]) -> None:
        """Stream what a reader gives, to its end.

        Args:
            read: returns who gives the browser what it asks for.
        """
        code, reason = self.service.admit(self, self.request.remote_ip or ""), ""
        try:
            if code is None and self.service.accounts.on:
                code, reason = self.service.seat(self, self.identity), "user"
            if code is not None:
                self._refuse(reason or str(code.code), code)
                return
            await self._stream(read)
            await self.finish()
        except StreamClosedError:
            pass  # it left
        finally:
            self.service.release(self)

    def _refuse(self, reason: str, code: CloseCode) -> None:
        self.service.refuse(
            reason, code.reason, path=self.request.path, connection=self.connection_id, wire="sse"
        )
        self.set_header("Retry-After", str(RETRY_AFTER_S))
        self.answer({"error": code.reason}, 503)

    async def _stream(self, read: Callable[[Transmitter], Reader]) -> None:
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")  # nginx would hold events back
        if not self._variant.chunked:
            self.set_header("Connection", "close")
        await self.flush()
        self.service.counters["connections{wire=sse}"] += 1
        limits = self.service.config.limits
        stream = http_stream(self)
        self.service.streams.add(stream)
        self._transmitter = StreamTransmitter(stream, limits.kernel_buffer_bytes)
        self._transmitter.on_error = self._fail
        self._reader = read(self._transmitter)
        try:
            await self._over.wait()
        finally:
            self._reader.leave(self._ended.code if self._ended is not None else 1006)

    def beat(self, now: float) -> None:
        """Send a comment; close the stream when the reader takes nothing, or has waited too long."""
        if self._reader is None or self._transmitter is None:
            return
        if self.holder is not None and not self.service.accounts.still_holds(self.holder.identity):
            self.end(UNAUTHORISED)
            return
        overdue = self._reader.overdue(now)
        if overdue is not None:
            self.end(overdue)
        elif self._transmitter.idle:
            self._transmitter.write(chunk(HEARTBEAT) if self._variant.chunked else HEARTBEAT, 0)

    @property
    def holder(self) -> Holder | None:
        """Whose it is; None where there are no accounts."""
        if self._holder is None and self.service.accounts.on:
            self._holder = Holder(self.identity)
        return self._holder

    def told(self, now: float) -> Sequence[Figures]:
        """Return what it has cost and been given; nothing before it is open."""
        return self._reader.told(now) if self._reader is not None else ()

    def end(self, code: CloseCode) -> None:
        """End the stream, telling the reader what to do next."""
        if self._ended is None:
            self._ended = code
            if self._reader is not None:
                self._reader.stop()
            if self._transmitter is not None and self._transmitter.idle:
                self._transmitter.write(self._variant.message(closing(code)))
            self._over.set()

    def drop(self) -> None:
        """End the stream now."""
        self._over.set()

    def on_connection_close(self) -> None:
        self._over.set()

    def _fail(self, error: BaseException) -> None:
        self._facts.error("connection failed", problem=repr(error))
        self._over.set()


class ScanEvents(EventStream):
    """One scan."""

    async def get(self, scan_id: str) -> None:
        if not is_scan_id(scan_id):
            self.answer({"error": "no such scan"}, 404)
            return
        try:
            # What the browser says it has seen beats the address.
            seen = self.request.headers.get("Last-Event-ID")
            since = read_since(seen) if seen else asked_since(self)
            variant = replace(self._variant, wanted=asked_filter(self))
        except ValueError as error:
            self.answer({"error": str(error)}, 400)
            return
        session = Session(
            channel_name("scan", scan_id),
            variant,
            self.connection_id,
            since,
            self.service.greeting,
            Gate() if self.holder is not None else None,
        )
        self._facts = self._facts.bind(channel=session.channel)
        await self._give(
            lambda transmitter: Watcher(
                self.service,
                self._facts,
                session,
                transmitter,
                self.request.remote_ip or "",
                self.end,
                self._fail,
                self._opened_at,
                self.holder,
            )
        )


class StatsEvents(EventStream):
    """The statistics of all scans."""

    async def get(self) -> None:
        await self._give(
            lambda transmitter: StatsWatcher(
                self.service, self._facts, transmitter, self._variant, self._opened_at, self.holder
            )
        )
