"""How many events a second go from producers to a WebSocket client, all acked, and what does each stage cost?

Producers with an Emitter, ingest, worker, edge, and a WebSocket a scan that reads all of it: real processes,
with everything on: checks, numbering, acks, journal, scan state, frames. CPU is that of each stage from the
first event sent to the last one read, divided by the events; it says more than the rate where stages share
cores. Yardsticks, in the same run: a bare PUSH -> PULL hop of the same event of 126 bytes, one a message,
between two processes; and PUSH -> PULL -> PUB -> SUB, which is the pipeline's way without its work. Runs are
interleaved.

A row is asked for as SCANS, how many scans the events are spread over, and what is other than usual there,
each after a colon: `memory`, no journal on disk; `one`, one event a message, where the Emitter would pack
several; `bus`, read from the workers' frames and not through the edge; `workers=2`. For example
`--scans 1,10,10:memory,10:one:workers=2`.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _hops import measure
from _measuring import cpu_s, end_in_order, raise_descriptors
from _options import Option, parse
from _producers import EVENT, Producers
from _readers import Readers
from _report import Report, Table

from tests.harness import Pipeline, private_dir

MINUTES = {"quick": 0.4, "normal": 3, "full": 20}
LEAST_RATIO = 0.12
MEMORY = '[journal]\nkind = "memory"\n'
EDGE = "[requests]\nconnects_per_s = 100000\nconnect_burst = 100000\n[limits]\n" + "".join(
    f"{key} = 20000\n" for key in ("max_connections", "max_connections_per_address")
)
STAGES = ("producers", "ingest", "throttle-batch", "edge", "reader")
OPTIONS = (
    Option(
        "scans",
        "rows, as told above",
        "1,10,1000,10:memory,10:one,10:workers=2",
        quick="10,10:one",
        full="1,10,100,1000,10000,10:memory,1000:memory,10:one,1000:one,10:workers=2,1000:workers=2,"
        "10:one:workers=2,10:bus,10:one:memory",
        smallest="2",
    ),
    Option("events", "of each measurement", 200_000, quick=60_000, smallest=500),
    Option("runs", "interleaved", 3, quick=2, full=5, smallest=1),
    Option("producers", "processes that send; no more than scans", 2, smallest=1),
    Option("workers", "of each row that does not say", 1),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What one row of the table is about."""

    scans: int
    memory: bool = False
    one: bool = False
    bus: bool = False
    workers: int = 1

    @classmethod
    def read(cls, text: str, workers: int) -> Row:
        """Read it from the command line.

        Raises:
            SystemExit: it is none.
        """
        scans, *words = text.split(":")
        unknown = [word for word in words if word not in ("memory", "one", "bus", "workers=1", "workers=2")]
        if unknown or not scans.isdecimal() or not 1 <= int(scans) <= 19_000:
            print(
                f"error: --scans: {text!r}: a number of scans, 1 to 19000, then any of :memory :one :bus "
                ":workers=1 :workers=2",
                file=sys.stderr,
            )
            raise SystemExit(2)
        workers = next((int(word[-1]) for word in words if word.startswith("workers=")), workers)
        return cls(int(scans), "memory" in words, "one" in words, "bus" in words, workers)

    @property
    def name(self) -> str:
        """How the table calls it."""
        words = [f"{self.scans:,} scan{'s' if self.scans > 1 else ''}"]
        words += ["one event a message"] if self.one else []
        words += ["no journal"] if self.memory else []
        words += ["without the edge"] if self.bus else []
        words += [f"{self.workers} workers"] if self.workers > 1 else []
        return f"scanstream, {', '.join(words)}"


@dataclass(frozen=True, slots=True)
class Sample:
    """What one measurement gave: events a second, CPU us an event of each stage, events a frame."""

    rate: float
    costs: dict[str, float]
    events_a_frame: float


def stage_cpu(pipeline: Pipeline) -> dict[str, float]:
    """Return the CPU seconds of each stage so far."""
    found: dict[str, float] = {}
    for name, process in pipeline.processes.items():
        stage = name.rpartition("-")[0]
        found[stage] = found.get(stage, 0.0) + cpu_s([process.popen.pid])
    return found


def through_pipeline(row: Row, events: int, producers: int) -> Sample:
    """Send so many events once."""
    scans = [f"s{number}" for number in range(row.scans)]
    with private_dir() as place:
        pipeline = Pipeline(place)
        sending: Producers | None = None
        reading: Readers | None = None
        try:
            worker = {"throttle-batch": MEMORY} if row.memory else {}
            pipeline.start(workers=row.workers, config={"edge": EDGE, **worker})
            sending = Producers(
                pipeline.run_dir, scans, row.scans, events, producers, packed=1 if row.one else 0
            )
            reading = (
                Readers.of_bus(pipeline.run_dir, pipeline.shards)
                if row.bus
                else Readers.of_edge(pipeline.port, scans)
            )
            reading.begin()
            before, began = stage_cpu(pipeline), time.perf_counter()
            sending.begin()
            produced_s = sending.finish()
            came = reading.finish(sending.total)
            after = stage_cpu(pipeline)
            if came["lagged"]:
                raise SystemExit(f"{row.name}: a reader was told that it lags, {came['lagged']} times")
        finally:
            for part in (sending, reading):
                if part is not None:
                    part.close()
            pipeline.stop()
            pipeline.close()
    used = {stage: after[stage] - before[stage] for stage in after}
    used |= {"producers": produced_s, "reader": came["cpu_s"]}
    costs = {stage: seconds / sending.total * 1e6 for stage, seconds in used.items()}
    return Sample(sending.total / (came["at"] - began), costs, came["events"] / came["frames"])


def main() -> None:
    """Measure, and tell."""
    options = parse("throughput", __doc__ or "", MINUTES, OPTIONS)
    rows = [Row.read(text, options.workers) for text in options.scans.split(",")]
    end_in_order()
    raise_descriptors(20_000)
    report = Report("throughput", options.scale, options.into, ("pyzmq", "tornado", "msgspec"))
    hops: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    samples: dict[Row, list[Sample]] = {row: [] for row in rows}
    for _ in range(options.runs):
        for relayed, found in hops.items():
            found.append(measure(EVENT, options.events, relayed=relayed))
        for row, found_too in samples.items():
            found_too.append(through_pipeline(row, options.events, options.producers))
    bare = [rate for rate, _ in hops[False]]
    heads = [("", 0), ("events/s", 0), ("x bare hop", 3), ("CPU us an event", 1), *((s, 1) for s in STAGES)]
    table = Table(
        f"Events of {len(EVENT)} bytes, {options.events:,} a measurement", [*heads, ("events a frame", 0)]
    )
    empty = [None] * (len(STAGES) + 1)
    for name, found in (("bare PUSH -> PULL", hops[False]), ("PUSH -> PULL -> PUB -> SUB", hops[True])):
        rates = [rate for rate, _ in found]
        ratios = [rate / least for rate, least in zip(rates, bare, strict=True)]
        table.add(name, rates, ratios, [cost for _, cost in found], *empty)
    for row, rounds in samples.items():
        ratios = [sample.rate / least for sample, least in zip(rounds, bare, strict=True)]
        parts = [
            [sample.costs[stage] for sample in rounds] if stage in rounds[0].costs else None
            for stage in STAGES
        ]
        table.add(
            row.name,
            [sample.rate for sample in rounds],
            ratios,
            [sum(sample.costs.values()) for sample in rounds],
            *(statistics.median(part) if part else None for part in parts),
            statistics.median(sample.events_a_frame for sample in rounds),
        )
        if row == Row(10, workers=row.workers):
            report.target(f"{row.name}: x bare hop", statistics.median(ratios), ">=", LEAST_RATIO, 3)
    report.add(table)
    report.bars(table, "events/s", "Events a second, producer to client")
    report.bars(table, "CPU us an event", "CPU of all processes an event")
    report.close()


if __name__ == "__main__":
    main()
