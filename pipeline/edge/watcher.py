"""One reader of one channel, whatever its transport: asks `session` what is due, and has it sent. Shell.

Used by the WebSocket handlers and by server-sent events; the transports know how bytes are framed and
when a connection is open, and nothing of cursors and history.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from pipeline.edge.accounts import Holder, may_see, who
from pipeline.edge.action import Action, AskAccess, Deliver, End, Fetch, FetchState
from pipeline.edge.close_codes import LIMIT, NOT_FOUND, TOO_SLOW, CloseCode
from pipeline.edge.cohort import Round
from pipeline.edge.filter import Filter
from pipeline.edge.pace import PACES
from pipeline.edge.reader import tell_end
from pipeline.edge.service import Service
from pipeline.edge.session import Session
from pipeline.edge.stats_stream import StatsReader
from pipeline.edge.told import Figures
from pipeline.edge.transmit import Transmitter
from pipeline.edge.variant import Variant
from pipeline.frame import Position
from pipeline.log import Log
from pipeline.wire import BrowserClosing, Document, encode

Result = TypeVar("Result")

RETRY_SPREAD_MS = 2_000
"""A client that may reconnect is told to wait a random part of this, so that they do not come all at once."""


def closing(code: CloseCode) -> bytes:
    """Return the last message before a close: what the client should do next."""
    retry_ms = secrets.randbelow(RETRY_SPREAD_MS) if code.reconnect else 0
    return encode(
        BrowserClosing(code=code.code, reason=code.reason, reconnect=code.reconnect, retry_ms=retry_ms)
    )


_AT_ONCE: AbstractAsyncContextManager[object] = contextlib.nullcontext()


class Watcher:
    """Args:
    service: what all connections of the edge share.
    log: names the connection.
    session: the reader's cursor.
    transmitter: its socket; several watchers may share one.
    address: where it comes from; connections that wait are counted by it.
    end: closes the connection with a code.
    failed: told of an error in what runs in the background.
    opened_at: when the connection was opened, monotonic seconds.
    holder: whose it is; None where there are no accounts.
    turn: held while a page or a state is asked for and given; of watchers that share a transmitter one at a
        time.
    """

    __slots__ = (
        "_address", "_driven", "_end", "_failed", "_feed", "_holder", "_in_advance", "_log", "_opened_at",
        "_over", "_pace", "_service", "_session", "_tasks", "_transmitter", "_turn", "_waits",
    )  # fmt: skip

    def __init__(
        self,
        service: Service,
        log: Log,
        session: Session,
        transmitter: Transmitter,
        address: str,
        end: Callable[[CloseCode], None],
        failed: Callable[[BaseException], None],
        opened_at: float,
        holder: Holder | None = None,
        turn: AbstractAsyncContextManager[object] = _AT_ONCE,
    ) -> None:
        self._turn = turn
        self._holder = holder
        self._service = service
        self._log = log
        self._pace = session.pace.per_s
        self._session = session
        self._transmitter = transmitter
        self._address = address
        self._end = end
        self._failed = failed
        self._opened_at = opened_at
        self._tasks: set[asyncio.Task[Any]] = set()
        self._in_advance: asyncio.Task[Document] | None = None
        self._waits = False
        self._over = False
        self._driven: asyncio.Event | None = None
        transmitter.on_idle.append(self.drive)
        transmitter.on_wait.append(self._stand)
        self._feed, fresh = service.hub.join(session)
        service.drive_with(session, self)
        if fresh:
            service.upstream.subscribe(session.channel)
        self._start(self._join())

    async def _join(self) -> None:
        if self._service.is_degraded(self._session.channel):
            self.degraded(True)
        if self._session.begins_with_state and self._turn is _AT_ONCE:
            # Together with the head: that spares the reader a round trip. Not where several take turns.
            self._in_advance = self._start(self._service.upstream.state(self._session.channel, None))
        if self._holder is not None:
            await self._judge_access(self._holder)
        since = self._session.since
        head = await self._service.upstream.head(
            self._session.channel, since.epoch if isinstance(since, Position) else None
        )
        if head.epoch is not None:
            self._feed.learn(head.epoch, head.seq, time.monotonic())
        for action in self._session.on_head(head):
            self._do(action)
        if self._session.waiting:
            self._waits = self._service.may_wait(self._address)
            if not self._waits:
                self._end(LIMIT)
                return
        self.drive()
        self._in_advance = None  # later, what it says would be old

    async def _judge_access(self, holder: Holder) -> None:
        channel = self._session.channel
        reply = await self._service.upstream.access(channel, None)
        for action in self._session.on_access(reply.epoch, may_see=may_see(holder.identity, reply)):
            self._do(action)

    async def _ask_access(self) -> None:
        assert self._holder is not None
        await self._judge_access(self._holder)
        self.drive()

    def recheck(self) -> None:
        """Find out anew what may be seen: the reader's token is another."""
        self._feed.stand(self._session)
        self._session.recheck()
        self.drive()

    def drive(self) -> None:
        """Send what is due, as long as the reader takes it; when it has everything, it is in step."""
        try:
            self._drive()
        except Exception as error:  # noqa: BLE001  # of this reader alone
            self._failed(error)

    def _drive(self) -> None:
        now = time.monotonic()
        while not self._over:
            idle = self._transmitter.idle
            action = self._session.step(self._feed, now, idle=idle)
            if action is not None:
                self._do(action)
                continue
            if idle:
                self._feed.sit(self._session, self._transmitter.offer)
            else:
                self._transmitter.wait()
            break
        if self._driven is not None:
            self._driven.set()
        self._tell_pace()
        if self._waits and not self._session.waiting:
            self._waits = False
            self._service.waits_no_more(self._address)

    def late(self, turn: Round, taken: int) -> None:
        """Go on by cursor: the socket took only part of a frame that came in step, or nothing of it."""
        if self._over:
            return
        try:
            self._feed.stand(self._session)
            self._session.late(turn.after - 1, time.monotonic())
            self._transmitter.write_rest(turn.data, taken, turn.messages)
        except Exception as error:  # noqa: BLE001  # of this reader alone
            self._failed(error)

    def _stand(self) -> None:
        """Be given what comes by cursor, while others' messages wait, or a pong."""
        self._feed.stand(self._session)

    def ack(self, seq: int) -> None:
        """Take notice that the reader has done with all events up to this one."""
        self._session.ack(seq)
        self._judge(time.monotonic())

    def _judge(self, now: float) -> None:
        self._session.judge(self._feed, now)
        if not self._session.pace.full:
            self._feed.stand(self._session)
        self._tell_pace()

    def _tell_pace(self) -> None:
        pace = self._session.pace.per_s
        if pace == self._pace or self._over:
            return
        if pace < self._pace:
            self._service.counters["paces_lowered"] += 1
        self._log.debug("pace changed", pace=pace, before=self._pace, lag=self._session.lag(self._feed))
        self._pace = pace
        self._service.drive_at(self._session, pace)

    def degraded(self, is_so: bool) -> None:
        """Tell the reader that the channel's worker is silent, or that it is there again."""
        if self._transmitter.idle:
            for action in self._session.degraded(is_so):
                self._do(action)

    def _do(self, action: Action) -> None:
        if self._over:
            return  # an answer that came after the close: nothing may follow that
        if isinstance(action, Fetch):
            self._start(self._fetch(action))
        elif isinstance(action, FetchState):
            self._start(self._fetch_state(action, self._in_advance))
        elif isinstance(action, AskAccess):
            self._start(self._ask_access())
        elif isinstance(action, End):
            self._end(action.code)
        else:
            self._feed.stand(self._session)  # its cohort's window knows nothing of this message
            if isinstance(action, Deliver):
                self._transmitter.write(*action.delivery.encoded(self._session.variant))
            else:
                self._transmitter.write(self._session.variant.message(action.message, action.position))

    async def _fetch(self, wanted: Fetch) -> None:
        async with self._turn:
            page, delivery = await self._service.upstream.page(
                self._session.channel, wanted.epoch, wanted.first
            )
            for action in self._session.on_page(page, delivery, self._feed, time.monotonic()):
                self._do(action)
        self.drive()

    async def _fetch_state(self, wanted: FetchState, in_advance: asyncio.Task[Document] | None) -> None:
        async with self._turn:
            document = await in_advance if in_advance is not None else None
            if document is None or document.header.epoch != wanted.epoch:
                document = await self._service.upstream.state(self._session.channel, wanted.epoch)
            for action in self._session.on_state(document):
                self._do(action)
            self.drive()
            while self._session.lagging.state_held and not self._over:
                self._driven = asyncio.Event()
                await self._driven.wait()
            self._driven = None

    def _start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    def overdue(self, now: float) -> CloseCode | None:
        """Return the code to close with when the reader takes nothing, or has waited too long; else None."""
        self._judge(now)
        if self._session.barred:
            self.recheck()
        if self._session.wants_state_again:
            self.drive()
        limits = self._service.config.limits
        if self._transmitter.stalled_s(now) > limits.stalled_s:
            return TOO_SLOW
        if self._waits and now - self._opened_at > limits.waiting_s:
            return NOT_FOUND
        return None

    def completed(self) -> None:
        """Close the connection: its channel was cleaned up."""
        if self._session.barred:
            return
        self._end(NOT_FOUND if self._session.waiting else self._session.completed())

    def figures(self, now: float) -> Figures:
        """Return what this reader has cost and been given.

        Args:
            now: monotonic seconds.
        """
        session = self._session
        messages, bytes_sent = self._feed.given(session)
        return Figures(
            session.channel,
            session.variant.wire,
            messages + self._transmitter.messages,
            bytes_sent + self._transmitter.bytes_sent,
            round(now - self._opened_at, 3),
            session.skipped,
            session.lag(self._feed),
            session.pace.per_s,
        )

    def told(self, now: float) -> list[Figures]:
        """Return what `figures` does: of the one channel there is."""
        return [self.figures(now)]

    def stop(self) -> None:
        """Send nothing more."""
        self._over = True
        self._feed.stand(self._session)

    def leave(self, code: int) -> None:
        """Let go of everything: the connection has ended, with this code. It is counted and logged."""
        tell_end(self._service, self._log, code, self.let_go())

    def refilter(self, wanted: Filter | None) -> None:
        """Let another filter hold from now on; the reader is told from which event."""
        if self._over:
            return
        self._feed.stand(self._session)
        self._session.refilter(wanted)
        self.drive()

    def let_go(self) -> Figures:
        """Let go of everything; return what it has cost and been given."""
        figures = self.figures(time.monotonic())
        for reason, skipped in (
            ("too_slow", self._session.lagging.count),
            ("no_longer_held", self._session.skipped - self._session.lagging.count),
        ):
            if skipped:
                self._service.counters[f"events_skipped{{reason={reason}}}"] += skipped
        self._over = True
        for task in self._tasks:
            task.cancel()
        if self._waits:
            self._waits = False
            self._service.waits_no_more(self._address)
        self._transmitter.on_idle.remove(self.drive)
        self._transmitter.on_wait.remove(self._stand)
        self._service.drive_with(self._session, None)
        if self._service.hub.leave(self._session):
            self._service.upstream.unsubscribe(self._session.channel)
        return figures


class StatsWatcher:
    """A connection that reads the statistics and nothing else.

    Args:
        service: what all connections of the edge share.
        log: names the connection.
        transmitter: its socket.
        variant: what it speaks.
        opened_at: when it was opened, monotonic seconds.
    holder: whose it is; None where there are no accounts.
    """

    def __init__(
        self,
        service: Service,
        log: Log,
        transmitter: Transmitter,
        variant: Variant,
        opened_at: float,
        holder: Holder | None = None,
    ) -> None:
        self._holder = holder
        self._service = service
        self._log = log
        self._transmitter = transmitter
        self._variant = variant
        self._opened_at = opened_at
        self._reader = StatsReader(service.stats_for(who(holder)), transmitter, variant)

    def overdue(self, now: float) -> CloseCode | None:
        """Return the code to close with when the reader takes nothing; else None."""
        slow = self._transmitter.stalled_s(now) > self._service.config.limits.stalled_s
        return TOO_SLOW if slow else None

    def recheck(self) -> None:
        """Read what may be seen now."""
        self._reader.move(self._service.stats_for(who(self._holder)))

    def stop(self) -> None:
        """Send nothing more."""
        self._reader.stop()

    def leave(self, code: int) -> None:
        """Let go of everything: the connection has ended, with this code. It is counted and logged."""
        self._reader.let_go()
        [figures] = self.told(time.monotonic())
        tell_end(self._service, self._log, code, figures)

    def told(self, now: float) -> list[Figures]:
        """Return what it has cost and been given; it reads no channel."""
        duration_s = round(now - self._opened_at, 3)
        sent = self._transmitter
        return [Figures("", self._variant.wire, sent.messages, sent.bytes_sent, duration_s, 0, 0, PACES[0])]
