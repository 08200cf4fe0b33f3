"""The two WebSockets: ours at `/ws/scans/ID`, HeroForge's at `/api/ws/scans/ID` and `/api/ws/reports/ID`.

Shell: it opens, closes and moves bytes; what a browser gets next is `session`'s to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import Any

from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from pipeline.edge.access import refused_host, refused_origin
from pipeline.edge.close_codes import (
    BAD_REQUEST,
    FORBIDDEN,
    LIMIT,
    NO_PONG,
    NOT_FOUND,
    TOO_SLOW,
    UNSUPPORTED_PROTOCOL,
    CloseCode,
)
from pipeline.edge.hub import Feed
from pipeline.edge.service import Service
from pipeline.edge.session import Action, Deliver, Fetch, Say, Session, Since, Wire
from pipeline.edge.transmit import Transmitter
from pipeline.edge.ws_frame import text_frame
from pipeline.event import is_scan_id
from pipeline.frame import Position
from pipeline.wire import SUBPROTOCOL, BrowserClosing, channel_name, encode

RETRY_SPREAD_MS = 2_000
"""A client that may reconnect is told to wait a random part of this, so that they do not come all at once."""


class ScanSocket(WebSocketHandler):
    """One browser's connection."""

    def initialize(self, service: Service, wire: Wire, kind: str) -> None:
        self._service = service
        self._wire: Wire = wire
        self._kind = kind
        self._session: Session | None = None
        self._feed: Feed | None = None
        self._transmitter: Transmitter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._opened_at = self._heard_at = time.monotonic()
        self._waits = False
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
        self._session = None
        code = self._refused(channel_id) or self._service.admit(self)
        if code is not None:
            self._refuse(str(code.code), code.reason)
            self.close(code.code, code.reason)
            return
        limits = self._service.config.limits
        self._transmitter = Transmitter(
            self, limits.client_buffer_bytes, limits.kernel_buffer_bytes, self.drive
        )
        session = Session(
            channel_name(self._kind, channel_id),
            self._wire,
            self.connection_id,
            self._since(),
            self._service.greeting,
        )
        self._session = session
        self._facts = self._facts.bind(channel=session.channel)
        self._service.drive_with(session, self)
        self._feed, fresh = self._service.hub.join(session)
        if fresh:
            self._service.upstream.subscribe(session.channel)
        self._service.counters[f"connections{{wire={self._wire}}}"] += 1
        self._facts.debug("connected")
        self._start(self._join(session))

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
        text = self.get_query_argument("since", None) if self._wire == "native" else None
        if text is None or text == "start":
            return "start" if text else None
        return Position.parse(text)

    async def _join(self, session: Session) -> None:
        since = session.since
        head = await self._service.upstream.head(
            session.channel, since.epoch if isinstance(since, Position) else None
        )
        assert self._feed is not None
        if head.epoch is not None:
            self._feed.learn(head.epoch, head.seq)
        for action in session.on_head(head):
            self._do(action)
        if session.waiting:
            self._waits = self._service.may_wait(self.request.remote_ip or "")
            if not self._waits:
                self.end(LIMIT)
                return
        self.drive()

    # --- sending ----------------------------------------------------------------------------------

    def drive(self) -> None:
        """Send what is due, as long as the browser takes it."""
        session, feed, transmitter = self._session, self._feed, self._transmitter
        if session is None or feed is None or transmitter is None or self._ended is not None:
            return
        while transmitter.ready and (action := session.step(feed)) is not None:
            self._do(action)
        if self._waits and not session.waiting:
            self._waits = False
            self._service.waits_no_more(self.request.remote_ip or "")

    def _do(self, action: Action) -> None:
        assert self._transmitter is not None
        if self._ended is not None:
            return  # an answer that came after the close frame: nothing may follow that
        match action:
            case Deliver(delivery):
                if self._wire == "native":
                    self._transmitter.write(delivery.native())
                else:
                    self._transmitter.write(*delivery.heroforge())
            case Say(message):
                self._transmitter.write(text_frame(message))
            case Fetch(epoch, first):
                self._start(self._fetch(epoch, first))

    async def _fetch(self, epoch: int, first: int) -> None:
        session, feed = self._session, self._feed
        assert session is not None
        assert feed is not None
        page, delivery = await self._service.upstream.page(session.channel, epoch, first)
        for action in session.on_page(page, delivery, feed):
            self._do(action)
        self.drive()

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._facts.error("connection failed", problem=repr(task.exception()))
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
        config = self._service.config
        assert self._transmitter is not None
        if self._ended is not None:
            return  # Tornado waits a few seconds for its answer to the close frame
        if now - self._heard_at > config.heartbeat.client_timeout_s:
            self.end(NO_PONG)
        elif self._transmitter.stalled_s(now) > config.limits.stalled_s:
            self.end(TOO_SLOW)
        elif self._waits and now - self._opened_at > config.limits.waiting_s:
            self.end(NOT_FOUND)
        elif self._transmitter.ready:
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
            closing = BrowserClosing(
                code=code.code,
                reason=code.reason,
                reconnect=code.reconnect,
                retry_ms=secrets.randbelow(RETRY_SPREAD_MS) if code.reconnect else 0,
            )
            transmitter.write(text_frame(encode(closing)))
        self.close(code.code, code.reason)
        if code in (NO_PONG, TOO_SLOW) and self.ws_connection is not None:
            self.ws_connection.client_terminated = True  # it would not answer the close frame either

    def on_close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._waits:
            self._service.waits_no_more(self.request.remote_ip or "")
        self._service.release(self)
        session, transmitter = self._session, self._transmitter
        if session is None or transmitter is None:
            return
        self._session = None
        self._service.drive_with(session, None)
        if self._service.hub.leave(session):
            self._service.upstream.unsubscribe(session.channel)
        code = self._ended.code if self._ended is not None else self.close_code
        self._service.counters[f"closed{{code={code or 1006}}}"] += 1
        self._service.counters["messages_sent"] += transmitter.messages
        self._service.counters["bytes_sent"] += transmitter.bytes_sent
        self._facts.info(
            "disconnected",
            code=code or 1006,
            messages=transmitter.messages,
            bytes=transmitter.bytes_sent,
            duration_s=round(time.monotonic() - self._opened_at, 3),
            skipped=session.skipped,
        )
