"""The command line of `tail`. What it needs to run is imported when it runs: `--help` stays quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from pipeline.endpoint_options import endpoint_options, find_pipeline
from pipeline.frame import Position

if TYPE_CHECKING:
    from pipeline.tail.template import Template

SEVERITIES = ("Critical", "High", "Medium", "Low", "Info")
"""Those of the catalogue, which takes long to import."""


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
@click.option(
    "--severity",
    metavar="LEVEL",
    type=click.Choice(SEVERITIES, case_sensitive=False),
    help=f"No finding below this severity: {', '.join(SEVERITIES)}. Events that have none are shown.",
)
@click.option(
    "-n",
    "--count",
    metavar="COUNT",
    type=click.IntRange(min=1),
    help="Stop after so many lines; events, with --stats.",
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="S",
    type=click.FloatRange(min=0, max=1e6, min_open=True),
    help="Stop after S seconds; exit code 124 if -n, the scan's end, or the end of what is held was not "
    "reached.",
)
@click.option(
    "--until-complete",
    is_flag=True,
    help="Stop when each --scan has ended: exit code 0 if all are completed, 1 if one failed.",
)
@click.option(
    "--json", "style", flag_value="json", help="One JSON object a line: channel, epoch, seq, event."
)
@click.option("--raw", "style", flag_value="raw", help="Only each event's JSON, as its producer sent it.")
@click.option("--frames", "style", flag_value="frames", help="One line a frame: how much it holds.")
@click.option(
    "--stats",
    "style",
    flag_value="stats",
    help="How many events came, and how fast, by scan and type: each second, in place on a terminal.",
)
@click.option(
    "--template",
    metavar="TEXT",
    callback=lambda _context, _option, text: _template(text),
    help="Print this for each event. {NAME} is a field of it, {A.B} one within; {time}, {scan}, {channel}, "
    "{epoch} and {seq} are its place; {{ and }} are braces. A field it does not have is -.",
)
@click.option(
    "--delta",
    is_flag=True,
    help="Begin each line with the seconds since the time of the line before that has one.",
)
@click.option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Append what is printed to FILE, too, as --json; `emit --replay` plays it. With --from-start once "
    "the scan is over, that is every event held.",
)
@endpoint_options
def tail(
    scan_ids: tuple[str, ...],
    since: Position | None,
    from_start: bool,
    follow: bool,
    types: tuple[str, ...],
    not_types: tuple[str, ...],
    severity: str | None,
    count: int | None,
    timeout_s: float | None,
    until_complete: bool,
    style: Literal["json", "raw", "frames", "stats"] | None,
    template: Template | None,
    delta: bool,
    record: Path | None,
    run_dir: str,
    endpoints: str | None,
    key_file: str | None,
) -> None:
    """Print events as they pass: time, scan, seq, type and what they say.

    Live unless --since or --from-start is given. Each event is printed once and in order, whatever is killed
    on the way: what does not come is fetched from history. Live, of progress reports of one phase that come
    together only the latest is printed; history has them all. What is no longer held is told on stderr, and
    so is a scan that began anew, how much did not come live because this did not keep up, and how many
    reports later ones replaced.

    The time is the event's own `ts`, else when it came; `-` if it has none and came from history.

    \b
    Examples:
      pipeline tail --scan office
      pipeline tail --scan office --scan lab --type vulnerabilityFound --severity high
      pipeline tail --scan office --from-start --template '{time} {ip}:{port} {service_name}'
      pipeline tail --scan office --until-complete --timeout 3600
      pipeline tail --stats
      pipeline tail --scan office --from-start --record office.ndjson
    """
    from pipeline.tail.choosing import Choice

    choice = Choice(frozenset(types), frozenset(not_types), severity)
    if style == "frames" and (not choice.everything or record or until_complete):
        raise click.UsageError(
            "--frames shows whole frames; --type, --not-type, --severity, --record and --until-complete do "
            "not go with it"
        )
    if template is not None and style is not None:
        raise click.UsageError(f"--template and --{style} are two ways to print; give one of them")
    if delta and style in ("json", "raw", "stats"):
        raise click.UsageError(f"--delta begins a line of text; --{style} has none")
    if until_complete and not scan_ids:
        raise click.UsageError("--until-complete waits for the end of scans; give each with --scan")
    if since is not None and from_start:
        raise click.UsageError("--since and --from-start are two beginnings; give one of them")
    if since is not None and len(scan_ids) != 1:
        raise click.UsageError("--since is a position of one scan; give exactly one --scan")
    from pipeline.tail.options import PrintOptions, TailOptions
    from pipeline.tail.stage import Tail

    terminal = sys.stdout.isatty()
    live = since is None and not from_start
    options = TailOptions(
        scan_ids=scan_ids,
        start=since or ("start" if from_start else "live"),
        follow=follow or live or until_complete,
        until_complete=until_complete,
        timeout_s=timeout_s,
        record=record,
        printing=PrintOptions(
            choice=choice,
            count=count,
            style=style or "text",
            template=template,
            delta=delta,
            colour=terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
            terminal=terminal,
        ),
    )
    running = Tail(
        find_pipeline(run_dir, endpoints, key_file),
        options,
        sys.stdout.fileno(),
        lambda line: click.echo(line, err=True),
    )
    try:
        running.run()
    finally:
        running.close()


def _checked(scan_ids: tuple[str, ...]) -> tuple[str, ...]:
    from pipeline.event import is_scan_id

    for scan_id in scan_ids:
        if not is_scan_id(scan_id):
            raise click.BadParameter(f"{scan_id!r} is no scan id")
    return scan_ids


def _position(text: str | None) -> Position | None:
    try:
        return None if text is None else Position.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _template(text: str | None) -> Template | None:
    from pipeline.tail.template import Template

    try:
        return None if text is None else Template(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
