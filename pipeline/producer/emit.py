"""The `emit` command: a tool that it runs, standard input, a file, a recording or a simulation.

Events leave as they come: what a read returns is parsed and sent at once. Nothing is ever printed on standard
output. Here is what the command line says; `running`, `reading` and `playing` do it, `delivery` sees it sent.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.endpoint_options import endpoint_options, find_pipeline
from pipeline.errors import OperatorError
from pipeline.event import ScanCompleted, ScanStarted, is_scan_id
from pipeline.event_json import encode_event
from pipeline.producer.adapters import ADAPTER_NAMES, Adapter, open_adapter
from pipeline.producer.description import Description
from pipeline.producer.terminal import Terminal

if TYPE_CHECKING:
    from pipeline.endpoints import Endpoints
    from pipeline.producer.adapters.arguments import ToolCommand
    from pipeline.producer.delivery import Work
    from pipeline.producer.sender import Sender

MAX_SCANS = 100
"""How many simulated scans one process plays; each holds its network in memory."""

_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


@click.command()
@click.argument("what", nargs=-1, metavar="[FILE | -- COMMAND…]")
@click.option("--run", "runs", is_flag=True, help="Run COMMAND and send what it finds until it ends.")
@click.option(
    "--from",
    "source",
    type=click.Choice([*ADAPTER_NAMES, "auto"]),
    help="What the input is; auto finds out. Unless given NDJSON; with --run what COMMAND is known for.",
)
@click.option(
    "--map",
    "rules",
    multiple=True,
    metavar="FIELD=PATH",
    help="Make an event of each JSON line: FIELD=a.b.0 takes a value, FIELD==TEXT is always TEXT, "
    "FIELD=a{x:y,*:-} translates x to y and leaves out the others. type is needed.",
)
@click.option("--scan", "scan_id", metavar="ID", help="The scan; without it each line names its own scan_id.")
@click.option("--name", metavar="TEXT", help="What people call the scan; put into scanStarted.")
@click.option("--target", "targets", multiple=True, metavar="T", help="What it scans; put into scanStarted.")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="A label; put into scanStarted.")
@click.option("--scan-start", is_flag=True, help="Send scanStarted first; input, if any, is read as --part.")
@click.option("--scan-end", is_flag=True, help="Send scanCompleted last; input, if any, is read as --part.")
@click.option(
    "--part",
    is_flag=True,
    help="The input is one of several that feed a scan which --scan-start and --scan-end open and close.",
)
@click.option("--simulate", type=click.Choice(["heroforge"]), help="Play a scan of 15,000 events in 60 s.")
@click.option("--seed", type=int, help="What the simulated network depends on; 1 unless given.")
@click.option(
    "--replay",
    "recording",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Send what `tail --record` wrote, or NDJSON, in its order and paced by the events' ts; to --scan, "
    "else to the scans it was recorded from.",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0, max=1e6),
    help="How many times faster to play; 0 is as fast as possible, 1 unless given.",
)
@click.option(
    "--scans", type=click.IntRange(1, MAX_SCANS), help="Play so many scans side by side: ID-1, ID-2 …"
)
@click.option(
    "--own",
    is_flag=True,
    help="Claim the scan: what other producers send to it is rejected until it ends; and so is all of this, "
    "if others feed it already.",
)
@click.option(
    "--spool",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep in FILE what is not acknowledged, so that nothing is lost if emit is killed; emptied at a "
    "good end. What FILE holds of a run that was killed is sent first.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Send what the --spool FILE holds of a run that was killed, and read no input.",
)
@endpoint_options
@click.option(
    "--connect",
    metavar="DATA,CONTROL",
    default="",
    help="Addresses of an ingest's two sockets, tcp://HOST:PORT each, instead of --endpoints or --run-dir.",
)
@click.option(
    "--server-key", metavar="KEY", default="", help="With --connect: the ingest's public key, 40 characters."
)
def emit(
    what: tuple[str, ...],
    runs: bool,
    source: str | None,
    rules: tuple[str, ...],
    scan_id: str | None,
    name: str | None,
    targets: tuple[str, ...],
    labels: tuple[str, ...],
    scan_start: bool,
    scan_end: bool,
    part: bool,
    simulate: str | None,
    recording: Path | None,
    seed: int | None,
    speed: float | None,
    scans: int | None,
    own: bool,
    spool: Path | None,
    resume: bool,
    run_dir: str,
    endpoints: str | None,
    key_file: str | None,
    connect: str,
    server_key: str,
) -> int:
    """Run a scanner, or read FILE or standard input, and send the events until every one is acknowledged.

    \b
        emit --run -- nmap -sV 10.0.0.0/24
        emit --run --scan office --name "Office, weekly" --label site=hq -- nuclei -u https://10.0.0.5
        emit --scan office --from auto scan.xml
        masscan -p80 -oD - 10.0.0.0/24 | emit --scan office --from masscan
        my-tool --json | emit --scan office
        my-tool --json | emit --scan office --map type==hostDiscovered --map ip=host.addr
        emit --simulate heroforge
        emit --replay office.ndjson --speed 10

    A line that is no event is told on stderr and the rest goes on; the exit code is then 1, as it is when the
    COMMAND fails. With --scan-start or --scan-end and neither FILE nor --from, no input is read. A Ctrl-C is
    passed on to the COMMAND; a second one kills it.

    With --spool, a run that was killed is finished by `emit --spool FILE --resume`; or by the same command
    with the rest of its input, beginning after the events it had taken, whose number is told. Nothing is then
    lost or doubled. A --run, --replay or --simulate has no rest: only --resume finishes it.
    """
    from pipeline.producer.delivery import deliver
    from pipeline.runtime import die_with_parent

    die_with_parent()
    described = name is not None or targets or labels
    reads = what or source or rules or scan_start or scan_end or part or (described and not simulate)
    _check_usage(simulate, recording, resume, runs, reads, seed, speed, scans)
    if resume and spool is None:
        raise click.UsageError("--resume needs the --spool FILE of the run that was killed")
    if scan_id is not None and not is_scan_id(scan_id):
        raise click.BadParameter(f"{scan_id!r} is no scan id", param_hint="--scan")
    if described and part and not scan_start:
        raise click.UsageError("--name, --target and --label go into scanStarted, which --part leaves out")
    try:
        description = Description(name, targets, labels)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    speed = 1.0 if speed is None else speed
    terminal = Terminal()
    work: Work
    if resume:
        work = _nothing_more
    elif simulate:
        from pipeline.producer.playing import play

        scan_ids = _simulated_ids(scan_id or "demo", scans or 1)
        scan_id = scan_ids[0] if len(scan_ids) == 1 else None
        work = partial(
            play,
            scan_ids=scan_ids,
            seed=1 if seed is None else seed,
            speed=speed,
            description=description,
        )
    elif recording:
        from pipeline.producer.playing import replay

        work = partial(replay, terminal=terminal, file=recording, speed=speed)
    elif runs:
        if scan_start or scan_end:
            raise click.UsageError(
                "--run starts and ends the scan itself; leave out --scan-start, --scan-end"
            )
        command = _tool_command(what)
        scan_id = scan_id or _scan_id_of(command.tool)
        adapter = _adapter(source or command.source or "auto", rules, part=part, terminal=terminal)
        work = partial(
            _run, terminal, command, adapter=adapter, description=description, part=part, scan_id=scan_id
        )
    else:
        work = _forwarding(
            terminal,
            what,
            source,
            rules,
            scan_id,
            description,
            part=part or scan_start or scan_end,
            scan_start=scan_start,
            scan_end=scan_end,
        )
    fresh = bool(simulate or recording or runs)
    where = _where(run_dir, endpoints, key_file, connect, server_key)
    return deliver(work, scan_id, terminal, where=where, spool=spool, own=own, fresh=fresh)


def _where(
    run_dir: str, endpoints: str | None, key_file: str | None, connect: str, server_key: str
) -> Endpoints:
    """Return where the pipeline's sockets are."""
    if not connect:
        if server_key:
            raise click.UsageError("--server-key goes with --connect; an address book names the keys itself")
        return find_pipeline(run_dir, endpoints, key_file)
    if endpoints or run_dir:
        raise click.UsageError("--connect says where the ingest is; leave out --endpoints and --run-dir")
    from pipeline.endpoints import ingest_at

    return ingest_at(connect, server_key, key_file or "")


def _check_usage(
    simulate: str | None,
    recording: Path | None,
    resume: bool,
    runs: bool,
    reads: object,
    seed: int | None,
    speed: float | None,
    scans: int | None,
) -> None:
    given = {"--simulate": simulate, "--replay": recording, "--resume": resume, "--run": runs}
    chosen = [name for name, value in given.items() if value]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)} do not go together")
    if chosen and reads and not runs:
        raise click.UsageError(
            f"{chosen[0]} reads no input; leave out FILE, --from, --map, --part, --scan-start, --scan-end"
            + ("" if simulate else ", --name, --target, --label")
        )
    if not simulate and (seed is not None or scans is not None):
        raise click.UsageError("--seed and --scans go with --simulate")
    if not simulate and not recording and speed is not None:
        raise click.UsageError("--speed goes with --simulate or --replay")


def _simulated_ids(base: str, scans: int) -> list[str]:
    ids = [base] if scans == 1 else [f"{base}-{number}" for number in range(1, scans + 1)]
    if not is_scan_id(ids[-1]):
        raise click.BadParameter(f"{ids[-1]!r} is no scan id: 64 characters at most", param_hint="--scan")
    return ids


def _nothing_more(_sender: Sender) -> None:
    """Read nothing: what the spool held is on its way."""


def _adapter(source: str, rules: tuple[str, ...], *, part: bool, terminal: Terminal) -> Adapter:
    if rules:
        from pipeline.producer.adapters.mapped import MapAdapter, read_rules

        try:
            return MapAdapter(read_rules(rules), part=part)
        except OperatorError as error:
            raise click.BadParameter(str(error), param_hint="--map") from None
    if source == "auto":
        from pipeline.producer.adapters.detection import AutoAdapter

        def told(name: str) -> None:
            terminal.notice(f"reading it as {name}")

        return AutoAdapter(part=part, told=told, open_=open_adapter)
    return open_adapter(source, part=part)


def _forwarding(
    terminal: Terminal,
    what: tuple[str, ...],
    source: str | None,
    rules: tuple[str, ...],
    scan_id: str | None,
    description: Description,
    *,
    part: bool,
    scan_start: bool,
    scan_end: bool,
) -> Work:
    from pipeline.producer.reading import Input, forward

    if len(what) > 1:
        raise click.UsageError("one FILE is read; to run a command put --run before it")
    if rules and source is not None:
        raise click.UsageError("--map says what the input is; leave out --from")
    file = _FILE.convert(what[0], None, None) if what else None
    unnamed = source not in (None, "ndjson") or scan_start or scan_end
    if scan_id is None and (unnamed or (rules and not any(rule.startswith("scan_id=") for rule in rules))):
        raise click.UsageError("--scan is needed: nothing in the input names the scan")
    has_input = bool(what) or source is not None or bool(rules) or not (scan_start or scan_end)
    part = part or (bool(rules) and scan_id is None)  # each line names its scan: there is none to start
    return partial(
        forward,
        terminal=terminal,
        what=Input(
            file,
            _adapter(source or "ndjson", rules, part=part, terminal=terminal) if has_input else None,
            description,
            encode_event(ScanStarted(scan_id=scan_id)) if scan_start else None,
            encode_event(ScanCompleted(scan_id=scan_id)) if scan_end else None,
        ),
    )


def _tool_command(what: tuple[str, ...]) -> ToolCommand:
    from pipeline.producer.adapters.arguments import tool_command

    if not what:
        raise click.UsageError("--run needs a command, such as: emit --run -- nmap -sV 127.0.0.1")
    try:
        return tool_command(what)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _scan_id_of(tool: str) -> str:
    """Return a scan id for a tool that is run now, for a scan that was given none."""
    word = re.sub(r"[^A-Za-z0-9_-]", "", tool)[:40] or "scan"
    return f"{word}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _run(
    terminal: Terminal,
    command: ToolCommand,
    sender: Sender,
    *,
    adapter: Adapter,
    description: Description,
    part: bool,
    scan_id: str,
) -> bool:
    from pipeline.producer.running import run_tool

    added = f"; added: {' '.join(command.added)}" if command.added else ""
    notices = [f"running {command.tool} as scan {scan_id}{added}"]
    if command.left_out:
        notices.append(f"left out of scanStarted: {', '.join(command.left_out)}")
    return run_tool(
        sender,
        terminal,
        command=command,
        adapter=adapter,
        description=description,
        part=part,
        notices=notices,
    )
