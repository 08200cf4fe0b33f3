"""The `emit` process: standard input, a file, a recording or a simulation, through the emitter.

Events leave as they come: what a read returns is parsed and sent at once. Nothing is ever printed on
standard output.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.errors import NotDelivered, OperatorError
from pipeline.event import ScanCompleted, ScanStarted, encode_event, is_scan_id
from pipeline.producer.adapters import ADAPTER_NAMES, Adapter, open_adapter

if TYPE_CHECKING:
    from pipeline.emitter import Emitter
    from pipeline.producer.sender import Sender

READ_BYTES = 65_536
READY_S = 5.0
"""How long a pipeline may take to answer before `emit` says that there is none."""
INTERRUPTED_S = 2.0
"""How long what was read before a Ctrl-C may take to be acked."""
MAX_SCANS = 100
"""How many simulated scans one process plays; each holds its network in memory."""


@click.command()
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path), required=False
)
@click.option(
    "--from", "source", type=click.Choice(ADAPTER_NAMES), help="What the input is; NDJSON unless given."
)
@click.option("--scan", "scan_id", metavar="ID", help="The scan; without it each line names its own scan_id.")
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
@click.option("--run-dir", default="", help="Directory of the pipeline's ZeroMQ sockets.")
def emit(
    file: Path | None,
    source: str | None,
    scan_id: str | None,
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
) -> int:
    """Send events from FILE, or from standard input, and wait until every one is acknowledged.

    \b
        nmap -sV -oX - 10.0.0.0/24 | emit --from nmap --scan office
        my-tool --json | emit --scan office
        emit --simulate heroforge
        emit --replay office.ndjson --speed 10

    A line that is no event is told on stderr and the rest goes on; the exit code is then 1. With --scan-start
    or --scan-end and neither FILE nor --from, no input is read.

    With --spool, a run that was killed is finished by `emit --spool FILE --resume`; or by the same command
    with the rest of its input, beginning after the events it had taken, whose number is told. Nothing is then
    lost or doubled. A --replay or --simulate has no rest: only --resume finishes it.
    """
    from pipeline.runtime import die_with_parent

    die_with_parent()
    reads = file or source or scan_start or scan_end or part
    _check_usage(simulate, recording, resume, reads, seed, speed, scans)
    if resume and spool is None:
        raise click.UsageError("--resume needs the --spool FILE of the run that was killed")
    if scan_id is not None and not is_scan_id(scan_id):
        raise click.BadParameter(f"{scan_id!r} is no scan id", param_hint="--scan")
    speed = 1.0 if speed is None else speed
    work: Callable[[Sender], None]
    if resume:
        work = _nothing_more
    elif simulate:
        from pipeline.producer.playing import play

        scan_ids = _simulated_ids(scan_id or "demo", scans or 1)
        scan_id = scan_ids[0] if len(scan_ids) == 1 else None
        work = partial(play, scan_ids=scan_ids, seed=1 if seed is None else seed, speed=speed)
    elif recording:
        from pipeline.producer.playing import replay

        work = partial(replay, file=recording, speed=speed)
    else:
        if scan_id is None and (source == "nmap" or scan_start or scan_end):
            raise click.UsageError("--scan is needed: nothing in the input names the scan")
        is_part = part or scan_start or scan_end
        has_input = file is not None or source is not None or not (scan_start or scan_end)
        work = partial(
            _forward,
            file=file,
            adapter=open_adapter(source or "ndjson", part=is_part) if has_input else None,
            first=encode_event(ScanStarted(scan_id=scan_id)) if scan_start else None,
            last=encode_event(ScanCompleted(scan_id=scan_id)) if scan_end else None,
        )
    return _run(work, scan_id, run_dir, spool, own=own, fresh=bool(simulate or recording))


def _check_usage(
    simulate: str | None,
    recording: Path | None,
    resume: bool,
    reads: object,
    seed: int | None,
    speed: float | None,
    scans: int | None,
) -> None:
    given = {"--simulate": simulate, "--replay": recording, "--resume": resume}
    chosen = [name for name, value in given.items() if value]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)} do not go together")
    if chosen and reads:
        raise click.UsageError(
            f"{chosen[0]} reads no input; leave out FILE, --from, --part, --scan-start, --scan-end"
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


def _run(
    work: Callable[[Sender], None],
    scan_id: str | None,
    run_dir: str,
    spool: Path | None,
    *,
    own: bool,
    fresh: bool,
) -> int:
    """Do the work once a pipeline answers, and see everything acked; return the exit code.

    Args:
        own: whether it claims the scans it feeds.
        fresh: whether the work begins anew each time, so that it cannot go on with an earlier run's spool.
    """
    from pipeline.emitter import Emitter
    from pipeline.producer.sender import Sender

    # As a Ctrl-C, which must be able to end a read and a wait for room: what was read is still sent.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    emitter = Emitter(scan_id, run_dir=run_dir, own=own, spool=spool)
    sender = Sender(emitter, scan_id, _notice)
    if emitter.resumed:
        taken = sum(resumed.taken for resumed in emitter.resumed)
        left = sum(resumed.unacked for resumed in emitter.resumed)
        if fresh:
            raise OperatorError(
                f"{spool}: holds a run that was not finished, {left} of its {taken} events not acknowledged; "
                f"finish it with --resume"
            )
        _notice(f"{spool}: {left} of the {taken} events of an earlier run were not acknowledged and go first")
        sender.resume(emitter.resumed)
    interrupted = False
    try:
        emitter.wait_ready(READY_S)
        try:
            work(sender)
            sender.finish()
        except KeyboardInterrupt:
            interrupted = True
    finally:
        unacked = _close(emitter)
    sender.tell_rejected()
    kept = f" and kept in {spool}" if spool else ""
    _notice(sender.summary() + (f", {unacked} not acknowledged{kept}" if unacked else ""))
    if interrupted:
        return 130
    return 1 if sender.problems else 0


def _close(emitter: Emitter) -> int:
    """Stop the emitter; return how many events are given up, or left in the spool."""
    from pipeline.emitter import EmitterFenced

    try:
        emitter.close(INTERRUPTED_S)
    except NotDelivered as error:
        return error.unacked
    except EmitterFenced:
        return emitter.unacked  # it has been raised before, where it was met
    return 0


def _nothing_more(_sender: Sender) -> None:
    """Read nothing: what the spool held is on its way."""


def _forward(
    sender: Sender, *, file: Path | None, adapter: Adapter | None, first: bytes | None, last: bytes | None
) -> None:
    if first is not None:
        sender.send(first)
    if adapter is not None:
        _read(sender, file, adapter)
    if last is not None:
        sender.send(last)


def _read(sender: Sender, file: Path | None, adapter: Adapter) -> None:
    is_file = file is not None and str(file) != "-"
    if not is_file and sys.stdin.isatty():
        _notice("reading from the terminal; end with Ctrl-D")
    descriptor = os.open(str(file), os.O_RDONLY) if is_file else sys.stdin.fileno()
    try:
        while chunk := _next_chunk(descriptor, sender, adapter):
            for item in adapter.feed(chunk):
                sender.send(item)
            sender.tell_rejected()
    except OSError as error:
        raise OperatorError(f"{file or 'standard input'}: {error.strerror}") from None
    finally:
        if is_file:
            os.close(descriptor)
    for item in adapter.close():
        sender.send(item)


def _next_chunk(descriptor: int, sender: Sender, adapter: Adapter) -> bytes:
    try:
        return os.read(descriptor, READ_BYTES)
    except KeyboardInterrupt:
        # The tool in front of us was interrupted too; those who watch are told, if its adapter can tell.
        for item in adapter.close():
            if isinstance(item, bytes):
                sender.send(item)
        raise


def _notice(line: str) -> None:
    click.echo(line, err=True)
