"""Whatever is killed or stopped, in whatever order: every reader has every event once and in order.

The schedule depends on a seed, which stands in the test's name. `bin/test --faults --seeds N` runs N of them
(`SCANSTREAM_FAULT_SEEDS`: a number, or a range such as 57-60 to run some again).
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable

import pytest

from tests.faults.crash_points import POINTS
from tests.faults.scene import Scene
from tests.faults.stand import Schedule, Stand

SHORT = "1-2"
TAIL_S = 0.4


def seeds() -> list[int]:
    """Return the seeds that are run."""
    first, dash, last = os.environ.get("SCANSTREAM_FAULT_SEEDS", SHORT).partition("-")
    return list(range(int(first), int(last) + 1)) if dash else list(range(1, int(first) + 1))


@pytest.mark.parametrize("seed", seeds(), ids="seed-{}".format)
def test_random_faults(stands: Callable[..., Stand], seed: int) -> None:
    rng = random.Random(seed)
    names = ["ingest-0", "ingest-1", "throttle-batch-0", "edge-0"]
    shards = rng.choice([1, 2])
    if shards == 2 and rng.random() < 0.5:
        names.append("throttle-batch-1")
    stand = stands(*names, shards=shards)
    stand.begin()
    crashes = {name: POINTS[name.rpartition("-")[0]] for name in names}
    schedule = Schedule(stand, seed, crashes)
    scene = Scene(stand, seed, f"scan-{seed}", producers=3, count=400, span_s=2.5)
    over = threading.Event()

    def disturb_tail() -> None:
        tail = scene.audience.tail
        assert tail is not None
        while not over.wait(rng.uniform(0, 2 * TAIL_S)):
            if rng.random() < 0.5:
                tail.kill()
            else:
                tail.signal(signal.SIGSTOP)
                over.wait(TAIL_S)
                tail.signal(signal.SIGCONT)

    def befall() -> None:
        disturbing = threading.Thread(target=disturb_tail)
        disturbing.start()
        try:
            schedule.run(8)
        finally:
            over.set()
            disturbing.join()
        stand.disarm()

    try:
        scene.play(befall)
    finally:
        print(f"seed {seed}: {'; '.join(schedule.told)}")
        print(f"died: {stand.deaths}")
