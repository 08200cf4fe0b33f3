"""Processes of a running pipeline, killed, stopped and started again."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.producer.simulate import heroforge
from pipeline.shards import shard_of
from tests.harness import Pipeline


def kill(pipeline: Pipeline, name: str) -> None:
    """End a process as a crash does."""
    process = pipeline.processes.pop(name)
    process.kill()
    process.close()


def restart(pipeline: Pipeline, name: str, workers: int = 1) -> None:
    """End a process as a crash does, and start it again; it is ready."""
    kill(pipeline, name)
    if name.startswith("edge"):
        pipeline.start_edge(int(name.rpartition("-")[2]))
    else:
        pipeline.start_one(name, workers=workers).wait_for("ready")


@contextmanager
def stopped(pipeline: Pipeline, name: str) -> Iterator[None]:
    """Stop a process (SIGSTOP) for as long as the block lasts."""
    process = pipeline.processes[name].popen
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def scan_of_worker(pipeline: Pipeline, worker: int, workers: int) -> str:
    """Return the id of a scan that this worker of so many owns."""
    return next(
        scan_id
        for scan_id in map("scan-{}".format, range(10_000))
        if shard_of(f"scan/{scan_id}", pipeline.shards) % workers == worker
    )


def events_of(seed: int, scan_id: str) -> list[bytes]:
    """Return the events of the reference scan."""
    return [event for _, event in heroforge(seed, scan_id)]


def parts(events: list[bytes], count: int) -> list[list[bytes]]:
    """Cut a list into so many parts."""
    size = -(-len(events) // count)
    return [events[start : start + size] for start in range(0, len(events), size)]
