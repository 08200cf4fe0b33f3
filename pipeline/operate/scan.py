"""The `scan` commands: past scans listed, shown, exported, compared and deleted, over an edge's REST."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from pipeline.errors import OperatorError
from pipeline.event import is_scan_id
from pipeline.log import escape
from pipeline.operate.token_file import given_token_file, read_token_file, token_file_option

DEFAULT_EDGE = "http://127.0.0.1:8800"
_NO_SUCH_SCAN = "no such scan"
"""What an edge says."""
FORMATS = ("json", "ndjson", "csv", "html")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _checked(_context: click.Context, _parameter: click.Parameter, given: Any) -> Any:
    for text in (given,) if isinstance(given, str) else given or ():
        scan_id, at, epoch = text.partition("@")
        if not is_scan_id(scan_id) or (at and not (epoch.isascii() and epoch.isdigit())):
            raise click.BadParameter(f"{text!r} is no scan id, nor ID@EPOCH")
    return given


def _edge_option(command: _Command) -> _Command:
    """Add `--edge` and `--token-file`; `_edge` finds the latter's file in the context."""
    return token_file_option(_url_option(command))


def _url_option(command: _Command) -> _Command:
    return click.option(
        "--edge",
        "url",
        metavar="URL",
        default=DEFAULT_EDGE,
        envvar="PIPELINE_EDGE",
        show_default=True,
        show_envvar=True,
        help="Where an edge of the pipeline is.",
    )(command)


def _scan_argument(command: _Command) -> _Command:
    return click.argument("scan", metavar="ID", callback=_checked)(command)


def _edge(url: str) -> Any:
    from pipeline.operate.rest import Edge

    return Edge(url, read_token_file(given_token_file(click.get_current_context())))


def _parts(scan: str) -> tuple[str, str | None]:
    scan_id, _, epoch = scan.partition("@")
    return scan_id, epoch or None


@contextmanager
def _of(scan: str) -> Iterator[None]:
    """Say which scan there is not, where an edge says only that there is none."""
    try:
        yield
    except OperatorError as error:
        if str(error) != _NO_SUCH_SCAN:
            raise
        raise OperatorError(f"{_NO_SUCH_SCAN}: {scan}") from None


def _show(lines: list[str]) -> None:
    for line in lines:
        click.echo(line)


@click.group()
def scan() -> None:
    """List, show, export, compare and delete the scans that run or are kept.

    ID names a scan; ID@EPOCH one life of it, where several scans had the same id. An edge is asked: the
    pipeline must be running.

    \b
    Examples:
      pipeline scan list
      pipeline scan show office
      pipeline scan export office --format html -o office.html
      pipeline scan compare office
      pipeline scan rm office@1795416705922
    """


@scan.command("list")
@click.option("--search", metavar="TEXT", help="Words that stand in the id, the name, a target or a label.")
@click.option(
    "-n", "limit", metavar="COUNT", type=click.IntRange(min=1), default=100, show_default=True,
    help="The most that are listed.",
)  # fmt: skip
@click.option("--past", "only", flag_value="past", help="Only those that are no longer in a worker's memory.")
@click.option("--running", "only", flag_value="running", help="Only those that have not ended.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@_edge_option
def list_(search: str | None, limit: int, only: str | None, as_json: bool, url: str) -> None:
    """List scans: those in a worker's memory, which run or have just ended, then past ones; the latest first.

    \b
    Examples:
      pipeline scan list
      pipeline scan list --running
      pipeline scan list --search office -n 10 --json
    """
    from pipeline.operate.scan_text import in_memory, list_lines

    edge, after = _edge(url), None
    found: list[dict[str, Any]] = []
    if only != "past":
        answer = edge.ask("GET", "/api/scans")
        found = in_memory(answer["scans"], search or "", running=only == "running")[:limit]
        if only == "running" and not answer["complete"]:
            click.echo("a worker does not answer: scans may be missing", err=True)
    while only != "running" and len(found) < limit:
        answer = edge.ask(
            "GET", "/api/scans", past="true", search=search, limit=min(limit - len(found), 1_000), after=after
        )
        there = {(each["scan_id"], each["epoch"]) for each in found}  # one may leave memory in between
        found += [each for each in answer["scans"] if (each["scan_id"], each["epoch"]) not in there]
        if not answer["complete"]:
            click.echo("a worker does not answer: scans may be missing", err=True)
        after = answer["next"]
        if after is None:
            break
    if as_json:
        _show([json.dumps(each) for each in found])
    elif found:
        _show(list_lines(found))
    else:
        click.echo(f"no {only} scans" if only else "no scans", err=True)


@scan.command()
@_scan_argument
@click.option("--json", "as_json", is_flag=True, help="The state as JSON.")
@_edge_option
def show(scan: str, as_json: bool, url: str) -> None:
    """Show what a scan has found, in numbers.

    \b
    Examples:
      pipeline scan show office
      pipeline scan show office@1795416705922 --json
    """
    from pipeline.operate.scan_text import scan_lines

    scan_id, epoch = _parts(scan)
    with _of(scan):
        found = _edge(url).ask("GET", f"/api/scans/{scan_id}", epoch=epoch)
    _show([json.dumps(found)] if as_json else scan_lines(found))


@scan.command()
@_scan_argument
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="json", show_default=True,
    help="json: state and hosts; ndjson: events; csv: a table; html: a report.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Where to; standard output if not given. It is there only once it is whole.",
)  # fmt: skip
@_edge_option
def export(scan: str, form: str, output: Path | None, url: str) -> None:
    """Write a scan as a file: state and hosts, events, a table, or a report to read and print.

    \b
    Examples:
      pipeline scan export office -o office.json
      pipeline scan export office --format csv -o office.csv
    """
    scan_id, epoch = _parts(scan)
    parts = _edge(url).stream(f"/api/scans/{scan_id}/export", format=form, epoch=epoch)
    with _of(scan):
        if output is not None:
            _write(output, parts)
            return
        for part in parts:
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()


def _write(output: Path, parts: Iterator[bytes]) -> None:
    """Write a file beside its place, then move it there: a part is never taken for the whole."""
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with partial.open("xb") as file:
            for part in parts:
                file.write(part)
        partial.replace(output)
    except OSError as error:
        raise OperatorError(f"{output}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


@scan.command()
@_scan_argument
@click.argument("other", metavar="[WITH]", required=False, callback=_checked)
@click.option("--json", "as_json", is_flag=True, help="The comparison as JSON.")
@_edge_option
def compare(scan: str, other: str | None, as_json: bool, url: str) -> None:
    """Show what is new, gone or changed since an earlier scan.

    WITH is that scan; without it, the latest earlier one of the same targets.

    \b
    Examples:
      pipeline scan compare office
      pipeline scan compare office office@1795416705922 --json
    """
    from pipeline.operate.scan_text import comparison_lines

    scan_id, epoch = _parts(scan)
    with _of(scan):
        found = _edge(url).ask("GET", f"/api/scans/{scan_id}/compare", epoch=epoch, **{"with": other})
    _show([json.dumps(found)] if as_json else comparison_lines(found))


@scan.command("rm")
@click.argument("scans", metavar="ID...", nargs=-1, required=True, callback=_checked)
@click.option("--yes", is_flag=True, help="Do not ask.")
@_edge_option
def remove(scans: tuple[str, ...], yes: bool, url: str) -> None:
    """Delete scans that have ended, for good: events, state, all.

    Asks before it does, on a terminal; elsewhere --yes is needed. ID alone deletes all lives of that id.

    \b
    Examples:
      pipeline scan rm office
      pipeline scan rm --yes old-1 old-2@1795416705922
    """
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody can be asked: --yes deletes without")
        told = ", ".join(scans)
        click.confirm(f"Delete {told} for good?", abort=True, err=True)
    edge, problems = _edge(url), []
    for each in scans:
        scan_id, epoch = _parts(each)
        try:
            edge.ask("DELETE", f"/api/scans/{scan_id}", epoch=epoch)
        except OperatorError as error:
            problem = str(error)
            problems.append(f"{problem}: {each}" if problem == _NO_SUCH_SCAN else f"{each}: {problem}")
        else:
            click.echo(f"deleted {each}")
    if problems:
        for problem in problems[:-1]:
            click.echo(f"error: {escape(problem)}", err=True)
        raise OperatorError(problems[-1])
