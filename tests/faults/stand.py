"""A pipeline whose processes may be killed, stopped or broken at any time, and come back by themselves."""

from __future__ import annotations

import random
import signal
import socket
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.broken_stage import PROGRAM
from tests.harness import Pipeline, Process

ROOT = Path(__file__).resolve().parents[2]
KEEP_S = 0.01


class Stand(Pipeline):
    """Args:
        place: an empty directory, mode 0700.
        names: its processes.
        shards: how many shards.
        config: stage -> TOML text of its config file.
        always: stage -> faults that each of its processes has, whenever it is started.

    Attributes:
        run_dirs: stage, `producer` or `tail` -> the run directory it has, if not the stand's.
        extra: process -> options it has beside the usual ones.
        env: stage -> variables that its processes have beside the usual ones.
        once: process -> the faults of its next starts, one list a start.
        faults: process -> the faults it runs with.
        deaths: (process, exit code) of each that ended and was started again.
        last_words: what those that ended by themselves, and not well, had to say.
    """

    def __init__(
        self,
        place: Path,
        names: Sequence[str] = ("throttle-batch-0", "ingest-0", "edge-0"),
        *,
        shards: int = 1,
        config: dict[str, str] | None = None,
        always: dict[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(place, shards)
        self.names = list(names)
        self.run_dirs: dict[str, Path] = {}
        self.extra: dict[str, Sequence[str]] = {}
        self.env: dict[str, dict[str, str]] = {}
        self.once: defaultdict[str, deque[Sequence[str]]] = defaultdict(deque)
        self.faults: dict[str, list[str]] = {}
        self.deaths: list[tuple[str, int]] = []
        self.last_words: list[str] = []
        self._config = config
        self._always = always or {}
        self._workers = sum(name.startswith("throttle-batch") for name in self.names)
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        # Held so that nobody else gets the port while no edge lives; edges share it.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._held.bind(("127.0.0.1", 0))
        self.port = self._held.getsockname()[1]

    def begin(self) -> None:
        """Start everything, and see that it stays; returns when each process is ready."""
        for name in self.names:
            self.start_one(name)
        for name in self.names:
            self.processes[name].wait_for("ready")
        self._keeper.start()

    def start_one(self, name: str, *, workers: int = 1, config: dict[str, str] | None = None) -> Process:
        """Start a process with the faults that are due."""
        faults = list(self._always.get(name.rpartition("-")[0], ()))
        if self.once[name]:
            faults += self.once[name].popleft()
        self.faults[name] = faults
        arguments = self.arguments(name, workers=self._workers, config=self._config)
        arguments[arguments.index("--run-dir") + 1] = str(self.run_dir_of(name.rpartition("-")[0]))
        env = self.env.get(name.rpartition("-")[0], {})
        self.processes[name] = Process(
            *arguments,
            *self.extra.get(name, ()),
            program=(PROGRAM, *faults, "--") if faults else ("pipeline",),
            env={"PYTHONPATH": str(ROOT), **env} if faults else env,
        )
        return self.processes[name]

    def run_dir_of(self, stage: str) -> Path:
        """Return the run directory of a stage, of producers, or of tails."""
        return self.run_dirs.get(stage, self.run_dir)

    def _keep(self) -> None:
        while not self._over.wait(KEEP_S):
            for name in self.names:
                with self._lock:
                    if not self._over.is_set() and self.processes[name].popen.poll() is not None:
                        self._bury(name)
                        self.start_one(name)

    def _bury(self, name: str) -> None:
        process = self.processes[name]
        process.close()
        code = process.popen.returncode
        self.deaths.append((name, code))
        if code not in (0, -signal.SIGKILL):
            self.last_words.append(f"{name} ended with {code}: {process.lines[-5:]}")

    def kill(self, name: str) -> None:
        """End a process as a crash does; it is started again soon."""
        self.signal(name, signal.SIGKILL)

    @contextmanager
    def down(self, name: str, number: signal.Signals = signal.SIGKILL) -> Iterator[None]:
        """End a process, and start it again only when the block is over."""
        with self._lock:
            self.processes[name].popen.send_signal(number)
            self.processes[name].wait()
            self._bury(name)
            yield
            self.start_one(name)

    def kill_all(self, order: Sequence[str]) -> None:
        """End all at once, and start them in this order."""
        with self._lock:
            for name in order:
                self.processes[name].popen.kill()
            for name in order:
                self._bury(name)
            for name in order:
                self.start_one(name)

    def disarm(self) -> None:
        """Have every process run without a fault from now on: those that have one are ended as by a crash."""
        with self._lock:
            for waiting in self.once.values():
                waiting.clear()
            for name in self.names:
                if "--crash" in self.faults[name]:
                    self.kill(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process."""
        with self._lock:
            if self.processes[name].popen.poll() is None:
                self.processes[name].popen.send_signal(number)

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """Stop a process (SIGSTOP) for as long as the block lasts."""
        process = self.processes[name].popen
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def stop(self) -> dict[str, dict[str, Any]]:
        """Stop everything for good; return what each process has counted."""
        self._stop_keeping()
        return super().stop()

    def _stop_keeping(self) -> None:
        self._over.set()
        if self._keeper.is_alive():
            self._keeper.join()

    def close(self) -> None:
        """End everything for certain."""
        self._stop_keeping()
        super().close()
        self._held.close()

    def died(self, name: str) -> int:
        """Return how often a process has died."""
        return sum(died == name for died, _ in self.deaths)


class Schedule:
    """What befalls a stand, at random: the same for the same seed.

    Args:
        stand: whom it befalls.
        seed: what it depends on.
        crashes: process -> the points at which it may crash.

    Attributes:
        told: each thing that befell it.
    """

    def __init__(self, stand: Stand, seed: int, crashes: dict[str, Sequence[str]]) -> None:
        self._stand = stand
        self._rng = random.Random(seed)
        self._crashes = crashes
        self._pause = threading.Event()
        self.told: list[str] = []

    def run(self, count: int, longest_pause_s: float = 0.4) -> None:
        """Let so many things happen, one after the other."""
        for _ in range(count):
            self._pause.wait(self._rng.uniform(0.02, longest_pause_s))
            self._rng.choice([self._kill, self._kill, self._arm, self._arm, self._stop, self._kill_all])()

    def _name(self) -> str:
        return self._rng.choice(self._stand.names)

    def _kill(self) -> None:
        name = self._name()
        self.told.append(f"kill {name}")
        self._stand.kill(name)

    def _arm(self) -> None:
        """Kill a process, and have the next one crash at a point, and the one after that at another."""
        name = self._rng.choice(list(self._crashes))
        points = [
            f"{self._rng.choice(list(self._crashes[name]))}:{self._rng.randint(1, 12)}" for _ in range(2)
        ]
        self.told.append(f"kill {name}, then at {', then at '.join(points)}")
        self._stand.once[name].extend(("--crash", point) for point in points)
        self._stand.kill(name)

    def _stop(self) -> None:
        name, length_s = self._name(), self._rng.uniform(0.05, 0.8)
        self.told.append(f"stop {name} for {length_s:.2f} s")
        with self._stand.stopped(name):
            self._pause.wait(length_s)

    def _kill_all(self) -> None:
        order = self._rng.sample(self._stand.names, len(self._stand.names))
        self.told.append(f"kill all, start {', '.join(order)}")
        self._stand.kill_all(order)
