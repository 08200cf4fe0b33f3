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
from itertools import chain

from pipeline.errors import ConfigError, OperatorError
from pipeline.log import Log
from pipeline.runtime import LISTEN_VARIABLE, PARENT_VARIABLE, Signals, has_terminal
from pipeline.service_manager import VARIABLES, ServiceManager
from pipeline.sockets import poll_ms
from pipeline.up.backoff import Backoff
from pipeline.up.config import RestartSection
from pipeline.up.liveness import Liveness
from pipeline.up.memory import WEIGH_INTERVAL_S, half_of_memory, own_bytes
from pipeline.up.plan import Program, succession
from pipeline.up.rolling import Act, Rolling, Step
from pipeline.up.signs import Heard

CHECK_INTERVAL_S = 0.1
"""How often it is asked, during start-up and a rolling restart, who is ready."""


@dataclass(slots=True)
class _Child:
    program: Program
    backoff: Backoff
    process: subprocess.Popen[bytes] | None = None
    pidfd: int = -1
    start_at: float | None = None
    leaving: bool = False


class Supervisor:
    """Args:
    restart: how what dies comes back, and how long starting and stopping may take.
    log: where its lines go.
    reread: reads our own configuration anew.
    """

    def __init__(self, restart: RestartSection, log: Log, reread: Callable[[], None]) -> None:
        self._restart = restart
        self._log = log
        self._reread = reread
        self._had_terminal = has_terminal()
        self._children: list[_Child] = []
        self._poll = select.poll()
        self._liveness = Liveness(restart.hung_s)
        self._max_memory_bytes = restart.max_memory_bytes or half_of_memory()
        self._next_weighing = 0.0
        self._ready = False
        self._rolling: Rolling | None = None
        self._successors: dict[str, Program] = {}
        self._unheard: set[str] = set()
        self._alive: set[str] = set()
        self._manager = ServiceManager(os.environ)
        own = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        self._environ = {**own, PARENT_VARIABLE: str(os.getpid())}

    def run(
        self,
        programs: Iterable[Program],
        announce: Callable[[], None],
        signs: Callable[[], Heard],
        then: Iterable[Program] = (),
    ) -> int:
        """Run until a signal says stop, then stop everything; SIGUSR2 restarts everything, one by one.

        SIGHUP has all read their configuration anew; when it means that our terminal has gone, it says stop.

        Args:
            programs: what to run, in the order in which it is started.
            announce: called once, when everything is ready.
            signs: says who gave a sign of life since it was asked last, and who can be used.
            then: what to run from then on.

        Returns:
            The exit code: 130 after SIGINT, 0 after SIGTERM, or when the terminal has gone.

        Raises:
            ConfigError: a process ended at start-up because of its configuration.
            OperatorError: a process failed at start-up, or not everything was ready within `start_s`.
        """
        signals = Signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
        self._poll.register(signals.socket, select.POLLIN)
        try:
            self._add(programs)
            self._unheard = {child.program.name for child in self._children}
            return self._watch(signals, announce, signs, then)
        finally:
            self._manager.stopping()
            self._stop(signals)
            self._poll.unregister(signals.socket)
            signals.close()

    def _watch(
        self,
        signals: Signals,
        announce: Callable[[], None],
        signs: Callable[[], Heard],
        then: Iterable[Program],
    ) -> int:
        next_check = now = time.monotonic()
        give_up_at = now + self._restart.start_s
        while True:
            deadlines = [child.start_at for child in self._children if child.start_at is not None]
            deadlines.append(self._next_weighing)
            if not self._ready or self._rolling is not None:
                deadlines.append(next_check)
            elif (next_look := self._liveness.next_deadline()) is not None:
                deadlines.append(next_look)
            if (due := self._manager.next_deadline()) is not None:
                deadlines.append(due)
            self._poll.poll(poll_ms(min(deadlines, default=None), now))
            self._manager.alive(time.monotonic())
            numbers = signals.read()
            if stopping := [number for number in numbers if self._says_stop(number)]:
                return 130 if signal.SIGINT in stopping else 0
            now = time.monotonic()
            if signal.SIGUSR2 in numbers:
                self._roll(now)
            if signal.SIGHUP in numbers:
                self._read_anew()
            for child in list(self._children):
                if (code := self._reap(child)) is not None:
                    self._after_death(child, code, now)
                if child.start_at is not None and now >= child.start_at:
                    self._start(child, now)
            self._kill_large(now)
            heard = Heard(set(), set(), {})
            if (not self._ready or self._rolling is not None) and now >= next_check:
                heard = self._own(signs())
                next_check = now + CHECK_INTERVAL_S
            if self._ready:
                self._kill_hung(signs, heard, now)
                if self._rolling is not None:
                    acts = chain(self._rolling.heard(heard.ready, now), self._rolling.handle_timeout(now))
                    self._act(acts, now)
                continue
            self._unheard -= heard.ready
            if not self._unheard:
                self._ready = True
                announce()
                self._manager.ready()
                self._add(then)
            elif now >= give_up_at:
                absent = ", ".join(sorted(self._unheard))
                raise OperatorError(f"not ready after {self._restart.start_s:g} s: {absent}")

    def _says_stop(self, number: int) -> bool:
        if number == signal.SIGHUP:
            return self._had_terminal and not has_terminal()
        return number != signal.SIGUSR2

    def _read_anew(self) -> None:
        self._reread()
        for child in self._children:
            if child.process is not None and child.program.lasting:
                _signal(child, signal.SIGHUP)

    def _kill_hung(self, signs: Callable[[], Heard], before: Heard, now: float) -> None:
        """Kill what gives no sign of life; its death is then noticed as any other.

        Args:
            signs: asked when it is time to look.
            before: what was heard since the last look.
            now: monotonic seconds.
        """
        self._alive |= before.alive
        deadline = self._liveness.next_deadline()
        if deadline is None or now < deadline:
            return
        heard, self._alive = self._own(signs()).alive | self._alive, set()
        for name in sorted(self._liveness.new(heard)):
            self._log.debug("alive", program=name)
        silent = dict(self._liveness.look(heard, now))
        for child in self._children:
            silent_s = silent.get(child.program.name)
            if silent_s is not None and child.process is not None:
                self._log.warning("hung", program=child.program.name, silent_s=round(silent_s, 1))
                _signal(child, signal.SIGKILL)

    def _kill_large(self, now: float) -> None:
        """Kill what has taken more memory than it may; its death is then noticed as any other."""
        if now < self._next_weighing:
            return
        self._next_weighing = now + WEIGH_INTERVAL_S
        for child in self._children:
            if child.process is None or not child.program.lasting:
                continue
            taken, limit = own_bytes(child.process.pid), self._max_memory_bytes
            if taken > limit:
                self._log.error(
                    "too large", program=child.program.name, memory_bytes=taken, max_memory_bytes=limit
                )
                _signal(child, signal.SIGKILL)

    def _own(self, heard: Heard) -> Heard:
        """Return the signs of our own processes, without those of a stranger, or of one that has ended."""
        pids = {child.program.name: child.process.pid for child in self._children if child.process}
        own = {name for name, pid in pids.items() if heard.pids.get(name, pid) == pid}
        return Heard(heard.alive & own, heard.ready & own, heard.pids)

    def _roll(self, now: float) -> None:
        """Begin to restart everything, unless that is under way."""
        if self._rolling is not None or not self._ready or any(child.leaving for child in self._children):
            problem = "one is under way" if self._ready else "not ready yet"
            self._log.warning("restart refused", problem=problem)
            return
        pairs = succession([child.program for child in self._children])
        self._successors = {old.name: new for old, new in pairs}
        self._rolling = Rolling(
            [Step(old.name, new.name) for old, new in pairs],
            start_s=self._restart.start_s,
            stop_s=self._restart.stop_s,
        )
        self._log.info("restarting", programs=len(pairs))
        self._act(self._rolling.begin(now), now)

    def _act(self, acts: Iterable[Act], now: float) -> None:
        """Do what the rolling restart says."""
        for act in acts:
            child = next((child for child in self._children if child.program.name == act.name), None)
            if act.what == "done":
                self._rolling = None
                self._log.info("restarted")
            elif act.what == "given up":
                self._rolling = None
                self._log.error("restart given up", program=act.name)
            elif child is None:
                self._add([new for new in self._successors.values() if new.name == act.name])
            elif act.what == "start":
                self._start(child, now)
            elif child.process is None:  # it has died a moment ago
                self._gone(child, now)
            else:
                _signal(child, signal.SIGTERM if act.what == "stop" else signal.SIGKILL)
                child.leaving = True
                if act.what == "kill":
                    self._log.warning("killed", program=act.name)

    def _gone(self, child: _Child, now: float) -> None:
        """Go on after the end of a process that was to end."""
        name = child.program.name
        child.leaving = False
        child.start_at = None
        if self._rolling is None or not self._rolling.awaits_end_of(name):
            self._children.remove(child)  # it was beside another, and was not ready in time
            return
        if self._successors[name].name != name:
            self._children.remove(child)
        self._act(self._rolling.ended(name, now), now)

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
        passed: tuple[int, ...] = ()
        environ = self._environ
        if child.program.listen_fd is not None:
            passed = (child.program.listen_fd,)
            environ = {**environ, LISTEN_VARIABLE: str(child.program.listen_fd)}
        # Held back until it can heed it: a SIGHUP would end a process that is only just starting.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))
        try:
            child.process = subprocess.Popen(  # noqa: S603  our own program, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=2,  # standard output is `up`'s own
                env=environ,
                start_new_session=True,
                pass_fds=passed,
            )
        except OSError as error:
            self._log.error("cannot start", program=child.program.name, problem=error.strerror)
            child.start_at = child.backoff.died(now)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP,))
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
        if child.leaving:
            self._log.info("ended", program=name)
            self._gone(child, now)
            return
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
