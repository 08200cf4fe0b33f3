"""The run of `emit` around its work: an emitter that answers, everything acked, and what is said of it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import NotDelivered, OperatorError
from pipeline.producer.terminal import Terminal

if TYPE_CHECKING:
    from pipeline.emitter import Emitter
    from pipeline.endpoints import Endpoints
    from pipeline.producer.sender import Sender

READY_S = 5.0
"""How long a pipeline may take to answer before `emit` says that there is none."""
INTERRUPTED_S = 2.0
"""How long what was read before a Ctrl-C may take to be acked."""

Work = Callable[["Sender"], bool | None]
"""What is sent. It returns False if it did not do well although all that it read was sent."""


def deliver(
    work: Work,
    scan_id: str | None,
    terminal: Terminal,
    *,
    where: Endpoints,
    spool: Path | None,
    own: bool,
    fresh: bool,
) -> int:
    """Do the work once a pipeline answers, and see everything acked; return the exit code.

    Args:
        where: where the pipeline's sockets are.
        own: whether it claims the scans it feeds.
        fresh: whether the work begins anew each time, so that it cannot go on with an earlier run's spool.
    """
    from pipeline.emitter import Emitter
    from pipeline.producer.sender import Sender

    # As a Ctrl-C, which must be able to end a read and a wait for room: what was read is still sent.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    emitter = Emitter(scan_id, endpoints=where, own=own, spool=spool)
    sender = Sender(emitter, scan_id, terminal.notice)
    if emitter.resumed:
        taken = sum(resumed.taken for resumed in emitter.resumed)
        left = sum(resumed.unacked for resumed in emitter.resumed)
        if fresh:
            raise OperatorError(
                f"{spool}: holds a run that was not finished, {left} of its {taken} events not acknowledged; "
                f"finish it with --resume"
            )
        terminal.notice(
            f"{spool}: {left} of the {taken} events of an earlier run were not acknowledged and go first"
        )
        sender.resume(emitter.resumed)
    interrupted = False
    failed = False
    try:
        emitter.wait_ready(READY_S)
        try:
            failed = work(sender) is False
            sender.finish()
        except KeyboardInterrupt:
            interrupted = True
    finally:
        unacked = _close(emitter)
    sender.tell_rejected()
    kept = f" and kept in {spool}" if spool else ""
    terminal.notice(sender.summary() + (f", {unacked} not acknowledged{kept}" if unacked else ""))
    if interrupted:
        return 130
    return 1 if failed or sender.problems else 0


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
