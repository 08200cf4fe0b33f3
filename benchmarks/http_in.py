"""How many posts a second does the edge answer, acked? Yardstick: a Tornado that only reads the body.

One event a request, over connections that are kept, from one loop in this process. The edge's figure has
everything on: checks, ingest, journal, ack; the bare Tornado answers as soon as the body is there. Rounds are
interleaved; the table gives the median and the spread. Absolute figures hold the client's own cost too.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from _measuring import cpu_s, end_in_order, percentile
from _options import Option, parse
from _report import Report, Table

from tests.harness import Pipeline, Process, private_dir

EVENT = b'{"type":"portFound","ip":"10.0.0.5","port":443,"protocol":"TCP","state":"Open"}'
ANSWER = b'{"scan_id":"demo","accepted":1,"epoch":1795416705922,"seq":1000,"next":"1795416705922:1000"}'
MINUTES = {"quick": 0.2, "normal": 0.4, "full": 2}
OPTIONS = (
    Option("connections", "how many post at the same time", (1, 16), quick=(16,), smallest=(1,)),
    Option("runs", "interleaved", 3, quick=2, full=5, smallest=1),
    Option("seconds", "of each measurement", 1.0, quick=0.7, full=3.0, smallest=0.1),
)
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
    options = parse("http_in", __doc__ or "", MINUTES, OPTIONS)
    end_in_order()
    report = Report("http_in", options.scale, options.into, ("tornado",))
    with private_dir() as place:
        pipeline = Pipeline(place)
        yardstick = Process("--bare", program=("http_in",), env={"PYTHONPATH": str(Path(__file__).parent)})
        try:
            pipeline.start(config={"edge": LIMITS})
            bare_port = yardstick.wait_for("ready")["port"]
            edge = pipeline.processes["edge-0"].popen.pid
            servers = {
                "bare Tornado": (bare_port, False, yardstick.popen.pid),
                "scanstream": (pipeline.port, False, edge),
                "scanstream, a key each": (pipeline.port, True, edge),
            }
            for connections in options.connections:
                measure(report, servers, connections, options.runs, options.seconds)
        finally:
            yardstick.close()
            pipeline.stop()
            pipeline.close()
    report.close()


def measure(
    report: Report, servers: dict[str, tuple[int, bool, int]], connections: int, runs: int, seconds: float
) -> None:
    """Measure all with so many connections, and add a table."""
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
    heads = [("", 0), ("requests/s", 0), ("x bare", 2), ("p50 ms", 2), ("p99 ms", 2), ("CPU us a request", 0)]
    table = Table(f"{connections} connections, one event a request", heads)
    for name in servers:
        of = [seconds_ * 1000 for seconds_ in times[name]]
        ratios = [rate / least for rate, least in zip(rates[name], rates["bare Tornado"], strict=True)]
        table.add(name, rates[name], ratios, percentile(of, 50), percentile(of, 99), costs[name])
    report.add(table)
    report.bars(table, "requests/s", table.title)


if __name__ == "__main__":
    if sys.argv[1:] == ["--bare"]:
        bare()
    else:
        main()
