"""The command line: one group, each process imported only when it is asked for.

`tail --help` must not import tornado, nor `edge` the adapters: an import costs more than most commands.
All errors end here: one line each on stderr, and the error's exit code.
"""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from pipeline import __version__
from pipeline.errors import ConfigError, PipelineError
from pipeline.log import escape, let_go

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""How a write fails that is in order. Whoever writes a file says so itself, so that here it is the output."""

_COMMANDS = {
    "ingest": ("pipeline.ingest.command", "ingest", "Take events from producers, check and route them."),
    "throttle-batch": (
        "pipeline.throttle_batch.command",
        "throttle_batch",
        "Number events, keep them, publish them as frames.",
    ),
    "edge": ("pipeline.edge.command", "edge", "Serve browsers: WebSocket, REST and the dashboard."),
    "notify": (
        "pipeline.notify.command",
        "notify",
        "Tell others by webhooks how scans end, and what they find.",
    ),
    "up": ("pipeline.up.command", "up", "Run a whole pipeline on this machine."),
    "emit": ("pipeline.producer.emit", "emit", "Send events: from a tool's output, a file or a simulation."),
    "tail": ("pipeline.tail.command", "tail", "Print events as they pass."),
    "doctor": ("pipeline.operate.doctor", "doctor", "Say whether a pipeline works, and if not, what to do."),
    "scan": ("pipeline.operate.scan", "scan", "List, show, export, compare and delete past scans."),
    "top": ("pipeline.operate.top", "top", "Show a pipeline as it works: stages, scans, readers."),
    "token": ("pipeline.operate.token", "token", "Make a secret, mint and check tokens of readers."),
    "keygen": (
        "pipeline.operate.keygen",
        "keygen",
        "Make keys for ZeroMQ over TCP: for stages and producers.",
    ),
    "completion": ("pipeline.operate.completion", "completion", "Print what makes a shell complete this."),
    "config": ("pipeline.operate.config", "config", "Print, check and show a stage's configuration."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run; its help needs none of them."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _reader_may_go():
            return super().make_context(*args, **extra)  # prints the help, too

    def invoke(self, ctx: click.Context) -> object:
        with _reader_may_go():
            return super().invoke(ctx)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


@contextmanager
def _reader_may_go() -> Iterator[None]:
    """Take the errno from a broken pipe: click would end with 1 for it, which is a failure."""
    try:
        yield
    except BrokenPipeError:
        raise BrokenPipeError from None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="scanstream")
def cli() -> None:
    """Live progress of long-running jobs, from a scanner to every browser that watches."""


def main() -> None:
    """Run the command line; the only place that turns errors into exit codes."""
    try:
        code = cli.main(prog_name="pipeline", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except PipelineError as error:
        problems = error.problems if isinstance(error, ConfigError) else [str(error)]
        for problem in problems:
            click.echo(f"error: {escape(problem)}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except RuntimeError as error:
        # Before Python 3.12, what interrupts the making of a class is wrapped: a Ctrl-C during an import.
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone, as `| head` does: nothing is wrong.
        let_go(sys.stdout)
        sys.exit(0)
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        let_go(sys.stdout)
        try:
            click.echo(f"error: standard output: {error.strerror}", err=True)
        except OSError:  # the same full disk
            let_go(sys.stderr)
        sys.exit(1)
