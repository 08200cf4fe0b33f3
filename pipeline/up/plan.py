"""Which processes make up a pipeline, and how each is started. Pure: configuration in, command lines out.

They are stopped in the order of their stop groups, so that nobody is cut off from those who still work for
it: first who feeds the pipeline, then ingest, then the workers, and last who reads: they have by then all
that was committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import ConfigError, LayoutError
from pipeline.shards import DEFAULT_SHARDS
from pipeline.up.config import UpConfig

FEED, INGEST, WORKER, NOTIFY, EDGE = range(5)
"""The stop groups, in their order."""

DEMO_SCAN = "demo"
DEMO_NAME = "A simulated office"
DEMO_TARGET = "10.0.0.0/24"
"""The network that the simulation invents."""


@dataclass(frozen=True, slots=True)
class Program:
    """One process to run.

    Attributes:
        name: how it is called in log lines.
        arguments: the command line behind `pipeline`.
        stop_group: its place in the order of stopping.
        lasting: whether it is started again when it ends.
        listen_fd: a descriptor it inherits: the socket it listens on, which outlives it.
    """

    name: str
    arguments: tuple[str, ...]
    stop_group: int
    lasting: bool = True
    listen_fd: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the pipeline lives, and with how many shards."""

    run_dir: Path
    data_dir: Path
    shards: int


def number_of_shards(configured: int, made_with: int | None, data_dir: Path) -> int:
    """Return how many shards there are.

    Args:
        configured: what is asked for; 0 for nothing in particular.
        made_with: what the data directory was made with; None when it is new.
        data_dir: its path.

    Raises:
        LayoutError: they differ.
    """
    if made_with is not None and configured not in (0, made_with):
        raise LayoutError(
            f"data directory {data_dir} was made with {made_with} shards, but {configured} are configured; "
            f"the number is fixed when a data directory is made"
        )
    return made_with or configured or DEFAULT_SHARDS


def programs(
    config: UpConfig, place: Place, handed_on: tuple[str, ...], listening: Sequence[int] = ()
) -> list[Program]:
    """Return the processes of the pipeline, in the order in which they are started.

    Args:
        config: how many there are of each, and what each reads.
        place: where they meet.
        handed_on: flags that every one of them is given.
        listening: a listening descriptor for each edge.

    Raises:
        ConfigError: there are more workers than shards.
    """
    stages = config.stages
    if stages.workers > place.shards:
        raise ConfigError([f"up: [stages] workers = {stages.workers}: must be <= shards ({place.shards})"])
    common = ("--run-dir", str(place.run_dir), "--shards", str(place.shards), *handed_on)
    workers = [
        Program(
            f"throttle-batch-{worker}",
            (
                "throttle-batch",
                *_config(stages.throttle_batch_config),
                *common,
                *("--data-dir", str(place.data_dir)),
                *("--own", ",".join(map(str, range(worker, place.shards, stages.workers)))),
            ),
            WORKER,
        )
        for worker in range(stages.workers)
    ]
    ingests = [
        Program(
            f"ingest-{index}",
            ("ingest", *_config(stages.ingest_config), *common, "--index", str(index)),
            INGEST,
        )
        for index in range(stages.ingests)
    ]
    edges = [
        Program(
            f"edge-{index}",
            (
                "edge",
                *_config(stages.edge_config),
                *common,
                "--port",
                str(stages.port),
                "--index",
                str(index),
            ),
            EDGE,
            listen_fd=listening[index] if listening else None,
        )
        for index in range(stages.edges)
    ]
    if not stages.notify_config:
        return [*workers, *ingests, *edges]
    told = ("notify", *_config(stages.notify_config), *common, "--data-dir", str(place.data_dir))
    return [*workers, *ingests, Program("notify", told, NOTIFY), *edges]


def succession(found: Iterable[Program]) -> list[tuple[Program, Program]]:
    """Return (old, new) of each process, in the order in which they are to be replaced.

    What has a name of its own in the run directory is replaced by itself. An edge is followed by one with
    another index, the one that is free: so there is one more index than there are edges.
    """
    edges = [program for program in found if program.stop_group == EDGE]
    free = min(set(range(len(edges) + 1)) - {_index(edge) for edge in edges})
    pairs = [(program, program) for program in found if program.lasting and program.stop_group != EDGE]
    for edge in edges:
        pairs.append((edge, _with_index(edge, free)))
        free = _index(edge)
    return pairs


def _index(program: Program) -> int:
    return int(program.arguments[program.arguments.index("--index") + 1])


def _with_index(edge: Program, index: int) -> Program:
    at = edge.arguments.index("--index") + 1
    arguments = (*edge.arguments[:at], str(index), *edge.arguments[at + 1 :])
    return replace(edge, name=f"edge-{index}", arguments=arguments)


def owners(found: list[Program]) -> dict[int, str]:
    """Return shard -> name of the worker that owns it."""
    return {
        int(shard): program.name
        for program in found
        if program.stop_group == WORKER
        for shard in program.arguments[program.arguments.index("--own") + 1].split(",")
    }


def demo(place: Place, reach: tuple[str, ...] = ()) -> Program:
    """Return the process that plays a simulated scan, once.

    Args:
        place: where the pipeline is.
        reach: flags by which it finds the ingests that are not in the run directory.
    """
    return Program(
        "demo",
        (
            *("emit", "--simulate", "heroforge", "--scan", DEMO_SCAN),
            *("--name", DEMO_NAME, "--target", DEMO_TARGET, "--run-dir", str(place.run_dir), *reach),
        ),
        FEED,
        lasting=False,
    )


def _config(path: str) -> tuple[str, ...]:
    return ("-c", path) if path else ()
