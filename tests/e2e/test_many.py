"""Ten scans side by side, fifty readers, and two of each process."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from pipeline.producer.simulate import EVENTS, heroforge
from tests.e2e.watching import Watchers
from tests.harness import Pipeline, Process

SCANS = 10
PRODUCERS = 5
READERS_A_SCAN = 5
SPEED = 4
"""Each scan plays its 60 s in 15: ten scans are 10,000 events/s."""


@pytest.mark.timeout(240)
def test_ten_scans_reach_fifty_readers_over_two_of_each_process(pipeline: Pipeline) -> None:
    pipeline.start(ingests=2, workers=2, edges=2)
    scans = {
        f"site-{producer}-{number}": number
        for producer in range(PRODUCERS)
        for number in range(1, SCANS // PRODUCERS + 1)
    }
    with Watchers() as watchers, ExitStack() as stack:
        readers = {
            scan_id: [watchers.native(pipeline.ws(f"/ws/scans/{scan_id}")) for _ in range(READERS_A_SCAN)]
            for scan_id in scans
        }
        producers = [
            Process(
                *("emit", "--simulate", "heroforge", "--scan", f"site-{producer}"),
                *("--scans", str(SCANS // PRODUCERS), "--speed", str(SPEED)),
                *("--run-dir", str(pipeline.run_dir)),
            )
            for producer in range(PRODUCERS)
        ]
        for producer in producers:
            stack.callback(producer.close)
        codes = [producer.wait(120) for producer in producers]
        # On a slow machine it says before that it waits.
        said = [producer.errors.splitlines()[-1] for producer in producers]
        for reader in [reader for several in readers.values() for reader in several]:
            reader.wait_for(lambda reader: reader.seq == EVENTS)
    each = SCANS // PRODUCERS
    assert said == [f"sent {each * EVENTS} events to {each} scans"] * PRODUCERS
    assert codes == [0] * PRODUCERS

    for scan_id, seed in scans.items():
        sent = [event for _, event in heroforge(seed, scan_id)]
        for reader in readers[scan_id]:
            reader.check(sent)
            assert len(reader.closes) == 1, "it stayed connected all the time"

    _, statistics = pipeline.get("/api/scans/stats")
    assert statistics["completed_scans"] == SCANS
    assert statistics["total_events"] == SCANS * EVENTS
    assert statistics["total_messages"] * 10 < SCANS * EVENTS, "frames, not events, go out"
    counted = pipeline.stop()
    workers = [counters["events"] for name, counters in counted.items() if name.startswith("throttle-batch")]
    assert sum(workers) == SCANS * EVENTS
    assert min(workers) > 0, "both workers owned some of the scans"
