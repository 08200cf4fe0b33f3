"""Runs: consecutive events that are treated alike, so that most work is done once a run. Pure.

Made by `batcher` of what a message brings, numbered by `channel`, cut into frames by `pending`.

=============================== ======================================================================
events                          runs
=============================== ======================================================================
facts that follow each other    one run, however many
critical, state, a life's start a run each
=============================== ======================================================================

Whatever is done with a run is done as if its events came one by one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from pipeline.errors import EventRejected
from pipeline.event import FACT, AnyEvent, Catalogue, Treatment, read_event, read_events


@dataclass(slots=True)
class Run:
    """Consecutive events.

    Attributes:
        offset: the place of its first event in the message it came in.
        raws: the JSON of each event.
        events: the same, typed, until they are folded into the state; empty then.
        treatment: how each is treated.
        size_bytes: of all.
        first: the seq of the first event; 0 until the run is accepted.
        received_at: monotonic seconds.
    """

    offset: int
    raws: list[bytes]
    events: list[AnyEvent]
    treatment: Treatment
    size_bytes: int
    first: int = 0
    received_at: float = 0.0

    def __len__(self) -> int:
        return len(self.raws)

    def fitting(self, room_bytes: int) -> int:
        """Return how many of its first events are within so many bytes."""
        if self.size_bytes <= room_bytes:
            return len(self.raws)
        return sum(size <= room_bytes for size in accumulate(map(len, self.raws)))

    def part(self, start: int, stop: int, treatment: Treatment | None = None) -> Run:
        """Return the events `start` to `stop - 1` of it as a run, of another treatment if one is given."""
        raws = self.raws[start:stop]
        return Run(
            self.offset + start,
            raws,
            self.events[start:stop],
            treatment or self.treatment,
            sum(map(len, raws)),
            self.first + start,
            self.received_at,
        )


def read_runs(raws: Sequence[bytes | None], catalogue: Catalogue) -> tuple[list[Run], list[EventRejected]]:
    """Return the runs of what a message brings.

    Args:
        raws: the JSON of each event; None for a number that carries none.
        catalogue: how each event type is treated.

    Returns:
        (the runs, why others are no events: only a peer that went round ingest can send such).
    """
    present = [raw for raw in raws if raw is not None]
    if len(present) == len(raws):
        with contextlib.suppress(EventRejected):
            return _runs(0, present, read_events(present), catalogue), []
    runs: list[Run] = []
    rejected: list[EventRejected] = []
    for offset, raw in enumerate(raws):  # which is rare: each a run of its own
        if raw is not None:
            try:
                runs += _runs(offset, [raw], [read_event(raw)], catalogue)
            except EventRejected as error:
                rejected.append(error)
    return runs, rejected


def _runs(offset: int, raws: list[bytes], events: list[AnyEvent], catalogue: Catalogue) -> list[Run]:
    whole = Run(offset, raws, events, FACT, sum(map(len, raws)))
    if raws and catalogue.all_facts(events):
        return [whole]
    runs: list[Run] = []
    start = 0
    for index, treatment in enumerate(catalogue.treatments(events, raws)):
        if treatment is not FACT:
            if start < index:
                runs.append(whole.part(start, index))
            runs.append(whole.part(index, index + 1, treatment))
            start = index + 1
    if start < len(raws):
        runs.append(whole.part(start, len(raws)) if start else whole)
    return runs
