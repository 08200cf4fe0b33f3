"""What does one frame to one browser cost, and how late is it: ours beside the limit and seven other servers?

Every server has the same clients (one process, on another core) and sends them the same JSON, 10 frames a
second. The cost is CPU microseconds a frame and client: of the server's processes while it publishes, less
what they use for as long with the same clients when nothing is published (heartbeats). Servers are measured
one after the other, in several rounds; the table gives the median, the least and the most, and the ratio to
the yardstick of the same round: a loop in C that has the frames composed (and deflated) before and calls
send() for each socket: what the kernel takes. `frames/s` is reckoned: what a core gives at that cost.
p50 and p99 are how long a frame takes from just before it is published until a client has all of it. KiB a
client is what the server's processes have grown by (Pss) since before the first client came. Ours is the edge
of a whole pipeline; its frames carry about 100 bytes more, their envelope.

Servers: a C send() loop, scanstream's edge, nginx nchan, nats-server's WebSocket, Pushpin, Centrifugo,
Tornado's write_message, the websockets library's broadcast, Socket.IO on Node. One that is not installed is
left out, and that is said. A row's last word: `not compressed`, when compression was offered and not taken;
`refused`, when the server did not serve so many.
"""

from __future__ import annotations

import statistics
import threading
from dataclasses import dataclass

from _crowd import chosen, crowd
from _measuring import (
    LOAD_CORE,
    SERVER_CORE,
    cpu_s,
    end_in_order,
    on_core,
    percentile,
    raise_descriptors,
)
from _options import Option, parse
from _report import Report, Table
from _servers import MAX_CONNECTIONS, Ours, Server

MINUTES = {"quick": 0.7, "normal": 4.2, "full": 90}
PACKAGES = ("cc", "nchan", "nats-server", "pushpin", "node", "npm")
FRAMES_PER_S = 10
MOST_OF_OTHERS = {"C send() loop": 1.5, "nginx nchan": 1.1, "nats-server WebSocket": 0.6}
MOST_KIB = 20
"""A client's memory, with compression."""
OPTIONS = (
    Option("clients", "numbers of clients", (1000,), full=(100, 1000, 5000), smallest=(5,)),
    Option(
        "sizes",
        "bytes of a message; z behind it: compression is offered",
        "120,2048z",
        quick="120",
        full="120,120z,2048,2048z,8192,8192z",
    ),
    Option("runs", "rounds", 2, quick=1, full=5),
    Option("seconds", "of each measurement; idle as long", 1.5, quick=1.0, full=5.0, smallest=0.3),
    Option("only", "servers whose name holds one of these words; ours, tornado …", "", smallest="ours"),
)
HEADS = (
    *(
        ("", 0),
        ("CPU us a frame a client", 1),
        ("x C loop", 2),
        ("frames/s", 0),
        ("p50 ms", 2),
        ("p99 ms", 2),
    ),
    *(("KiB a client", 1), ("bytes a frame", 0), ("idle %", 1), ("came %", 1), (" ", 0)),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """What a table is about."""

    clients: int
    size_bytes: int
    deflate: bool

    @property
    def title(self) -> str:
        """How the table is called."""
        compression = "offered" if self.deflate else "off"
        sizes = f"{self.clients:,} clients, {self.size_bytes:,} B, {FRAMES_PER_S} frames/s"
        return f"{sizes}, compression {compression}"


@dataclass(frozen=True, slots=True)
class Sample:
    """What one server did once.

    Attributes:
        cost_us: CPU a frame and client, net of what is spent when nothing is published.
        idle_percent: of a core, when nothing is published.
        bytes_each: a frame on the wire.
        came: the part of the frames that came.
        client_kib: memory a client.
        deflated: whether the clients were answered permessage-deflate.
    """

    cost_us: float
    idle_percent: float
    bytes_each: float
    came: float
    p50_ms: float
    p99_ms: float
    client_kib: float
    deflated: bool


def measure(kind: type[Server], cell: Cell, seconds: float) -> Sample:
    """Start a server, connect its clients, and measure it idle and publishing."""
    frames = max(2, round(seconds * FRAMES_PER_S))
    with crowd(kind, cell.clients, cell.size_bytes, deflate=cell.deflate, max_frames=frames) as there:
        server, load = there.server, there.load
        before = cpu_s(server.pids)
        threading.Event().wait(seconds)
        idle_s = cpu_s(server.pids) - before
        load.reset()
        before = cpu_s(server.pids)
        sent = server.publish(frames, 1 / FRAMES_PER_S)
        load.await_frames(frames, 10)
        busy_s = cpu_s(server.pids) - before
        came, size = load.counted()
        delays = load.delays_ms(sent)
        grown = there.memory_bytes - there.empty_bytes
    return Sample(
        cost_us=(busy_s - idle_s) / (frames * cell.clients) * 1e6,
        idle_percent=idle_s / seconds * 100,
        bytes_each=size / came,
        came=came / (frames * cell.clients),
        p50_ms=percentile(delays, 50),
        p99_ms=percentile(delays, 99),
        client_kib=grown / cell.clients / 1024,
        deflated=load.deflated == cell.clients,
    )


def add(table: Table, kind: type[Server], rounds: list[Sample], yardstick: list[Sample], cell: Cell) -> None:
    """Add a server's row."""

    def all_of(name: str) -> list[float]:
        return [getattr(sample, name) for sample in rounds]

    costs = all_of("cost_us")
    ratios = [cost / least.cost_us for cost, least in zip(costs, yardstick, strict=True)]
    known = all(sample.came == 1 for sample in rounds)  # else which frame is which is not known
    delays = (statistics.median(all_of("p50_ms")), statistics.median(all_of("p99_ms")))
    table.add(
        *(kind.name, costs, ratios, 1e6 / max(0.1, statistics.median(costs))),
        *(delays if known else (None, None)),
        *(statistics.median(all_of(name)) for name in ("client_kib", "bytes_each", "idle_percent")),
        100 * statistics.median(all_of("came")),
        "" if rounds[0].deflated == cell.deflate else "not compressed",
    )


def measure_cell(report: Report, cell: Cell, kinds: list[type[Server]], runs: int, seconds: float) -> None:
    """Measure all servers, several times, and add a table."""
    samples: dict[type[Server], list[Sample]] = {kind: [] for kind in kinds}
    refused: dict[type[Server], str] = {}
    for _ in range(runs):
        for kind in kinds:
            if kind in refused:
                continue
            try:
                samples[kind].append(measure(kind, cell, seconds))
            except SystemExit as problem:
                if kind in kinds[:1] or kind is Ours or isinstance(problem.code, int):
                    raise
                refused[kind] = str(problem)
                report.note(f"{cell.title}: {kind.name} is left out: {problem}")
    table = Table(cell.title, list(HEADS))
    yardstick = samples[kinds[0]]
    for kind, rounds in samples.items():
        if kind in refused:
            table.add(kind.name, *([None] * (len(HEADS) - 2)), "refused")
        else:
            add(table, kind, rounds, yardstick, cell)
    report.add(table)
    report.bars(table, "x C loop", f"{cell.title}: cost")
    if Ours in samples:
        hold(report, cell, samples)


def hold(report: Report, cell: Cell, samples: dict[type[Server], list[Sample]]) -> None:
    """Hold ours against what is wanted beside others."""
    size = f"{cell.clients:,} clients, {cell.size_bytes:,} B{', compressed' if cell.deflate else ''}"
    for kind, rounds in samples.items():
        if rounds and kind.name in MOST_OF_OTHERS and not cell.deflate:
            pairs = zip(samples[Ours], rounds, strict=True)
            ratio = statistics.median(own.cost_us / other.cost_us for own, other in pairs)
            report.target(f"{size}: CPU x {kind.name}", ratio, "<=", MOST_OF_OTHERS[kind.name])
    if cell.deflate:
        memory = statistics.median(sample.client_kib for sample in samples[Ours])
        report.target(f"{size}: KiB a client", memory, "<=", MOST_KIB, 1)


def main() -> None:
    """Print a table a cell."""
    options = parse("fanout", __doc__ or "", MINUTES, OPTIONS)
    end_in_order()
    raise_descriptors(MAX_CONNECTIONS)
    programs = ("nginx", "nats-server", "pushpin", "centrifugo", "node", "tornado", "websockets")
    report = Report("fanout", options.scale, options.into, programs)
    kinds = chosen(options.only, report.note)
    if SERVER_CORE == LOAD_CORE:
        report.note("one core only: the load takes its share of it, and the delays are those of both")
    with on_core(LOAD_CORE):
        for clients in options.clients:
            for size in options.sizes.split(","):
                cell = Cell(clients, int(size.removesuffix("z")), size.endswith("z"))
                measure_cell(report, cell, kinds, options.runs, options.seconds)
    report.close()


if __name__ == "__main__":
    main()
