"""The command line of `up`.

Reads the configuration of every stage first, so that what is wrong is said before anything runs.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import click

from pipeline.errors import ConfigError, EndpointError
from pipeline.options import config_class, load, open_log, stage_options
from pipeline.places import data_dir as resolve_data_dir
from pipeline.places import read_layout
from pipeline.places import run_dir as resolve_run_dir
from pipeline.up.config import UpConfig
from pipeline.up.plan import Place, demo, number_of_shards, owners, programs


class _HttpSection(Protocol):
    address: str


class _EdgeConfig(Protocol):
    http: _HttpSection


class _PublishSection(Protocol):
    beacon_interval_s: float


class _WorkerConfig(Protocol):
    publish: _PublishSection


@click.command()
@stage_options
@click.option("--data-dir", help="Directory of what outlives a run.")
@click.option("--port", type=int, help="The port browsers connect to; 8800 unless given.")
@click.option("--ingests", type=int, help="How many ingest processes.")
@click.option("--workers", type=int, help="How many throttle-batch processes.")
@click.option("--edges", type=int, help="How many edge processes.")
@click.option("--demo", "with_demo", is_flag=True, help="Also play a simulated scan, once; its id is demo.")
def up(
    data_dir: str | None,
    port: int | None,
    ingests: int | None,
    workers: int | None,
    edges: int | None,
    with_demo: bool,
    **given: Any,
) -> int:
    """Run a whole pipeline on this machine, and keep it running.

    Prints one line, `ready edge=URL run_dir=DIR`, when it can be used. What dies or hangs is started again;
    Ctrl-C stops everything, a second one at once.
    """
    flags = {
        "pipeline.data_dir": data_dir,
        "stages.port": port,
        "stages.ingests": ingests,
        "stages.workers": workers,
        "stages.edges": edges,
    }
    config = load(UpConfig, "up", given, flags)
    stages = config.stages
    place = _place(config)
    handed_on = _handed_on(given)
    plan = programs(config, place, handed_on)
    in_place = {**given, "run_dir": str(place.run_dir), "shards": place.shards}
    ingest_given = {**in_place, "config": Path(stages.ingest_config) if stages.ingest_config else None}
    load(config_class("ingest"), "ingest", ingest_given, {})
    worker_path = stages.throttle_batch_config
    worker_given = {**in_place, "config": Path(worker_path) if worker_path else None}
    worker = load(config_class("throttle-batch"), "throttle-batch", worker_given, {})
    _check_beacons(cast(_WorkerConfig, worker), config)
    edge_given = {**in_place, "config": Path(stages.edge_config) if stages.edge_config else None}
    edge = cast(_EdgeConfig, load(config_class("edge"), "edge", edge_given, {"http.port": stages.port}))
    address = edge.http.address

    from pipeline.up.readiness import Readiness
    from pipeline.up.signs import Signs
    from pipeline.up.supervisor import Supervisor

    host = f"[{address}]" if ":" in address else address
    line = f"ready edge=http://{host}:{stages.port}/ run_dir={place.run_dir}"
    with _only_one(place.run_dir):
        _check_port(address, stages.port)
        indices = {f"ingest-{index}": index for index in range(stages.ingests)}
        only_edge = ("edge-0", address, stages.port) if stages.edges == 1 else None
        with (
            closing(Readiness(place.run_dir, stages.ingests, address, stages.port)) as readiness,
            closing(Signs(place.run_dir, owners(plan), indices, only_edge)) as signs,
        ):
            return Supervisor(config.restart, open_log("up", config)).run(
                plan,
                readiness.missing,
                lambda: click.echo(line),
                signs.collect,
                [demo(place)] if with_demo else [],
            )


def _check_beacons(worker: _WorkerConfig, config: UpConfig) -> None:
    """See that a worker that works as it is told to is not taken for one that hangs."""
    interval_s, hung_s = worker.publish.beacon_interval_s, config.restart.hung_s
    if hung_s and hung_s < 3 * interval_s:
        raise ConfigError(
            [
                f"up: [restart] hung_s = {hung_s:g}: must be 0, or >= 3 times the workers' [publish] "
                f"beacon_interval_s ({interval_s:g})"
            ]
        )


def _place(config: UpConfig) -> Place:
    run_dir = resolve_run_dir(config.pipeline.run_dir, os.environ)
    data_dir = resolve_data_dir(config.pipeline.data_dir, os.environ)
    shards = number_of_shards(config.pipeline.shards, read_layout(data_dir), data_dir)
    return Place(run_dir=run_dir, data_dir=data_dir, shards=shards)


def _handed_on(given: dict[str, Any]) -> tuple[str, ...]:
    """Return the flags of our own command line that every stage is given too."""
    flags: list[str] = []
    for name in ("profile", "log_level", "log_format"):
        if given[name] is not None:
            flags += ["--" + name.replace("_", "-"), given[name]]
    return tuple(flags)


@contextmanager
def _only_one(run_dir: Path) -> Iterator[None]:
    with (run_dir / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise EndpointError(f"run directory {run_dir}: another `up` runs in it") from None
        yield


def _check_port(address: str, port: int) -> None:
    """See that nobody listens where the edges will.

    Edges that share a port would otherwise quietly share it with a stranger of the same user.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise EndpointError(
                f"port {port} of {address}: {error.strerror}; choose another one with --port"
            ) from None
