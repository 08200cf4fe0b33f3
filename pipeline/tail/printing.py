"""What a tail prints of a frame or a page, and how much it has printed. Shell: it writes.

Which events are due is not its business; `following` says so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline.errors import MessageMalformed, OperatorError
from pipeline.tail.figures import plain, table
from pipeline.tail.options import PrintOptions
from pipeline.tail.rates import Rates
from pipeline.tail.record import RecordFile
from pipeline.tail.render import (
    Passing,
    delta,
    event_json,
    event_line,
    for_terminal,
    frame_line,
    moment_of,
    passing,
    template_line,
)
from pipeline.wire import split_events


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Events `first` to `last` of a channel's life, as a frame or a page brings them.

    Attributes:
        channel: `kind/id`.
        epoch: the life.
        first: seq of the first event, left out or not.
        last: seq of the last one.
        body: the JSON array of the events that are there.
        merged: how many were left out.
        at: each event's offset from `first`; empty when none was left out.
        size_bytes: of the whole message.
        live: whether it came as it was published: its time of arrival, and how fast it came, say something.
        mark: what else is to be said of it: `critical`, `history` or nothing.
    """

    channel: str
    epoch: int
    first: int
    last: int
    body: bytes
    merged: int = 0
    at: tuple[int, ...] = ()
    size_bytes: int
    live: bool = True
    mark: str = ""


class Printer:
    """Args:
    options: what is printed.
    output: the file descriptor it is written to.
    record: where the same events are appended, too; None for nowhere.
    now: monotonic seconds.

    Attributes:
        printed: how many lines; events, where figures are printed.
    """

    def __init__(self, options: PrintOptions, output: int, record: RecordFile | None, now: float) -> None:
        self._options = options
        self._output = output
        self._record = record
        self._rates = Rates(now) if options.style == "stats" else None
        self._drawn = 0
        self._before: datetime | None = None
        self.printed = 0

    @property
    def enough(self) -> bool:
        """Whether the count is reached."""
        return self._options.count is not None and self.printed >= self._options.count

    def next_deadline(self) -> float | None:
        """Return when `handle_timeout` has figures to print; None if it never has."""
        return self._rates.next_deadline() if self._rates is not None else None

    def handle_timeout(self, now: float, arrived: datetime, *, last: bool = False) -> None:
        """Print the figures when it is time to.

        Args:
            now: monotonic seconds.
            arrived: the same moment as a time of day, with a time zone.
            last: print them in any case, for the last time.

        Raises:
            OperatorError: they cannot be written.
            BrokenPipeError: their reader has gone.
        """
        if self._rates is None or not (last or now >= self._rates.next_deadline()):
            return
        rows = self._rates.take(now)
        if not self._options.terminal:
            self._write(b"".join(line.encode() + b"\n" for line in plain(rows, arrived)))
            return
        lines = table(rows, self._rates.total, now - self._rates.since, shutil.get_terminal_size())
        # Over what was drawn before, without wrapping: a line that took two would leave one behind.
        above = f"\x1b[{self._drawn}F" if self._drawn else ""
        drawn = "".join(f"{line}\x1b[K\n" for line in lines)
        self._drawn = len(lines)
        self._write(f"\x1b[?7l{above}{drawn}\x1b[J\x1b[?7h".encode())

    def print(self, events: Range, due: int, arrived: datetime) -> None:
        """Record and print what is due of a range of events, up to the count.

        Args:
            events: the range.
            due: seq of the first event that is due.
            arrived: when it came, with a time zone.

        Raises:
            MessageMalformed: it does not hold what it says.
            OperatorError: it cannot be recorded, or not be written.
            BrokenPipeError: its reader has gone.
        """
        if self._options.style == "frames":
            self.printed += 1
            self._write(self._frame_line(events, arrived) + b"\n")
            return
        chosen = self._choose(events, due)
        if self._record is not None and chosen:
            self._record.write(b"".join(event_json(event) + b"\n" for event in chosen))
        self.printed += len(chosen)
        if self._rates is not None:
            for event in chosen:
                self._rates.add(event.channel, event.type, live=events.live)
        else:
            self._write(b"".join(self._event_line(event, arrived, events.live) + b"\n" for event in chosen))

    def _choose(self, events: Range, due: int) -> list[Passing]:
        options = self._options
        raws = split_events(events.body)
        offsets: Sequence[int] = events.at if events.merged else range(events.last - events.first + 1)
        if len(offsets) != len(raws):
            raise MessageMalformed(f"{events.channel}: {len(raws)} events for {len(offsets)} numbers")
        left = len(raws) if options.count is None else options.count - self.printed
        chosen: list[Passing] = []
        for offset, raw in zip(offsets, raws, strict=True):
            if len(chosen) == left:
                break
            if events.first + offset < due:
                continue
            event = passing(events.channel, events.epoch, events.first + offset, raw)
            if options.choice.wants(event.type, raw):
                chosen.append(event)
        return chosen

    def _event_line(self, event: Passing, arrived: datetime, live: bool) -> bytes:
        options = self._options
        if options.style == "text":
            before = self._delta(moment_of(event, arrived, live=live)) if options.delta else ""
            if options.template is not None:
                return template_line(event, options.template, arrived, live=live, before=before).encode()
            return event_line(event, arrived, live=live, colour=options.colour, before=before).encode()
        line = event_json(event) if options.style == "json" else event.raw
        return for_terminal(line.decode()).encode() if options.terminal else line

    def _frame_line(self, events: Range, arrived: datetime) -> bytes:
        return frame_line(
            events.channel,
            events.epoch,
            events.first,
            events.last,
            events.merged,
            events.size_bytes,
            arrived,
            live=events.live,
            mark=events.mark,
            before=self._delta(arrived if events.live else None) if self._options.delta else "",
        ).encode()

    def _delta(self, moment: datetime | None) -> str:
        before, self._before = self._before, moment or self._before
        return delta(moment, before)

    def _write(self, lines: bytes) -> None:
        left = memoryview(lines)
        while left:
            try:
                left = left[os.write(self._output, left) :]
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OperatorError(f"standard output: {error.strerror}") from None
