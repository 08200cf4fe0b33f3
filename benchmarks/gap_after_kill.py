"""How long does a client get nothing after kill -9 of a stage that is started again at once?

One scan of 200 events/s, one WebSocket client that comes back when its edge dies. Each stage is killed so
many times; a gap is from the kill to the first event emitted after it. The yardstick, in the same run, is
the time from one emit to its arrival when nothing is killed: it holds the frame budget, 0.1 s.

    bin/bench gap_after_kill [--kills N]
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' harness starts the processes

from _measuring import percentile

from pipeline import Emitter
from tests.e2e.watching import Watchers
from tests.faults.readers import StayingNative
from tests.faults.stand import Stand
from tests.faults.traffic import event
from tests.harness import private_dir

SCAN = "gap"
PAUSE_S = 0.005
TARGET_S = 1.0


class Sending:
    """Events without an end, in a thread; the seq of the last one is known at any time."""

    def __init__(self, run_dir: Path) -> None:
        self.sent = 0
        self._emitter = Emitter(SCAN, run_dir=str(run_dir))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(PAUSE_S):
            self._emitter.emit(event("a", self.sent + 1))
            self.sent += 1

    def close(self) -> None:
        """Stop, when all is acked."""
        self._over.set()
        self._thread.join()
        self._emitter.close()


def row(name: str, seconds: list[float]) -> str:
    """Return one line of the table."""
    figures = [percentile(seconds, 50), percentile(seconds, 99), max(seconds)]
    return f"{name:28}" + "".join(f"{figure:10.3f}" for figure in figures)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30, help="of each stage")
    kills: int = parser.parse_args().kills
    pause = threading.Event()
    rng = random.Random(1)
    with private_dir() as place:
        stand = Stand(place)
        try:
            stand.begin()
            sending = Sending(stand.run_dir)
            with Watchers() as watchers:
                reader = watchers.add(StayingNative(watchers.loop, stand.ws(f"/ws/scans/{SCAN}")))

                def gap(kill: str | None) -> float:
                    pause.wait(rng.uniform(0.5, 1.0))
                    wanted = sending.sent + 1
                    started = time.monotonic()
                    if kill is not None:
                        stand.kill(kill)
                    reader.wait_for(lambda reader: reader.seq >= wanted)
                    return time.monotonic() - started

                print(f"{'seconds':28}{'p50':>10}{'p99':>10}{'max':>10}")
                print(row("nothing killed", [gap(None) for _ in range(kills)]))
                for name in stand.names:
                    gaps = [gap(name) for _ in range(kills)]
                    within = sum(seconds <= TARGET_S for seconds in gaps)
                    print(row(f"{name} killed", gaps) + f"   within {TARGET_S:g} s: {within} of {kills}")
                assert reader.problems == []
            sending.close()
        finally:
            stand.close()


if __name__ == "__main__":
    main()
