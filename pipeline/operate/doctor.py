"""The command line of `doctor`. What it needs to look at a pipeline is imported when it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click

from pipeline.endpoint_options import endpoint_options, find_pipeline
from pipeline.operate.ascii_json import as_ascii
from pipeline.operate.token_file import given_token_file, read_token_file, token_file_option


@click.command()
@endpoint_options
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Also look at this data directory; those that workers have open are looked at in any case.",
)
@click.option(
    "--edge",
    "url",
    metavar="URL",
    default="",
    envvar="PIPELINE_EDGE",
    show_envvar=True,
    callback=lambda _context, _option, text: _url(text),
    help="The edge's address, such as https://127.0.0.1:8443/; found by itself where the kernel tells.",
)
@token_file_option
@click.option(
    "--min-free",
    "min_free_mib",
    metavar="MIB",
    type=click.FloatRange(min=0),
    default=256.0,
    show_default=True,
    help="The room wanted on the disk of the data directory, in MiB.",
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="S",
    type=click.FloatRange(min=1, max=600),
    default=15.0,
    show_default=True,
    help="How long it may take altogether, in seconds, about.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(
    run_dir: str,
    endpoints: str | None,
    key_file: str | None,
    data_dir: Path | None,
    url: str,
    min_free_mib: float,
    timeout_s: float,
    as_json: bool,
) -> int:
    """Say whether a pipeline works, and if not, what is wrong and what to do.

    Looks at every stage, then sends a canary: a scan of three events, traced from an emitter over ingest,
    worker and edge to a WebSocket, and timed at each hop. The scan is ended, and removed. Exit code 0
    if nothing failed, else 1.

    \b
    Examples:
      pipeline doctor
      pipeline doctor --run-dir /run/scanstream --edge https://127.0.0.1:8443/
      pipeline doctor --json --min-free 10240
    """

    from pipeline.log import let_go
    from pipeline.operate.examination import Order, examine
    from pipeline.operate.findings import as_document, as_lines, healthy, summary

    findings = examine(
        Order(
            where=find_pipeline(run_dir, endpoints, key_file),
            url=url,
            data_dir=data_dir,
            min_free_bytes=int(min_free_mib * 1024 * 1024),
            timeout_s=timeout_s,
            token=read_token_file(given_token_file(click.get_current_context())),
        )
    )
    try:
        if as_json:
            click.echo(as_ascii(as_document(findings)))
        else:
            on_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
            for line in as_lines(findings, colour=on_terminal and not os.environ.get("NO_COLOR")):
                click.echo(line)
            click.echo(summary(findings))
    except BrokenPipeError:  # as `| head` does: what was found is found all the same
        let_go(sys.stdout)
    return 0 if healthy(findings) else 1


def _url(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise click.BadParameter(f"{text[:80]!r} is no address of an edge: http://HOST:PORT/ or https")
    return text
