"""Does any stage grow, or lose an event, under half of what it can do, while others are killed at random?

Two ingests, two workers, two edges. Producers send scans that begin, run for some seconds and end, at half of
the rate that goes through when nothing waits, which is measured before. Each scan is read from its start to
its end by a WebSocket that comes back when it is cut off. The second process of each stage is killed at
random moments (kill -9) and started again; the first one lives all the time, and its memory (Pss) is looked
at. A scan is freed 5 s after its end, and the journal is bounded: so what grows, leaks.

The first third of the time is warming up. `slope` is that of a line through the rest. Memory goes up and
down with who is connected, so what is held against a bound is the floor: the least of the last third
against the least of the one before, divided by the stage's own median, the yardstick. Less than 5 minutes
are warming up altogether, and not held against it.
"""

from __future__ import annotations

import random
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' harness starts the processes

from _measuring import end_in_order, memory_bytes
from _options import Option, parse
from _readers import CONTEXT
from _report import Report, Table
from _soaking import read, send
from _through import EDGE, Way, through

from tests.faults.stand import Stand
from tests.harness import private_dir

MINUTES = {"quick": 0.0, "normal": 1.1, "full": 31}
OPTIONS = (
    Option("minutes", "of load", 0.7, full=30.0, smallest=0.02),
    Option("percent", "of capacity", 50),
    Option("per-s", "events a second; 0: percent of capacity, which is measured before", 0, smallest=500),
    Option("events", "sent to learn what capacity is", 200_000),
    Option("processes", "that send; each has one scan at a time", 4, smallest=1),
    Option("life-s", "seconds that a scan lives", 6.0, full=20.0, smallest=0.3),
    Option("kill-every-s", "seconds from a kill to the next, at random from half to one and a half", 4.0),
    Option("seed", "of the kills", 1),
)
STAGES = ("ingest", "throttle-batch", "edge")
NAMES = tuple(f"{stage}-{index}" for stage in ("throttle-batch", "ingest", "edge") for index in (0, 1))
WORKER = """
[cleanup]
cleanup_after_s = 5
[journal]
max_total_bytes = 1073741824
"""
SAMPLE_S = 1.0
MOST_GROWTH = 0.10
LEAST_MINUTES = 5


def slope(points: list[tuple[float, float]]) -> float:
    """Return how much a figure grows in a unit of the first one: the line of least squares."""
    if len(points) < 2:
        return 0.0
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


class Load:
    """The processes that send and read."""

    def __init__(self, stand: Stand, processes: int, per_s: float, life_s: float) -> None:
        self._senders = []
        self._processes: list[Any] = []
        self._reader = self._start(read, stand.port, processes)
        for number in range(processes):
            args = (str(stand.run_dir), number, per_s / processes, life_s)
            self._senders.append(self._start(send, *args))

    def _start(self, target: Any, *args: object) -> Any:
        own, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=target, args=(theirs, *args), daemon=True)
        process.start()
        theirs.close()
        self._processes.append(process)
        return own

    def finish(self) -> tuple[int, int, int, list[str]]:
        """End the load; return (events sent, events read, times a reader was cut off, what is wrong)."""
        try:
            for pipe in self._senders:
                pipe.send("stop")
            told = [pipe.recv() for pipe in self._senders]
            self._reader.send([scans for scans, _ in told])
            events, cuts, problems = self._reader.recv()
        except EOFError:
            raise SystemExit("a process of the load ended; what it said stands above") from None
        return sum(sent for _, sent in told), events, cuts, problems

    def close(self) -> None:
        """End it for certain."""
        for process in self._processes:
            process.join(1)
            if process.is_alive():
                process.kill()
                process.join()


def soak(
    stand: Stand, minutes: float, every_s: float, rng: random.Random
) -> dict[str, list[tuple[float, float]]]:
    """Kill at random, and look at memory; return (minute, MiB) of each stage."""
    found: dict[str, list[tuple[float, float]]] = {stage: [] for stage in STAGES}
    pause = threading.Event()
    began = time.monotonic()
    end = began + minutes * 60
    next_kill = began + every_s
    while (now := time.monotonic()) < end:
        if now >= next_kill:
            stand.kill(f"{rng.choice(STAGES)}-1")
            next_kill = now + every_s * rng.uniform(0.5, 1.5)
        for stage, points in found.items():
            pid = stand.processes[f"{stage}-0"].popen.pid
            points.append(((now - began) / 60, memory_bytes(pid) / 2**20))
        pause.wait(max(0.0, min(SAMPLE_S, minutes * 6, end - time.monotonic())))
    return found


def tell(report: Report, found: dict[str, list[tuple[float, float]]], minutes: float, stand: Stand) -> None:
    """Add the table and the plot."""
    heads = [("", 0), ("MiB, median", 1), ("least", 1), ("most", 1), ("slope, MiB a minute", 3)]
    heads += [("floor, x median", 3), ("kills beside", 0)]
    table = Table(f"Memory of the stages that live all the time, {minutes:g} min", heads)
    for stage, points in found.items():
        third = len(points) // 3
        sizes = [size for _, size in points[third:]]
        middle = statistics.median(sizes)
        rise = (min(sizes[third:] or sizes) - min(sizes[:third] or sizes)) / middle
        died = stand.died(f"{stage}-1")
        table.add(stage, middle, min(sizes), max(sizes), slope(points[third:]), rise, died)
        if minutes >= LEAST_MINUTES:
            report.target(f"{stage}: the floor of its memory rises, x median", rise, "<=", MOST_GROWTH)
    report.add(table)
    thinned = {stage: points[:: max(1, len(points) // 120)] for stage, points in found.items()}
    report.lines("Memory of the stages that live all the time", "minutes", "MiB", thinned)


def main() -> None:
    """Measure, and tell."""
    options = parse("soak", __doc__ or "", MINUTES, OPTIONS)
    end_in_order()
    report = Report("soak", options.scale, options.into, ("tornado", "pyzmq"))
    per_s: float = options.per_s
    if not per_s:
        way = Way(options.processes, options.processes, options.events, options.processes, workers=2)
        per_s = through(way).rate * options.percent / 100
    with private_dir() as place:
        stand = Stand(place, NAMES, shards=4, config={"throttle-batch": WORKER, "edge": EDGE})
        load: Load | None = None
        try:
            stand.begin()
            stand.wait_ready()
            load = Load(stand, options.processes, per_s, options.life_s)
            found = soak(stand, options.minutes, options.kill_every_s, random.Random(options.seed))
            sent, came, cuts, problems = load.finish()
        finally:
            if load is not None:
                load.close()
            stand.close()
        tell(report, found, options.minutes, stand)
    report.note(
        f"{sent:,} events sent at {per_s:,.0f} a second; "
        f"{came:,} read; {len(stand.deaths)} kills; readers were cut off {cuts} times"
    )
    for problem in (problems + stand.last_words)[:10]:
        report.note(f"problem: {problem}")
    report.target("events lost, twice, or told as skipped", abs(sent - came) + len(problems), "<=", 0, 0)
    report.close()


if __name__ == "__main__":
    main()
