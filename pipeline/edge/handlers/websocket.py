"""The two WebSockets: ours at `/ws/scans/ID`, HeroForge's at `/api/ws/scans/ID` and `/api/ws/reports/ID`.

Shell: it opens, closes and moves bytes; what a browser gets next is `session`'s to say.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from datetime import datetime
from numbers import Integral

from tornado.web import HTTPError

from pipeline.edge.ack import read_ack
from pipeline.edge.close_codes import (
    BAD_REQUEST,
    FORBIDDEN,
    NO_PONG,
    TOO_SLOW,
    UNSUPPORTED_PROTOCOL,
    CloseCode,
)
from pipeline.edge.deflate import Deflate, agree
from pipeline.edge.handlers.guard import GuardedSocket
from pipeline.edge.service import Service
from pipeline.edge.session import Session
from pipeline.edge.since import Since, read_since
from pipeline.edge.told import summary
from pipeline.edge.transmit import Transmitter, websocket_stream
from pipeline.edge.variant import Variant, Wire
from pipeline.edge.watcher import Watcher, closing
from pipeline.edge.ws_frame import PING
from pipeline.event import is_scan_id
from pipeline.wire import (
    SUBPROTOCOL,
    BrowserPong,
    ConnectionSummary,
    channel_name,
    encode,
    is_browser_ping,
)


class ScanSocket(GuardedSocket):
    """One browser's connection."""

    def initialize(self, service: Service, wire: Wire, kind: str) -> None:
        self._service = service
        self._wire: Wire = wire
        self._variant = Variant(wire)
        self._extensions = ""
        self._kind = kind
        self.text_only = wire == "native"  # HeroForge's server takes anything, and so do we on its wire
        self._transmitter: Transmitter | None = None
        self._watcher: Watcher | None = None
        self._opened_at = self._heard_at = time.monotonic()
        self._ended: CloseCode | None = None
        self._protocols: list[str] = []
        self.connection_id = secrets.token_hex(8)
        self._facts = service.log.bind(connection=self.connection_id, wire=wire)

    # --- opening ----------------------------------------------------------------------------------

    def prepare(self) -> None:
        super().prepare()
        if not self._finished:
            self._agree_on_compression()

    def _agree_on_compression(self) -> None:
        """Take the browser's offer, if it can be met; Tornado is shown only what is agreed on."""
        offers = ",".join(self.request.headers.get_list("Sec-WebSocket-Extensions"))
        settings = self._service.config.compression
        agreement = agree(offers) if settings.enabled else None
        if agreement is None:
            self.request.headers.pop("Sec-WebSocket-Extensions", None)
            return
        self._extensions = agreement.answer
        # Tornado passes over parameters without a value, and takes an empty one for none.
        shown = agreement.answer.replace("context_takeover", "context_takeover=")
        self.request.headers["Sec-WebSocket-Extensions"] = shown
        self._variant = replace(
            self._variant, deflate=Deflate(agreement.window_bits, settings.level, settings.min_bytes)
        )

    def set_header(self, name: str, value: bytes | str | int | Integral | datetime) -> None:
        super().set_header(name, self._extensions if name == "Sec-WebSocket-Extensions" else value)

    def get_compression_options(self) -> dict[str, object] | None:
        return {} if self._variant.deflate is not None else None

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        self._protocols = subprotocols
        return SUBPROTOCOL if SUBPROTOCOL in subprotocols else None

    def open(self, channel_id: str) -> None:
        code = self._refused(channel_id) or self._service.admit(self, self.request.remote_ip or "")
        if code is not None:
            self._refuse(str(code.code), code.reason)
            self.close(code.code, code.reason)
            return
        limits = self._service.config.limits
        session = Session(
            channel_name(self._kind, channel_id),
            self._variant,
            self.connection_id,
            self._since(),
            self._service.greeting,
        )
        self._facts = self._facts.bind(channel=session.channel)
        self._service.counters[f"connections{{wire={self._wire}}}"] += 1
        self._facts.debug("connected")
        self._transmitter = Transmitter(websocket_stream(self), limits.kernel_buffer_bytes)
        self._watcher = Watcher(
            self._service,
            self._facts,
            session,
            self._transmitter,
            self.request.remote_ip or "",
            self.end,
            self._fail,
            self._opened_at,
        )

    def _refuse(self, reason: str, problem: str) -> None:
        self._service.refuse(
            reason, problem, path=self.request.path, connection=self.connection_id, wire=self._wire
        )

    def _refused(self, channel_id: str) -> CloseCode | None:
        if self._visit.foreign is not None:
            return FORBIDDEN
        if self._wire == "native" and self._protocols and SUBPROTOCOL not in self._protocols:
            return UNSUPPORTED_PROTOCOL
        if not is_scan_id(channel_id):
            return BAD_REQUEST
        try:
            self._since()
        except (ValueError, HTTPError):  # no position, or not even UTF-8
            return BAD_REQUEST
        return None

    def _since(self) -> Since:
        return read_since(self.get_query_argument("since", None)) if self._wire == "native" else None

    def _fail(self, error: BaseException) -> None:
        self._facts.error("connection failed", problem=repr(error))
        if self._watcher is not None:
            self._watcher.stop()
        self.close(1011, "internal error")

    # --- hearing ----------------------------------------------------------------------------------

    def on_message(self, message: str | bytes) -> None:
        self._heard_at = time.monotonic()
        self._service.counters["inbound_messages"] += 1
        seq = read_ack(message) if self._wire == "native" else None
        if seq is not None and self._watcher is not None:
            self._watcher.ack(seq)
        transmitter = self._transmitter
        # A browser that has messages waiting for it needs no further sign of life.
        if (
            self._wire == "native"
            and self._ended is None
            and transmitter is not None
            and transmitter.idle
            and is_browser_ping(message)
        ):
            transmitter.write(self._variant.message(encode(BrowserPong())))

    def on_ping(self, data: bytes) -> None:  # noqa: ARG002  # any frame is a sign of life
        self._heard_at = time.monotonic()

    def on_pong(self, data: bytes) -> None:  # noqa: ARG002  # any frame is a sign of life
        self._heard_at = time.monotonic()

    def beat(self, now: float) -> None:
        """Ping the browser; close it when it is gone, takes nothing, or has waited too long."""
        if self._ended is not None or self._watcher is None:
            return  # Tornado waits a few seconds for its answer to the close frame
        overdue = self._watcher.overdue(now)
        if now - self._heard_at > self._service.config.heartbeat.client_timeout_s:
            self.end(NO_PONG)
        elif overdue is not None:
            self.end(overdue)
        elif self._transmitter is not None and self._transmitter.idle:
            self._transmitter.write(PING, 0)

    # --- ending -----------------------------------------------------------------------------------

    def told(self, edge: int, address: str, now: float, wall_ms: int) -> list[ConnectionSummary]:
        """Return what `/api/connections` tells of it."""
        figures = [self._watcher.figures(now)] if self._watcher is not None else []
        return summary(self.connection_id, edge, address, figures, wall_ms)

    def end(self, code: CloseCode) -> None:
        """Close the connection, telling a native client what to do next."""
        if self._ended is not None:
            return
        self._ended = code
        transmitter = self._transmitter
        if transmitter is not None and transmitter.idle and self._wire == "native":
            transmitter.write(self._variant.message(closing(code)))
        if self._watcher is not None:
            self._watcher.stop()
        self.close(code.code, code.reason)
        if code in (NO_PONG, TOO_SLOW) and self.ws_connection is not None:
            self.ws_connection.client_terminated = True  # it would not answer the close frame either

    def on_close(self) -> None:
        self._service.release(self)
        if self._watcher is not None:
            code = self._ended.code if self._ended is not None else self.close_code
            self._watcher.leave(code or 1006)
