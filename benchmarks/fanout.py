"""What does one frame to one browser cost: ours beside a C send() loop, nginx nchan, nats-server, and others?

Every server has the same clients (one process, on another core) and sends them the same JSON, 10 frames a
second. The figure is CPU microseconds a frame and client: of the server's processes while it publishes, less
what they use for as long with the same clients when nothing is published (heartbeats). Servers are measured
one after the other, in several rounds; the table gives the median, the least and the most, and the median of
the ratios to the yardstick of the same round: a loop in C that has the frames composed (and deflated) before
and calls send() for each socket, which is what the kernel takes. p50 and p99 are how long a frame takes from
just before it is published until a client has all of it. Ours is the edge of a whole pipeline; its frames
carry about 100 bytes more, their envelope.

    bin/bench fanout [--clients 1000] [--sizes 120,2048,2048z] [--runs N] [--only NAME] [--quick]
"""

from __future__ import annotations

import argparse
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
    spread,
)
from _servers import MAX_CONNECTIONS, Server

FRAMES_PER_S = 10


@dataclass(frozen=True, slots=True)
class Cell:
    """What a table is about."""

    clients: int
    size_bytes: int
    deflate: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """What one server did once.

    Attributes:
        cost_us: CPU a frame and client, net of what is spent when nothing is published.
        idle_percent: of a core, when nothing is published.
        bytes_each: a frame on the wire.
        came: the part of the frames that came.
        deflated: whether the clients were answered permessage-deflate.
    """

    cost_us: float
    idle_percent: float
    bytes_each: float
    came: float
    p50_ms: float
    p99_ms: float
    deflated: bool


def measure(kind: type[Server], cell: Cell, seconds: float) -> Sample:
    """Start a server, connect its clients, and measure it idle and publishing."""
    frames = round(seconds * FRAMES_PER_S)
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
    return Sample(
        cost_us=(busy_s - idle_s) / (frames * cell.clients) * 1e6,
        idle_percent=idle_s / seconds * 100,
        bytes_each=size / came,
        came=came / (frames * cell.clients),
        p50_ms=percentile(delays, 50),
        p99_ms=percentile(delays, 99),
        deflated=load.deflated == cell.clients,
    )


def print_table(cell: Cell, samples: dict[type[Server], list[Sample]]) -> None:
    """Print what all rounds gave for one cell."""
    compression = "offered" if cell.deflate else "off"
    rate = f"{FRAMES_PER_S} frames/s"
    print(f"\n{cell.clients:,} clients, {cell.size_bytes:,} B, {rate}, compression {compression}")
    print(
        f"{'':24}{'CPU us a frame a client':>26}{'x C loop':>10}{'idle %':>8}{'bytes':>8}"
        f"{'p50 ms':>9}{'p99 ms':>9}{'came':>8}"
    )
    yardstick = [sample.cost_us for sample in next(iter(samples.values()))]
    for kind, rounds in samples.items():

        def median(name: str, of: list[Sample] = rounds) -> float:
            return statistics.median(getattr(sample, name) for sample in of)

        costs = [sample.cost_us for sample in rounds]
        ratio = statistics.median(cost / least for cost, least in zip(costs, yardstick, strict=True))
        delays = f"{'-':>9}{'-':>9}"  # which frame is which is not known
        if all(sample.came == 1 for sample in rounds):
            delays = f"{median('p50_ms'):9.2f}{median('p99_ms'):9.2f}"
        note = "" if rounds[0].deflated == cell.deflate else "  not compressed"
        print(
            f"{kind.name:24}{spread(costs):>26}{ratio:10.2f}"
            f"{median('idle_percent'):8.1f}{median('bytes_each'):8.0f}{delays}{median('came'):8.1%}{note}",
            flush=True,
        )


def main() -> None:
    """Print a table a cell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", default="1000", help="how many, such as 100,1000,5000")
    parser.add_argument(
        "--sizes", default="120,2048,2048z", help="bytes of a message; z: compression offered"
    )
    parser.add_argument("--runs", type=int, default=3, help="rounds")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement; idle as long")
    parser.add_argument(
        "--only", default="", help="servers whose name holds one of these words; ours, tornado …"
    )
    parser.add_argument("--quick", action="store_true", help="one size, one round")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.runs = "120", 1
    end_in_order()
    raise_descriptors(MAX_CONNECTIONS)
    kinds = chosen(options.only)
    if SERVER_CORE == LOAD_CORE:
        print("one core only: the load takes its share of it, and the delays are those of both")
    with on_core(LOAD_CORE):
        for clients in map(int, options.clients.split(",")):
            for size in options.sizes.split(","):
                cell = Cell(clients, int(size.removesuffix("z")), size.endswith("z"))
                samples: dict[type[Server], list[Sample]] = {kind: [] for kind in kinds}
                for _ in range(options.runs):
                    for kind in kinds:
                        samples[kind].append(measure(kind, cell, options.seconds))
                print_table(cell, samples)


if __name__ == "__main__":
    main()
