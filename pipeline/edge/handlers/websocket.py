"""WebSockets: ours at `/ws/scans/ID`, HeroForge's at `/api/ws/scans/ID` and `/api/ws/reports/ID`.

Shell: it opens, closes and moves bytes; what a browser gets next is for its reader to say. `BrowserSocket` is
what all WebSockets have in common; `several` has the other ones.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from datetime import datetime
from numbers import Integral
from typing import Protocol

from pipeline.edge.answers import Answers
from pipeline.edge.browser_actions import ACTIONS_OF_ONE, AckAction, FilterAction
from pipeline.edge.close_codes import (
    BAD_REQUEST,
    FORBIDDEN,
    NO_PONG,
    TOO_SLOW,
    UNSUPPORTED_PROTOCOL,
    CloseCode,
)
from pipeline.edge.deflate import Deflate, agree
from pipeline.edge.handlers.asked import asked_filter, asked_since
from pipeline.edge.handlers.guard import GuardedSocket
from pipeline.edge.service import Service
from pipeline.edge.session import Session
from pipeline.edge.told import summary
from pipeline.edge.transmit import Transmitter, websocket_stream
from pipeline.edge.variant import Variant, Wire
from pipeline.edge.watcher import Figures, Watcher, closing
from pipeline.edge.ws_frame import PING
from pipeline.event import is_scan_id
from pipeline.wire import SUBPROTOCOL, ConnectionSummary, channel_name

MAX_REASON_BYTES = 123
"""What a close frame has room for (RFC 6455, 5.5)."""


class Reader(Protocol):
    """What gives one browser what is due to it."""

    def told(self, now: float) -> list[Figures]:
        """Return what it has cost and been given, for each channel it reads; they share the socket's sums."""

    def overdue(self, now: float) -> CloseCode | None:
        """Return the code to close with when it takes nothing, or has waited too long; else None."""

    def stop(self) -> None:
        """Send nothing more."""

    def leave(self, code: int) -> None:
        """Let go of everything; count and log the end."""


class BrowserSocket(GuardedSocket):
    """One browser's connection."""

    def initialize(self, service: Service, wire: Wire = "native") -> None:
        self._service = service
        self._wire: Wire = wire
        self._variant = Variant(wire)
        self._extensions = ""
        self.text_only = wire == "native"  # HeroForge's server takes anything, and so do we on its wire
        self._transmitter: Transmitter | None = None
        self._reader: Reader | None = None
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

    def open(self, channel_id: str = "") -> None:
        code, problem = self._refused(channel_id)
        if code is None and (code := self._service.admit(self, self.request.remote_ip or "")) is not None:
            problem = code.reason
        if code is not None:
            self._refuse(str(code.code), problem)
            self.close(code.code, problem.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))
            return
        self._service.counters[f"connections{{wire={self._wire}}}"] += 1
        kernel_buffer_bytes = self._service.config.limits.kernel_buffer_bytes
        self._transmitter = Transmitter(websocket_stream(self), kernel_buffer_bytes)
        self._reader = self._read(self._transmitter, channel_id)
        self._facts.debug("connected")

    def _check(self, channel_id: str) -> None:
        """Look at what the address asks for.

        Args:
            channel_id: the last part of its path; empty where the route has none.

        Raises:
            ValueError: it is nothing that can be given.
        """
        raise NotImplementedError

    def _read(self, transmitter: Transmitter, channel_id: str) -> Reader:
        """Return who gives the browser what it asks for."""
        raise NotImplementedError

    def _refuse(self, reason: str, problem: str) -> None:
        self._service.refuse(
            reason, problem, path=self.request.path, connection=self.connection_id, wire=self._wire
        )

    def _refused(self, channel_id: str) -> tuple[CloseCode | None, str]:
        """Return why the browser is refused, and in words; no code when it is not."""
        if self._visit.foreign is not None:
            return FORBIDDEN, FORBIDDEN.reason
        if self._wire == "native" and self._protocols and SUBPROTOCOL not in self._protocols:
            return UNSUPPORTED_PROTOCOL, UNSUPPORTED_PROTOCOL.reason
        try:
            self._check(channel_id)
        except ValueError as error:
            return BAD_REQUEST, f"{BAD_REQUEST.reason}: {error}"
        return None, ""

    def _fail(self, error: BaseException) -> None:
        self._facts.error("connection failed", problem=repr(error))
        if self._reader is not None:
            self._reader.stop()
        self.close(1011, "internal error")

    # --- hearing ----------------------------------------------------------------------------------

    def on_message(self, message: str | bytes) -> None:
        self._heard_at = time.monotonic()
        if self._ended is None and self._reader is not None:
            self._hear(message)

    def _hear(self, message: str | bytes) -> None:
        """Take in a browser's message."""
        raise NotImplementedError

    def on_ping(self, data: bytes) -> None:  # noqa: ARG002  # any frame is a sign of life
        self._heard_at = time.monotonic()

    def on_pong(self, data: bytes) -> None:  # noqa: ARG002  # any frame is a sign of life
        self._heard_at = time.monotonic()

    def beat(self, now: float) -> None:
        """Ping the browser; close it when it is gone, takes nothing, or has waited too long."""
        if self._ended is not None or self._reader is None:
            return  # Tornado waits a few seconds for its answer to the close frame
        overdue = self._reader.overdue(now)
        if now - self._heard_at > self._service.config.heartbeat.client_timeout_s:
            self.end(NO_PONG)
        elif overdue is not None:
            self.end(overdue)
        elif self._transmitter is not None and self._transmitter.idle:
            self._transmitter.write(PING, 0)

    # --- ending -----------------------------------------------------------------------------------

    def told(self, edge: int, address: str, now: float, wall_ms: int) -> list[ConnectionSummary]:
        """Return what `/api/connections` tells of it."""
        figures = self._reader.told(now) if self._reader is not None else []
        return summary(self.connection_id, edge, address, figures, wall_ms)

    def end(self, code: CloseCode) -> None:
        """Close the connection, telling a native client what to do next."""
        if self._ended is not None:
            return
        self._ended = code
        transmitter = self._transmitter
        if transmitter is not None and transmitter.idle and self._wire == "native":
            transmitter.write(self._variant.message(closing(code)))
        if self._reader is not None:
            self._reader.stop()
        self.close(code.code, code.reason)
        if code in (NO_PONG, TOO_SLOW) and self.ws_connection is not None:
            self.ws_connection.client_terminated = True  # it would not answer the close frame either

    def on_close(self) -> None:
        self._service.release(self)
        if self._reader is not None:
            code = self._ended.code if self._ended is not None else self.close_code
            self._reader.leave(code or 1006)


class ScanSocket(BrowserSocket):
    """One scan or report."""

    def initialize(self, service: Service, wire: Wire = "native", kind: str = "scan") -> None:
        super().initialize(service, wire)
        self._kind = kind
        self._watcher: Watcher | None = None
        self._answers: Answers | None = None

    def _check(self, channel_id: str) -> None:
        if not is_scan_id(channel_id):
            raise ValueError(f"{channel_id[:40]!r} is no scan id")
        if self._wire == "native":
            asked_since(self)
            asked_filter(self)

    def _read(self, transmitter: Transmitter, channel_id: str) -> Reader:
        native = self._wire == "native"
        session = Session(
            channel_name(self._kind, channel_id),
            replace(self._variant, wanted=asked_filter(self)) if native else self._variant,
            self.connection_id,
            asked_since(self) if native else None,
            self._service.greeting,
        )
        self._facts = self._facts.bind(channel=session.channel)
        self._watcher = Watcher(
            self._service,
            self._facts,
            session,
            transmitter,
            self.request.remote_ip or "",
            self.end,
            self._fail,
            self._opened_at,
        )
        return self._watcher

    def _hear(self, message: str | bytes) -> None:
        assert self._watcher is not None
        assert self._transmitter is not None
        if self._wire != "native":
            self._service.counters["inbound_messages"] += 1
            return
        if self._answers is None:
            self._answers = Answers(self._transmitter, self._variant, self._service.counters)
        action = self._answers.hear(message, ACTIONS_OF_ONE)
        if isinstance(action, AckAction):
            self._watcher.ack(action.seq)
        elif isinstance(action, FilterAction):
            try:
                self._watcher.refilter(action.read())
            except ValueError as error:
                self._answers.refuse(str(error))
