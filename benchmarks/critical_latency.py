"""How long does a critical event take from emit() to a WebSocket client: idle, and beside a running scan?

Every event passes the whole pipeline, each stage a process of its own: emitter, ingest, throttle-batch,
edge, client. The busy half plays HeroForge's reference scan (250 events/s) into the same scan. Before each
event the yardstick is measured: the same bytes, ZeroMQ PUSH to another process and PUSH back, nothing else.
Takes about 35 s.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

import orjson
import zmq
from websockets.asyncio.client import ClientConnection, connect

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' harness starts the processes

from _measuring import percentile

from pipeline import Emitter
from tests.harness import Pipeline, Process, private_dir

SCAN = "latency"
SAMPLES = 150
PAUSE_S = (0.05, 0.09)
"""Between two events, at random: within the critical rate, and in step with no timer of the pipeline."""
TARGET_MS = 50.0
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


class Hop:
    """The yardstick: to another process over ZeroMQ, and back into this loop."""

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
        self._came = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._pull.fileno(), self._came.set)

    async def measure(self, message: bytes) -> float:
        """Return the seconds until the message is back."""
        started = time.perf_counter()
        self._push.send(message)
        while True:
            self._came.clear()
            try:
                self._pull.recv(zmq.NOBLOCK)
            except zmq.Again:
                await self._came.wait()
            else:
                return time.perf_counter() - started

    def close(self) -> None:
        """End the other process."""
        asyncio.get_running_loop().remove_reader(self._pull.fileno())
        self._push.send(b"")
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._context.destroy()


async def arrival(client: ClientConnection, number: int) -> float:
    """Return when the event of this number came, seconds of `time.perf_counter`."""
    while True:
        message = await client.recv(decode=False)
        now = time.perf_counter()
        if b'"number":%d}' % number in message:
            return now


async def measure(
    name: str, numbers: range, client: ClientConnection, emitter: Emitter, hop: Hop, rng: random.Random
) -> None:
    """Send so many critical events, one after the other, and print how long they took."""
    took, hops = [], []
    for number in numbers:
        event = orjson.dumps({"type": "phaseStarted", "phase": "enumeration", "number": number})
        hops.append(await hop.measure(event))
        started = time.perf_counter()
        emitter.emit(event)
        took.append(await arrival(client, number) - started)
        await asyncio.sleep(rng.uniform(*PAUSE_S))
    print(row(name, took))
    print(row("  yardstick", hops) + f"{percentile(took, 50) / percentile(hops, 50):10.1f} x at p50")
    within = sum(seconds * 1000 <= TARGET_MS for seconds in took)
    print(f"  within {TARGET_MS:g} ms: {within} of {len(took)}")


def row(name: str, seconds: list[float]) -> str:
    """Return one line of the table, milliseconds."""
    figures = [percentile(seconds, 50), percentile(seconds, 99), max(seconds)]
    return f"{name:28}" + "".join(f"{1000 * figure:10.2f}" for figure in figures)


async def watch(pipeline: Pipeline, place: Path) -> None:
    """Measure both halves with one client."""
    rng = random.Random(1)
    run_dir = str(pipeline.run_dir)
    hop = Hop(place)
    try:
        async with connect(
            pipeline.ws(f"/ws/scans/{SCAN}?since=start"), compression=None, max_size=None, proxy=None
        ) as client:
            with Emitter(SCAN, run_dir=run_dir) as emitter:
                emitter.emit({"type": "scanStarted", "number": 0})
                await arrival(client, 0)
                print(f"{'milliseconds':28}{'p50':>10}{'p99':>10}{'max':>10}")
                await measure("idle", range(1, SAMPLES + 1), client, emitter, hop, rng)
                scan = Process("emit", "--simulate", "heroforge", "--scan", SCAN, "--run-dir", run_dir)
                try:
                    while b'"vpnConnected"' not in await client.recv(decode=False):
                        pass
                    numbers = range(SAMPLES + 1, 3 * SAMPLES + 1)
                    await measure("beside 250 events/s", numbers, client, emitter, hop, rng)
                    if scan.popen.poll() is not None:
                        print("  (the scan ended before: the last ones were idle)")
                finally:
                    scan.close()
    finally:
        hop.close()


def main() -> None:
    """Start a pipeline, measure, and stop it."""
    with private_dir() as place:
        pipeline = Pipeline(place)
        try:
            pipeline.start()
            asyncio.run(watch(pipeline, place))
        finally:
            pipeline.close()


if __name__ == "__main__":
    main()
