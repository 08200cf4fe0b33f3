"""Reads one scan from an edge in asyncio, comes back by itself, and says what it was not given. Shell.

Over Tornado's WebSocket client. What is decided is in `subscription.py`. It reads when it is asked for the
next item and at no other time: a reader that takes its time holds the edge back, and nothing piles up here.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self, TypeAlias, TypeVar
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    WebSocketError,
    websocket_connect,
)

from pipeline.event import is_scan_id
from pipeline.frame import Position
from pipeline.items import Ended, Item
from pipeline.renewal import is_token_text, token_expiry
from pipeline.subscription import OPEN_WITHIN_S, Action, Ask, Give, Leave, Renew, Subscription
from pipeline.wire import PING, SUBPROTOCOL

_MAX_MESSAGE_BYTES = 16_777_216
_T = TypeVar("_T")

Token: TypeAlias = str | Callable[[], str | Awaitable[str]]

_CLOSE_S = 5.0
"""How long the edge is given to answer the close frame."""


class Subscriber:
    """A reader of one scan: an async iterator of what the edge tells, in order and without a gap.

    Use it in `async with`, in one task at a time. Cancelling a wait for the next item loses nothing.

    Args:
        url: the edge, such as `http://127.0.0.1:8800/`; or `https`, `ws`, `wss`, or with a path.
        scan_id: the scan; it need not exist yet.
        since: go on after this position, `epoch:seq`; None: begin with everything that is held.
        filters: further parameters of the address, by name, such as `{"min_severity": "High"}`.
        token: who reads, where the edge has accounts; or what returns a token, also awaited: that is asked at
            every connect and before the present one expires, and once more when the edge refuses one. What it
            raises is as a connection that could not be opened.

    Raises:
        ValueError: the address, the scan id, the position or the token is none.
    """

    def __init__(
        self,
        url: str,
        scan_id: str,
        since: str | None = None,
        *,
        filters: Mapping[str, str] | None = None,
        token: Token | None = None,
    ) -> None:
        if not is_scan_id(scan_id):
            raise ValueError(f"{scan_id[:80]!r} is no scan id")
        if isinstance(token, str) and not is_token_text(token):
            raise ValueError("the token given is none")
        begin = Position.parse(since) if since is not None else None
        self._url = _socket_url(url, scan_id)
        self._filters = dict(filters or {})
        self._token = token
        self._subscription = Subscription(begin, time.monotonic(), renewable=callable(token))
        self._given: deque[Give] = deque()
        self._handed = begin
        self._connecting: asyncio.Future[WebSocketClientConnection] | None = None
        self._connection: WebSocketClientConnection | None = None
        self._reading: asyncio.Future[str | bytes | None] | None = None
        self._closed = False

    @property
    def position(self) -> str | None:
        """The position after what was handed out, `epoch:seq`, to go on from; None before the first event."""
        return str(self._handed) if self._handed is not None else None

    @property
    def ended(self) -> Ended | None:
        """Why the iteration ended by itself; None while it goes on, and after `aclose`."""
        return self._subscription.ended

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        """Return the next item; waits for it as long as it takes.

        Raises:
            StopAsyncIteration: the edge does not want this reader back (`ended` says why), or it is closed.
        """
        while not self._given:
            if self._closed or self._subscription.ended is not None:
                raise StopAsyncIteration
            await self._go_on()
        give = self._given.popleft()
        self._handed = give.since
        return give.item

    async def aclose(self) -> None:
        """Close the connection for good, and wait until it is; a second call does nothing."""
        self._closed = True
        self._given.clear()
        if self._connecting is not None:
            self._connecting.add_done_callback(_close_unwanted)
            self._connecting = None
        await self._let_go()

    async def _go_on(self) -> None:
        """Do one thing: wait for the time to connect, open the connection, or take in a message."""
        if self._subscription.connect_at is not None:
            await asyncio.sleep(max(0.0, self._subscription.connect_at - time.monotonic()))
            await self._connect()
        elif self._connecting is not None:
            await self._open(self._connecting)
        elif self._connection is not None:
            await self._read(self._connection)

    async def _connect(self) -> None:
        headers, left_s = {}, None
        if self._token is not None:
            try:
                token, left_s = await self._ask_token(self._token)
            except _NoToken as error:
                await self._do(self._subscription.closed(None, str(error), time.monotonic(), _random()))
                return
            headers["Authorization"] = f"Bearer {token}"
        since = self._subscription.since
        query = {**self._filters, "since": str(since) if since is not None else "start"}
        request = HTTPRequest(
            f"{self._url}?{urlencode(query)}", headers=headers, connect_timeout=OPEN_WITHIN_S
        )
        self._subscription.connecting(time.monotonic())
        self._subscription.token_lasts(left_s, time.monotonic())
        self._connecting = asyncio.ensure_future(
            websocket_connect(request, subprotocols=[SUBPROTOCOL], max_message_size=_MAX_MESSAGE_BYTES)
        )

    async def _ask_token(self, source: Token) -> tuple[str, float | None]:
        """Return a token, and how many seconds it lasts; None when it does not say.

        Raises:
            _NoToken: there is none to be had.
        """
        try:
            async with asyncio.timeout(OPEN_WITHIN_S):
                given = source if isinstance(source, str) else source()
                token: object = await given if inspect.isawaitable(given) else given
        except Exception as error:
            raise _NoToken(f"there is no token: {type(error).__name__}") from error
        if not isinstance(token, str) or not is_token_text(token):
            raise _NoToken("there is no token: what was given is none")
        expiry = token_expiry(token)
        return token, expiry - time.time_ns() / 1e9 if expiry is not None else None

    async def _renew(self, source: Token, connection: WebSocketClientConnection) -> None:
        """Send the next token; without one the edge ends the connection when the present one is over."""
        try:
            token, left_s = await self._ask_token(source)
        except _NoToken:
            return
        self._subscription.token_lasts(left_s, time.monotonic())
        with contextlib.suppress(WebSocketClosedError):  # the read that follows says so
            await connection.write_message(json.dumps({"action": "refresh", "token": token}))

    async def _open(self, connecting: asyncio.Future[WebSocketClientConnection]) -> None:
        if not await self._in_time(connecting):
            return
        self._connecting = None
        try:
            self._connection = connecting.result()
        except (OSError, HTTPClientError, WebSocketError) as error:
            await self._do(self._subscription.closed(None, _why(error), time.monotonic(), _random()))
        else:
            self._subscription.opened(time.monotonic())

    async def _read(self, connection: WebSocketClientConnection) -> None:
        if self._reading is None:
            self._reading = asyncio.ensure_future(connection.read_message())
        reading = self._reading
        if not await self._in_time(reading):
            return
        self._reading = None
        message = reading.result()
        if message is None:
            self._connection = None
            connection.close()  # else Tornado warns of a connection left open
            code, reason = connection.close_code, connection.close_reason
            await self._do(self._subscription.closed(code, reason or "", time.monotonic(), _random()))
        else:
            await self._do(self._subscription.received(message, time.monotonic(), _random()))

    async def _in_time(self, awaited: asyncio.Future[_T]) -> bool:
        """Return whether it came before the deadline; it is not cancelled if not, nor when this is."""
        timeout_s = max(0.0, self._subscription.wake_at - time.monotonic())
        done, _ = await asyncio.wait({awaited}, timeout=timeout_s)
        if not done:
            await self._do(self._subscription.handle_timeout(time.monotonic(), _random()))
        return bool(done)

    async def _do(self, actions: list[Action]) -> None:
        # What is given is kept before anything is waited for: a wait may be cancelled.
        self._given += [action for action in actions if isinstance(action, Give)]
        for action in actions:
            if isinstance(action, Ask) and self._connection is not None:
                with contextlib.suppress(WebSocketClosedError):  # the read that follows says so
                    await self._connection.write_message(PING)
            elif isinstance(action, Renew) and self._connection is not None and self._token is not None:
                await self._renew(self._token, self._connection)
            elif isinstance(action, Leave):
                if self._connecting is not None:
                    self._connecting.add_done_callback(_close_unwanted)
                    self._connecting = None
                await self._let_go()

    async def _let_go(self) -> None:
        """Close the connection, and wait until it is."""
        connection, self._connection = self._connection, None
        reading, self._reading = self._reading, None
        if connection is None:
            return
        connection.close(1000)
        end = time.monotonic() + _CLOSE_S
        while True:
            reading = reading or asyncio.ensure_future(connection.read_message())
            done, _ = await asyncio.wait({reading}, timeout=max(0.0, end - time.monotonic()))
            if not done or reading.result() is None:
                return
            reading = None


class _NoToken(Exception):
    """There is none to be had."""


def _socket_url(url: str, scan_id: str) -> str:
    """Return the WebSocket's address.

    Raises:
        ValueError: `url` is no address of an edge.
    """
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError(f"{url[:80]!r} is no address of an edge: http://HOST:PORT/ or https, ws, wss")
    path = f"{parts.path.rstrip('/')}/ws/scans/{quote(scan_id)}"
    return urlunsplit((scheme, parts.netloc, path, "", ""))


def _why(error: Exception) -> str:
    if isinstance(error, HTTPClientError):
        return f"the server answered with HTTP {error.code}"
    return f"the connection could not be opened: {str(error) or type(error).__name__}"


def _close_unwanted(connecting: asyncio.Future[WebSocketClientConnection]) -> None:
    """Close a connection that nobody waits for any more, once it is open."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().close(1000)


def _random() -> float:
    return random.random()  # noqa: S311  # spreads retries; guards nothing
