"""The `config` command: a stage's configuration printed with its defaults, checked, or shown as it counts.

Sits between the command line and :mod:`pipeline.settings`. It is given the stages' config structs and must
not import a stage: `config default edge` would otherwise load a web server to print some text.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from pipeline import settings
from pipeline.options import CONFIG_CLASSES, config_class

Classes = Mapping[str, Callable[[], type[msgspec.Struct]]]


def default_text(cls: type[msgspec.Struct], stage: str) -> str:
    """Return what `config default STAGE` prints and `configs/STAGE.toml` holds.

    Args:
        cls: the stage's config struct; the first paragraph of its docstring becomes the header.
        stage: the stage's name.
    """
    header = " ".join((cls.__doc__ or "").split("\n\n")[0].split())
    return settings.default_toml(cls, stage, header)


def config_commands(classes: Classes) -> click.Group:
    """Return the `config` group.

    Args:
        classes: stage name -> a function that imports and returns its config struct; only the one asked for
            is called.

    Returns:
        The group. Its commands raise `ConfigError`, which the command line's one handler prints.
    """
    stage = click.argument("stage", type=click.Choice(list(classes)))
    file = click.argument("file", type=click.Path(path_type=Path), required=False)
    profile = click.option(
        "--profile", metavar="NAME", help="A profile's name, or a path that ends in .toml; the file beats it."
    )

    @click.group()
    def config() -> None:
        """Print, check and show the configuration of a stage: ingest, throttle-batch, edge or up.

        What counts, strongest first: a flag, a variable PIPELINE_SECTION__KEY, the file, the profile, the
        default.

        \b
        Examples:
          pipeline config default edge
          pipeline config check throttle-batch worker.toml
          pipeline config show up --profile low-latency
        """

    @config.command()
    @stage
    def default(stage: str) -> None:
        """Print every key of STAGE with its default, its unit, its bounds and what it does.

        \b
        Examples:
          pipeline config default edge
        """
        click.echo(default_text(classes[stage](), stage), nl=False)

    @config.command()
    @stage
    @file
    @profile
    def check(stage: str, file: Path | None, profile: str | None) -> None:
        """Check what STAGE would be told: by FILE, by the profile and by PIPELINE_... variables.

        All mistakes are told at once, one a line, on stderr; the exit code is then 78.

        \b
        Examples:
          pipeline config check edge
          pipeline config check throttle-batch worker.toml --profile high-throughput
        """
        _check_endpoints(stage, _load(classes, stage, file, profile))
        click.echo(f"ok {file or profile or stage}")

    @config.command()
    @stage
    @file
    @profile
    def show(stage: str, file: Path | None, profile: str | None) -> None:
        """Print the values that count for STAGE, from FILE, profile, environment and defaults.

        Secrets show as ********.

        \b
        Examples:
          pipeline config show edge edge.toml
          pipeline config show up --profile low-latency
        """
        click.echo(settings.to_toml(_load(classes, stage, file, profile)), nl=False)

    return config


def _load(classes: Classes, stage: str, file: Path | None, profile: str | None) -> msgspec.Struct:
    return settings.load(classes[stage](), stage, path=file, profile=profile, flags={}, environ=os.environ)


def _check_endpoints(stage: str, config: Any) -> None:
    """See that the address book and the keys can be used, as a start would.

    Raises:
        ConfigError: with every mistake.
    """
    from pipeline.endpoints import open_endpoints
    from pipeline.errors import ConfigError
    from pipeline.sockets import bound_by

    place, curve = config.pipeline, config.curve
    endpoints = open_endpoints(
        Path(), book_file=place.endpoints, key_file=curve.key_file, allowed_dir=curve.allowed_dir
    )
    own = getattr(config, stage, None)
    shards = getattr(place, "own", ()) or range(place.shards)
    problems = [
        problem
        for name in bound_by(stage, getattr(own, "index", 0), shards)
        for problem in endpoints.bind_problems(name)
    ]
    if problems:
        raise ConfigError(problems)


config = config_commands({stage: partial(config_class, stage) for stage in CONFIG_CLASSES})
