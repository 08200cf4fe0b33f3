"""What the benchmarks share: reading a process's costs, cores, figures of many samples.

Knows nothing of what is measured.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import socket
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("SCANSTREAM_TEST_FRESH", "1")
"""Before the tests' harness is imported: what it forks shares memory, and the core, of the one it is of."""
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
"""What is measured has a core to itself; all else is on another one, if there is another one."""


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def spread(values: Sequence[float], decimals: int = 1) -> str:
    """Return `median (least-most)`."""
    parts = (statistics.median(values), min(values), max(values))
    return "{} ({}-{})".format(*(f"{part:,.{decimals}f}" for part in parts))


def cpu_s(pids: Iterable[int]) -> float:
    """Return the seconds of CPU that processes have used so far, user and system.

    By the scheduler's clock, over the threads that live; where the kernel does not tell it, by its ticks.
    """
    total = 0.0
    for pid in pids:
        try:
            threads = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        except OSError:  # a thread has just ended
            threads = []
        if threads:
            total += sum(int(text.split()[0]) for text in threads) / 1e9
        else:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def memory_bytes(pid: int) -> int:
    """Return how much memory a process has to itself: Pss where the kernel tells it, else Rss."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        name = "Pss:"
    except OSError:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        name = "VmRSS:"
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def rss_bytes(pids: Iterable[int]) -> int:
    """Return the resident memory of processes together."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return total * 1024


def raise_descriptors(count: int) -> None:
    """Let this process and those it starts have so many files open.

    Raises:
        SystemExit: the machine does not allow it.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise SystemExit(f"{count} open files are needed, {hard} are allowed; raise `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def end_in_order() -> None:
    """Have SIGTERM end this process as an error would: what it has started is ended first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def free_port() -> int:
    """Return a port nobody listens on, for a server that cannot choose one itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Have the processes started inside run on one core; the caller itself is back on its own afterwards."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
