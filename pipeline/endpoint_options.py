"""The options by which every command finds a pipeline whose sockets are at TCP addresses. Imports little."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from pipeline.endpoints import Endpoints

F = TypeVar("F", bound=Callable[..., Any])

ENDPOINT_OPTIONS = (
    click.option(
        "--endpoints",
        metavar="FILE",
        envvar="PIPELINE_ENDPOINTS",
        help="Address book: which ZeroMQ sockets are at TCP addresses.",
    ),
    click.option(
        "--key-file",
        metavar="FILE",
        envvar="PIPELINE_KEY_FILE",
        help="This process's own secret key, as `pipeline keygen` writes it.",
    ),
)


def endpoint_options(command: F) -> F:
    """Add the options by which a command that is no stage finds a pipeline; `find_pipeline` takes them."""
    for option in (
        *ENDPOINT_OPTIONS,
        click.option("--run-dir", default="", help="Directory of the pipeline's ZeroMQ sockets."),
    ):
        command = option(command)
    return command


def find_pipeline(run_dir: str, endpoints: str | None, key_file: str | None) -> Endpoints:
    """Return where a pipeline's sockets are; no directory that was named is made.

    Raises:
        ConfigError: the address book or the key cannot be used.
        EndpointError: the run directory cannot be used.
    """
    from pipeline.endpoints import open_endpoints
    from pipeline.places import run_dir as resolve_run_dir

    return open_endpoints(
        resolve_run_dir(run_dir, os.environ, make=False), book_file=endpoints or "", key_file=key_file or ""
    )
