"""The notify process: reads every scan's events, and tells hooks what they want to know.

One loop. It reads what has come, writes what follows from it, sends what is due, and waits for whatever comes
next; `delivery` has a task for each hook.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable

import zmq

from pipeline import __version__
from pipeline.endpoints import stage_endpoints
from pipeline.errors import MessageMalformed
from pipeline.exposition import Metrics
from pipeline.following import Following
from pipeline.log import LimitedLog, Log
from pipeline.metrics import Histogram, Scrape
from pipeline.notify.config import LIVE_KEYS, NotifyConfig
from pipeline.notify.delivery import Delivery
from pipeline.notify.ledger import Ledger
from pipeline.notify.reading import JournalReader
from pipeline.notify.rules import Rules
from pipeline.notify.signing import Secrets
from pipeline.notify.target import shown_target
from pipeline.notify.telling import Telling
from pipeline.places import data_dir
from pipeline.reread import read_anew
from pipeline.runtime import die_with_parent, heed, take_descriptors, wall_ms
from pipeline.service_manager import ServiceManager
from pipeline.sockets import NOTIFY_CONTROL, Binder, drain_router, has_more, tell_bound
from pipeline.vitals import Vitals
from pipeline.wire import StatsRequest, decode_edge_request, encode

MAX_SCANS = 100_000
"""How many scans are kept in mind; past it those quiet for longest are forgotten."""
FORGET_INTERVAL_S = 60.0
GRACE_S = 3.0
"""How long requests that are under way may take when the process is told to stop."""


class NotifyStage:
    """Args:
    config: what it can be told.
    secrets: hook -> what its messages are signed with.
    log: where its lines go.
    read: reads the configuration anew.
    read_secrets: reads what the messages of its hooks are signed with.

    Raises:
        EndpointError: a directory cannot be used, or another process is there.
        JournalError: the ledger cannot be used.
    """

    def __init__(
        self,
        config: NotifyConfig,
        secrets: Secrets,
        log: Log,
        read: Callable[[], NotifyConfig],
        read_secrets: Callable[[NotifyConfig], Secrets],
    ) -> None:
        now = time.monotonic()
        self._config = config
        self._read = read
        self._read_secrets = read_secrets
        self._log = log
        self._limited_log = LimitedLog(log)
        self.counters: Counter[str] = Counter()
        self._wakeup_s = Histogram()
        self._vitals = Vitals(os.getpid(), __version__, now)
        place = config.pipeline
        self._endpoints = stage_endpoints(place.run_dir, place.endpoints, config.curve)
        self._ledger = Ledger(data_dir(config.pipeline.data_dir, os.environ), wall_ms())
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._binder = Binder(self._context, self._endpoints, log)
        try:
            self._control = self._binder.bind(zmq.ROUTER, NOTIFY_CONTROL, high_water_mark=100)
            following = Following("live", self._ledger.began_ms, max_channels=2 * MAX_SCANS)
            shards = config.pipeline.shards
            self._reader = JournalReader(self._binder, shards, following, self.counters, log)
            rules = Rules(config.hooks)
            self._telling = Telling(rules, self._ledger, following, self.counters, log, now)
        except BaseException:
            self.close()
            raise
        self._delivery = Delivery(config, secrets, self._ledger, self._telling, self.counters, log)
        self._delivery.add(self._ledger.messages(), now)
        self._polled: set[int] = set()
        self._forget_at = now

    def close(self) -> None:
        """Close the sockets and the ledger."""
        self._binder.close()
        self._context.term()
        self._ledger.close()

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT; a second one ends at once. SIGHUP reads the configuration anew.

        Raises:
            LayoutError: a worker's beacon tells of other shards than this configuration.
            JournalError: a message cannot be read from the ledger.
        """
        loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        stops: list[int] = []

        def stop(number: int) -> None:
            stops.append(number)
            self._wake.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._read_anew)
        heed(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        self._delivery.begin(self._wake.set)
        metrics = Metrics("notify", 0, self._config.metrics, self._scrape, self._log)
        if metrics.failed:
            self.counters["metrics_failed"] += 1
        tell_bound(self._binder, self._log)
        self._log.info(
            "ready",
            run_dir=self._endpoints.run_dir,
            shards=self._config.pipeline.shards,
            metrics=metrics.url,
            hooks=", ".join(f"{name}={shown_target(hook.url)}" for name, hook in self._config.hooks.items()),
        )
        manager = ServiceManager(os.environ)
        manager.ready()
        try:
            while not stops:
                if self._delivery.failure is not None:
                    raise self._delivery.failure
                now = time.monotonic()
                manager.alive(now)
                self._wake.clear()
                more = self._turn(now)
                self._wakeup_s.observe(time.monotonic() - now)
                self._vitals.worked(now, time.monotonic())
                due = self._next_deadline()
                if (sign_due := manager.next_deadline()) is not None:
                    due = min(due, sign_due)
                await self._rest(0.0 if more else due - time.monotonic())
            manager.stopping()
            end = time.monotonic() + GRACE_S
            while self._delivery.under_way and len(stops) < 2 and (left := end - time.monotonic()) > 0:
                self._wake.clear()
                await self._rest(left)
        finally:
            self._delivery.cancel()
            self._telling.write(time.monotonic(), wall_ms())
            self._delivery.close()
            self._binder.take_away(NOTIFY_CONTROL)
            for descriptor in self._polled:
                loop.remove_reader(descriptor)
            self._log.info("stopped", **dict(sorted(self._figures().items())))

    def _read_anew(self) -> None:
        secrets: Secrets = {}

        def read() -> NotifyConfig:
            wanted = self._read()
            secrets.update(self._read_secrets(wanted))
            return wanted

        config = read_anew(read, self._config, LIVE_KEYS, self._log)
        self.counters[f"config_reloads{{result={'refused' if config is None else 'taken'}}}"] += 1
        if config is not None:
            self._config = config
            self._telling.follow(Rules(config.hooks))
            self._delivery.follow(config, secrets, time.monotonic())
            self._wake.set()
        self._binder.read_allowed_anew()

    async def _rest(self, seconds: float) -> None:
        """Wait until something comes, for so long at most."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _turn(self, now: float) -> bool:
        """Do what is to be done; return whether there is more of it already."""
        wall = wall_ms()
        self._answer_control(now)
        if not self._telling.full:
            for passage in self._reader.read(now):
                try:
                    self._telling.take(passage, wall)
                except MessageMalformed as error:
                    self.counters["malformed{socket=events}"] += 1
                    self._limited_log.warning("malformed message from a worker", now, problem=error)
            self._telling.learn(self._reader.summaries())
        if now >= self._forget_at:
            self._forget_at = now + FORGET_INTERVAL_S
            self._telling.forget(wall - int(self._config.memory.forget_after_s * 1000), MAX_SCANS)
        self._delivery.add(self._telling.write(now, wall), now)
        self._delivery.send_due(now)
        self._watch_sockets()
        return has_more(self._control) or (not self._telling.full and self._reader.has_more)

    def _next_deadline(self) -> float:
        deadlines = [self._telling.next_deadline(), self._delivery.next_deadline()]
        if not self._telling.full:
            deadlines.append(self._reader.next_deadline())
        return min([self._forget_at, *(moment for moment in deadlines if moment is not None)])

    def _watch_sockets(self) -> None:
        """Let the loop wake when something comes by a socket that was not there before."""
        loop = asyncio.get_running_loop()
        for socket in (self._control, *self._reader.sockets):
            if (descriptor := socket.fileno()) not in self._polled:
                self._polled.add(descriptor)
                loop.add_reader(descriptor, self._wake.set)

    # --- how it is ----------------------------------------------------------------------------------

    def _scrape(self) -> Scrape:
        """Return what there is to tell; another thread calls it, so what it reads it copies at once."""
        took = {"attempt_seconds": self._delivery.attempt_s, "wakeup_seconds": self._wakeup_s}
        return Scrape([({}, self._figures())], took)

    def _figures(self) -> dict[str, float]:
        counters: dict[str, float] = dict(self.counters)
        counters["scans"] = self._telling.scans
        counters |= self._delivery.counters()
        counters["silent_shards"] = self._config.pipeline.shards - self._reader.heard_shards
        for reason, times in self._binder.refused().items():
            counters[f"peers_refused{{reason={reason}}}"] = times
        return counters

    def _answer_control(self, now: float) -> None:
        for peer, message in drain_router(self._control, 100):
            try:
                request = decode_edge_request(message)
            except MessageMalformed as error:
                self.counters["malformed{socket=control}"] += 1
                self._limited_log.warning("malformed control message", now, problem=error)
                continue
            if isinstance(request, StatsRequest):
                reply = self._vitals.reply(request.id, "notify", self._figures(), now)
                try:
                    self._control.send_multipart((peer, encode(reply)), zmq.NOBLOCK)
                except zmq.Again:
                    self.counters["questions_unread"] += 1


def run(
    config: NotifyConfig,
    secrets: Secrets,
    log: Log,
    read: Callable[[], NotifyConfig],
    read_secrets: Callable[[NotifyConfig], Secrets],
) -> None:
    """Run the notify process until it is told to stop.

    Args:
        config: what it can be told.
        secrets: hook -> what its messages are signed with.
        log: where its lines go.
        read: reads the configuration anew.
        read_secrets: reads what the messages of its hooks are signed with.
    """
    die_with_parent()
    take_descriptors()
    stage = NotifyStage(config, secrets, log, read, read_secrets)
    try:
        asyncio.run(stage.run())
    finally:
        stage.close()
