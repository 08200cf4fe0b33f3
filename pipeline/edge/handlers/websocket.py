"""WebSockets: ours at `/ws/scans/ID`, HeroForge's at `/api/ws/scans/ID` and `/api/ws/reports/ID`.

Shell: it judges the request, upgrades the connection, and is through: what happens then is for
`ws_connection` and the browser's reader. `BrowserSocket` is what all WebSockets have in common; `several` has
the other ones.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from dataclasses import replace

from pipeline.edge.accounts import Holder
from pipeline.edge.answers import ScanAnswers
from pipeline.edge.close_codes import BAD_REQUEST, FORBIDDEN, UNAUTHORISED, UNSUPPORTED_PROTOCOL, CloseCode
from pipeline.edge.deflate import Agreement, Deflate, agree
from pipeline.edge.doorkeeper import Doorkeeper
from pipeline.edge.gate import Gate
from pipeline.edge.handlers.asked import asked_filter, asked_since
from pipeline.edge.handlers.guard import Discreet, enter, flooded, identify
from pipeline.edge.service import Service
from pipeline.edge.session import Session
from pipeline.edge.transmit_stream import taken_over
from pipeline.edge.variant import Variant, Wire
from pipeline.edge.watcher import Watcher
from pipeline.edge.ws_connection import WebSocketConnection
from pipeline.edge.ws_upgrade import VERSION, answer, protocols, refusal
from pipeline.errors import TokenProblem, TokenRejected
from pipeline.event import is_scan_id
from pipeline.wire import SUBPROTOCOL, TOKEN_PROTOCOL, channel_name


class BrowserSocket(Discreet, ABC):
    """The request for one WebSocket.

    It is refused before the upgrade when its `Host` is foreign, when its address asks too fast, and when it
    is no opening handshake; else with a close code, which a page can read.
    """

    def initialize(self, service: Service, wire: Wire = "native") -> None:
        self._service = service
        self._variant = Variant(wire)
        self._keeps_window = False

    def prepare(self) -> None:
        self._visit = enter(self.request, self._service)
        if self._visit.refused is not None:
            self._service.refuse("host", self._visit.refused, path=self.request.path)
            self.set_status(403)
            self.finish(self._visit.refused)
        elif flooded(self, self._service):
            self.finish("too many connections at once")

    def get(self, channel_id: str = "") -> None:
        fields = self.request.headers.get_list
        no_handshake = refusal(self.request.version, fields)
        if no_handshake is not None:
            self.set_status(no_handshake.status)
            self.set_header("Sec-WebSocket-Version", VERSION)
            self.finish(no_handshake.problem)
            return
        agreement = self._agree_on_compression()
        offered = protocols(fields)
        answered = answer(
            fields,
            SUBPROTOCOL if SUBPROTOCOL in offered else None,
            agreement.answer if agreement is not None else None,
        )
        code, problem = self._refused(channel_id, offered)
        holder, missing = None, False
        if code is None and self._service.accounts.on:
            try:
                holder = Holder(identify(self.request, self._service))
            except TokenRejected as error:
                missing = error.problem is TokenProblem.MISSING
                if not missing:
                    code, problem = UNAUTHORISED, f"{UNAUTHORISED.reason}: {error.problem}"
        transmitter = taken_over(self, self._service.config.limits.kernel_buffer_bytes)
        if transmitter is None:
            return  # it has gone again
        transmitter.put(answered)
        connection = WebSocketConnection(
            self._service, transmitter, self._variant, secrets.token_hex(8), self.request.path
        )
        if code is None and (code := self._service.admit(connection, self._visit.address)) is not None:
            problem = code.reason
        if code is not None:
            connection.refuse(code, problem)
        elif missing:
            Doorkeeper(
                self._service,
                connection,
                self.request.path,
                lambda holder: self._begin(connection, channel_id, holder),
            )
        else:
            self._begin(connection, channel_id, holder)
        connection.listen()

    def _agree_on_compression(self) -> Agreement | None:
        """Take the browser's offer, if it can be met."""
        settings, contexts = self._service.config.compression, self._service.contexts
        offers = ",".join(self.request.headers.get_list("Sec-WebSocket-Extensions"))
        keep = self._keeps_window and contexts.most > 0
        agreement = agree(offers, keep=keep) if settings.enabled else None
        if agreement is not None:
            kept = contexts if agreement.keeps else None
            deflate = Deflate(agreement.window_bits, settings.level, settings.min_bytes, kept)
            self._variant = replace(self._variant, deflate=deflate)
        return agreement

    def _refused(self, channel_id: str, offered: list[str]) -> tuple[CloseCode | None, str]:
        """Return why the browser is refused, and in words; no code when it is not."""
        spoken = [each for each in offered if not each.startswith(TOKEN_PROTOCOL)]
        if self._visit.foreign is not None:
            return FORBIDDEN, FORBIDDEN.reason
        if self._variant.wire == "native" and spoken and SUBPROTOCOL not in spoken:
            return UNSUPPORTED_PROTOCOL, UNSUPPORTED_PROTOCOL.reason
        try:
            self._check(channel_id)
        except ValueError as error:
            return BAD_REQUEST, f"{BAD_REQUEST.reason}: {error}"
        return None, ""

    def _begin(self, connection: WebSocketConnection, channel_id: str, holder: Holder | None) -> None:
        connection.holder = holder
        if holder is not None and (code := self._service.seat(connection, holder.identity)) is not None:
            connection.refuse(code, code.reason, "user")
            return
        self._service.counters[f"connections{{wire={self._variant.wire}}}"] += 1
        try:
            self._read(connection, channel_id)
        except Exception as error:  # noqa: BLE001  # there is no request any more that could fail
            connection.fail(error)
        else:
            connection.log.debug("connected")

    @abstractmethod
    def _check(self, channel_id: str) -> None:
        """Look at what the address asks for.

        Args:
            channel_id: the last part of its path; empty where the route has none.

        Raises:
            ValueError: it is nothing that can be given.
        """

    @abstractmethod
    def _read(self, connection: WebSocketConnection, channel_id: str) -> None:
        """Open the connection with who gives the browser what it asks for."""


class ScanSocket(BrowserSocket):
    """One scan or report."""

    def initialize(self, service: Service, wire: Wire = "native", kind: str = "scan") -> None:
        super().initialize(service, wire)
        self._kind = kind
        # On HeroForge's wire a frame is many messages, of which a reader may take a part.
        self._keeps_window = wire == "native"

    def _check(self, channel_id: str) -> None:
        if not is_scan_id(channel_id):
            raise ValueError(f"{channel_id[:40]!r} is no scan id")
        if self._variant.wire == "native":
            asked_since(self)
            asked_filter(self)

    def _read(self, connection: WebSocketConnection, channel_id: str) -> None:
        native = self._variant.wire == "native"
        session = Session(
            channel_name(self._kind, channel_id),
            replace(self._variant, wanted=asked_filter(self)) if native else self._variant,
            connection.connection_id,
            asked_since(self) if native else None,
            self._service.greeting,
            Gate() if connection.holder is not None else None,
        )
        connection.log = connection.log.bind(channel=session.channel)
        watcher = Watcher(
            self._service,
            connection.log,
            session,
            connection.transmitter,
            self._visit.address,
            connection.end,
            connection.fail,
            connection.opened_at,
            connection.holder,
        )
        # What is not the cohort's is not compressed where a window is kept, and answers are small anyway.
        plain = replace(self._variant, deflate=None)
        answers = ScanAnswers(watcher, connection.transmitter, plain, self._service.counters)
        connection.open(watcher, answers.hear)
