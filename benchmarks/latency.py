"""How long does an event take from emit() to a client, hop by hop: idle, and at 10, 50, 90 % of capacity?

A critical event goes at once; a batched one waits for its frame, up to 0.1 s by default. Both pass the whole
pipeline, each stage a process of its own: emitter, ingest, worker, edge, a WebSocket. One at a time, critical
and batched in turn, each in a scan of its own, at random moments. What capacity is, is measured before: ten
scans, as many events as go through; the load is then a part of that, evenly, and all of it is read. The load,
its reader and the stages share the machine.

The hops are told apart by the clock that all processes of a machine share: a frame carries when its worker
took the oldest of its events, and a subscriber beside the edge notes when the frame came. `ack` is when the
emitter has its acknowledgement: the event is in the journal. Yardstick, before each pair: the same bytes by
PUSH to another process and by PUSH back, nothing else.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import zmq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' harness starts the processes

from _measuring import end_in_order, percentile
from _options import Option, parse
from _producers import Producers
from _readers import Readers, WebSocket
from _report import Report, Table
from _through import Way

from pipeline import Emitter
from pipeline.shards import shard_of
from pipeline.sockets import shard_events
from pipeline.wire import channel_name, decode_frame
from tests.harness import Pipeline, private_dir

MINUTES = {"quick": 0.4, "normal": 1.3, "full": 12}
OPTIONS = (
    Option("loads", "percent of capacity", (0, 10, 50, 90), quick=(0, 50), smallest=(0, 10)),
    Option("samples", "pairs of events of each round", 40, quick=25, full=300, smallest=2),
    Option("runs", "rounds, each with all loads", 2, quick=1, full=3),
    Option("events", "sent to learn what capacity is", 200_000, quick=100_000, smallest=2_000),
)
SCANS = [f"s{number}" for number in range(10)]
CRITICAL, BATCHED = "critical", "batched"
TYPES = {CRITICAL: "phaseStarted", BATCHED: "note"}
PAUSE_S = (0.02, 0.06)
"""Between two pairs, at random: within the critical rate, and in step with no timer of the pipeline."""
MOST_MS = {(0, 50): 2.0, (0, 99): 10.0, (50, 99): 50.0}
"""(percent of capacity, percentile) -> what is wanted of critical events."""
WAIT_S = 60.0
JOIN_S = 1.0
ECHO = """
import sys, zmq
context = zmq.Context()
pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
pull.bind(sys.argv[1])
push.connect(sys.argv[2])
print("ready", flush=True)
while message := pull.recv():
    push.send(message)
context.destroy(linger=0)
"""


class RoundTrip:
    """The yardstick: to another process over ZeroMQ, and back."""

    def __init__(self, place: Path) -> None:
        there, back = f"ipc://{place}/there", f"ipc://{place}/back"
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pull = self._context.socket(zmq.PULL)
        self._pull.bind(back)
        self._process = subprocess.Popen([sys.executable, "-c", ECHO, there, back], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self._push = self._context.socket(zmq.PUSH)
        self._push.connect(there)

    def measure(self, message: bytes) -> float:
        """Return the seconds until the message is back."""
        began = time.monotonic()
        self._push.send(message)
        self._pull.recv()
        return time.monotonic() - began

    def close(self) -> None:
        """End the other process."""
        self._push.send(b"")
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._context.destroy()


@dataclass(slots=True)
class Seen:
    """When an event passed: monotonic seconds."""

    taken: float = 0.0
    bus: float = 0.0
    client: float = 0.0


class Watch:
    """Two threads that note when each of our events passes: at the bus, and at a WebSocket client."""

    def __init__(self, pipeline: Pipeline, scan_id: str) -> None:
        self._seen: dict[int, Seen] = {}
        self._changed = threading.Condition()
        self._over = False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = WebSocket(pipeline.port, f"/ws/scans/{scan_id}?since=start", deflate=False)
        self._socket.socket.setblocking(True)
        self._socket.socket.settimeout(0.1)
        channel = channel_name("scan", scan_id)
        shard = shard_of(channel, pipeline.shards)
        self._sub = self._context.socket(zmq.SUB)
        self._sub.setsockopt(zmq.SUBSCRIBE, f"F|{channel}|".encode())
        self._sub.connect(f"ipc://{pipeline.run_dir}/{shard_events(shard)}")
        self._threads = [threading.Thread(target=work) for work in (self._read_bus, self._read_client)]
        for thread in self._threads:
            thread.start()

    def _note(self, payload: bytes, set_: Callable[[Seen], None]) -> None:
        at = payload.find(b'"number":')
        while at >= 0:
            number = int(payload[at + 9 : payload.index(b"}", at)])
            with self._changed:
                set_(self._seen.setdefault(number, Seen()))
                self._changed.notify_all()
            at = payload.find(b'"number":', at + 9)

    def _read_bus(self) -> None:
        while not self._over:
            if self._sub.poll(100):
                message = self._sub.recv()
                now = time.monotonic()
                frame = decode_frame(message)

                def noted(seen: Seen, now: float = now, taken: float = frame.header.taken_us / 1e6) -> None:
                    seen.bus, seen.taken = now, taken

                self._note(frame.body, noted)

    def _read_client(self) -> None:
        while not self._over:
            try:
                self._socket.data += self._socket.socket.recv(65_536)
            except TimeoutError:
                continue
            now = time.monotonic()

            def noted(seen: Seen, now: float = now) -> None:
                seen.client = now

            for first, payload in self._socket.frames():
                if first & 0x0F == 0x9:
                    self._socket.pong()
                else:
                    self._note(payload, noted)

    def wait(self, number: int, seconds: float = WAIT_S) -> Seen | None:
        """Return when an event passed, once it has passed both; None when it has not in time."""
        with self._changed:
            seen = self._seen.setdefault(number, Seen())
            return seen if self._changed.wait_for(lambda: seen.bus and seen.client, seconds) else None

    def close(self) -> None:
        """End the threads."""
        self._over = True
        for thread in self._threads:
            thread.join()
        self._socket.socket.close()
        self._sub.close()
        self._context.term()


@dataclass(slots=True)
class Round:
    """What one round gave for one kind of event: milliseconds, one each an event."""

    total: list[float]
    worker: list[float]
    bus: list[float]
    client: list[float]
    ack: list[float]


class Probe:
    """Sends an event at a time to a scan of its own, and notes when it passes each hop."""

    def __init__(self, pipeline: Pipeline, kind: str) -> None:
        self._type = TYPES[kind]
        self._number = 0
        self._emitter = Emitter(kind, run_dir=str(pipeline.run_dir))
        self._emitter.emit({"type": "scanStarted"})
        self._emitter.flush(WAIT_S)
        self._watch = Watch(pipeline, kind)
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        """Send until both see this scan: the bus tells a subscriber nothing of what was before it."""
        for _ in range(int(WAIT_S / JOIN_S)):
            self._emit()
            if self._watch.wait(self._number, JOIN_S) is not None:
                return
        raise SystemExit(f"nothing of {self._type} came within {WAIT_S:g} s")

    def _emit(self) -> None:
        self._number += 1
        event = b'{"type":"%b","phase":"probe","number":%d}' % (self._type.encode(), self._number)
        self._emitter.emit(event)
        self._emitter.flush(WAIT_S)

    def send(self, into: Round) -> None:
        """Send one, and wait until it has come."""
        began = time.monotonic()
        self._emit()
        acked = time.monotonic()
        seen = self._watch.wait(self._number)
        if seen is None:
            raise SystemExit(f"event {self._number} did not come within {WAIT_S:g} s")
        for name, since, until in (
            ("total", began, seen.client),
            ("worker", began, seen.taken),
            ("bus", seen.taken, seen.bus),
            ("client", seen.bus, seen.client),
            ("ack", began, acked),
        ):
            getattr(into, name).append((until - since) * 1000)

    def close(self) -> None:
        """Let go of it."""
        self._watch.close()
        self._emitter.close(WAIT_S)


def load(pipeline: Pipeline, events: int, per_s: float, work: Callable[[], None]) -> float:
    """Send to ten scans, and do something meanwhile; return the events a second that came."""
    sending = Producers(
        pipeline.run_dir, SCANS, Way(len(SCANS), len(SCANS), events, processes=2, per_s=per_s)
    )
    reading = Readers.of_edge(pipeline.port, SCANS)
    try:
        reading.begin()
        began = time.perf_counter()
        sending.begin()
        work()
        sending.finish()
        came = reading.finish(sending.total)
        return sending.total / (came["at"] - began)
    finally:
        sending.close()
        reading.close()


def measure(samples: int, probes: dict[str, Probe], trip: RoundTrip, rng: random.Random) -> dict[str, Round]:
    """Send so many pairs; return the figures of each kind, and of the yardstick as `trip`."""
    found = {kind: Round([], [], [], [], []) for kind in probes}
    trips = Round([], [], [], [], [])
    pause = threading.Event()
    for _ in range(samples):
        trips.total.append(trip.measure(b"x" * 60) * 1000)
        for kind, probe in probes.items():
            probe.send(found[kind])
        pause.wait(rng.uniform(*PAUSE_S))
    return {**found, "trip": trips}


def tell(report: Report, rounds: dict[int, list[dict[str, Round]]], rates: dict[int, list[float]]) -> None:
    """Add a table for each kind."""
    heads = [("load", 0), ("events/s", 0), ("p50 ms", 2), ("p99 ms", 2), ("x round trip", 1)]
    heads += [("emit to worker", 2), ("worker to bus", 2), ("bus to client", 2), ("ack", 2)]
    for kind in (CRITICAL, BATCHED):
        table = Table(f"A {kind} event, emit() to client; hops: p50, ms", heads)
        lines: dict[str, list[tuple[float, float]]] = {"p50": [], "p99": []}
        trips = [percentile(found["trip"].total, 50) for found in rounds[min(rounds)]]
        table.add("PUSH there and back", 0, trips, None, 1.0, *([None] * 4))
        for percent, all_of in rounds.items():
            of = [found[kind] for found in all_of]
            p50, p99 = ([percentile(each.total, part) for each in of] for part in (50, 99))
            ratios = [
                percentile(found[kind].total, 50) / percentile(found["trip"].total, 50) for found in all_of
            ]
            hops = [
                percentile([ms for each in of for ms in getattr(each, hop)], 50)
                for hop in ("worker", "bus", "client", "ack")
            ]
            name = f"{percent} % of capacity" if percent else "idle"
            table.add(name, rates.get(percent, 0), p50, p99, ratios, *hops)
            lines["p50"].append((percent, statistics.median(p50)))
            lines["p99"].append((percent, statistics.median(p99)))
            for (of_load, part), most in MOST_MS.items():
                if kind == CRITICAL and of_load == percent:
                    value = statistics.median(p50 if part == 50 else p99)
                    report.target(f"critical, {name}: p{part}, ms", value, "<=", most)
        report.add(table)
        report.lines(f"A {kind} event, emit() to client", "percent of capacity", "ms", lines)


def main() -> None:
    """Measure, and tell."""
    options = parse("latency", __doc__ or "", MINUTES, OPTIONS)
    end_in_order()
    report = Report("latency", options.scale, options.into, ("pyzmq", "tornado"))
    rng = random.Random(1)
    with private_dir() as place:
        pipeline = Pipeline(place)
        trip = RoundTrip(place)
        probes: dict[str, Probe] = {}
        try:
            pipeline.start()
            capacity = load(pipeline, options.events, 0, lambda: None) if max(options.loads) else 0
            for kind in TYPES:
                probes[kind] = Probe(pipeline, kind)
            rounds: dict[int, list[dict[str, Round]]] = {percent: [] for percent in options.loads}
            rates: dict[int, list[float]] = {}
            for _ in range(options.runs):
                for percent, found in rounds.items():

                    def work(found: list[dict[str, Round]] = found) -> None:
                        found.append(measure(options.samples, probes, trip, rng))

                    if percent == 0:
                        work()
                        continue
                    per_s = capacity * percent / 100
                    events = int(per_s * options.samples * 0.2) + 100
                    rates.setdefault(percent, []).append(load(pipeline, events, per_s, work))
        finally:
            for probe in probes.values():
                probe.close()
            trip.close()
            pipeline.close()
    tell(report, rounds, rates)
    report.close()


if __name__ == "__main__":
    main()
