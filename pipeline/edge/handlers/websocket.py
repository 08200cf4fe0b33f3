"""The two WebSockets: ours at `/ws/scans/ID`, HeroForge's at `/api/ws/scans/ID` and `/api/ws/reports/ID`.

Shell: it opens, closes and moves bytes; what a browser gets next is `session`'s to say.
"""

from __future__ import annotations

import contextlib
import secrets
import time

from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from pipeline.edge.access import refused_host, refused_origin
from pipeline.edge.close_codes import (
    BAD_REQUEST,
    FORBIDDEN,
    NO_PONG,
    TOO_SLOW,
    UNSUPPORTED_PROTOCOL,
    CloseCode,
)
from pipeline.edge.service import Service
from pipeline.edge.session import Deliver, Say, Session, Since, Wire, read_since
from pipeline.edge.transmit import Transmitter, websocket_stream
from pipeline.edge.watcher import Watcher, closing, tell_end
from pipeline.edge.ws_frame import text_frame
from pipeline.event import is_scan_id
from pipeline.wire import SUBPROTOCOL, channel_name


class ScanSocket(WebSocketHandler):
    """One browser's connection."""

    def initialize(self, service: Service, wire: Wire, kind: str) -> None:
        self._service = service
        self._wire: Wire = wire
        self._kind = kind
        self._session: Session | None = None
        self._transmitter: Transmitter | None = None
        self._watcher: Watcher | None = None
        self._opened_at = self._heard_at = time.monotonic()
        self._ended: CloseCode | None = None
        self._protocols: list[str] = []
        self.connection_id = secrets.token_hex(8)
        self._facts = service.log.bind(connection=self.connection_id, wire=wire)

    # --- opening ----------------------------------------------------------------------------------

    def prepare(self) -> None:
        problem = refused_host(self.request.headers)
        if problem is not None:
            self._refuse("host", problem)
            self.set_status(403)
            self.finish(problem)

    def check_origin(self, origin: str) -> bool:  # noqa: ARG002  # `open` answers it with a close code
        return True

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        self._protocols = subprotocols
        return SUBPROTOCOL if SUBPROTOCOL in subprotocols else None

    def open(self, channel_id: str) -> None:
        code = self._refused(channel_id) or self._service.admit(self)
        if code is not None:
            self._refuse(str(code.code), code.reason)
            self.close(code.code, code.reason)
            return
        limits = self._service.config.limits
        session = Session(
            channel_name(self._kind, channel_id),
            self._wire,
            self.connection_id,
            self._since(),
            self._service.greeting,
        )
        self._facts = self._facts.bind(channel=session.channel)
        self._service.counters[f"connections{{wire={self._wire}}}"] += 1
        self._facts.debug("connected")
        self._session = session
        self._transmitter = Transmitter(
            websocket_stream(self), limits.client_buffer_bytes, limits.kernel_buffer_bytes
        )
        self._watcher = Watcher(
            self._service,
            session,
            self._transmitter,
            self.request.remote_ip or "",
            compose_native if self._wire == "native" else compose_heroforge,
            self.end,
            self._fail,
            self._opened_at,
        )

    def _refuse(self, reason: str, problem: str) -> None:
        self._service.refuse(
            reason, problem, path=self.request.path, connection=self.connection_id, wire=self._wire
        )

    def _refused(self, channel_id: str) -> CloseCode | None:
        problem = refused_origin(self.request.headers)
        if problem is not None:
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
        self.close(1011, "internal error")

    # --- hearing ----------------------------------------------------------------------------------

    def on_message(self, message: str | bytes) -> None:  # noqa: ARG002  # nothing is asked of the edge yet
        self._heard_at = time.monotonic()
        self._service.counters["inbound_messages"] += 1

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
        elif self._transmitter is not None and self._transmitter.ready:
            with contextlib.suppress(WebSocketClosedError):  # it has just closed; on_close comes
                self.ping(b"")

    # --- ending -----------------------------------------------------------------------------------

    def end(self, code: CloseCode) -> None:
        """Close the connection, telling a native client what to do next."""
        if self._ended is not None:
            return
        self._ended = code
        transmitter = self._transmitter
        if transmitter is not None and transmitter.ready and self._wire == "native":
            transmitter.write(text_frame(closing(code)))
        if self._watcher is not None:
            self._watcher.stop()
        self.close(code.code, code.reason)
        if code in (NO_PONG, TOO_SLOW) and self.ws_connection is not None:
            self.ws_connection.client_terminated = True  # it would not answer the close frame either

    def on_close(self) -> None:
        self._service.release(self)
        if self._watcher is None or self._session is None or self._transmitter is None:
            return
        self._watcher.leave()
        code = self._ended.code if self._ended is not None else self.close_code
        tell_end(self._service, self._facts, self._transmitter, self._session, self._opened_at, code or 1006)


def compose_native(action: Deliver | Say) -> tuple[bytes, int]:
    """Frame what is sent on our own wire."""
    if isinstance(action, Deliver):
        return action.delivery.native(), 1
    return text_frame(action.message), 1


def compose_heroforge(action: Deliver | Say) -> tuple[bytes, int]:
    """Frame what is sent on HeroForge's wire."""
    if isinstance(action, Deliver):
        return action.delivery.heroforge()
    return text_frame(action.message), 1
