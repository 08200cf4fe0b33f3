"""What one producer may send to an ingest: events and bytes a second, and scans. Pure.

Asked by `admission`, before an event is looked at, and only if there is a quota at all.

============================== =======================================================================
a producer is                  told by
============================== =======================================================================
its key                        the credential its message came with
without one, its `pid`         which it chooses itself: who wants more can give itself another
without either                 all foreign producers together are one
============================== =======================================================================

============================== =======================================================================
a message                      what happens
============================== =======================================================================
within the rates               taken
beyond a rate                  numbered: held back, retry `rate`, sent again after a pause, nothing is
                               lost; foreign: rejected, `rate`
a sign of life                 passed on, once a second and scan; of a scan that is not known here it
                               counts as an event, and is dropped beyond the rate
of a scan without room         see `open_scans`; held back: retry `quota`; refused: nack `quota`
============================== =======================================================================

A message is taken whole as soon as there is a token, so what is beyond is owed. What is sent again counts
again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from pipeline.errors import RejectReason
from pipeline.event import ends_channel
from pipeline.ingest.config import QuotasSection
from pipeline.ingest.open_scans import HELD_S, NoRoom, OpenScans
from pipeline.token_bucket import TokenBucket
from pipeline.wire import Envelope

FOREIGN = "foreign"
"""Who all foreign producers are together."""


def producer_of(credential: str, pid: str) -> str:
    """Return who a producer is: no key's name, no pid and no stranger is taken for another kind."""
    if credential:
        return f"key {credential}"
    return f"pid {pid}" if pid else FOREIGN


@dataclass(frozen=True, slots=True)
class Held:
    """A message that is held back: its producer sends it again.

    Attributes:
        reason: `rate` or `quota`.
        wait_s: seconds after which that may do.
        problem: in words, with the limit.
    """

    reason: RejectReason
    wait_s: float
    problem: str


@dataclass(slots=True)
class _Rates:
    events: TokenBucket | None
    size: TokenBucket | None


class Quotas:
    """Args:
    settings: how much.
    max_producers: producers whose rates are kept; beyond it the one unheard longest begins anew.
    """

    def __init__(self, settings: QuotasSection, max_producers: int) -> None:
        self._settings = settings
        self._max_producers = max_producers
        self._rates: OrderedDict[str, _Rates] = OrderedDict()
        self._scans = OpenScans(*self._scan_limits())

    def _scan_limits(self) -> tuple[int, int, float, int]:
        told = self._settings
        return told.max_open_scans, told.new_scans_per_hour, told.silent_s, self._max_producers

    def follow(self, settings: QuotasSection, max_producers: int) -> None:
        """Judge by other quotas from now on; whoever owes something begins anew."""
        if settings != self._settings:
            self._rates.clear()
        self._settings = settings
        self._max_producers = max_producers
        self._scans.follow(*self._scan_limits())

    @property
    def any(self) -> bool:
        """Whether anything is limited at all; if not, nobody has to be asked."""
        told = self._settings
        return bool(told.events_per_s or told.bytes_per_s or told.max_open_scans or told.new_scans_per_hour)

    def hold(self, who: str, events: int, size_bytes: int, now: float) -> Held | None:
        """Count a message, if it is within the rates.

        Args:
            who: from `producer_of`.
            events: how many it has.
            size_bytes: of the whole message.
            now: monotonic seconds.

        Returns:
            None when it is; else until when to hold it back.
        """
        told = self._settings
        if not (told.events_per_s or told.bytes_per_s):
            return None
        rates = self._rates.get(who)
        if rates is None:
            rates = self._rates[who] = _Rates(
                _bucket(told.events_per_s, told.burst_s), _bucket(told.bytes_per_s, told.burst_s)
            )
            if len(self._rates) > self._max_producers:
                self._rates.popitem(last=False)
        else:
            self._rates.move_to_end(who)
        asked = [
            (bucket, count) for bucket, count in ((rates.events, events), (rates.size, size_bytes)) if bucket
        ]
        at = max(bucket.available_at(now) for bucket, _ in asked)
        if at > now:
            return Held(
                RejectReason.RATE,
                at - now,
                f"more than quotas.events_per_s = {told.events_per_s:g} and quotas.bytes_per_s = "
                f"{told.bytes_per_s:g} let a producer send (0: any)",
            )
        for bucket, count in asked:
            bucket.take(now, count)
        return None

    def refuse(self, who: str, channel: str, events: list[bytes], now: float) -> str:
        """Return why the events of a scan do not come in that have no numbers; empty if they do."""
        no_room = self._scans.enter(who, channel, now, begins=True)
        if no_room is not None:
            return no_room.problem
        self._leave_ended(who, channel, events)
        return ""

    def _leave_ended(self, who: str, channel: str, events: list[bytes]) -> None:
        """Take notice of events that come in: if the last one ends the scan, it is open no more."""
        if events and ends_channel(events[-1]):
            self._scans.leave(who, channel)

    def judge(self, envelope: Envelope, who: str, size_bytes: int, now: float) -> Held | NoRoom | None:
        """Say what is to be done with an envelope.

        Args:
            envelope: not looked at yet.
            who: from `producer_of`.
            size_bytes: of the whole message.
            now: monotonic seconds.

        Returns:
            None if it may come in. `NoRoom` refuses every event in it. Of a sign of life `Held` means only
            that it is not passed on.
        """
        header = envelope.header
        count = len(envelope.events) + len(header.rejected)
        if not count:
            return self._judge_sign(who, header.channel, header.sign, size_bytes, now)
        held = self.hold(who, count, size_bytes, now)
        if held is not None:
            return held
        no_room = self._scans.enter(who, header.channel, now, begins=header.pseq <= 1)
        if no_room is not None and no_room.held:
            return Held(RejectReason.QUOTA, HELD_S, no_room.problem)
        if header.sign == "bye":
            self._scans.leave(who, header.channel)
        elif no_room is None:
            self._leave_ended(who, header.channel, envelope.events)
        return no_room

    def _judge_sign(self, who: str, channel: str, sign: str, size_bytes: int, now: float) -> Held | None:
        scans = self._scans
        passed = scans.leave(who, channel) if sign == "bye" else scans.sign(who, channel, now)
        if passed is None:
            return self.hold(who, 1, size_bytes, now)
        return None if passed else Held(RejectReason.QUOTA, HELD_S, "a sign of life that nobody needs")


def _bucket(per_s: float, burst_s: float) -> TokenBucket | None:
    return TokenBucket(per_s, max(1.0, per_s * burst_s)) if per_s else None
