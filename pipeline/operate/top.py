"""The command line of `top`. What it needs to look at a pipeline is imported when it runs."""

from __future__ import annotations

import shutil
import sys
import threading

import click

from pipeline.endpoint_options import endpoint_options, find_pipeline


@click.command()
@endpoint_options
@click.option(
    "--interval",
    "interval_s",
    metavar="S",
    type=click.FloatRange(min=0.1, max=3600),
    default=1.0,
    show_default=True,
    help="Seconds between two looks; rates and CPU are over that time.",
)
@click.option(
    "--once", is_flag=True, help="Look twice, print everything, and end; so it is without a terminal."
)
@click.option("--json", "as_json", is_flag=True, help="As --once, and print one JSON object.")
def top(
    run_dir: str,
    endpoints: str | None,
    key_file: str | None,
    interval_s: float,
    once: bool,
    as_json: bool,
) -> None:
    """Show a pipeline as it works: its stages, scans and readers, again and again.

    Of each stage: CPU and memory of its process, events a second in and messages a second out, what waits in
    it, how long it lately kept others waiting, and what is wrong. q or Ctrl-C ends it.

    \b
    Examples:
      pipeline top
      pipeline top --interval 5
      pipeline top --once
      pipeline top --json --run-dir /run/scanstream
    """

    from pipeline.errors import PeerError
    from pipeline.operate.ascii_json import as_ascii
    from pipeline.operate.board import Board
    from pipeline.operate.gathering import Gathering
    from pipeline.operate.picture import lines

    place = find_pipeline(run_dir, endpoints, key_file)
    gathering, board = Gathering(place), Board(str(place))
    if not (once or as_json) and sys.stdout.isatty() and sys.stdin.isatty():
        from pipeline.operate.live import show

        show(gathering, board, interval_s)
        return
    try:
        board.document(gathering.take())
        threading.Event().wait(interval_s)
        document = board.document(gathering.take())
    finally:
        gathering.close()
    if not document["stages"]:
        raise PeerError(f"no pipeline is found in {place}; start one with bin/up, or name its --run-dir")
    if as_json:
        click.echo(as_ascii(document))
        return
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 1_000
    for line in lines(document, columns):
        click.echo(line)
