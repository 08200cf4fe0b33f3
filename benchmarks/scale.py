"""Does it hold with 10,000 connections, 10,000 scans, 1,000 producers, and what do the last ones cost?

Connections: one edge, on a core of its own. Memory is what its process grows by (Pss), once they are there,
and after some frames of 2 KiB. Then how much of the core they take when nothing is published (heartbeats),
and how late frames are when all of them watch one scan, 10 frames of 2 KiB a second. The yardstick is the C
send() loop with the same clients.

Scans: one worker. First ten scans are sent to, as fast as it goes, while 10 are open, or very many: what an
event costs. Then each event is a frame of its own, because its scan gets the next one only later; the same
frames a second, of few scans or of very many: what a frame costs. The yardstick of both is the fewest.

Producers: Emitters, as many as there are scans, or few of them for the same scans; each has sockets and
numbers of its own. What an event costs ingest and worker; the yardstick is the fewest.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

from _crowd import crowd
from _measuring import LOAD_CORE, cpu_s, end_in_order, on_core, percentile, raise_descriptors
from _options import Option, parse
from _report import Report, Table
from _servers import MAX_CONNECTIONS, Ours, SendLoop, Server
from _through import Sample, Way, through

MINUTES = {"quick": 0.5, "normal": 2, "full": 15}
PACKAGES = ("cc",)
OPTIONS = (
    Option(
        "connections", "on one edge", (10_000,), quick=(5_000,), full=(1_000, 5_000, 10_000), smallest=(5,)
    ),
    Option("seconds", "of each measurement of the connections", 5.0, quick=2.0, full=20.0, smallest=0.3),
    Option("offers", "of compression: 0 without, 1 with, 0,1 both", (1,), full=(0, 1)),
    Option("frames", "before memory is looked at again", 20, quick=5, full=100, smallest=2),
    Option("scans", "open, or active", (10, 10_000), full=(10, 100, 1_000, 10_000), smallest=(2, 4)),
    Option("producers", "Emitters", (4, 1_000), full=(4, 100, 1_000), smallest=(1, 2)),
    Option("events", "of each measurement of scans and producers", 100_000, full=400_000, smallest=100),
    Option("per-s", "frames a second, when each event is one", 2_000, smallest=50),
    Option("runs", "of scans and producers, interleaved", 1, full=3),
    Option("only", "a part: connections, scans, producers", "", quick="connections"),
)
FRAMES_PER_S, SIZE_BYTES = 10, 2048
ACTIVE, PROCESSES = 10, 2
MOST_GROWTH, MOST_KIB, MOST_IDLE, MOST_P99_MS, P99_CLIENTS = 1.2, 20, 15, 250, 5_000


def connections(
    report: Report, numbers: tuple[int, ...], offers: tuple[int, ...], frames: int, seconds: float
) -> None:
    """Measure one edge with very many clients."""
    heads = [
        ("one edge", 0),
        ("KiB each, connected", 1),
        ("KiB each, after frames", 1),
        ("idle, % of a core", 1),
    ]
    heads += [("p50 ms", 1), ("p99 ms", 1), ("came %", 1), ("CPU us a frame a client", 1), ("x C loop", 2)]
    table = Table(f"Connections of one scan, {SIZE_BYTES:,} B, {FRAMES_PER_S} frames/s", heads)
    for clients in numbers:
        least = 0.0
        for kind, deflate in ((SendLoop, False), *((Ours, bool(offer)) for offer in offers)):
            figures = crowded(kind, clients, frames, seconds, deflate=deflate)
            least = least or figures[-1]
            name = f"{clients:,} connections, {kind.name}{', compressed' if deflate else ''}"
            table.add(name, *figures, figures[-1] / least)
            if kind is Ours:
                name = name.replace(f", {kind.name}", "")
                report.target(f"{name}: KiB each, after frames", figures[1], "<=", MOST_KIB, 1)
                report.target(f"{name}: idle, % of a core", figures[2], "<=", MOST_IDLE, 1)
                if clients <= P99_CLIENTS:
                    report.target(f"{name}: p99 ms", figures[4], "<=", MOST_P99_MS, 0)
    report.add(table)


def crowded(
    kind: type[Server], clients: int, frames: int, seconds: float, *, deflate: bool
) -> tuple[float, ...]:
    """Return the figures of a row, but for the ratio."""
    timed = max(2, round(seconds * FRAMES_PER_S))
    with crowd(
        kind, clients, SIZE_BYTES, deflate=deflate, warm_up=False, max_frames=max(frames, timed)
    ) as there:
        server, load = there.server, there.load
        threading.Event().wait(min(1.0, seconds))
        connected = there.memory_bytes - there.empty_bytes
        for number in range(frames):
            server.publish(1, 0)
            load.await_frames(number + 1, 20)
        after = there.memory_bytes - there.empty_bytes
        before = cpu_s(server.pids)
        began = time.monotonic()
        threading.Event().wait(seconds)
        idle = (cpu_s(server.pids) - before) / (time.monotonic() - began)
        load.reset()
        before = cpu_s(server.pids)
        sent = server.publish(timed, 1 / FRAMES_PER_S)
        load.await_frames(timed, 30)
        used = cpu_s(server.pids) - before - idle * seconds
        came, _ = load.counted()
        delays = load.delays_ms(sent)
    each = (connected / clients / 1024, after / clients / 1024, idle * 100)
    late = (percentile(delays, 50), percentile(delays, 99), came / (timed * clients) * 100)
    return (*each, *late, used / came * 1e6)


def grow(
    report: Report, title: str, ways: dict[str, Way], runs: int, unit: str, count: Callable[[Sample], int]
) -> float:
    """Measure several ways, the first one the yardstick; return how much more the last one costs."""
    samples: dict[str, list[Sample]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            samples[name].append(through(way))

    def costs(name: str, *stages: str) -> list[float]:
        return [
            sum(sample.costs[stage] for stage in stages) * sample.events / count(sample)
            for sample in samples[name]
        ]

    heads = [
        ("", 0),
        ("events/s", 0),
        (f"ingest, us {unit}", 1),
        (f"worker, us {unit}", 1),
        ("x the first", 2),
    ]
    table = Table(title, heads)
    first = costs(next(iter(ways)), "ingest", "throttle-batch")
    ratios: list[float] = []
    for name, rounds in samples.items():
        both = costs(name, "ingest", "throttle-batch")
        ratios = [own / least for own, least in zip(both, first, strict=True)]
        rates = [sample.rate for sample in rounds]
        table.add(name, rates, costs(name, "ingest"), costs(name, "throttle-batch"), ratios)
    report.add(table)
    return statistics.median(ratios)


def main() -> None:
    """Measure, and tell."""
    options = parse("scale", __doc__ or "", MINUTES, OPTIONS)
    end_in_order()
    raise_descriptors(MAX_CONNECTIONS)
    report = Report("scale", options.scale, options.into, ("tornado", "pyzmq"))
    wanted = options.only.split(",") if options.only else ["connections", "scans", "producers"]
    if "connections" in wanted:
        with on_core(LOAD_CORE):
            connections(report, options.connections, options.offers, options.frames, options.seconds)
    if "scans" in wanted:
        active = min(ACTIVE, *options.scans)
        ways = {
            f"{active} active of {scans:,} open": Way(scans, active, options.events, PROCESSES)
            for scans in options.scans
        }
        title = "Scans that are open: the cost of an event"
        ratio = grow(report, title, ways, options.runs, "an event", lambda sample: sample.events)
        report.target(f"an event, {max(options.scans):,} scans open, x {ACTIVE}", ratio, "<=", MOST_GROWTH)
        # No scan is sent to twice within its frame's interval.
        few = [max(scans, options.per_s // 4) for scans in options.scans]
        count = min(options.events, options.per_s * 5)
        ways = {
            f"{scans:,} active": Way(scans, scans, count, PROCESSES, per_s=options.per_s, bus=True)
            for scans in few
        }
        title = f"Scans that are active: the cost of a frame, {options.per_s:,} frames/s"
        ratio = grow(report, title, ways, options.runs, "a frame", lambda sample: sample.frames)
        report.target(f"a frame, {few[-1]:,} scans active, x {few[0]:,}", ratio, "<=", MOST_GROWTH)
    if "producers" in wanted:
        scans = max(options.producers)
        ways = {
            f"{producers:,} producers": Way(
                scans, scans, options.events, min(4, producers), emitters=producers, bus=True
            )
            for producers in options.producers
        }
        title = f"Producers of {scans:,} scans: the cost of an event"
        grow(report, title, ways, options.runs, "an event", lambda sample: sample.events)
    report.close()


if __name__ == "__main__":
    main()
