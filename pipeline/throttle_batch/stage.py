"""The throttle-batch process: the shards it owns, one loop over all their sockets.

A wake-up takes in what is there up to a bound, commits it at once, and only then acks and publishes.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import zmq

from pipeline import __version__
from pipeline.endpoints import stage_endpoints
from pipeline.event import Catalogue
from pipeline.exposition import Asked, Metrics
from pipeline.log import Log
from pipeline.metrics import HISTOGRAMS, Histogram, Scrape
from pipeline.places import claim_layout, data_dir
from pipeline.reread import read_anew
from pipeline.runtime import Signals, die_with_parent, settle, take_descriptors, wall_ms
from pipeline.service_manager import ServiceManager
from pipeline.sockets import Binder, poll_ms, tell_bound
from pipeline.throttle_batch.config import LIVE_KEYS, ThrottleBatchConfig
from pipeline.throttle_batch.history import History
from pipeline.throttle_batch.journal import (
    MEMORY_CHANNEL_BYTES,
    MEMORY_TOTAL_BYTES,
    Journal,
    MemoryJournal,
)
from pipeline.throttle_batch.journal_file import os_boot_id
from pipeline.throttle_batch.shard import Shard
from pipeline.throttle_batch.sqlite_journal import SqliteJournal
from pipeline.vitals import Vitals

DEAF_AFTER_S = 1.0
"""A wake-up that is so late means that the process was stopped, or the machine asleep: what came meanwhile is
still in the sockets, and no scan was silent."""


class ThrottleBatchStage:
    """Args:
    config: what it can be told.
    log: where its lines go.
    read: reads the configuration anew.
    recover: set a damaged journal aside and begin anew.

    Raises:
        JournalDamaged: a journal is damaged, and `recover` is not given.
        LayoutError: the data directory was made with another number of shards.
        EndpointError: a directory or socket cannot be used; another worker owns one of the shards.
    """

    def __init__(
        self,
        config: ThrottleBatchConfig,
        log: Log,
        read: Callable[[], ThrottleBatchConfig],
        *,
        recover: bool = False,
    ) -> None:
        self._config = config
        self._read = read
        self._log = log
        place = config.pipeline
        self._endpoints = stage_endpoints(place.run_dir, place.endpoints, config.curve)
        data = data_dir(place.data_dir, os.environ)
        claim_layout(data, place.shards)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._binder = Binder(self._context, self._endpoints, log)
        catalogue = Catalogue(config.catalogue_overrides())
        boot_ms = wall_ms()
        boot = f"{boot_ms:x}-{os.getpid():x}"
        now = time.monotonic()
        self._vitals = vitals = Vitals(os.getpid(), __version__, now)
        self._counters: Counter[str] = Counter()
        self._took = {name: Histogram() for name in HISTOGRAMS["throttle-batch"]}
        self._shards: list[Shard] = []
        try:
            for number in sorted(set(place.own)) or range(place.shards):
                journal = self._open_journal(number, data, recover=recover)
                try:
                    shard = Shard(
                        number,
                        config,
                        catalogue,
                        journal,
                        self._binder,
                        log,
                        vitals,
                        boot,
                        boot_ms,
                        now,
                        self._took,
                    )
                except BaseException:
                    journal.close()
                    raise
                self._shards.append(shard)
        except BaseException:
            self.close()
            raise

    def _open_journal(self, shard: int, data: Path, *, recover: bool) -> Journal:
        settings = self._config.journal
        if settings.kind == "memory":
            return MemoryJournal(
                History(
                    min(settings.max_channel_bytes, MEMORY_CHANNEL_BYTES),
                    min(settings.max_total_bytes, MEMORY_TOTAL_BYTES),
                )
            )
        journal = SqliteJournal(data / f"shard-{shard}.sqlite3", settings, os_boot_id(), recover=recover)
        if journal.set_aside is not None:
            self._log.error(
                "journal was damaged: begun anew, with new epochs; what it held is lost to readers",
                shard=shard,
                set_aside=journal.set_aside,
            )
        if journal.cut_off is not None:
            self._log.warning(
                "journal may have gone back: what comes now gets new epochs",
                shard=shard,
                reason=journal.cut_off,
            )
        return journal

    def run(self) -> None:
        """Work until SIGTERM or SIGINT; SIGHUP reads the configuration anew."""
        signals = Signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        poller = zmq.Poller()
        for shard in self._shards:
            for socket in (shard.inbox, shard.events, shard.questions):
                poller.register(socket, zmq.POLLIN)
        poller.register(signals.socket.fileno(), zmq.POLLIN)
        asked = Asked(self._figures)
        metrics = Metrics(
            "throttle-batch", self._shards[0].number, self._config.metrics, asked.ask, self._log
        )
        if metrics.failed:
            self._counters["metrics_failed"] += 1
        tell_bound(self._binder, self._log)
        self._log.info(
            "ready",
            run_dir=self._endpoints.run_dir,
            shards=",".join(str(shard.number) for shard in self._shards),
            metrics=metrics.url,
        )
        manager = ServiceManager(os.environ)
        manager.ready()
        settle()
        next_beacon = time.monotonic()
        try:
            while True:
                for shard in self._shards:
                    # A shard that cannot write takes nothing: its ingests keep it, and then its producers.
                    if shard.taking != (shard.inbox in poller):
                        poller.register(shard.inbox, zmq.POLLIN if shard.taking else 0)
                deadlines = [shard.next_deadline() for shard in self._shards if shard.taking]
                deadlines += [next_beacon, manager.next_deadline()]
                deadline = min(due for due in deadlines if due is not None)
                ready = dict(poller.poll(poll_ms(deadline, time.monotonic())))
                now = time.monotonic()
                if now - deadline > DEAF_AFTER_S:
                    for shard in self._shards:
                        shard.deaf(now)
                for shard in self._shards:
                    if shard.inbox in ready:
                        shard.take_in(now)
                    shard.release(now)
                    if shard.events in ready:
                        shard.greet_joiners()
                    if shard.questions in ready:
                        shard.answer(now)
                manager.alive(now)
                if now >= next_beacon:
                    for shard in self._shards:
                        shard.send_beacon()
                        shard.trim()
                    asked.tell()
                    next_beacon = now + self._config.publish.beacon_interval_s
                self._took["wakeup_seconds"].observe(time.monotonic() - now)
                if signals.socket.fileno() in ready and (told := set(signals.read())):
                    if told - {signal.SIGHUP}:
                        break
                    self._read_anew()
                self._vitals.worked(now, time.monotonic())
        finally:
            manager.stopping()
            signals.close()
            counted = Counter(self._counted())
            for shard in self._shards:
                counted.update(shard.counters())
            self._log.info("stopped", **dict(sorted(counted.items())))

    def _figures(self) -> Scrape:
        counted: list[tuple[dict[str, str], dict[str, float]]] = []
        for shard in self._shards:
            figures = shard.figures()
            figures["commit_timestamp_seconds"] = figures.pop("committed_ms") / 1000
            counted.append(({"shard": str(shard.number)}, figures))
        return Scrape([*counted, ({}, self._counted())], self._took)

    def _counted(self) -> dict[str, float]:
        counted: dict[str, float] = dict(self._counters)
        for reason, times in self._binder.refused().items():
            counted[f"peers_refused{{reason={reason}}}"] = times
        return counted

    def _read_anew(self) -> None:
        config = read_anew(self._read, self._config, LIVE_KEYS, self._log)
        self._counters[f"config_reloads{{result={'refused' if config is None else 'taken'}}}"] += 1
        if config is not None:
            self._config = config
            now = time.monotonic()
            for shard in self._shards:
                shard.follow(config, now)
        self._binder.read_allowed_anew()

    def close(self) -> None:
        """Close the sockets and the journals."""
        for shard in self._shards:
            shard.close()
        self._binder.close()
        self._context.term()


def run(
    config: ThrottleBatchConfig,
    log: Log,
    read: Callable[[], ThrottleBatchConfig],
    *,
    recover: bool = False,
) -> None:
    """Run one throttle-batch process until it is told to stop; `read` reads its configuration anew."""
    die_with_parent()
    take_descriptors()
    stage = ThrottleBatchStage(config, log, read, recover=recover)
    try:
        stage.run()
    finally:
        stage.close()
