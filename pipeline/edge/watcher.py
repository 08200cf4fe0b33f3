"""One reader of one channel, whatever its transport: asks `session` what is due, and has it sent. Shell.

Used by the WebSocket handlers and by server-sent events; the transports know how bytes are framed and
when a connection is open, and nothing of cursors and history.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any

from pipeline.edge.close_codes import LIMIT, NOT_FOUND, TOO_SLOW, CloseCode
from pipeline.edge.service import Service
from pipeline.edge.session import Action, Deliver, Fetch, Say, Session
from pipeline.edge.transmit import Transmitter
from pipeline.frame import Position
from pipeline.log import Log
from pipeline.wire import BrowserClosing, encode

Compose = Callable[[Deliver | Say], tuple[bytes, int]]
"""Returns the bytes of what is to be sent, framed for the transport, and how many messages they are."""


RETRY_SPREAD_MS = 2_000
"""A client that may reconnect is told to wait a random part of this, so that they do not come all at once."""


def closing(code: CloseCode) -> bytes:
    """Return the last message before a close: what the client should do next."""
    retry_ms = secrets.randbelow(RETRY_SPREAD_MS) if code.reconnect else 0
    return encode(
        BrowserClosing(code=code.code, reason=code.reason, reconnect=code.reconnect, retry_ms=retry_ms)
    )


def tell_end(
    service: Service, log: Log, transmitter: Transmitter, session: Session, opened_at: float, code: int
) -> None:
    """Count and log a connection that has ended."""
    service.counters[f"closed{{code={code}}}"] += 1
    service.counters["messages_sent"] += transmitter.messages
    service.counters["bytes_sent"] += transmitter.bytes_sent
    log.info(
        "disconnected",
        code=code,
        messages=transmitter.messages,
        bytes=transmitter.bytes_sent,
        duration_s=round(time.monotonic() - opened_at, 3),
        skipped=session.skipped,
    )


class Watcher:
    """Args:
    service: what all connections of the edge share.
    session: the reader's cursor.
    transmitter: its socket.
    address: where it comes from; connections that wait are counted by it.
    compose: frames what is sent.
    end: closes the connection with a code.
    failed: told of an error in what runs in the background.
    opened_at: when the connection was opened, monotonic seconds.
    """

    def __init__(
        self,
        service: Service,
        session: Session,
        transmitter: Transmitter,
        address: str,
        compose: Compose,
        end: Callable[[CloseCode], None],
        failed: Callable[[BaseException], None],
        opened_at: float,
    ) -> None:
        self._service = service
        self._session = session
        self._transmitter = transmitter
        self._address = address
        self._compose = compose
        self._end = end
        self._failed = failed
        self._opened_at = opened_at
        self._tasks: set[asyncio.Task[None]] = set()
        self._waits = False
        self._over = False
        transmitter.on_room = self.drive
        self._feed, fresh = service.hub.join(session)
        service.drive_with(session, self)
        if fresh:
            service.upstream.subscribe(session.channel)
        self._start(self._join())

    async def _join(self) -> None:
        if self._service.is_degraded(self._session.channel):
            self.degraded(True)
        since = self._session.since
        head = await self._service.upstream.head(
            self._session.channel, since.epoch if isinstance(since, Position) else None
        )
        if head.epoch is not None:
            self._feed.learn(head.epoch, head.seq)
        for action in self._session.on_head(head):
            self._do(action)
        if self._session.waiting:
            self._waits = self._service.may_wait(self._address)
            if not self._waits:
                self._end(LIMIT)
                return
        self.drive()

    def drive(self) -> None:
        """Send what is due, as long as the reader takes it."""
        while (
            not self._over
            and self._transmitter.ready
            and (action := self._session.step(self._feed)) is not None
        ):
            self._do(action)
        if self._waits and not self._session.waiting:
            self._waits = False
            self._service.waits_no_more(self._address)

    def degraded(self, is_so: bool) -> None:
        """Tell the reader that the channel's worker is silent, or that it is there again."""
        if self._transmitter.ready:
            for action in self._session.degraded(is_so):
                self._do(action)

    def _do(self, action: Action) -> None:
        if self._over:
            return  # an answer that came after the close: nothing may follow that
        if isinstance(action, Fetch):
            self._start(self._fetch(action))
        else:
            self._transmitter.write(*self._compose(action))

    async def _fetch(self, wanted: Fetch) -> None:
        page, delivery = await self._service.upstream.page(self._session.channel, wanted.epoch, wanted.first)
        for action in self._session.on_page(page, delivery, self._feed):
            self._do(action)
        self.drive()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    def overdue(self, now: float) -> CloseCode | None:
        """Return the code to close with when the reader takes nothing, or has waited too long; else None."""
        limits = self._service.config.limits
        if self._transmitter.stalled_s(now) > limits.stalled_s:
            return TOO_SLOW
        if self._waits and now - self._opened_at > limits.waiting_s:
            return NOT_FOUND
        return None

    def completed(self) -> None:
        """Close the connection: its channel was cleaned up."""
        self._end(NOT_FOUND if self._session.waiting else self._session.completed())

    def stop(self) -> None:
        """Send nothing more."""
        self._over = True

    def leave(self) -> None:
        """Let go of everything: the connection is closed."""
        self._over = True
        for task in self._tasks:
            task.cancel()
        if self._waits:
            self._waits = False
            self._service.waits_no_more(self._address)
        self._service.drive_with(self._session, None)
        if self._service.hub.leave(self._session):
            self._service.upstream.unsubscribe(self._session.channel)
