"""Do browsers that have stopped reading cost the others anything?

One edge with its defaults, its worker played here; a scan of 10 frames a second, 20 kB each. Twenty browsers
read as fast as they can. First alone, the yardstick; then beside two hundred that never read. Told: the gaps
between the frames of the twenty, what the two hundred cost the edge's memory (the kernel's buffers apart),
and when they are closed. At most 1.5 times the gap, 32 KiB each, and 40 s are wanted.

    bin/bench slow_clients [--seconds N]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' harness starts the processes

from tests.harness import private_dir
from tests.sockets.many import FastReaders, Scan, join, rss_bytes
from tests.sockets.peers import Edge, Peers, PlayedWorkers

FAST = 20
STALLED = 200
EVENT_BYTES = 20_000
EVERY_S = 0.1
CLOSED_WITHIN_S = 40.0


def gaps_ms(fast: FastReaders, since: float) -> list[float]:
    """Return the time between the frames of each of the fast browsers, in milliseconds, sorted."""
    gaps = []
    for came in fast.came:
        gaps += [(after - before) * 1_000 for before, after in pairwise(came) if before >= since]
    return sorted(gaps)


def tell(name: str, gaps: list[float]) -> float:
    """Print what gaps there were; return their 99th percentile."""
    p99 = gaps[int(len(gaps) * 0.99)]
    print(
        f"  {name:<20} {statistics.median(gaps):8.1f} ms median {p99:8.1f} ms p99 {gaps[-1]:8.1f} ms longest"
    )
    return p99


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=25.0, help="of each half")
    seconds = arguments.parse_args().seconds
    frames = int(seconds / EVERY_S)
    with private_dir() as place, Peers(place) as peers:
        edge = Edge(place)
        workers = PlayedWorkers(peers, 1)
        scan = Scan(workers, EVENT_BYTES)
        fast = FastReaders(join(edge, workers, FAST, 0))
        fast.start()
        scan.play(20, EVERY_S)
        fast.wait_for(scan.seq)
        alone_since = time.monotonic()
        scan.play(frames, EVERY_S)
        fast.wait_for(scan.seq)
        alone = gaps_ms(fast, alone_since)
        before = rss_bytes(edge.process.popen.pid)
        stalled = join(edge, workers, STALLED, scan.seq, receive_buffer=4_096)
        beside_since = time.monotonic()
        scan.play(min(frames, 100), EVERY_S)
        grown = rss_bytes(edge.process.popen.pid) - before
        closed: list[float] = []
        while len(closed) < STALLED and time.monotonic() < beside_since + 2 * CLOSED_WITHIN_S:
            scan.play(5, EVERY_S)
            lines = tuple(edge.process.lines)
            gone = sum(line.get("fact") == "disconnected" and line["code"] == 4008 for line in lines)
            closed += [time.monotonic() - beside_since] * (gone - len(closed))
        fast.wait_for(scan.seq)
        beside = gaps_ms(fast, beside_since)
        problem = fast.problem
        fast.stop()
        for browser in stalled:
            browser.socket.close()
        edge.stop()
        edge.close()
    print(f"gaps between the frames of {FAST} browsers that read, {1 / EVERY_S:.0f} frames a second")
    ratio = tell(f"beside {STALLED} stalled", beside) / tell("alone", alone)
    print(f"  p99 beside / alone   {ratio:8.2f}, and {problem or 'nothing missing'}")
    print(f"memory a stalled browser {grown / STALLED / 1024:8.1f} KiB in the edge")
    if closed:
        print(f"closed with 4008: {len(closed)} of {STALLED}, after {closed[0]:.1f} to {closed[-1]:.1f} s")
    ok = ratio < 1.5 and grown / STALLED <= 32 * 1024 and len(closed) == STALLED
    print("as wanted" if ok and closed[-1] <= CLOSED_WITHIN_S and problem is None else "NOT as wanted")


if __name__ == "__main__":
    main()
