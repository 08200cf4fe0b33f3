"""The command line of `tail`. What it needs to run is imported when it runs: `--help` stays quick."""

from __future__ import annotations

import os
import sys
from typing import Literal

import click

from pipeline.event import is_scan_id


@click.command()
@click.option(
    "--scan",
    "scan_ids",
    metavar="ID",
    multiple=True,
    callback=lambda _context, _option, ids: _checked(ids),
    help="Only this scan; may be given more than once.",
)
@click.option(
    "--type", "types", metavar="TYPE", multiple=True, help="Only events of this type; may be repeated."
)
@click.option(
    "--not-type", "not_types", metavar="TYPE", multiple=True, help="No events of this type; may be repeated."
)
@click.option("-n", "count", metavar="COUNT", type=click.IntRange(min=1), help="Stop after so many lines.")
@click.option(
    "--timeout",
    "timeout_s",
    metavar="S",
    type=click.FloatRange(min=0, max=1e6, min_open=True),
    help="Stop after S seconds; exit code 1 if -n was not reached.",
)
@click.option(
    "--json", "style", flag_value="json", help="One JSON object a line: channel, epoch, seq, event."
)
@click.option("--raw", "style", flag_value="raw", help="Only each event's JSON, as its producer sent it.")
@click.option("--frames", "style", flag_value="frames", help="One line a frame: how much it holds.")
@click.option("--run-dir", default="", help="Directory of the pipeline's ZeroMQ sockets.")
def tail(
    scan_ids: tuple[str, ...],
    types: tuple[str, ...],
    not_types: tuple[str, ...],
    count: int | None,
    timeout_s: float | None,
    style: Literal["json", "raw", "frames"] | None,
    run_dir: str,
) -> None:
    """Print events as they pass: time, scan, seq, type and what they say.

    Live only: what was published before it began is not shown. Events that it missed, because its reader is
    too slow or a worker was restarted, are told on stderr.
    """
    if style == "frames" and (types or not_types):
        raise click.UsageError("--frames shows whole frames; --type and --not-type do not go with it")
    from pipeline.places import run_dir as resolve_run_dir
    from pipeline.tail.stage import Tail, TailOptions

    terminal = sys.stdout.isatty()
    options = TailOptions(
        scan_ids=scan_ids,
        types=frozenset(types),
        not_types=frozenset(not_types),
        count=count,
        timeout_s=timeout_s,
        style=style or "text",
        colour=terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
        escape_json=terminal,
    )
    running = Tail(
        resolve_run_dir(run_dir, os.environ),
        options,
        sys.stdout.fileno(),
        lambda line: click.echo(line, err=True),
    )
    try:
        running.run()
    finally:
        running.close()


def _checked(scan_ids: tuple[str, ...]) -> tuple[str, ...]:
    for scan_id in scan_ids:
        if not is_scan_id(scan_id):
            raise click.BadParameter(f"{scan_id!r} is no scan id")
    return scan_ids
