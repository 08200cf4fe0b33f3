"""The `emit` process: standard input, a file or a simulation, through the emitter into the pipeline.

Events leave as they come: what a read returns is parsed and sent at once. Nothing is ever printed on
standard output.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
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
    "--speed",
    type=click.FloatRange(min=0, max=1e6),
    help="How many times faster to play; 0 is as fast as possible, 1 unless given.",
)
@click.option(
    "--scans", type=click.IntRange(1, MAX_SCANS), help="Play so many scans side by side: ID-1, ID-2 …"
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
    seed: int | None,
    speed: float | None,
    scans: int | None,
    run_dir: str,
) -> int:
    """Send events from FILE, or from standard input, and wait until every one is acknowledged.

    \b
        nmap -sV -oX - 10.0.0.0/24 | emit --from nmap --scan office
        my-tool --json | emit --scan office
        emit --simulate heroforge

    A line that is no event is told on stderr and the rest goes on; the exit code is then 1. With --scan-start
    or --scan-end and neither FILE nor --from, no input is read.
    """
    from pipeline.runtime import die_with_parent

    die_with_parent()
    _check_usage(simulate, file or source or scan_start or scan_end or part, seed, speed, scans)
    if scan_id is not None and not is_scan_id(scan_id):
        raise click.BadParameter(f"{scan_id!r} is no scan id", param_hint="--scan")
    if simulate:
        scan_ids = _simulated_ids(scan_id or "demo", scans or 1)
        speed = 1.0 if speed is None else speed
        work = partial(_play, scan_ids=scan_ids, seed=1 if seed is None else seed, speed=speed)
        return _run(work, scan_ids[0] if len(scan_ids) == 1 else None, run_dir)
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
    return _run(work, scan_id, run_dir)


def _check_usage(simulate: str | None, reads: object, *simulation: object) -> None:
    if simulate and reads:
        raise click.UsageError(
            "--simulate reads no input; leave out FILE, --from, --part, --scan-start, --scan-end"
        )
    if not simulate and any(option is not None for option in simulation):
        raise click.UsageError("--seed, --speed and --scans go with --simulate")


def _simulated_ids(base: str, scans: int) -> list[str]:
    ids = [base] if scans == 1 else [f"{base}-{number}" for number in range(1, scans + 1)]
    if not is_scan_id(ids[-1]):
        raise click.BadParameter(f"{ids[-1]!r} is no scan id: 64 characters at most", param_hint="--scan")
    return ids


def _run(work: Callable[[Sender], None], scan_id: str | None, run_dir: str) -> int:
    """Do the work once a pipeline answers, and see everything acked; return the exit code."""
    from pipeline.emitter import Emitter
    from pipeline.producer.sender import Sender

    # As a Ctrl-C, which must be able to end a read and a wait for room: what was read is still sent.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    emitter = Emitter(scan_id, run_dir=run_dir)
    sender = Sender(emitter, scan_id, _notice)
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
    _notice(sender.summary() + (f", {unacked} not acknowledged" if unacked else ""))
    if interrupted:
        return 130
    return 1 if sender.problems else 0


def _close(emitter: Emitter) -> int:
    """Stop the emitter; return how many events are given up."""
    try:
        emitter.close(INTERRUPTED_S)
    except NotDelivered as error:
        return error.unacked
    return 0


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


def _play(sender: Sender, *, scan_ids: list[str], seed: int, speed: float) -> None:
    from pipeline.producer.simulate import heroforge

    pause = threading.Event()  # never set: a wait that a signal can end
    start: float | None = None
    scans = [heroforge(seed + index, scan_id) for index, scan_id in enumerate(scan_ids)]
    for step in zip(*scans, strict=True):
        now = time.monotonic()
        start = now if start is None else start
        if speed and start + step[0][0] / speed > now:
            pause.wait(start + step[0][0] / speed - now)
        for scan_id, (_, raw) in zip(scan_ids, step, strict=True):
            sender.send(raw, scan_id)
        sender.tell_rejected()


def _notice(line: str) -> None:
    click.echo(line, err=True)
