"""One browser's WebSocket, from the answer to its upgrade to its end: frames, pings, how it is closed. Shell.

Bytes come and go by a transmitter; `ws_reading` says what came. What the browser is given is its reader's to
say, and what it asks goes to whoever hears it. While nothing happens it is this object and its socket: no
task, no buffer, no parser.

=========================================== ==============================================================
what happens                                what it does (RFC 6455, 7.1)
=========================================== ==============================================================
the edge ends it                            sends a close frame, hears on for the browser's; ends with that
the browser closes                          answers with its code, and ends when that is with the kernel
the browser sends what may not be           sends a close frame, shuts its side, and drops what comes, so
                                            that the close frame is not lost to a reset
the browser leaves                          ends
none of these is through within `CLOSE_S`   ends
an error of ours                            1011, for this connection alone
=========================================== ==============================================================
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from pipeline.edge.accounts import Holder
from pipeline.edge.browser_actions import read_token
from pipeline.edge.close_codes import NO_PONG, NOT_TEXT, TOO_MANY_MESSAGES, UNAUTHORISED, CloseCode
from pipeline.edge.reader import Reader
from pipeline.edge.service import Service
from pipeline.edge.told import Figures
from pipeline.edge.transmit import Transmitter
from pipeline.edge.variant import Variant
from pipeline.edge.watcher import closing
from pipeline.edge.ws_frame import PING, close_frame, pong_frame
from pipeline.edge.ws_reading import Closed, Failed, Inbound, Message, Ping, WebSocketReader
from pipeline.errors import TokenRejected
from pipeline.log import Log

CLOSE_S = 5.0
"""How long a browser is given to take and answer a close frame."""

_EMPTY_PONG = b"\x8a\x80"
"""How the answer to `PING` begins; its mask is all that follows."""


class WebSocketConnection:
    """Args:
    service: what all connections of the edge share.
    transmitter: the connection, to which the answer to the upgrade was given.
    variant: what the browser speaks.
    connection_id: names the connection.
    path: what was asked for, for the log.

    Attributes:
        log: names the connection.
        hear: told of each message, once there is a reader.
        holder: whose it is; None where there are no accounts, or nobody has said it yet.
        opened_at: monotonic seconds.
    """

    __slots__ = (
        "_code", "_deaf", "_ended", "_frames", "_full_at", "_heard_at", "_over", "_path", "_reader",
        "_service", "_timer", "_variant", "connection_id", "hear", "holder", "log", "opened_at",
        "transmitter",
    )  # fmt: skip

    def __init__(
        self, service: Service, transmitter: Transmitter, variant: Variant, connection_id: str, path: str
    ) -> None:
        self._service = service
        self.transmitter = transmitter
        self._variant = variant
        self.connection_id = connection_id
        self._path = path
        self.log: Log = service.log.bind(connection=connection_id, wire=variant.wire)
        self.holder: Holder | None = None
        self.hear: Callable[[str | bytes], object] | None = None
        self.opened_at = self._heard_at = time.monotonic()
        self._reader: Reader | None = None
        self._frames: WebSocketReader | None = None
        self._full_at = float("-inf")
        self._ended: CloseCode | None = None
        self._code: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deaf = False
        self._over = False
        transmitter.on_error = self.fail

    @property
    def wire(self) -> str:
        """What the browser speaks."""
        return self._variant.wire

    # --- opening ----------------------------------------------------------------------------------

    def open(self, reader: Reader, hear: Callable[[str | bytes], object]) -> None:
        """Let a browser that is admitted have its reader.

        Args:
            reader: gives it what it asks for.
            hear: told of each message.
        """
        self._reader, self.hear = reader, hear

    def listen(self) -> None:
        """Hear the browser from now on."""
        self.transmitter.listen(self._heard, self._gone)

    # --- hearing ----------------------------------------------------------------------------------

    def _heard(self, data: bytes) -> None:
        if not self._deaf:
            try:
                self._take(data)
            except Exception as error:  # noqa: BLE001  # of this connection alone
                self.fail(error)

    def _take(self, data: bytes) -> None:
        now = time.monotonic()
        found: list[Inbound] = []
        frames = self._frames
        if frames is None and len(data) == 6 and data.startswith(_EMPTY_PONG):
            count = 1
        else:
            if frames is None:
                limits = self._service.config.limits
                frames = WebSocketReader(limits.max_inbound_bytes, deflate=self._variant.deflate is not None)
            before = frames.frames
            found = frames.receive(data)
            count = frames.frames - before
            self._frames = frames if frames.within else None
        if count:
            self._heard_at = now  # any frame is a sign of life
        self._full_at, wait_s = self._service.inbound_rate.take(self._full_at, now, count)
        if wait_s > 0:
            self._break(TOO_MANY_MESSAGES, "too many frames")
        for each in found:
            if self._deaf:
                return
            self._do(each)

    def _do(self, found: Inbound) -> None:
        if isinstance(found, Failed):
            self._break(found.code, found.problem)
        elif isinstance(found, Closed):
            self._answer_close(found.code)
        elif self._timer is not None:
            return  # nothing follows a close frame
        elif isinstance(found, Ping):
            self.transmitter.put(pong_frame(found.payload))
        elif isinstance(found, Message):
            self._hand_over(found)

    def _hand_over(self, message: Message) -> None:
        if not message.is_text and self._variant.wire == "native":
            # HeroForge's server takes anything, and so do we on its wire.
            self._break(NOT_TEXT, "a binary message")
        elif self.holder is not None and self._sends_too_fast(self.holder):
            self._break(TOO_MANY_MESSAGES, "too many messages of this user", "user")
        elif self.holder is not None and (token := read_token(message.data)) is not None:
            self._refresh(self.holder, token)
        elif self.hear is not None:
            self.hear(message.data.decode() if message.is_text else message.data)

    def _sends_too_fast(self, holder: Holder) -> bool:
        messages = self._service.users.messages
        return messages.knock(holder.identity.subject, time.monotonic()) > 0

    def _refresh(self, holder: Holder, token: str) -> None:
        """Go on with another token of the same subject."""
        try:
            identity = self._service.accounts.identify(token)
        except TokenRejected as error:
            self._refuse_token(f"{error.problem}: {error}")
            return
        if identity.subject != holder.identity.subject:
            self._refuse_token("refreshed with a token of another subject")
            return
        holder.identity = identity
        if self._reader is not None:
            self._reader.recheck()

    def _refuse_token(self, problem: str) -> None:
        self._service.refuse(str(UNAUTHORISED.code), problem, path=self._path)
        self.end(UNAUTHORISED)

    # --- the heartbeat ----------------------------------------------------------------------------

    def beat(self, now: float) -> None:
        """Ping the browser; close it when it is gone, takes nothing, or has waited too long."""
        if self._timer is not None or self._reader is None:
            return
        try:
            overdue = self._reader.overdue(now)
            if self.holder is not None and not self._service.accounts.still_holds(self.holder.identity):
                overdue = UNAUTHORISED
            if now - self._heard_at > self._service.config.heartbeat.client_timeout_s:
                self.end(NO_PONG)
            elif overdue is not None:
                self.end(overdue)
            elif self.transmitter.idle:
                self.transmitter.write(PING, 0)
        except Exception as error:  # noqa: BLE001  # of this connection alone
            self.fail(error)

    def told(self, now: float) -> Sequence[Figures]:
        """Return what it has cost and been given; nothing before it is open."""
        return self._reader.told(now) if self._reader is not None else ()

    # --- ending -----------------------------------------------------------------------------------

    def end(self, code: CloseCode) -> None:
        """Close the connection, telling a native client what to do next."""
        if self._ended is not None or self._timer is not None:
            return
        self._ended = code
        if self.transmitter.idle and self._variant.wire == "native":
            self.transmitter.write(self._variant.message(closing(code)))
        self.close(code.code, code.reason)

    def refuse(self, code: CloseCode, problem: str, reason: str | None = None) -> None:
        """Close a connection that is not taken.

        Args:
            code: why.
            problem: in words, for the browser too.
            reason: what it is counted by; None for the code.
        """
        self._service.refuse(
            reason or str(code.code),
            problem,
            path=self._path,
            connection=self.connection_id,
            wire=self._variant.wire,
        )
        self.close(code.code, problem)

    def fail(self, error: BaseException) -> None:
        """Close it for an error of ours."""
        self.log.error("connection failed", problem=repr(error))
        self.close(1011, "internal error")

    def close(self, code: int | None, reason: str = "") -> None:
        """Send a close frame, after which nothing is sent, and see to it that the connection ends in time."""
        if self._timer is not None or self._over:
            return
        self._timer = asyncio.get_running_loop().call_later(CLOSE_S, self.drop)
        if self._code is None:
            self._code = code
        if self._reader is not None:
            self._reader.stop()
        self.transmitter.put(close_frame(code, reason))

    def _answer_close(self, code: int | None) -> None:
        self._deaf = True
        self.close(code)
        if self.transmitter.idle:
            self.drop()
        else:
            self.transmitter.shut()

    def _break(self, code: CloseCode, problem: str, reason: str | None = None) -> None:
        """Close it for what the browser sent; it is counted by the reason, or else by the code."""
        self._deaf = True
        self._service.refuse(reason or str(code.code), problem, path=self._path)
        self.end(code)
        self.transmitter.shut()

    def drop(self) -> None:
        """End the connection now; does nothing when it has ended."""
        self.transmitter.close()
        self._gone()

    def _gone(self) -> None:
        if self._over:
            return
        self._over = self._deaf = True
        if self._timer is not None:
            self._timer.cancel()
        self._service.release(self)
        reader, self._reader, self.hear = self._reader, None, None
        if reader is not None:
            code = self._ended.code if self._ended is not None else self._code
            reader.leave(code or 1006)
