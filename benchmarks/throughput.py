"""How many events a second go from producers through ingest and worker to a subscriber, acked?

Yardstick, in the same run: a bare PUSH -> PULL hop of the same event, one a message, between two processes.
The pipeline's figure has everything on: checks, numbering, acks, history, scan state, frames. Runs are
interleaved; the table gives the median and the spread.

    bin/bench throughput [--runs N] [--events N] [--scans 1,10,100] [--producers N]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from pathlib import Path

import zmq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _measuring import bare_hop, cpu_s

from pipeline.emitter import Emitter
from pipeline.sockets import shard_events
from pipeline.wire import decode_frame
from tests.harness import Pipeline, private_dir

EVENT = (
    b'{"type":"portFound","ip":"10.0.0.5","port":443,"protocol":"TCP","state":"Open",'
    b'"ts":1763879283.25,"note":"012345678901234567"}'
)
assert len(EVENT) == 126, len(EVENT)
context = multiprocessing.get_context("spawn")


def _emit(run_dir: str, scans: list[str], count: int, go: object, greeted: object, spent: object) -> None:
    emitter = Emitter(run_dir=run_dir)
    emitter.wait_ready(20)
    greeted.release()  # type: ignore[attr-defined]  # a multiprocessing semaphore
    go.wait()  # type: ignore[attr-defined]  # a multiprocessing event
    before = time.process_time()
    for number in range(count):
        emitter.emit(EVENT, scan_id=scans[number % len(scans)])
    emitter.close(120)
    with spent.get_lock():  # type: ignore[attr-defined]  # a multiprocessing value
        spent.value += time.process_time() - before  # type: ignore[attr-defined]


def _subscribe(run_dir: str, shards: int, total: int, ready: object, done: object, spent: object) -> None:
    zmq_context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sub = zmq_context.socket(zmq.SUB)
    sub.setsockopt(zmq.RCVHWM, 0)
    sub.setsockopt(zmq.SUBSCRIBE, b"F|")
    for shard in range(shards):
        sub.connect(f"ipc://{run_dir}/{shard_events(shard)}")
    ready.set()  # type: ignore[attr-defined]
    seen = 0
    before = time.process_time()
    while seen < total:
        header = decode_frame(sub.recv()).header
        seen += header.last - header.first + 1
    done.value = time.perf_counter()  # type: ignore[attr-defined]
    spent.value = time.process_time() - before  # type: ignore[attr-defined]


def through_pipeline(count: int, scans: int, producers: int, workers: int) -> tuple[float, dict[str, float]]:
    """Return events a second, from the first emit to the last frame at a subscriber, and CPU us an event."""
    with private_dir() as place:
        pipeline = Pipeline(place)
        try:
            pipeline.start(workers=workers, edges=1)
            producers = min(producers, scans)  # one scan alone: one producer
            each = count // producers
            ready, go, greeted = context.Event(), context.Event(), context.Semaphore(0)
            done, produced, subscribed = (context.Value("d", 0.0) for _ in range(3))
            subscriber = context.Process(
                target=_subscribe, args=(str(pipeline.run_dir), 4, each * producers, ready, done, subscribed)
            )
            subscriber.start()
            ready.wait()
            senders = []
            for producer in range(producers):
                mine = [f"s{scan}" for scan in range(scans) if scan % producers == producer]
                args = (str(pipeline.run_dir), mine, each, go, greeted, produced)
                senders.append(context.Process(target=_emit, args=args))
            for sender in senders:
                sender.start()
            time_before = _cpu(pipeline)
            for _ in senders:
                greeted.acquire()
            began = time.perf_counter()
            go.set()
            for sender in senders:
                sender.join()
            subscriber.join()
            took = done.value - began
            after = _cpu(pipeline)
            total = each * producers
            used = {name: after[name] - time_before[name] for name in after}
            used |= {"producers": produced.value, "subscriber": subscribed.value}
            cost = {name: seconds / total * 1e6 for name, seconds in used.items()}
            return total / took, cost
        finally:
            pipeline.stop()
            pipeline.close()


def _cpu(pipeline: Pipeline) -> dict[str, float]:
    return {name: cpu_s([process.popen.pid]) for name, process in pipeline.processes.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--scans", default="1,10,100")
    parser.add_argument("--producers", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    counts = [int(text) for text in options.scans.split(",")]
    hops: list[float] = []
    rates: dict[int, list[float]] = {scans: [] for scans in counts}
    costs: dict[int, dict[str, float]] = {}
    for _ in range(options.runs):
        hops.append(bare_hop(EVENT, options.events))
        for scans in counts:
            rate, cost = through_pipeline(options.events, scans, options.producers, options.workers)
            rates[scans].append(rate)
            costs[scans] = cost
    hop = statistics.median(hops)
    print(f"{'':24} {'events/s':>10} {'spread':>17} {'ratio':>6}  CPU us an event")
    print(f"{'bare hop':24} {hop:10,.0f} {min(hops):8,.0f}-{max(hops):8,.0f} {1:6.3f}")
    for scans in counts:
        rate = statistics.median(rates[scans])
        spent = "  ".join(f"{name} {value:.1f}" for name, value in costs[scans].items())
        print(
            f"{f'pipeline, {scans} scans':24} {rate:10,.0f} "
            f"{min(rates[scans]):8,.0f}-{max(rates[scans]):8,.0f} {rate / hop:6.3f}  {spent}"
        )


if __name__ == "__main__":
    main()
