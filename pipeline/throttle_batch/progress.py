"""A scan's progress made honest: what its producers report, and what of it is shown. Pure.

Part of `scan_state`. Knows phases, percentages and times since the scan's first event; no events, no clock.

============================== =======================================================================
reported                       shown
============================== =======================================================================
a phase without a percentage   the phase; the percentage stays until the phase has one of its own
0 to 100                       the greater of this and what the phase had; never more than 99.9
100                            99.9, and `finalising`: the work is done, the end has not come
less than the phase had        what it had; counted as nonsense
below 0, above 100, NaN        the last honest value; counted as nonsense
much less in a new phase       this: percentages are of each phase, not of the scan (`per_phase`)
a phase that was there before  what that phase had, and on from there
the end                        100 when it completed; what it was when it failed
============================== =======================================================================

The time that is left is told only when there is reason to: not before enough was seen, not when progress
has paused for longer than it used to, not when the speeds seen differ too much. Where percentages are of
the whole scan, the phases to come may be as fast or as slow as any before: their speeds count too. A restart,
or a pause, begins the observation anew, because its speed is not the scan's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import msgspec

HIGHEST_UNFINISHED = 99.9
MAX_PHASES = 64
"""Phases remembered by name; of those beyond, only the present one."""
MAX_PHASE_LENGTH = 200

_PER_PHASE_DROP = 5.0
"""A new phase that begins so many points lower than the scan was counts from 0 again."""
_MAX_SAMPLES = 32
_LEAST_SAMPLES = 4
_LEAST_SPAN_S = 5.0
_LEAST_GAIN = 2.0
_PATIENCE = 3.0
"""How many times the longest pause seen between two samples is waited for the next one."""
_LEAST_PHASE_S = 2.0
"""A phase that was shorter says nothing of how fast the scan can be."""
_MARGIN = 1.1
"""By so much the range is wider than the speeds that were seen."""
_WIDEST = 10.0
"""A range whose ends differ by more than this factor says nothing."""


class Phase(msgspec.Struct, array_like=True):
    """A phase, in order of its first appearance.

    Attributes:
        name: at most `MAX_PHASE_LENGTH` characters.
        started_s: when it began first, seconds since the scan's first event.
        percent: the last honest percentage it reported; None without one.
        left_s: when another phase, or the end, followed; None while it is the present one.
    """

    name: str
    started_s: float
    percent: float | None = None
    left_s: float | None = None


class ProgressRecord(msgspec.Struct, array_like=True):
    """What of a progress outlives a restart: all but the speed."""

    phases: list[Phase] = []
    left_out: int = 0
    present: Phase | None = None
    percent: float | None = None
    finalising: bool = False
    nonsense: int = 0
    per_phase: bool = False
    carried_on: bool = False


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """How long it will take, in seconds, and between which bounds.

    Attributes:
        of: `scan`, or `phase` where percentages are, or may be, of each phase.
    """

    of: str
    seconds: float
    low: float
    high: float


class Progress:
    """Attributes:
    phases: name -> phase, in order of appearance; at most `MAX_PHASES`.
    left_out: how often a phase began that is not among them.
    percent: what is shown; None before anything was reported.
    finalising: the work is done, the end has not come.
    nonsense: how many reported percentages were not believed.
    per_phase: percentages are of each phase.
    """

    __slots__ = (
        "_carried_on",
        "_ended",
        "_present",
        "_samples",
        "_spacing_s",
        "finalising",
        "left_out",
        "nonsense",
        "per_phase",
        "percent",
        "phases",
    )

    def __init__(self) -> None:
        self.phases: dict[str, Phase] = {}
        self.left_out = 0
        self.percent: float | None = None
        self.finalising = False
        self.nonsense = 0
        self.per_phase = False
        self._carried_on = False
        self._ended = False
        self._present: Phase | None = None
        self._samples: list[tuple[float, float]] = []
        self._spacing_s = 0.0

    @property
    def phase(self) -> str | None:
        """The phase last named."""
        return self._present.name if self._present is not None else None

    def report(self, name: str, percent: float | None, at_s: float) -> None:
        """Take in a phase, and how far it says it is.

        Args:
            name: the phase; what is beyond `MAX_PHASE_LENGTH` characters is cut off.
            percent: as reported, whatever it is; None when nothing was.
            at_s: seconds since the scan's first event.
        """
        phase = self._present
        if phase is None or phase.name != name:
            phase = self._enter(name[:MAX_PHASE_LENGTH], at_s)
        if percent is None:
            return
        if not 0 <= percent <= 100:  # NaN is not either
            self.nonsense += 1
            return
        known = phase.percent
        if known is None:
            self._first(percent)
        elif percent < known:
            self.nonsense += 1
            return
        phase.percent = percent
        if self._ended:
            return
        self.finalising = percent >= 100
        self.percent = percent = min(percent, HIGHEST_UNFINISHED)
        samples = self._samples
        if not samples or (at_s - samples[-1][0] > self._spacing_s and percent > samples[-1][1]):
            self._sample(at_s, percent)

    def complete(self, at_s: float) -> None:
        """The end has come, and it is a good one."""
        self.percent = 100.0
        self.fail(at_s)

    def fail(self, at_s: float) -> None:
        """The end has come."""
        self.finalising = False
        self._ended = True
        self._samples.clear()
        if self._present is not None:
            self._present.left_s = at_s

    def observe_anew(self) -> None:
        """Forget the speed: after a pause or a restart what was before says nothing of it."""
        self._samples.clear()
        self._spacing_s = 0.0

    def time_left(self, at_s: float) -> TimeLeft | None:
        """Return how long it will take as things stand; None rather than something wrong.

        Args:
            at_s: now, in seconds since the scan's first event.
        """
        samples = self._samples
        if self.finalising or len(samples) < _LEAST_SAMPLES:
            return None
        (first_s, first), (last_s, last) = samples[0], samples[-1]
        if last_s - first_s < _LEAST_SPAN_S or last - first < _LEAST_GAIN:
            return None
        longest_s = max(later[0] - earlier[0] for earlier, later in pairwise(samples))
        if at_s - last_s > max(_LEAST_SPAN_S, _PATIENCE * longest_s):
            return None
        speeds: list[float] = []
        for part in (1, 2, 4):  # over all that was seen, its last half, its last quarter
            begin_s = last_s - (last_s - first_s) / part
            then_s, then = next(sample for sample in samples if sample[0] >= begin_s or sample is samples[-2])
            speeds.append((last - then) / (last_s - then_s))
        of = "phase"
        if self._carried_on and not self.per_phase:
            of = "scan"
            speeds += self._speeds_of_phases()
        since_s = at_s - last_s
        left = 100 - last
        low, high = left / max(speeds) / _MARGIN, left / min(speeds) * _MARGIN
        if high > _WIDEST * low:
            return None
        return TimeLeft(of, *(max(0.0, seconds - since_s) for seconds in (math.sqrt(low * high), low, high)))

    def _speeds_of_phases(self) -> list[float]:
        """Return the points a second of each phase that is over; percentages are of the whole scan."""
        speeds, before = [], 0.0
        for phase in self.phases.values():
            if phase.percent is None or phase.left_s is None:
                continue
            gained, took_s = phase.percent - before, phase.left_s - phase.started_s
            if gained > 0 and took_s >= _LEAST_PHASE_S:
                speeds.append(gained / took_s)
            before = max(before, phase.percent)
        return speeds

    def _enter(self, name: str, at_s: float) -> Phase:
        before = self._present
        if before is not None and before.name == name:
            return before
        if before is not None:
            before.left_s = at_s
        phase = self.phases.get(name)
        if phase is None:
            phase = Phase(name, at_s)
            if len(self.phases) < MAX_PHASES:
                self.phases[name] = phase
            else:
                self.left_out += 1
        elif not self._ended:
            phase.left_s = None
            if phase.percent is not None:
                self.percent = min(phase.percent, HIGHEST_UNFINISHED)
                self.observe_anew()
        if self._ended:
            phase.left_s = at_s
        else:
            self.finalising = False
        self._present = phase
        return phase

    def _first(self, percent: float) -> None:
        """See what a phase's first percentage tells: does the scan's go on with it, or begin anew?"""
        if self.percent is None:
            return
        if percent < self.percent - _PER_PHASE_DROP:
            self.per_phase = True
            self.observe_anew()
        elif percent < self.percent:
            self.observe_anew()
        else:
            self._carried_on = True

    def _sample(self, at_s: float, percent: float) -> None:
        if len(self._samples) == _MAX_SAMPLES:
            del self._samples[1:-1:2]
            self._spacing_s = (self._samples[-1][0] - self._samples[0][0]) / _MAX_SAMPLES
        self._samples.append((at_s, percent))

    # --- what outlives a restart ------------------------------------------------------------------

    def record(self) -> ProgressRecord:
        """Return what is to be kept."""
        return ProgressRecord(
            list(self.phases.values()),
            self.left_out,
            self._present,
            self.percent,
            self.finalising,
            self.nonsense,
            self.per_phase,
            self._carried_on,
        )

    def restore(self, record: ProgressRecord, *, ended: bool) -> None:
        """Go on from what `record` returned."""
        self.phases = {phase.name: phase for phase in record.phases}
        self.left_out = record.left_out
        present = record.present
        self._present = self.phases.get(present.name, present) if present is not None else None
        self.percent = record.percent
        self.finalising = record.finalising
        self.nonsense = record.nonsense
        self.per_phase = record.per_phase
        self._carried_on = record.carried_on
        self._ended = ended
