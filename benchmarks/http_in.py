"""How many posts a second does the edge answer, acked? Yardstick: a Tornado that only reads the body.

One event a request, over connections that are kept, from one loop in this process. The edge's figure has
everything on: checks, ingest, journal, ack; the bare Tornado answers as soon as the body is there. Rounds are
interleaved; the table gives the median and the spread. Absolute figures hold the client's own cost too.

    bin/bench http_in [--runs N] [--seconds S] [--connections 1,16]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _measuring import cpu_s, percentile, spread

from tests.harness import Pipeline, Process, private_dir

EVENT = b'{"type":"portFound","ip":"10.0.0.5","port":443,"protocol":"TCP","state":"Open"}'
ANSWER = b'{"scan_id":"demo","accepted":1,"epoch":1795416705922,"seq":1000,"next":"1795416705922:1000"}'
LIMITS = "[http_in]\nrequests_per_s = 1000000\nrequest_burst = 1000000\n"


def bare() -> None:
    """Run a Tornado that reads a body and answers; it prints its port."""
    from tornado.web import Application, RequestHandler

    class Post(RequestHandler):
        def post(self) -> None:
            json.loads(self.request.body)
            self.set_header("Content-Type", "application/json")
            self.finish(ANSWER)

    async def serve() -> None:
        from tornado.netutil import bind_sockets

        application = Application([(r"/.*", Post)], log_function=lambda _: None)
        listening = bind_sockets(0, "127.0.0.1")
        from tornado.httpserver import HTTPServer

        HTTPServer(application).add_sockets(listening)
        click.echo(json.dumps({"fact": "ready", "port": listening[0].getsockname()[1]}), err=True)
        await asyncio.Event().wait()

    asyncio.run(serve())


async def _sender(port: int, number: int, keyed: bool, until: float, times: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = 0
    while time.perf_counter() < until:
        key = f"Idempotency-Key: {number}-{sent}-{until}\r\n" if keyed else ""
        head = (
            f"POST /api/scans/demo/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{key}"
            f"Content-Type: application/json\r\nContent-Length: {len(EVENT)}\r\n\r\n"
        )
        began = time.perf_counter()
        writer.write(head.encode() + EVENT)
        answered = await reader.readuntil(b"\r\n\r\n")
        if not answered.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"answered {answered[:200]!r}")
        length = answered.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        times.append(time.perf_counter() - began)
        sent += 1
    writer.close()


def posted(port: int, connections: int, seconds: float, *, keyed: bool = False) -> list[float]:
    """Return how long each request took, in seconds."""
    times: list[float] = []

    async def run() -> None:
        until = time.perf_counter() + seconds
        await asyncio.gather(*(_sender(port, number, keyed, until, times) for number in range(connections)))

    asyncio.run(run())
    return times


def main() -> None:
    """Print a table for each number of connections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", default="1,16")
    options = parser.parse_args()
    with private_dir() as place:
        pipeline = Pipeline(place)
        yardstick = Process("--bare", program=("http_in",), env={"PYTHONPATH": str(Path(__file__).parent)})
        try:
            pipeline.start(config={"edge": LIMITS})
            bare_port = yardstick.wait_for("ready")["port"]
            for connections in map(int, options.connections.split(",")):
                measure(pipeline, yardstick, bare_port, connections, options.runs, options.seconds)
        finally:
            yardstick.close()
            pipeline.stop()
            pipeline.close()


def measure(
    pipeline: Pipeline, yardstick: Process, bare_port: int, connections: int, runs: int, seconds: float
) -> None:
    """Print one table."""
    edge = pipeline.processes["edge-0"].popen.pid
    servers = {
        "bare Tornado": (bare_port, False, yardstick.popen.pid),
        "edge, no key": (pipeline.port, False, edge),
        "edge, a key each": (pipeline.port, True, edge),
    }
    rates: dict[str, list[float]] = {name: [] for name in servers}
    times: dict[str, list[float]] = {name: [] for name in servers}
    costs: dict[str, list[float]] = {name: [] for name in servers}
    for _ in range(runs):
        for name, (port, keyed, pid) in servers.items():
            before = cpu_s([pid])
            found = posted(port, connections, seconds, keyed=keyed)
            costs[name].append((cpu_s([pid]) - before) / len(found) * 1e6)
            rates[name].append(len(found) / seconds)
            times[name] += found
    click.echo(
        f"\n{connections} connections\n{'':18} {'requests/s':>24} {'x bare':>7} "
        f"{'p50 ms':>7} {'p99 ms':>7}  CPU us a request"
    )
    yard = statistics.median(rates["bare Tornado"])
    for name in servers:
        of = [seconds_ * 1000 for seconds_ in times[name]]
        click.echo(
            f"{name:18} {spread(rates[name], 0):>24} {statistics.median(rates[name]) / yard:7.2f} "
            f"{percentile(of, 50):7.2f} {percentile(of, 99):7.2f}  {spread(costs[name], 0)}"
        )


if __name__ == "__main__":
    if sys.argv[1:] == ["--bare"]:
        bare()
    else:
        main()
