"""Several scans, and the statistics, on one connection: who is subscribed, and what is answered. Shell.

Each subscription is a `watcher` of its own on the same socket; what would close the connection of one scan
ends its subscription. They have turns at the socket, and one of them at a time asks for history or a state:
so what waits for one browser does not grow with its subscriptions, and a scan with a backlog holds up no
other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from types import TracebackType

from pipeline.edge.accounts import Holder, who
from pipeline.edge.answers import Answers
from pipeline.edge.browser_actions import (
    ACTIONS_OF_SEVERAL,
    AckAction,
    FilterAction,
    PingAction,
    SubscribeAction,
    UnsubscribeAction,
)
from pipeline.edge.close_codes import LIMIT, TOO_SLOW, CloseCode
from pipeline.edge.filter import Filter
from pipeline.edge.gate import Gate
from pipeline.edge.pace import PACES
from pipeline.edge.reader import tell_end
from pipeline.edge.service import Service
from pipeline.edge.session import Session
from pipeline.edge.since import read_since
from pipeline.edge.stats_stream import StatsReader
from pipeline.edge.told import Figures
from pipeline.edge.transmit import Transmitter
from pipeline.edge.variant import Variant
from pipeline.edge.watcher import Watcher
from pipeline.log import Log
from pipeline.wire import BrowserUnsubscribed, channel_name

UNSUBSCRIBED = CloseCode(1000, "unsubscribed", reconnect=True)
"""The browser asked for it; no connection is closed with this."""


class PageTurn(AbstractAsyncContextManager[None]):
    """The turn to ask for a page, or a state, and to give it: it lasts until the socket has taken that.

    Args:
        transmitter: of those who have turns.
    """

    def __init__(self, transmitter: Transmitter) -> None:
        self._transmitter = transmitter
        self._lock = asyncio.Lock()
        self._given = asyncio.Event()
        transmitter.on_idle.append(self._given.set)

    async def __aenter__(self) -> None:
        await self._lock.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and not self._transmitter.idle:
                self._given.clear()
                self._transmitter.wait()
                await self._given.wait()
        finally:
            self._lock.release()


class Subscriptions:
    """Args:
    service: what all connections of the edge share.
    log: names the connection.
    transmitter: the browser's socket.
    variant: what it speaks.
    address: where it comes from.
    connection_id: names the connection.
    failed: told of an error in what runs in the background.
    holder: whose it is; None where there are no accounts.
    """

    def __init__(
        self,
        service: Service,
        log: Log,
        transmitter: Transmitter,
        variant: Variant,
        address: str,
        connection_id: str,
        failed: Callable[[BaseException], None],
        holder: Holder | None = None,
    ) -> None:
        self._holder = holder
        self._service = service
        self._users = service.users.subscriptions
        self._log = log
        self._transmitter = transmitter
        self._variant = variant
        self._address = address
        self._connection_id = connection_id
        self._failed = failed
        self._opened_at = time.monotonic()
        self._answers = Answers(transmitter, variant, service.counters)
        self._turn = PageTurn(transmitter)
        self._watchers: dict[str, Watcher] = {}
        self._stats: StatsReader | None = None
        self._messages_in_step = self._bytes_in_step = self._skipped = 0
        self._over = False

    # --- what the browser asks --------------------------------------------------------------------

    def hear(self, message: str | bytes) -> None:
        """Do what a message asks, or answer why not."""
        action = self._answers.hear(message, ACTIONS_OF_SEVERAL)
        if action is None or isinstance(action, PingAction):
            return
        try:
            if action.scan_id is None:
                self._of_stats(isinstance(action, SubscribeAction))
            elif isinstance(action, SubscribeAction):
                self._subscribe(action.scan_id, action.since, action.read())
            elif isinstance(action, AckAction):
                self._watcher(action.scan_id).ack(action.seq)
            elif isinstance(action, UnsubscribeAction):
                self._watcher(action.scan_id)
                self._end(action.scan_id, UNSUBSCRIBED)
            else:
                assert isinstance(action, FilterAction)
                self._watcher(action.scan_id).refilter(action.read())
        except ValueError as error:
            self._answers.refuse(f"{action.scan_id or 'stats'}: {error}", action.scan_id)

    def _subscribe(self, scan_id: str, since: str | None, wanted: Filter | None) -> None:
        if scan_id in self._watchers:
            raise ValueError("subscribed already")
        begin = read_since(since)
        most = self._service.config.limits.max_subscriptions
        if len(self._watchers) >= most:
            self._answers.refuse(f"{scan_id}: max_subscriptions ({most}) are open", scan_id, LIMIT)
            return
        if self._holder is not None and not self._users.enter(self._holder.identity.subject):
            of_user = self._service.config.users.max_subscriptions
            self._answers.refuse(f"{scan_id}: users.max_subscriptions ({of_user}) are open", scan_id, LIMIT)
            return
        variant = Variant(self._variant.wire, deflate=self._variant.deflate, wanted=wanted)
        session = Session(
            channel_name("scan", scan_id),
            variant,
            self._connection_id,
            begin,
            self._service.greeting,
            Gate() if self._holder is not None else None,
        )
        self._service.counters["subscriptions"] += 1
        self._watchers[scan_id] = Watcher(
            self._service,
            self._log.bind(channel=session.channel),
            session,
            self._transmitter,
            self._address,
            lambda code: self._end(scan_id, code),
            self._failed,
            time.monotonic(),
            self._holder,
            self._turn,
        )

    def _watcher(self, scan_id: str) -> Watcher:
        watcher = self._watchers.get(scan_id)
        if watcher is None:
            raise ValueError("not subscribed")
        return watcher

    def _of_stats(self, wanted: bool) -> None:
        if wanted == (self._stats is not None):
            raise ValueError("subscribed already" if wanted else "not subscribed")
        if self._stats is None:
            self._stats = StatsReader(
                self._service.stats_for(who(self._holder)), self._transmitter, self._variant
            )
            return
        self._stats.let_go()
        self._stats = None
        self._answers.tell(
            BrowserUnsubscribed(
                code=UNSUBSCRIBED.code,
                reason=UNSUBSCRIBED.reason,
                reconnect=UNSUBSCRIBED.reconnect,
                stats=True,
            )
        )

    def _end(self, scan_id: str, code: CloseCode) -> None:
        """End one subscription, and say why."""
        watcher = self._watchers.pop(scan_id, None)
        if watcher is None:
            return
        self._let_go(watcher)
        self._service.counters[f"unsubscribed{{code={code.code}}}"] += 1
        if not self._over:
            self._answers.tell(
                BrowserUnsubscribed(
                    scan_id=scan_id, code=code.code, reason=code.reason, reconnect=code.reconnect
                )
            )

    def _let_go(self, watcher: Watcher) -> None:
        figures = watcher.let_go()
        if self._holder is not None:
            self._users.leave(self._holder.identity.subject)
        self._messages_in_step += figures.messages - self._transmitter.messages
        self._bytes_in_step += figures.bytes_sent - self._transmitter.bytes_sent
        self._skipped += figures.skipped

    # --- the connection ---------------------------------------------------------------------------

    def overdue(self, now: float) -> CloseCode | None:
        """Return the code to close with when the browser takes nothing; a scan waited for in vain only ends.

        Args:
            now: monotonic seconds.
        """
        if self._transmitter.stalled_s(now) > self._service.config.limits.stalled_s:
            return TOO_SLOW
        for scan_id, watcher in list(self._watchers.items()):
            code = watcher.overdue(now)
            if code is not None:
                self._end(scan_id, code)
        return None

    def recheck(self) -> None:
        """Find out anew what may be seen: the token is another."""
        for watcher in list(self._watchers.values()):
            watcher.recheck()
        if self._stats is not None:
            self._stats.move(self._service.stats_for(who(self._holder)))

    def stop(self) -> None:
        """Send nothing more."""
        self._over = True
        for watcher in self._watchers.values():
            watcher.stop()
        if self._stats is not None:
            self._stats.stop()

    def told(self, now: float) -> list[Figures]:
        """Return what each subscription has been given, with the sums of the socket they share."""
        sums = self._together(now)
        each = [watcher.figures(now) for watcher in self._watchers.values()]
        messages = sums.messages + sum(one.messages - self._transmitter.messages for one in each)
        bytes_sent = sums.bytes_sent + sum(one.bytes_sent - self._transmitter.bytes_sent for one in each)
        return [
            replace(one, messages=messages, bytes_sent=bytes_sent, duration_s=sums.duration_s)
            for one in [sums, *each]
        ]

    def _together(self, now: float) -> Figures:
        """Return what was given by the socket, and in step to subscriptions that have ended."""
        return Figures(
            "",
            self._variant.wire,
            self._messages_in_step + self._transmitter.messages,
            self._bytes_in_step + self._transmitter.bytes_sent,
            round(now - self._opened_at, 3),
            self._skipped,
            0,
            PACES[0],
        )

    def leave(self, code: int) -> None:
        """Let go of everything: the connection has ended, with this code. It is counted and logged."""
        self._over = True
        for watcher in self._watchers.values():
            self._let_go(watcher)
        self._watchers.clear()
        if self._stats is not None:
            self._stats.let_go()
        tell_end(self._service, self._log, code, self._together(time.monotonic()))
