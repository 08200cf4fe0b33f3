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
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _hops import measure
from _measuring import end_in_order, raise_descriptors
from _options import Option, parse
from _producers import EVENT
from _report import Report, Table
from _through import STAGES, Sample, Way, through

MINUTES = {"quick": 0.4, "normal": 2, "full": 20}
LEAST_RATIO = 0.12
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

    def way(self, events: int, producers: int) -> Way:
        """Return what is sent, and how."""
        return Way(
            scans=self.scans,
            active=self.scans,
            events=events,
            processes=producers,
            packed=1 if self.one else 0,
            workers=self.workers,
            memory=self.memory,
            bus=self.bus,
        )


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
            found_too.append(through(row.way(options.events, options.producers)))
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
