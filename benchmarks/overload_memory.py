"""Does any stage grow under five times more than it lets out?

Two scans whose budget lets out 64 KiB twice a second: one numbered producer that sends as fast as it is let,
one foreign one at five times the budget. Readers: two that keep up, one that has stopped reading. Journal and
history are bounded to 16 MiB. Memory (Pss where the kernel tells it, else Rss) is looked at every 2 s; the
first quarter of the time is warming up. The yardstick is each stage's own median.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from pathlib import Path

import zmq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' harness starts the processes

from _measuring import end_in_order, memory_bytes
from _options import Option, parse
from _report import Report, Table

from pipeline import Emitter, NotDelivered
from tests.e2e.watching import Connection, Watchers
from tests.faults.stand import Stand
from tests.harness import private_dir

MINUTES = {"quick": 0.0, "normal": 1.7, "full": 10.5}
OPTIONS = (Option("minutes", "of overload", 1.5, full=10.0, smallest=0.05),)
CONFIG = {
    "throttle-batch": """
[batch]
max_frames_per_s = 2
max_frame_bytes = 65536
max_pending_bytes = 262144
[journal]
max_channel_bytes = 16777216
max_channel_events = 100000
""",
    "edge": "[limits]\nkernel_buffer_bytes = 65536\nstalled_s = 3600\n",
}
BUDGET_BYTES_PER_S = 2 * 65_536
OVERLOAD = 5
PAUSE_S = 0.05
SAMPLE_S = 2.0
TOLERANCE = 0.10
TEXT = "x" * 100


class Counting(Connection):
    """A reader of our own wire that keeps nothing."""

    def subprotocols(self) -> list[str]:
        return ["scanstream.v1.json"]

    def take(self, data: bytes) -> None:
        pass

    def connected(self) -> None:
        """Wait until it has been greeted."""
        self.wait_for(lambda reader: reader.messages)


def numbered(run_dir: str, over: threading.Event) -> None:
    """Send as fast as the pipeline lets."""
    emitter = Emitter("numbered", run_dir=run_dir, max_buffered_bytes=1_000_000)
    number = 0
    while not over.is_set():
        number += 1
        emitter.emit({"type": "note", "n": number, "text": TEXT})
    try:
        emitter.close(2)
    except NotDelivered as error:
        print(f"numbered: {error}", file=sys.stderr)


def foreign(run_dir: Path, over: threading.Event) -> None:
    """Send five times the budget, whatever becomes of it."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context.socket(zmq.PUSH) as push:
        push.setsockopt(zmq.LINGER, 0)
        push.connect(f"ipc://{run_dir / 'ingest-0.data'}")
        event = b'{"type":"note","scan_id":"foreign","text":"%b"}' % TEXT.encode()
        count = int(OVERLOAD * BUDGET_BYTES_PER_S * PAUSE_S / len(event))
        message = b"\n".join([event] * count)
        while not over.wait(PAUSE_S):
            push.send(message)
    context.term()


def main() -> None:
    """Measure, and tell."""
    options = parse("overload_memory", __doc__ or "", MINUTES, OPTIONS)
    end_in_order()
    report = Report("overload_memory", options.scale, options.into)
    seconds = options.minutes * 60
    over = threading.Event()
    pause = threading.Event()
    samples: dict[str, list[int]] = {}
    with private_dir() as place, Watchers() as watchers:
        stand = Stand(place, config=CONFIG)
        try:
            stand.begin()
            senders = [
                threading.Thread(target=numbered, args=(str(stand.run_dir), over)),
                threading.Thread(target=foreign, args=(stand.run_dir, over)),
            ]
            for sender in senders:
                sender.start()
            for scan_id in ("numbered", "foreign"):
                watchers.add(Counting(watchers.loop, stand.ws(f"/ws/scans/{scan_id}"))).connected()
            stopped = watchers.add(Counting(watchers.loop, stand.ws("/ws/scans/foreign")))
            stopped.connected()
            stopped.pause()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                pause.wait(min(SAMPLE_S, seconds / 4))
                for name, process in stand.processes.items():
                    samples.setdefault(name, []).append(memory_bytes(process.popen.pid))
            over.set()
            for sender in senders:
                sender.join()
            watchers.close()
            counted = stand.stop()
        finally:
            over.set()
            stand.close()
    heads = [("", 0), ("MiB, median", 1), ("least", 1), ("most", 1), ("spread %", 1)]
    table = Table(f"{options.minutes:g} minutes of {OVERLOAD} times what is let out", heads)
    for name, sizes in samples.items():
        steady = [size / 2**20 for size in sizes[len(sizes) // 4 :]]
        middle = statistics.median(steady)
        spread = max(max(steady) / middle - 1, 1 - min(steady) / middle)
        table.add(name, middle, min(steady), max(steady), spread * 100)
        report.target(f"{name}: spread, x median", spread, "<=", TOLERANCE)
    report.add(table)
    worker = counted["throttle-batch-0"]
    for key in ("events", "dropped{reason=pending_full}", "not_taken{reason=full}", "journal_trimmed_events"):
        report.note(f"worker {key}: {worker.get(key, 0):,.0f}")
    report.close()


if __name__ == "__main__":
    main()
