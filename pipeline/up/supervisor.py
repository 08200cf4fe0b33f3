"""Runs a set of processes: starts them, starts again what dies or hangs, stops them in order.

One loop over the signals, a pidfd for every child, and the next deadline. Children run in sessions of their
own, so that a Ctrl-C reaches only this process, which then decides; and they end with it, in whatever way it
ends (`runtime.die_with_parent`). It knows no stage: what to run comes from `plan`.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.errors import ConfigError, OperatorError
from pipeline.log import Log
from pipeline.runtime import PARENT_VARIABLE, Signals
from pipeline.sockets import poll_ms
from pipeline.up.backoff import Backoff
from pipeline.up.config import RestartSection
from pipeline.up.liveness import Liveness
from pipeline.up.plan import Program

CHECK_INTERVAL_S = 0.1
"""How often it is asked, during start-up, whether everything is ready."""


@dataclass(slots=True)
class _Child:
    program: Program
    backoff: Backoff
    process: subprocess.Popen[bytes] | None = None
    pidfd: int = -1
    start_at: float | None = None


class Supervisor:
    """Args:
    restart: how what dies comes back, and how long starting and stopping may take.
    log: where its lines go.
    """

    def __init__(self, restart: RestartSection, log: Log) -> None:
        self._restart = restart
        self._log = log
        self._children: list[_Child] = []
        self._poll = select.poll()
        self._liveness = Liveness(restart.hung_s)
        self._ready = False
        self._environ = {**os.environ, PARENT_VARIABLE: str(os.getpid())}

    def run(
        self,
        programs: Iterable[Program],
        missing: Callable[[], list[str]],
        announce: Callable[[], None],
        signs: Callable[[], set[str]],
        then: Iterable[Program] = (),
    ) -> int:
        """Run until a signal says stop, then stop everything.

        Args:
            programs: what to run, in the order in which it is started.
            missing: says who is not ready yet; asked until nobody is.
            announce: called once, when everything is ready.
            signs: says who gave a sign of life since it was asked last; asked from then on.
            then: what to run from then on.

        Returns:
            The exit code: 130 after SIGINT, 0 after SIGTERM or SIGHUP.

        Raises:
            ConfigError: a process ended at start-up because of its configuration.
            OperatorError: a process failed at start-up, or not everything was ready within `start_s`.
        """
        signals = Signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        self._poll.register(signals.socket, select.POLLIN)
        try:
            self._add(programs)
            return self._watch(signals, missing, announce, signs, then)
        finally:
            self._stop(signals)
            self._poll.unregister(signals.socket)
            signals.close()

    def _watch(
        self,
        signals: Signals,
        missing: Callable[[], list[str]],
        announce: Callable[[], None],
        signs: Callable[[], set[str]],
        then: Iterable[Program],
    ) -> int:
        next_check = now = time.monotonic()
        give_up_at = now + self._restart.start_s
        while True:
            deadlines = [child.start_at for child in self._children if child.start_at is not None]
            if not self._ready:
                deadlines.append(next_check)
            elif (next_look := self._liveness.next_deadline()) is not None:
                deadlines.append(next_look)
            self._poll.poll(poll_ms(min(deadlines, default=None), now))
            if numbers := signals.read():
                return 130 if signal.SIGINT in numbers else 0
            now = time.monotonic()
            for child in self._children:
                if (code := self._reap(child)) is not None:
                    self._after_death(child, code, now)
                if child.start_at is not None and now >= child.start_at:
                    self._start(child, now)
            if self._ready:
                self._kill_hung(signs, now)
            elif now >= next_check:
                if not (absent := missing()):
                    self._ready = True
                    announce()
                    self._add(then)
                elif now >= give_up_at:
                    raise OperatorError(f"not ready after {self._restart.start_s:g} s: {'; '.join(absent)}")
                now = time.monotonic()
                next_check = now + CHECK_INTERVAL_S

    def _kill_hung(self, signs: Callable[[], set[str]], now: float) -> None:
        """Kill what gives no sign of life; its death is then noticed as any other."""
        deadline = self._liveness.next_deadline()
        if deadline is None or now < deadline:
            return
        heard = signs()
        for name in sorted(self._liveness.new(heard)):
            self._log.debug("alive", program=name)
        silent = dict(self._liveness.look(heard, now))
        for child in self._children:
            silent_s = silent.get(child.program.name)
            if silent_s is not None and child.process is not None:
                self._log.warning("hung", program=child.program.name, silent_s=round(silent_s, 1))
                _signal(child, signal.SIGKILL)

    def _add(self, programs: Iterable[Program]) -> None:
        for program in programs:
            backoff = Backoff(
                first_pause_s=self._restart.first_pause_s,
                max_pause_s=self._restart.max_pause_s,
                steady_s=self._restart.steady_s,
            )
            child = _Child(program, backoff)
            self._children.append(child)
            self._start(child, time.monotonic())

    def _start(self, child: _Child, now: float) -> None:
        child.backoff.started(now)
        self._liveness.started(child.program.name)
        child.start_at = None
        # -P: the directory somebody stands in is no place to import from.
        command = [sys.executable, "-P", "-m", "pipeline", *child.program.arguments]
        try:
            child.process = subprocess.Popen(  # noqa: S603  our own program, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=2,  # standard output is `up`'s own
                env=self._environ,
                start_new_session=True,
            )
        except OSError as error:
            self._log.error("cannot start", program=child.program.name, problem=error.strerror)
            child.start_at = child.backoff.died(now)
            return
        child.pidfd = os.pidfd_open(child.process.pid)
        self._poll.register(child.pidfd, select.POLLIN)
        self._log.info("started", program=child.program.name, pid=child.process.pid)

    def _reap(self, child: _Child) -> int | None:
        """Return the exit code of a child that has ended, once, and forget its process; None otherwise."""
        if child.process is None or (code := child.process.poll()) is None:
            return None
        self._poll.unregister(child.pidfd)
        os.close(child.pidfd)
        child.process = None
        return code

    def _after_death(self, child: _Child, code: int, now: float) -> None:
        name = child.program.name
        if not child.program.lasting:
            self._log.info("done", program=name, exit_code=code)
            return
        if not self._ready and code > 0:
            told = f"{name} ended with exit code {code} while starting; its own lines above say why"
            raise ConfigError([told]) if code == ConfigError.exit_code else OperatorError(told)
        child.start_at = child.backoff.died(now)
        how = {"signal": signal.Signals(-code).name} if code < 0 else {"exit_code": code}
        self._log.warning("died", program=name, **how, restart_in_s=round(child.start_at - now, 3))

    def _stop(self, signals: Signals) -> None:
        """Stop every child, one stop group after the other; a further signal kills what is left at once."""
        hurried = False
        for group in sorted({child.program.stop_group for child in self._children}):
            left = [child for child in self._children if child.process and child.program.stop_group == group]
            for child in left:
                _signal(child, signal.SIGTERM)
            now = time.monotonic()
            kill_at = now + self._restart.stop_s
            while left := [child for child in left if self._reap(child) is None]:
                if hurried or now >= kill_at:
                    for child in left:
                        self._log.warning("killed", program=child.program.name)
                        _signal(child, signal.SIGKILL)
                    kill_at = now + self._restart.stop_s  # the kernel may take a moment
                self._poll.poll(poll_ms(kill_at, now))
                hurried = bool(signals.read()) or hurried
                now = time.monotonic()


def _signal(child: _Child, number: signal.Signals) -> None:
    assert child.process is not None
    child.process.send_signal(number)
