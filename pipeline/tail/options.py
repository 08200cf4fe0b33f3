"""What a tail is told: what it reads, what it prints, and when it is done. Pure.

Made by the command line; the other files of `tail` only read it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.following import Start
from pipeline.tail.choosing import Choice
from pipeline.tail.template import Template

Style = Literal["text", "json", "raw", "frames", "stats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintOptions:
    """What is printed, and until when.

    Attributes:
        choice: which events.
        count: stop after so many events (frames and pages, in that style); None for no end.
        style: how it is printed; `stats` prints no event, but how many there are.
        template: how each event is printed in the text style; None for the usual line.
        delta: whether a line begins with the time since the line before.
        colour: whether colours are used, in the text style.
        terminal: whether the output is a terminal: JSON is printed in printable ASCII, as a terminal could
            be driven by it, and figures are refreshed in place.
    """

    choice: Choice = field(default_factory=Choice)
    count: int | None = None
    style: Style = "text"
    template: Template | None = None
    delta: bool = False
    colour: bool = False
    terminal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TailOptions:
    """What is read, and until when.

    Attributes:
        scan_ids: only these scans; empty for everything.
        start: where to begin; a position goes with exactly one scan.
        follow: whether to go on with what is published from then on; else the head is the end.
        until_complete: stop when each of the scans has ended.
        timeout_s: stop after so many seconds; None for no end.
        record: append every event that is printed to this file, too.
        printing: what is printed, and how.
    """

    scan_ids: tuple[str, ...] = ()
    start: Start = "live"
    follow: bool = True
    until_complete: bool = False
    timeout_s: float | None = None
    record: Path | None = None
    printing: PrintOptions = field(default_factory=PrintOptions)

    @property
    def awaits(self) -> bool:
        """Whether something must come before the time is over."""
        return self.printing.count is not None or self.until_complete or not self.follow


WAIT_TOLD_S = 5.0
"""After so long it is told what is waited for, as `emit` gives up then."""


def waited_for(
    place: str, *, answered: bool, unknown: Collection[str], key: str = "", wants_key: bool = False
) -> str | None:
    """Return, in words, what is still waited for; None for nothing but events.

    Args:
        place: the run directory.
        answered: whether a worker has given a sign of life.
        unknown: the channels that were asked for and that nobody knows.
        key: our public key, which who answers must let in; empty for none.
        wants_key: whether who answers has a key itself, as far as is told.
    """
    if not answered:
        why = ""
        if key:
            why = (
                f"; if it runs, it does not let in this key: {key}, or has another server key than was given"
            )
        elif wants_key:
            why = "; if it runs, it lets in nobody without a key: give --key-file, and its public key"
        return f"waiting: no pipeline answers in {place}{why}"
    return f"waiting: no such scan yet: {', '.join(sorted(unknown))}" if unknown else None


def not_reached(options: TailOptions, printed: int, running: list[str]) -> str:
    """Return, in words, what did not come in time.

    Args:
        options: what was wanted, with a time.
        printed: how many lines came.
        running: the channels whose end is still awaited.
    """
    printing = options.printing
    within = f"within {options.timeout_s:g} s"
    if printing.count is None and running:
        return f"{', '.join(running)} did not end {within}"
    if printing.count is None:
        return f"the head was not reached {within}"
    unit = "frames" if printing.style == "frames" else "events"
    types = f" of type {' or '.join(sorted(printing.choice.types))}" if printing.choice.types else ""
    scans = f" of scan {' or '.join(options.scan_ids)}" if options.scan_ids else ""
    return f"{printed} of {printing.count} {unit}{types}{scans} came {within}"
