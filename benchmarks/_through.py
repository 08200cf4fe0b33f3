"""Events through a whole pipeline, once: how many a second, and what each stage used for one.

What `throughput` and `scale` share: they differ in how many scans, producers and processes there are.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' harness starts the processes

from _measuring import cpu_s
from _producers import Producers
from _readers import Readers

from tests.harness import Pipeline, private_dir

MEMORY = '[journal]\nkind = "memory"\n'
NO_GAPS = "[publish]\nhigh_water_mark = 100000\n"
"""For who reads the frames themselves: he asks for none again."""
EDGE = "[requests]\nconnects_per_s = 100000\nconnect_burst = 100000\n[limits]\n" + "".join(
    f"{key} = 20000\n" for key in ("max_connections", "max_connections_per_address")
)
STAGES = ("producers", "ingest", "throttle-batch", "edge", "reader")


@dataclass(frozen=True, slots=True)
class Way:
    """What is sent, and how.

    Attributes:
        scans: how many are open.
        active: how many of them are sent to, and read.
        events: sent to them, in turn.
        processes: that send.
        emitters: how many of them there are, all together; 0: one a process.
        packed: the most events in a message; 0: as the Emitter likes.
        per_s: events a second; 0: as fast as it goes.
        workers: worker processes.
        memory: no journal on disk.
        bus: read from the workers' frames, and not through the edge.
    """

    scans: int
    active: int
    events: int
    processes: int
    emitters: int = 0
    packed: int = 0
    per_s: float = 0
    workers: int = 1
    memory: bool = False
    bus: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """What one measurement gave: events a second, CPU us an event of each stage, frames that came."""

    rate: float
    costs: dict[str, float]
    events: int
    frames: int

    @property
    def events_a_frame(self) -> float:
        """How many events a frame had."""
        return self.events / self.frames


def stage_cpu(pipeline: Pipeline) -> dict[str, float]:
    """Return the CPU seconds of each stage so far."""
    found: dict[str, float] = {}
    for name, process in pipeline.processes.items():
        stage = name.rpartition("-")[0]
        found[stage] = found.get(stage, 0.0) + cpu_s([process.popen.pid])
    return found


def through(way: Way) -> Sample:
    """Send everything, wait until it has been read, and tell what it took.

    Raises:
        SystemExit: something did not come, or a reader was told that it lags.
    """
    scans = [f"s{number}" for number in range(way.scans)]
    with private_dir() as place:
        pipeline = Pipeline(place)
        sending: Producers | None = None
        reading: Readers | None = None
        try:
            worker = (MEMORY if way.memory else "") + (NO_GAPS if way.bus else "")
            pipeline.start(workers=way.workers, config={"edge": EDGE, "throttle-batch": worker})
            sending = Producers(pipeline.run_dir, scans, way)
            reading = (
                Readers.of_bus(pipeline.run_dir, pipeline.shards)
                if way.bus
                else Readers.of_edge(pipeline.port, scans[: way.active])
            )
            reading.begin()
            before, began = stage_cpu(pipeline), time.perf_counter()
            sending.begin()
            produced_s = sending.finish()
            came = reading.finish(sending.total)
            after = stage_cpu(pipeline)
            if came["lagged"]:
                raise SystemExit(f"a reader was told that it lags, {came['lagged']} times")
        finally:
            for part in (sending, reading):
                if part is not None:
                    part.close()
            pipeline.stop()
            pipeline.close()
    used = {stage: after[stage] - before[stage] for stage in after}
    used |= {"producers": produced_s, "reader": came["cpu_s"]}
    costs = {stage: seconds / sending.total * 1e6 for stage, seconds in used.items()}
    rate = sending.total / (came["at"] - began)
    return Sample(rate, costs, int(came["events"]), int(came["frames"]))
