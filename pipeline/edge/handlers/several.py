"""WebSockets of more than one scan: `/ws/scans` for those subscribed to, `/ws/stats` for all. Shell."""

from __future__ import annotations

from functools import partial

from pipeline.edge.answers import Answers
from pipeline.edge.browser_actions import ACTIONS_OF_STATS
from pipeline.edge.handlers.websocket import BrowserSocket
from pipeline.edge.subscriptions import Subscriptions
from pipeline.edge.watcher import StatsWatcher
from pipeline.edge.ws_connection import WebSocketConnection


class SeveralSocket(BrowserSocket):
    """Whatever scans the browser subscribes to."""

    def _check(self, channel_id: str) -> None:
        """Take whatever comes: the path is all there is."""

    def _read(self, connection: WebSocketConnection, channel_id: str) -> None:  # noqa: ARG002  # the route has none
        subscriptions = Subscriptions(
            self._service,
            connection.log,
            connection.transmitter,
            self._variant,
            self._visit.address,
            connection.connection_id,
            connection.fail,
            connection.holder,
        )
        connection.open(subscriptions, subscriptions.hear)


class StatsSocket(BrowserSocket):
    """The statistics of all scans."""

    def _check(self, channel_id: str) -> None:
        """Take whatever comes: the path is all there is."""

    def _read(self, connection: WebSocketConnection, channel_id: str) -> None:  # noqa: ARG002  # the route has none
        answers = Answers(connection.transmitter, self._variant, self._service.counters)
        watcher = StatsWatcher(
            self._service,
            connection.log,
            connection.transmitter,
            self._variant,
            connection.opened_at,
            connection.holder,
        )
        connection.open(watcher, partial(answers.hear, allowed=ACTIONS_OF_STATS))
