"""Delivers what hooks are told: each message once it is kept, and again until it is taken. Shell.

Between the ledger and the receivers. Each hook has one request under way at most, as a task of its own: one
that hangs holds up no other. When which is sent `waiting` knows, what an answer means `retrying`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable

from pipeline.log import LimitedLog, Log
from pipeline.metrics import Histogram
from pipeline.notify.config import Hook, NotifyConfig
from pipeline.notify.ledger import Kept, Ledger
from pipeline.notify.retrying import Verdict, judge, retry_after_s
from pipeline.notify.sending import Answer, Sender
from pipeline.notify.signing import Secrets
from pipeline.notify.target import shown_target
from pipeline.notify.telling import Telling
from pipeline.notify.waiting import Drop, Waiting
from pipeline.runtime import wall_ms


class Delivery:
    """Args:
    config: the hooks, and how they are delivered to.
    secrets: hook -> what its messages are signed with.
    ledger: has the messages.
    telling: told of those that are done.
    counters: what is counted.
    log: where lines go.

    Attributes:
        attempt_s: how long attempts took.
        failure: why a message could not be read; None while all could.
    """

    def __init__(
        self,
        config: NotifyConfig,
        secrets: Secrets,
        ledger: Ledger,
        telling: Telling,
        counters: Counter[str],
        log: Log,
    ) -> None:
        self._hooks = config.hooks
        self._settings = config.delivery
        self._secrets = secrets
        self._ledger = ledger
        self._telling = telling
        self._counters = counters
        self._log = log
        self._limited_log = LimitedLog(log)
        self._waiting = {name: Waiting(config.delivery) for name in config.hooks}
        self._tasks: set[asyncio.Task[None]] = set()
        self.attempt_s = Histogram()
        self.failure: BaseException | None = None

    def begin(self, wake: Callable[[], None]) -> None:
        """Be ready to send; call it in the loop.

        Args:
            wake: called when an attempt is over.
        """
        self._wake = wake
        self._sender = Sender(len(self._hooks), self._settings.timeout_s)

    @property
    def under_way(self) -> int:
        """How many requests are under way."""
        return len(self._tasks)

    def next_deadline(self) -> float | None:
        """Return when to call `send_due`; None when nothing waits."""
        deadlines = [waiting.next_deadline() for waiting in self._waiting.values()]
        return min((moment for moment in deadlines if moment is not None), default=None)

    def cancel(self) -> None:
        """Wait for no answer any more."""
        for task in self._tasks:
            task.cancel()

    def close(self) -> None:
        """Close all connections."""
        self._sender.close()

    def counters(self) -> dict[str, float]:
        """Return how things are now; another thread may call it."""
        hooks = list(self._waiting.values())
        return {
            "waiting": sum(len(waiting) for waiting in hooks),
            "hooks_gone": sum(waiting.gone for waiting in hooks),
            "hooks_failing": sum(waiting.failures > 0 for waiting in hooks),
        }

    def follow(self, config: NotifyConfig, secrets: Secrets, now: float) -> None:
        """Go on with other hooks and settings.

        What waits for a hook that is another one is sent at once; for one that is no more, it is dropped.
        """
        before, secrets_before = self._hooks, self._secrets
        self._hooks, self._settings, self._secrets = config.hooks, config.delivery, secrets
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
                self._waiting[name].renew(now)
        self._sender.follow(len(hooks), config.delivery.timeout_s)

    def add(self, kept: list[Kept], now: float) -> None:
        """Take in messages that are kept, by their numbers; those of a hook that is no more are dropped.

        Args:
            now: monotonic seconds.
        """
        wall = wall_ms()
        for number, hook, seen_ms in kept:
            waiting = self._waiting.get(hook)
            made_at = now - max(0, wall - seen_ms) / 1000
            self._drop(
                hook, [Drop(number, "no_hook")] if waiting is None else waiting.add(number, made_at, now)
            )

    def _drop(self, hook: str, drops: list[Drop]) -> None:
        for drop in drops:
            self._counters[f"dropped{{reason={drop.reason}}}"] += 1
        if drops:
            self._log.error("messages dropped", hook=hook, reason=drops[0].reason, count=len(drops))
            self._telling.done(drop.number for drop in drops)

    def send_due(self, now: float) -> None:
        """Send what is due to each hook that has nothing under way."""
        for hook in self._waiting:
            self._send_due(hook, now)

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
            self.failure = error
        self._wake()

    async def _deliver(self, name: str, number: int) -> None:
        hook, waiting = self._hooks[name], self._waiting[name]
        identity, body = self._ledger.message(number)
        self._counters["attempts"] += 1
        began = time.monotonic()
        answer = await self._sender.post(hook.url, self._secrets[name], identity, body, wall_ms() // 1000)
        verdict = judge(answer.status)
        asked_s = retry_after_s(answer.retry_after, wall_ms() / 1000)
        now = time.monotonic()
        self.attempt_s.observe(now - began)
        if self._waiting.get(name) is not waiting:  # its hook is no more, and its messages are dropped
            return
        if verdict is Verdict.GONE and self._hooks[name] != hook:
            verdict = Verdict.UNWELL  # that was of the hook before
        drops = waiting.answered(verdict, asked_s, random.random(), now)  # noqa: S311  jitter, no secret
        if verdict is Verdict.DELIVERED:
            self._telling.done([number])
        self._drop(name, drops)
        self.add(self._telling.write(now, wall_ms()), now)  # what is said below is then durable
        self._tell(name, hook, identity, verdict, answer)

    def _tell(self, name: str, hook: Hook, identity: str, verdict: Verdict, answer: Answer) -> None:
        """Count and log what became of an attempt."""
        if verdict is Verdict.DELIVERED:
            self._counters["delivered"] += 1
            self._log.info("delivered", hook=name, id=identity, status=answer.status)
            return
        reason = "no_answer" if answer.status is None else str(verdict.value)
        self._counters[f"failed{{reason={reason}}}"] += 1
        facts = {"hook": name, "target": shown_target(hook.url), "id": identity, "status": answer.status}
        if verdict is Verdict.GONE:
            self._log.error("hook is gone", **facts)
        else:
            waiting = len(self._waiting[name])
            self._limited_log.warning(
                "not delivered", time.monotonic(), **facts, problem=answer.problem, waiting=waiting
            )
