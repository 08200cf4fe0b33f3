"""The notify process: reads every scan's events, and tells hooks what they want to know.

One loop. It reads what has come, writes what follows from it, sends what is due, and waits for whatever comes
next. Each hook has one request under way at most, as a task of its own: one that hangs holds up no other.
"""

from __future__ import annotations

import asyncio
import os
import random
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
from pipeline.notify.config import LIVE_KEYS, Hook, NotifyConfig
from pipeline.notify.ledger import Kept, Ledger
from pipeline.notify.reading import JournalReader
from pipeline.notify.retrying import Verdict, judge, retry_after_s
from pipeline.notify.rules import Rules
from pipeline.notify.sending import Answer, Sender
from pipeline.notify.signing import Secrets
from pipeline.notify.target import shown_target
from pipeline.notify.telling import Telling
from pipeline.notify.waiting import Drop, Waiting
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
        self._secrets = secrets
        self._log = log
        self._limited_log = LimitedLog(log)
        self.counters: Counter[str] = Counter()
        self._attempt_s = Histogram()
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
        self._waiting = {name: Waiting(config.delivery) for name in config.hooks}
        self._tasks: set[asyncio.Task[None]] = set()
        self._polled: set[int] = set()
        self._failure: BaseException | None = None
        self._forget_at = now
        self._add(self._ledger.messages(), now)

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
        self._sender = Sender(len(self._config.hooks), self._config.delivery.timeout_s)
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
                if self._failure is not None:
                    raise self._failure
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
            while self._tasks and len(stops) < 2 and (left := end - time.monotonic()) > 0:
                self._wake.clear()
                await self._rest(left)
        finally:
            for task in self._tasks:
                task.cancel()
            self._telling.write(time.monotonic(), wall_ms())
            self._sender.close()
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
            self._follow(config, secrets)
        self._binder.read_allowed_anew()

    def _follow(self, config: NotifyConfig, secrets: Secrets) -> None:
        """Go on with another configuration, and other hooks: a new one is told what is read from now on."""
        before, secrets_before = self._config.hooks, self._secrets
        self._config, self._secrets = config, secrets
        hooks = config.hooks
        for name in before.keys() - hooks:
            self._drop(name, self._waiting.pop(name).leave())
        for waiting in self._waiting.values():
            waiting.settings = config.delivery
        for name in hooks.keys() - before:
            self._waiting[name] = Waiting(config.delivery)
        signed_anew = [name for name in before if name in hooks and secrets[name] != secrets_before[name]]
        if signed_anew:
            self._log.info("secrets read anew", hooks=", ".join(signed_anew))
        for name in before.keys() & hooks:
            if name in signed_anew or hooks[name] != before[name]:
                self._waiting[name].renew(time.monotonic())
        self._telling.follow(Rules(hooks))
        self._sender.follow(len(hooks), config.delivery.timeout_s)
        self._wake.set()

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
        self._add(self._telling.write(now, wall), now)
        for hook in self._waiting:
            self._send_due(hook, now)
        self._watch_sockets()
        return has_more(self._control) or (not self._telling.full and self._reader.has_more)

    def _next_deadline(self) -> float:
        deadlines = [self._telling.next_deadline()]
        if not self._telling.full:
            deadlines.append(self._reader.next_deadline())
        deadlines += [waiting.next_deadline() for waiting in self._waiting.values()]
        return min([self._forget_at, *(moment for moment in deadlines if moment is not None)])

    def _watch_sockets(self) -> None:
        """Let the loop wake when something comes by a socket that was not there before."""
        loop = asyncio.get_running_loop()
        for socket in (self._control, *self._reader.sockets):
            if (descriptor := socket.fileno()) not in self._polled:
                self._polled.add(descriptor)
                loop.add_reader(descriptor, self._wake.set)

    # --- messages -----------------------------------------------------------------------------------

    def _add(self, kept: list[Kept], now: float) -> None:
        wall = wall_ms()
        for number, hook, seen_ms in kept:
            waiting = self._waiting.get(hook)
            made_at = now - max(0, wall - seen_ms) / 1000
            self._drop(
                hook, [Drop(number, "no_hook")] if waiting is None else waiting.add(number, made_at, now)
            )

    def _drop(self, hook: str, drops: list[Drop]) -> None:
        for drop in drops:
            self.counters[f"dropped{{reason={drop.reason}}}"] += 1
        if drops:
            self._log.error("messages dropped", hook=hook, reason=drops[0].reason, count=len(drops))
            self._telling.done(drop.number for drop in drops)

    def _send_due(self, hook: str, now: float) -> None:
        deadline = self._waiting[hook].next_deadline()
        if deadline is None or now < deadline:
            return
        number, drops = self._waiting[hook].take(now)
        self._drop(hook, drops)
        if number is not None:
            task = asyncio.get_running_loop().create_task(self._deliver(hook, number))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error
        self._wake.set()

    async def _deliver(self, name: str, number: int) -> None:
        hook, waiting = self._config.hooks[name], self._waiting[name]
        identity, body = self._ledger.message(number)
        self.counters["attempts"] += 1
        began = time.monotonic()
        answer = await self._sender.post(hook.url, self._secrets[name], identity, body, wall_ms() // 1000)
        verdict = judge(answer.status)
        asked_s = retry_after_s(answer.retry_after, wall_ms() / 1000)
        now = time.monotonic()
        self._attempt_s.observe(now - began)
        if self._waiting.get(name) is not waiting:  # its hook is no more, and its messages are dropped
            return
        if verdict is Verdict.GONE and self._config.hooks[name] != hook:
            verdict = Verdict.UNWELL  # that was of the hook before
        drops = waiting.answered(verdict, asked_s, random.random(), now)  # noqa: S311  jitter, no secret
        if verdict is Verdict.DELIVERED:
            self._telling.done([number])
        self._drop(name, drops)
        self._add(self._telling.write(now, wall_ms()), now)  # what is said below is then durable
        self._tell(name, hook, identity, verdict, answer)

    def _tell(self, name: str, hook: Hook, identity: str, verdict: Verdict, answer: Answer) -> None:
        """Count and log what became of an attempt."""
        if verdict is Verdict.DELIVERED:
            self.counters["delivered"] += 1
            self._log.info("delivered", hook=name, id=identity, status=answer.status)
            return
        reason = "no_answer" if answer.status is None else str(verdict.value)
        self.counters[f"failed{{reason={reason}}}"] += 1
        facts = {"hook": name, "target": shown_target(hook.url), "id": identity, "status": answer.status}
        if verdict is Verdict.GONE:
            self._log.error("hook is gone", **facts)
        else:
            waiting = len(self._waiting[name])
            self._limited_log.warning(
                "not delivered", time.monotonic(), **facts, problem=answer.problem, waiting=waiting
            )

    # --- how it is ----------------------------------------------------------------------------------

    def _scrape(self) -> Scrape:
        """Return what there is to tell; another thread calls it, so what it reads it copies at once."""
        took = {"attempt_seconds": self._attempt_s, "wakeup_seconds": self._wakeup_s}
        return Scrape([({}, self._figures())], took)

    def _figures(self) -> dict[str, float]:
        counters: dict[str, float] = dict(self.counters)
        counters["scans"] = self._telling.scans
        hooks = list(self._waiting.values())
        counters["waiting"] = sum(len(waiting) for waiting in hooks)
        counters["hooks_gone"] = sum(waiting.gone for waiting in hooks)
        counters["hooks_failing"] = sum(waiting.failures > 0 for waiting in hooks)
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
