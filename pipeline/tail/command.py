"""The command line of `tail`. What it needs to run is imported when it runs: `--help` stays quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

import click

from pipeline.event import is_scan_id
from pipeline.frame import Position


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
    "--since",
    metavar="EPOCH:SEQ",
    callback=lambda _context, _option, text: _position(text),
    help="Begin after this position of the one --scan, as --json shows it; what was missed is fetched.",
)
@click.option(
    "--from-start",
    is_flag=True,
    help="Begin with the oldest event held: of each --scan, else of every scan in the workers' memory.",
)
@click.option(
    "--follow",
    is_flag=True,
    help="Go on with what is published from then on; needed with --since and --from-start only, which "
    "otherwise end at the last event published.",
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
    help="Stop after S seconds; exit code 1 if -n, or the end of what is held, was not reached.",
)
@click.option(
    "--json", "style", flag_value="json", help="One JSON object a line: channel, epoch, seq, event."
)
@click.option("--raw", "style", flag_value="raw", help="Only each event's JSON, as its producer sent it.")
@click.option("--frames", "style", flag_value="frames", help="One line a frame: how much it holds.")
@click.option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Append what is printed to FILE, too, as --json; `emit --replay` plays it.",
)
@click.option("--run-dir", default="", help="Directory of the pipeline's ZeroMQ sockets.")
def tail(
    scan_ids: tuple[str, ...],
    since: Position | None,
    from_start: bool,
    follow: bool,
    types: tuple[str, ...],
    not_types: tuple[str, ...],
    count: int | None,
    timeout_s: float | None,
    style: Literal["json", "raw", "frames"] | None,
    record: Path | None,
    run_dir: str,
) -> None:
    """Print events as they pass: time, scan, seq, type and what they say.

    Live unless --since or --from-start is given. Each event is printed once and in order, whatever is killed
    on the way: what does not come is fetched from history. What is no longer held is told on stderr, and so
    is a scan that began anew.
    """
    if style == "frames" and (types or not_types or record):
        raise click.UsageError(
            "--frames shows whole frames; --type, --not-type and --record do not go with it"
        )
    if since is not None and from_start:
        raise click.UsageError("--since and --from-start are two beginnings; give one of them")
    if since is not None and len(scan_ids) != 1:
        raise click.UsageError("--since is a position of one scan; give exactly one --scan")
    from pipeline.places import run_dir as resolve_run_dir
    from pipeline.tail.printing import PrintOptions
    from pipeline.tail.stage import Tail, TailOptions

    terminal = sys.stdout.isatty()
    live = since is None and not from_start
    options = TailOptions(
        scan_ids=scan_ids,
        start=since or ("start" if from_start else "live"),
        follow=follow or live,
        timeout_s=timeout_s,
        record=record,
        printing=PrintOptions(
            types=frozenset(types),
            not_types=frozenset(not_types),
            count=count,
            style=style or "text",
            colour=terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
            escape_json=terminal,
        ),
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


def _position(text: str | None) -> Position | None:
    try:
        return None if text is None else Position.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
