"""WebSockets of more than one scan: `/ws/scans` for those subscribed to, `/ws/stats` for all. Shell."""

from __future__ import annotations

from pipeline.edge.answers import Answers
from pipeline.edge.browser_actions import ACTIONS_OF_STATS
from pipeline.edge.handlers.websocket import BrowserSocket, Reader
from pipeline.edge.service import Service
from pipeline.edge.subscriptions import Subscriptions
from pipeline.edge.transmit import Transmitter
from pipeline.edge.variant import Wire
from pipeline.edge.watcher import StatsWatcher


class SeveralSocket(BrowserSocket):
    """Whatever scans the browser subscribes to."""

    def initialize(self, service: Service, wire: Wire = "native") -> None:
        super().initialize(service, wire)
        self._subscriptions: Subscriptions | None = None

    def _check(self, channel_id: str) -> None:
        """Take whatever comes: the path is all there is."""

    def _read(self, transmitter: Transmitter, channel_id: str) -> Reader:  # noqa: ARG002  # the route has none
        self._subscriptions = Subscriptions(
            self._service,
            self._facts,
            transmitter,
            self._variant,
            self.request.remote_ip or "",
            self.connection_id,
            self._fail,
        )
        return self._subscriptions

    def _hear(self, message: str | bytes) -> None:
        assert self._subscriptions is not None
        self._subscriptions.hear(message)


class StatsSocket(BrowserSocket):
    """The statistics of all scans."""

    def initialize(self, service: Service, wire: Wire = "native") -> None:
        super().initialize(service, wire)
        self._answers: Answers | None = None

    def _check(self, channel_id: str) -> None:
        """Take whatever comes: the path is all there is."""

    def _read(self, transmitter: Transmitter, channel_id: str) -> Reader:  # noqa: ARG002  # the route has none
        self._answers = Answers(transmitter, self._variant, self._service.counters)
        return StatsWatcher(self._service, self._facts, transmitter, self._variant, self._opened_at)

    def _hear(self, message: str | bytes) -> None:
        assert self._answers is not None
        self._answers.hear(message, ACTIONS_OF_STATS)
