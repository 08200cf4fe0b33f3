"""Do browsers that have stopped reading cost the others anything?

One edge with its defaults, its worker played here; a scan of 10 frames a second, 20 kB each. Twenty browsers
read as fast as they can. First alone, the yardstick; then beside two hundred that never read. Told: the gaps
between the frames of the twenty, what the two hundred cost the edge's memory (the kernel's buffers apart),
and when they are closed.
"""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' harness starts the processes

from _measuring import end_in_order, percentile
from _options import Option, parse
from _report import Report, Table

from tests.harness import private_dir
from tests.sockets.many import FastReaders, Scan, join, rss_bytes
from tests.sockets.peers import Edge, Peers, PlayedWorkers

MINUTES = {"quick": 0.0, "normal": 1, "full": 2}
OPTIONS = (
    Option("seconds", "alone, and at least beside", 10.0, full=30.0, smallest=0.5),
    Option("stalled", "browsers that never read", 200, smallest=3),
    Option("wait-closed", "seconds to wait until they are closed; 0: do not", 80.0, smallest=0.0),
)
FAST = 20
MOST_RATIO = 1.5
MOST_KIB = 32
EVENT_BYTES = 20_000
EVERY_S = 0.1
CLOSED_WITHIN_S = 40.0
HEARTBEAT = "[heartbeat]\ninterval_s = 5.0\n"
"""As it is by default; without, tests have their edges look after browsers seldom."""


def gaps_ms(fast: FastReaders, since: float) -> list[float]:
    """Return the time between the frames of each of the fast browsers, in milliseconds, sorted."""
    gaps = []
    for came in fast.came:
        gaps += [(after - before) * 1_000 for before, after in pairwise(came) if before >= since]
    return sorted(gaps)


def main() -> None:
    options = parse("slow_clients", __doc__ or "", MINUTES, OPTIONS)
    end_in_order()
    report = Report("slow_clients", options.scale, options.into)
    frames = int(options.seconds / EVERY_S)
    with private_dir() as place, Peers(place) as peers:
        edge = Edge(place, HEARTBEAT)
        workers = PlayedWorkers(peers, 1)
        scan = Scan(workers, EVENT_BYTES)
        fast = FastReaders(join(edge, workers, FAST, 0))
        fast.start()
        scan.play(min(frames, 20), EVERY_S)
        fast.wait_for(scan.seq)
        alone_since = time.monotonic()
        scan.play(frames, EVERY_S)
        fast.wait_for(scan.seq)
        alone = gaps_ms(fast, alone_since)
        before = rss_bytes(edge.process.popen.pid)
        stalled = join(edge, workers, options.stalled, scan.seq, receive_buffer=4_096)
        beside_since = time.monotonic()
        scan.play(frames, EVERY_S)
        grown = rss_bytes(edge.process.popen.pid) - before
        closed: list[float] = []
        while len(closed) < options.stalled and time.monotonic() < beside_since + options.wait_closed:
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
    if problem is not None:
        raise SystemExit(f"a browser that reads has a problem: {problem}")
    heads = [("", 0), ("median ms", 1), ("p99 ms", 1), ("longest ms", 1), ("p99 x alone", 2)]
    title = f"Gaps between the frames of {FAST} browsers that read, {1 / EVERY_S:.0f} frames a second"
    table = Table(title, heads)
    ratio = 0.0
    for name, gaps in (("alone", alone), (f"beside {options.stalled} stalled", beside)):
        p99 = percentile(gaps, 99)
        ratio = p99 / percentile(alone, 99)
        table.add(name, percentile(gaps, 50), p99, gaps[-1], ratio)
    report.add(table)
    report.target("p99 gap, x alone", ratio, "<=", MOST_RATIO)
    report.target("memory of a stalled browser, KiB", grown / options.stalled / 1024, "<=", MOST_KIB, 1)
    if options.wait_closed:
        report.note(f"{len(closed)} of {options.stalled} stalled browsers were closed with 4008")
        last = closed[-1] if len(closed) == options.stalled else options.wait_closed
        report.target("all stalled browsers closed after, s", last, "<=", CLOSED_WITHIN_S, 1)
    report.close()


if __name__ == "__main__":
    main()
