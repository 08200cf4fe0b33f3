"""What does a connected browser cost: memory, heartbeats, and how late is a frame among 5,000 browsers?

Memory a connection is what the server's processes grow by from before the first client is there (Pss),
divided by the clients: connected, and after 100 frames of 2 KiB; compression offered and not. The other
servers stand beside with the first number of clients. Then the edge alone, on a core of its own: what part of
it connections take on which nothing is sent but heartbeats, and how late frames are when very many clients
watch one scan, 10 frames of 2 KiB a second. Beside that the same with the C send() loop: what the kernel and
the clients take.

    bin/bench connections [--clients 1000,5000,10000] [--idle 10000] [--many 5000] [--seconds N] [--only NAME]
"""

from __future__ import annotations

import argparse
import threading
import time

from _crowd import chosen, crowd
from _measuring import LOAD_CORE, cpu_s, end_in_order, on_core, percentile, raise_descriptors
from _servers import MAX_CONNECTIONS, Ours, SendLoop, Server

FRAMES = 100
FRAMES_PER_S = 10
SIZE_BYTES = 2048


def memory(kind: type[Server], clients: int, *, deflate: bool) -> None:
    """Print what a connection takes of memory."""
    with crowd(kind, clients, SIZE_BYTES, deflate=deflate, warm_up=False) as there:
        threading.Event().wait(1)
        idle = there.memory_bytes - there.empty_bytes
        for number in range(FRAMES):
            there.server.publish(1, 0)
            there.load.await_frames(number + 1, 20)
        after = there.memory_bytes - there.empty_bytes
        deflated = there.load.deflated == clients
    compression = "yes" if deflated else "offered" if deflate else "no"
    each = f"{idle / clients / 1024:12.1f}{after / clients / 1024:19.1f}"
    print(
        f"{kind.name:24}{clients:9,}{compression:>13}{each}{there.empty_bytes / 2**20:16.1f}",
        flush=True,
    )


def heartbeats(clients: int, seconds: float) -> None:
    """Print what connections cost on which nothing is published."""
    with crowd(Ours, clients, SIZE_BYTES, deflate=True) as there:
        threading.Event().wait(5)  # the joins' aftermath is over
        before = cpu_s(there.server.pids)
        threading.Event().wait(seconds)
        used = cpu_s(there.server.pids) - before
        there.load.counted()  # all are still there
    print(f"\n{clients:,} idle connections with heartbeats: {used / seconds:.1%} of a core", flush=True)


def many(kind: type[Server], clients: int, seconds: float, *, deflate: bool) -> None:
    """Print how late the frames of one scan are with so many clients."""
    frames = round(seconds * FRAMES_PER_S)
    with crowd(kind, clients, SIZE_BYTES, deflate=deflate, max_frames=frames) as there:
        there.load.reset()
        before = cpu_s(there.server.pids)
        began = time.monotonic()
        sent = there.server.publish(frames, 1 / FRAMES_PER_S)
        there.load.await_frames(frames, 20)
        used = cpu_s(there.server.pids) - before
        took_s = time.monotonic() - began
        came, _ = there.load.counted()
        delays = there.load.delays_ms(sent)
    figures = "".join(f"{percentile(delays, percent):9.1f}" for percent in (50, 99, 100))
    name = f"{kind.name}{', compressed' if deflate and there.load.deflated else ''}"
    print(
        f"{name:36}{figures}{came / (frames * clients):9.1%}{used / took_s:9.1%}{used / came * 1e6:24.1f}",
        flush=True,
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", default="1000,5000,10000", help="for memory; 0 for none")
    parser.add_argument("--idle", type=int, default=10_000, help="clients, for the heartbeats; 0 for none")
    parser.add_argument("--many", type=int, default=5_000, help="clients of one scan; 0 for none")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement of time")
    parser.add_argument(
        "--only", default="", help="servers whose name holds one of these words; ours, tornado …"
    )
    options = parser.parse_args()
    end_in_order()
    raise_descriptors(MAX_CONNECTIONS)
    with on_core(LOAD_CORE):
        numbers = [number for number in map(int, options.clients.split(",")) if number]
        if numbers:
            print(
                f"{'KiB a connection':24}{'clients':>9}{'compressed':>13}{'idle':>12}"
                f"{f'after {FRAMES} frames':>19}{'empty, MiB':>16}"
            )
            for kind in chosen(options.only):
                if kind is not SendLoop:
                    for deflate in (False, True):
                        memory(kind, numbers[0], deflate=deflate)
            for clients in numbers[1:]:
                for deflate in (False, True):
                    memory(Ours, clients, deflate=deflate)
        if options.idle:
            heartbeats(options.idle, options.seconds)
        if options.many:
            print(f"\n{options.many:,} clients of one scan, {SIZE_BYTES:,} B, {FRAMES_PER_S} frames/s")
            heads = "".join(f"{head:>9}" for head in ("p50 ms", "p99 ms", "max ms", "came", "core"))
            print(f"{'':36}{heads}{'CPU us a frame a client':>24}")
            many(SendLoop, options.many, options.seconds, deflate=False)
            many(Ours, options.many, options.seconds, deflate=False)
            many(Ours, options.many, options.seconds, deflate=True)


if __name__ == "__main__":
    main()
