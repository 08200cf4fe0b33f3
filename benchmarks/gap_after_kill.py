"""How long does a client get nothing after kill -9 of a stage that is started again at once?

One scan of 200 events/s, one WebSocket client that comes back when its edge dies. Each stage is killed so
many times; a gap is from the kill to the first event emitted after it. The yardstick, in the same run, is
the time from one emit to its arrival when nothing is killed: it holds the frame budget, 0.1 s.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' harness starts the processes

from _measuring import end_in_order, percentile
from _options import Option, parse
from _report import Report, Table

from pipeline import Emitter
from tests.e2e.watching import Watchers
from tests.faults.readers import StayingNative
from tests.faults.stand import Stand
from tests.faults.traffic import event
from tests.harness import private_dir

MINUTES = {"quick": 0.3, "normal": 0.9, "full": 4}
OPTIONS = (Option("kills", "of each stage", 8, quick=2, full=40, smallest=1),)
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


def main() -> None:
    """Print the table."""
    options = parse("gap_after_kill", __doc__ or "", MINUTES, OPTIONS)
    end_in_order()
    report = Report("gap_after_kill", options.scale, options.into)
    kills: int = options.kills
    heads = [("", 0), ("p50 s", 3), ("longest s", 3), ("x nothing killed", 1)]
    table = Table(f"A client gets nothing for so long, {kills} kills of each", heads)
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

                gaps: dict[str | None, list[float]] = {name: [] for name in (None, *stand.names)}
                for _ in range(kills):
                    for name, found in gaps.items():
                        found.append(gap(name))
                if reader.problems:
                    raise SystemExit(f"the reader has a problem: {reader.problems}")
            sending.close()
        finally:
            stand.close()
    usual = percentile(gaps[None], 50)
    for name, found in gaps.items():
        half = percentile(found, 50)
        table.add(f"{name} killed" if name else "nothing killed", half, max(found), half / usual)
        if name:
            report.target(f"{name} killed: longest gap, s", max(found), "<=", TARGET_S)
    report.add(table)
    report.bars(table, "p50 s", "How long a client gets nothing, seconds")
    report.close()


if __name__ == "__main__":
    main()
