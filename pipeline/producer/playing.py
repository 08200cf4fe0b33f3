"""Events sent at their time: a simulated scan, or a recording. Shell: it waits.

Sits between `emit` and the sender. What is due, and when, comes from `simulate` and `replay`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import EventRejected, OperatorError
from pipeline.log import escape
from pipeline.producer.adapters import Problem
from pipeline.producer.description import Description
from pipeline.producer.replay import MAX_LINE_BYTES, Pace, read_line
from pipeline.producer.terminal import Terminal

if TYPE_CHECKING:
    from pipeline.producer.sender import Sender


class _Player:
    """Waits until an event is due. Time runs from the first wait, `speed` times as fast; 0 never waits."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._start: float | None = None
        self._pause = threading.Event()  # never set: a wait that a signal can end

    def wait(self, due_s: float) -> None:
        if not self._speed:
            return
        now = time.monotonic()
        self._start = now if self._start is None else self._start
        if self._start + due_s / self._speed > now:
            self._pause.wait(self._start + due_s / self._speed - now)


def play(sender: Sender, *, scan_ids: list[str], seed: int, speed: float, description: Description) -> None:
    """Play a simulated scan, or several side by side.

    Args:
        description: put into the `scanStarted` of each.
        speed: how many times faster than it would take; 0 for as fast as possible.
    """
    from pipeline.producer.simulate import heroforge

    player = _Player(speed)
    scans = [heroforge(seed + index, scan_id) for index, scan_id in enumerate(scan_ids)]
    for step in zip(*scans, strict=True):
        player.wait(step[0][0])
        for scan_id, (_, raw) in zip(scan_ids, step, strict=True):
            sender.send(description.put(raw), ("scan", scan_id))
        sender.tell_rejected()


def replay(sender: Sender, terminal: Terminal, *, file: Path, speed: float) -> None:
    """Send a recording again, in its order.

    Args:
        terminal: where a bar shows how much of the recording was played.
        speed: how many times faster than it was recorded; 0 for as fast as possible.

    Raises:
        OperatorError: the file cannot be read.
    """
    player, pace = _Player(speed), Pace()
    for number, line in enumerate(_lines(file, terminal), 1):
        if len(line) > MAX_LINE_BYTES:
            sender.send(Problem(f"line {number}", f"line exceeds {MAX_LINE_BYTES} bytes; skipped"))
            continue
        if not line.strip():
            continue
        try:
            replayed = read_line(line)
        except EventRejected as error:
            sender.send(Problem(f"line {number}", error.message))
            continue
        player.wait(pace.due_s(replayed.ts))
        sender.send(replayed.raw, replayed.target)
        sender.tell_rejected()


def _lines(file: Path, terminal: Terminal) -> Iterator[bytes]:
    """Yield the lines of a file, without their ends; of one that is too long only a first piece."""
    try:
        with file.open("rb") as opened, terminal.bar(escape(file.name), file.stat().st_size) as advance:
            while line := opened.readline(MAX_LINE_BYTES + 2):
                piece, read_bytes = line, len(line)
                while not piece.endswith(b"\n") and (piece := opened.readline(MAX_LINE_BYTES)):
                    read_bytes += len(piece)
                yield line.removesuffix(b"\n").removesuffix(b"\r")
                advance(read_bytes)
    except OSError as error:
        raise OperatorError(f"{file}: {error.strerror}") from None
