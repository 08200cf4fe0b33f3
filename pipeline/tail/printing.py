"""What a tail prints of a frame or a page, and how much it has printed. Shell: it writes.

Which events are due is not its business; `following` says so.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pipeline.errors import MessageMalformed, OperatorError
from pipeline.tail.record import RecordFile
from pipeline.tail.render import Passing, event_json, event_line, for_terminal, frame_line, passing
from pipeline.wire import split_events

Style = Literal["text", "json", "raw", "frames"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintOptions:
    """What is printed, and until when.

    Attributes:
        types: only events of these types; empty for all.
        not_types: no events of these types.
        count: stop after so many events (frames and pages, in that style); None for no end.
        style: how it is printed.
        colour: whether colours are used, in the text style.
        escape_json: whether JSON is printed in printable ASCII: for a terminal, which it could drive.
    """

    types: frozenset[str] = frozenset()
    not_types: frozenset[str] = frozenset()
    count: int | None = None
    style: Style = "text"
    colour: bool = False
    escape_json: bool = False


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
    mark: str = ""


class Printer:
    """Args:
    options: what is printed.
    output: the file descriptor it is written to.
    record: where the same events are appended, too; None for nowhere.

    Attributes:
        printed: how many lines.
    """

    def __init__(self, options: PrintOptions, output: int, record: RecordFile | None) -> None:
        self._options = options
        self._output = output
        self._record = record
        self.printed = 0

    @property
    def enough(self) -> bool:
        """Whether the count is reached."""
        return self._options.count is not None and self.printed >= self._options.count

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
            lines = [self._frame_line(events, arrived)]
        else:
            chosen = self._choose(events, due)
            if self._record is not None and chosen:
                self._record.write(b"".join(event_json(event) + b"\n" for event in chosen))
            lines = [self._event_line(event, arrived) for event in chosen]
        self.printed += len(lines)
        self._write(b"".join(line + b"\n" for line in lines))

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
            if event.type not in options.not_types and (not options.types or event.type in options.types):
                chosen.append(event)
        return chosen

    def _event_line(self, event: Passing, arrived: datetime) -> bytes:
        options = self._options
        if options.style == "text":
            return event_line(event, arrived, colour=options.colour).encode()
        line = event_json(event) if options.style == "json" else event.raw
        return for_terminal(line.decode()).encode() if options.escape_json else line

    @staticmethod
    def _frame_line(events: Range, arrived: datetime) -> bytes:
        return frame_line(
            events.channel,
            events.epoch,
            events.first,
            events.last,
            events.merged,
            events.size_bytes,
            arrived,
            mark=events.mark,
        ).encode()

    def _write(self, lines: bytes) -> None:
        left = memoryview(lines)
        while left:
            try:
                left = left[os.write(self._output, left) :]
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OperatorError(f"standard output: {error.strerror}") from None
