"""What the command line of every stage has in common: where its configuration comes from, and its log."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click
import msgspec

from pipeline import settings
from pipeline.endpoint_options import ENDPOINT_OPTIONS
from pipeline.errors import ConfigError
from pipeline.log import LEVELS, Log, start_log
from pipeline.sections import LogSection

F = TypeVar("F", bound=Callable[..., Any])

CONFIG_CLASSES = {
    "ingest": "pipeline.ingest.config:IngestConfig",
    "throttle-batch": "pipeline.throttle_batch.config:ThrottleBatchConfig",
    "edge": "pipeline.edge.config:EdgeConfig",
    "notify": "pipeline.notify.config:NotifyConfig",
    "up": "pipeline.up.config:UpConfig",
}
"""Each stage's config struct; imported only when it is needed."""


class _HasLog(Protocol):
    @property
    def log(self) -> LogSection: ...


C = TypeVar("C", bound=msgspec.Struct)


def config_class(stage: str) -> type[msgspec.Struct]:
    """Return a stage's config struct."""
    module, _, name = CONFIG_CLASSES[stage].partition(":")
    found: type[msgspec.Struct] = getattr(importlib.import_module(module), name)
    return found


def stage_options(command: F) -> F:
    """Add the options every stage has; their values go to `load` as `given`."""
    for option in (
        click.option(
            "--log-format", type=click.Choice(["auto", "text", "json"]), help="How log lines are written."
        ),
        click.option("--log-level", type=click.Choice(list(LEVELS)), help="The least severe line written."),
        click.option("--shards", type=int, help="How many shards there are; the same for every stage."),
        click.option("--run-dir", help="Directory of the ZeroMQ sockets."),
        *ENDPOINT_OPTIONS,
        click.option(
            "--allowed-dir",
            metavar="DIR",
            help="Public keys of who may connect to what this process binds: NAME.pub each.",
        ),
        click.option("--profile", metavar="NAME", help="A profile's name, or a path that ends in .toml."),
        click.option(
            "-c",
            "--config",
            type=click.Path(path_type=Path),
            help="TOML file; see `pipeline config default`.",
        ),
    ):
        command = option(command)
    return command


def load(
    cls: type[C],
    stage: str,
    given: dict[str, Any],
    flags: Mapping[str, object],
    environ: dict[str, str] | None = None,
) -> C:
    """Return a stage's configuration.

    Args:
        cls: its config struct.
        stage: its name.
        given: what `stage_options` collected.
        flags: "section.key" -> value of the stage's own options; None where not given.
        environ: the environment, if not this process's.

    Raises:
        ConfigError: with every mistake.
    """
    common = {
        "pipeline.run_dir": given["run_dir"],
        "pipeline.endpoints": given["endpoints"],
        "curve.key_file": given["key_file"],
        "curve.allowed_dir": given["allowed_dir"],
        "pipeline.shards": given["shards"],
        "log.level": given["log_level"],
        "log.format": given["log_format"],
    }
    try:
        return _loaded(cls, stage, given, {**common, **flags}, environ)
    except ConfigError as error:
        raise ConfigError([_as_typed(line) for line in error.problems]) from None


def _as_typed(problem: str) -> str:
    """Return a problem of the command line with the option as it is typed, not as the key it stands for."""
    match = re.match(r"command line: \[([a-z_]+)\] ([a-z_]+)(?=[ :])", problem)
    if match is None:
        return problem
    section, key = match.groups()
    name = f"{section}-{key}" if section == "log" else key.replace("_", "-")
    return f"command line: --{name}{problem[match.end() :]}"


def _loaded(
    cls: type[C],
    stage: str,
    given: dict[str, Any],
    flags: Mapping[str, object],
    environ: dict[str, str] | None,
) -> C:
    return settings.load(
        cls,
        stage,
        path=given["config"],
        profile=given["profile"],
        flags=flags,
        environ=dict(os.environ) if environ is None else environ,
        siblings=lambda: _siblings(stage),
    )


def _siblings(stage: str) -> Iterable[type[msgspec.Struct]]:
    return [config_class(other) for other in CONFIG_CLASSES if other != stage]


def open_log(process: str, config: _HasLog) -> Log:
    """Return the log of a stage's process."""
    return start_log(process, config.log.level, config.log.format)
