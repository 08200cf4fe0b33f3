"""The command line of `up`.

Reads the configuration of every stage first, so that what is wrong is said before anything runs.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import click

from pipeline.endpoints import stage_endpoints
from pipeline.errors import ConfigError, EndpointError
from pipeline.options import config_class, load, open_log, stage_options
from pipeline.places import data_dir as resolve_data_dir
from pipeline.places import read_layout
from pipeline.places import run_dir as resolve_run_dir
from pipeline.reread import read_anew
from pipeline.sections import LIVE_LOG_KEYS
from pipeline.up.config import UpConfig
from pipeline.up.plan import Place, demo, number_of_shards, owners, programs

_BACKLOG = 1_024
"""Connections that may wait for an edge to take them; the kernel may allow fewer."""


class _HttpSection(Protocol):
    address: str
    certificate: str
    base_path: str


class _DrainSection(Protocol):
    grace_s: float
    window_s: float


class _EdgeConfig(Protocol):
    http: _HttpSection
    drain: _DrainSection


class _PublishSection(Protocol):
    beacon_interval_s: float


class _WorkerConfig(Protocol):
    publish: _PublishSection


@click.command()
@stage_options
@click.option(
    "--data-dir",
    help="Directory of what outlives a run: the scans. $XDG_STATE_HOME/scanstream, else "
    "~/.local/state/scanstream, unless given.",
)
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
    Ctrl-C stops everything, a second one at once; SIGUSR2 restarts everything, one by one; SIGHUP has all
    of them read their configuration anew.

    \b
    Examples:
      pipeline up --demo
      pipeline up --ingests 2 --workers 2 --edges 2 --port 8801
      pipeline up --profile low-latency --data-dir /var/lib/scanstream
    """
    flags = {
        "pipeline.data_dir": data_dir,
        "stages.port": port,
        "stages.ingests": ingests,
        "stages.workers": workers,
        "stages.edges": edges,
    }

    def read() -> UpConfig:
        return load(UpConfig, "up", given, flags)

    config = read()
    stages = config.stages
    place = _place(config)
    endpoints = stage_endpoints(str(place.run_dir), config.pipeline.endpoints, config.curve)
    handed_on = _handed_on(given, config)
    keys = {
        "endpoints": config.pipeline.endpoints or None,
        "key_file": config.curve.key_file or None,
        "allowed_dir": config.curve.allowed_dir or None,
    }
    in_place = {**given, **keys, "run_dir": str(place.run_dir), "shards": place.shards}
    ingest_given = {**in_place, "config": Path(stages.ingest_config) if stages.ingest_config else None}
    load(config_class("ingest"), "ingest", ingest_given, {})
    worker_path = stages.throttle_batch_config
    worker_given = {**in_place, "config": Path(worker_path) if worker_path else None}
    worker = load(config_class("throttle-batch"), "throttle-batch", worker_given, {})
    _check_beacons(cast(_WorkerConfig, worker), config)
    edge_given = {**in_place, "config": Path(stages.edge_config) if stages.edge_config else None}
    edge = cast(_EdgeConfig, load(config_class("edge"), "edge", edge_given, {"http.port": stages.port}))
    _check_drain(edge, config)
    if stages.notify_config:
        notify_given = {**in_place, "config": Path(stages.notify_config)}
        load(config_class("notify"), "notify", notify_given, {})

    from pipeline.up.signs import Signs
    from pipeline.up.supervisor import Supervisor

    http = edge.http
    host = f"[{http.address}]" if ":" in http.address else http.address
    scheme = "https" if http.certificate else "http"
    line = f"ready edge={scheme}://{host}:{stages.port}{http.base_path} run_dir={place.run_dir}"
    with _only_one(place.run_dir), _listening(http.address, stages.port, stages.edges) as listening:
        plan = programs(config, place, handed_on, listening)
        resolve_data_dir(str(place.data_dir), os.environ)  # nothing refuses any more: now it is made
        ingest_names = {f"ingest-{index}": index for index in range(stages.ingests)}
        edge_names = {f"edge-{index}": index for index in range(stages.edges + 1)}
        with closing(Signs(endpoints, owners(plan), ingest_names, edge_names)) as signs:
            log = open_log("up", config)

            def reread() -> None:
                nonlocal config
                config = read_anew(read, config, LIVE_LOG_KEYS, log) or config

            return Supervisor(config.restart, log, reread).run(
                plan,
                lambda: click.echo(line),
                signs.collect,
                [demo(place, _reach(config))] if with_demo else [],
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


def _check_drain(edge: _EdgeConfig, config: UpConfig) -> None:
    """See that an edge that drains as it is told to is not killed."""
    needed_s, stop_s = edge.drain.grace_s + edge.drain.window_s, config.restart.stop_s
    if stop_s < needed_s:
        raise ConfigError(
            [
                f"up: [restart] stop_s = {stop_s:g}: must be >= {needed_s:g}, the edges' [drain] grace_s + "
                f"window_s"
            ]
        )


def _place(config: UpConfig) -> Place:
    data_dir, run_dir = Path(), Path()
    problems = []
    try:
        data_dir = resolve_data_dir(config.pipeline.data_dir, os.environ, make=False)
    except EndpointError as error:
        problems.append(str(error))
    try:
        run_dir = resolve_run_dir(config.pipeline.run_dir, os.environ)
    except EndpointError as error:
        problems.append(str(error))
    if problems:
        raise EndpointError("; and ".join(problems))
    shards = number_of_shards(config.pipeline.shards, read_layout(data_dir), data_dir)
    return Place(run_dir=run_dir, data_dir=data_dir, shards=shards)


def _handed_on(given: dict[str, Any], config: UpConfig) -> tuple[str, ...]:
    """Return the flags that every stage is given: some of our own, and where the sockets are."""
    flags = [*_reach(config)]
    if config.curve.allowed_dir:
        flags += ["--allowed-dir", config.curve.allowed_dir]
    for name in ("profile", "log_level", "log_format"):
        if given[name] is not None:
            flags += ["--" + name.replace("_", "-"), given[name]]
    return tuple(flags)


def _reach(config: UpConfig) -> tuple[str, ...]:
    """Return the flags by which whoever is not in the run directory is reached."""
    flags: list[str] = []
    for flag, value in (("--endpoints", config.pipeline.endpoints), ("--key-file", config.curve.key_file)):
        flags += [flag, value] if value else []
    return tuple(flags)


@contextmanager
def _only_one(run_dir: Path) -> Iterator[None]:
    with (run_dir / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise EndpointError(f"run directory {run_dir}: another `up` runs in it") from None
        yield


@contextmanager
def _listening(address: str, port: int, edges: int) -> Iterator[list[int]]:
    """Give a listening descriptor for each edge, all on one port.

    They are ours and not the edges', so that whoever connects while an edge is replaced waits, rather than
    being refused. The first one is bound alone: several that share a port would otherwise quietly share it
    with a stranger of the same user.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ExitStack() as stack:
        found: list[int] = []
        for shared in [False] + [True] * (edges if edges > 1 else 0):
            each = socket.socket(family, socket.SOCK_STREAM)
            try:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
                each.bind((address, port))
                if not shared and edges > 1:
                    each.close()  # nobody else is there
                    continue
                each.listen(_BACKLOG)
            except OSError as error:
                each.close()
                raise EndpointError(
                    f"port {port} of {address}: {error.strerror}; choose another one with --port"
                ) from None
            stack.callback(each.close)
            found.append(each.fileno())
        yield found
