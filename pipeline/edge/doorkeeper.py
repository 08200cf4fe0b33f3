"""A WebSocket that has brought no token: until its first message says who it is, it is given nothing. Shell.

It stands where the connection's reader will; with the token it makes room for that. Only where there are
accounts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pipeline.edge.accounts import Holder
from pipeline.edge.browser_actions import read_token
from pipeline.edge.close_codes import UNAUTHORISED, CloseCode
from pipeline.edge.reader import tell_end
from pipeline.edge.service import Service
from pipeline.edge.told import Figures
from pipeline.edge.ws_connection import WebSocketConnection
from pipeline.errors import TokenRejected


class Doorkeeper:
    """Args:
    service: what all connections of the edge share.
    connection: the WebSocket, admitted.
    path: what was asked for, for the log.
    begin: called once with whose it is; opens the connection with its reader.
    """

    def __init__(
        self,
        service: Service,
        connection: WebSocketConnection,
        path: str,
        begin: Callable[[Holder], None],
    ) -> None:
        self._service = service
        self._connection = connection
        self._path = path
        self._begin = begin
        self._timer = asyncio.get_running_loop().call_later(
            service.config.accounts.first_message_s, self._refuse, "missing: no token in time"
        )
        connection.open(self, self.hear)

    def hear(self, message: str | bytes) -> None:
        """Let in whoever has a token."""
        self._timer.cancel()
        token = read_token(message)
        if token is None:
            self._refuse("missing: the first message has no token")
            return
        try:
            identity = self._service.accounts.identify(token)
        except TokenRejected as error:
            self._refuse(f"{error.problem}: {error}")
            return
        self._begin(Holder(identity))

    def _refuse(self, problem: str) -> None:
        self._service.refuse(str(UNAUTHORISED.code), problem, path=self._path)
        self._connection.end(UNAUTHORISED)

    # --- as a reader ------------------------------------------------------------------------------

    def told(self, now: float) -> list[Figures]:  # noqa: ARG002  # as every reader's
        """Return nothing: it has been given nothing."""
        return []

    def overdue(self, now: float) -> CloseCode | None:  # noqa: ARG002  # as every reader's
        """Return nothing: it has a time of its own."""
        return None

    def recheck(self) -> None:
        """Do nothing: there is nothing it may see."""

    def stop(self) -> None:
        """Wait no more."""
        self._timer.cancel()

    def leave(self, code: int) -> None:
        """Count and log the end."""
        self._timer.cancel()
        wire = self._connection.wire
        tell_end(self._service, self._connection.log, code, Figures("", wire, 0, 0, 0.0, 0, 0, 0))
