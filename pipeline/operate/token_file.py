"""The file with the token that a command brings to an edge with accounts. Shell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pipeline.errors import OperatorError
from pipeline.renewal import is_token_text

_KEY = "pipeline.token_file"
_MAX_BYTES = 65_536

_Command = TypeVar("_Command", bound=Callable[..., Any])


def token_file_option(command: _Command) -> _Command:
    """Add `--token-file` to a command; `given_token_file` returns what was given."""
    return click.option(
        "--token-file",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="PIPELINE_TOKEN_FILE",
        show_envvar=True,
        expose_value=False,
        callback=_keep,
        help="File with the token to bring to an edge with accounts; there is no option for the token "
        "itself, for others see arguments.",
    )(command)


def given_token_file(context: click.Context) -> Path | None:
    """Return the file that was given to this command; None for none."""
    path: Path | None = context.meta.get(_KEY)
    return path


def _keep(context: click.Context, _parameter: click.Parameter, given: Path | None) -> None:
    context.meta[_KEY] = given


def read_token_file(path: Path | None) -> str:
    """Return the token in a file; empty when there is no file.

    Raises:
        OperatorError: it cannot be read, or holds no token; the message has nothing of what it holds.
    """
    if path is None:
        return ""
    try:
        with path.expanduser().open("rb") as file:
            text = file.read(_MAX_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise OperatorError(f"--token-file {str(path)!r}: {error.strerror or error}") from None
    if not is_token_text(text):
        raise OperatorError(f"--token-file {str(path)!r}: holds no token")
    return text
