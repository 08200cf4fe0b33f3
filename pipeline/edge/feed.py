"""One watched channel: its recent frames, shared by all its browsers, and who is in step with it. Pure.

Filled by `upstream` through `hub`, read by `session` and `fan_out`. The ring holds contiguous frames only:
after a gap it begins anew, and every session that is behind asks history for what it misses. So a late join,
a gap, a lost tail, a restart and a slow client are one code path: a cursor. Readers whose cursor is at the
head sit in a `cohort`, which gives them a frame that follows; whatever else comes makes them stand up.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pipeline.edge.ages import Ages
from pipeline.edge.cohort import Cohort, Offer
from pipeline.edge.config import RingSection
from pipeline.edge.delivery import Delivery, join
from pipeline.edge.pace import tick
from pipeline.edge.variant import Variant

if TYPE_CHECKING:
    from pipeline.edge.session import Session

MAX_JOINED_BYTES = 262_144
"""Bytes of events in one joined delivery; a single frame may be larger."""
MAX_JOINED = 4
"""Joined deliveries held, for those of the same pace: as many as there are paces."""
MAX_CRITICALS = 256
MAX_CRITICAL_BYTES = 65_536
"""Critical frames held beyond the ring, for those who are given nothing else."""


class Feed:
    """Args:
    channel: `kind/id`.
    limits: bounds of the ring.
    max_lag_s: how old the next event due to a browser may become, before it is not given.

    Attributes:
        channel: `kind/id`.
        epoch: its present life as far as known; None when it does not exist.
        head: the last event known to be published in that life.
        sessions: the browsers that watch it.
        loose: those of them that are not in step: each is given what is due to it on its own.
        ring_bytes: bytes of events in the ring.
    """

    __slots__ = (
        "_ages",
        "_cohorts",
        "_critical_bytes",
        "_critical_upto",
        "_criticals",
        "_criticals_from",
        "_heard_to",
        "_joined",
        "_limits",
        "_marks",
        "_ring",
        "channel",
        "epoch",
        "head",
        "loose",
        "ring_bytes",
        "sessions",
    )

    def __init__(self, channel: str, limits: RingSection, max_lag_s: float) -> None:
        self.channel = channel
        self.epoch: int | None = None
        self.head = 0
        self.sessions: set[Session] = set()
        self.loose: set[Session] = set()
        self.ring_bytes = 0
        self._limits = limits
        self._ages = Ages(max_lag_s)
        self._cohorts: dict[Variant, Cohort] = {}
        self._ring: deque[Delivery] = deque()
        self._heard_to = 0
        self._criticals: deque[Delivery] = deque()
        self._criticals_from = 1
        self._critical_bytes = 0
        self._critical_upto = 0
        self._joined: deque[Delivery] = deque(maxlen=MAX_JOINED)
        self._marks: dict[int, tuple[int, int]] = {}

    @property
    def held_bytes(self) -> int:
        """Bytes of events held; those held twice count twice."""
        return self.ring_bytes + self._critical_bytes + sum(each.size_bytes for each in self._joined)

    def add(self, delivery: Delivery, now: float) -> bool:
        """Take in a live frame.

        Returns:
            Whether there is anything new in it.
        """
        if self.epoch is not None and delivery.epoch < self.epoch:
            return False
        if delivery.epoch != self.epoch:
            self._begin(delivery.epoch)
        if delivery.last <= self._heard_to:
            return False
        if delivery.first != self._heard_to + 1:
            self.clear()
            self._criticals_from = delivery.first
        if delivery.first == self.head + 1:
            self._queue(delivery)
        else:
            self._disperse()
        self._ring.append(delivery)
        self.ring_bytes += delivery.size_bytes
        self._heard_to = delivery.last
        self.head = max(self.head, delivery.last)
        self._ages.came(self.head, now)
        while len(self._ring) > self._limits.max_frames or (
            self.ring_bytes > self._limits.max_bytes and len(self._ring) > 1
        ):
            self.ring_bytes -= self._ring.popleft().size_bytes
        if delivery.critical:
            self._keep_critical(delivery)
        return True

    def learn(self, epoch: int, head: int, now: float) -> bool:
        """Take in how far the channel is, from a beacon or an answer.

        Returns:
            Whether it is further than was known.
        """
        if self.epoch is not None and (epoch, head) <= (self.epoch, self.head):
            return False
        if epoch != self.epoch:
            self._begin(epoch)
        self.head = max(self.head, head)
        self._ages.came(self.head, now)
        self._disperse()  # there is something that no frame has brought
        return True

    def went_back(self, head: int) -> None:
        """Take notice that the worker has the present life only up to `head`, less than it had published."""
        self._begin(self.epoch)
        self.head = head

    def forget(self) -> None:
        """Take notice that the channel exists no more."""
        self._begin(None)

    def clear(self) -> None:
        """Let go of the held frames; who still needs them asks history."""
        self._ring.clear()
        self.ring_bytes = 0
        self._criticals.clear()
        self._critical_bytes = 0
        self._criticals_from = self._heard_to + 1
        self._joined.clear()

    def _begin(self, epoch: int | None) -> None:
        self._disperse()
        self._heard_to = 0
        self.clear()
        self._critical_upto = 0
        self._marks.clear()
        self._ages.clear()
        self.epoch = epoch
        self.head = 0

    # --- what is given to one who is not in step --------------------------------------------------

    def find(self, seq: int) -> Delivery | None:
        """Return the held frame that begins with `seq` of the present life."""
        for delivery in reversed(self._ring):
            if delivery.first == seq:
                return delivery
            if delivery.first < seq:
                return None
        return None

    def upto(self, per_s: int, now: float) -> int:
        """Return the last event that is due to those of a lower pace: the head at its last tick.

        A critical event, and what is before it, is due at once.
        """
        number = tick(per_s, now)
        mark = self._marks.get(per_s)
        if mark is None or mark[0] != number:
            mark = self._marks[per_s] = number, self.head
        return max(mark[1], self._critical_upto)

    def joined(self, first: int, upto: int) -> Delivery | None:
        """Return the held frames from `first` to `upto` as one; the same for all who ask for the same.

        It ends earlier at a critical frame, and at `MAX_JOINED_BYTES`.

        Returns:
            None when no held frame begins with `first`.
        """
        for known in self._joined:
            if known.first == first and known.last == upto:
                return known
        parts: list[Delivery] = []
        size = 0
        for delivery in reversed(self._ring):
            if delivery.first < first:
                break
            if delivery.last <= upto or delivery.first == first:
                parts.append(delivery)
        if not parts or parts[-1].first != first:
            return None
        parts.reverse()
        for count, part in enumerate(parts):
            size += part.size_bytes
            if count and size > MAX_JOINED_BYTES:
                del parts[count:]
                break
            if part.critical:
                del parts[count + 1 :]
                break
        if len(parts) == 1:
            return parts[0]
        for known in self._joined:
            if known.first == first and known.last == parts[-1].last:
                return known
        self._joined.append(join(parts))
        return self._joined[-1]

    # --- what is not given ------------------------------------------------------------------------

    def is_too_old(self, seq: int, now: float) -> bool:
        """Say whether an event came more than `max_lag_s` ago."""
        return self._ages.is_too_old(seq, now)

    def age_s(self, seq: int, now: float) -> float:
        """Return how long ago an event came."""
        return self._ages.age_s(seq, now)

    def skip(self, first: int) -> tuple[int, list[Delivery]] | None:
        """Return what may be left out for one who is too far behind, when `first` is due to it.

        Returns:
            (the event after what is left out: the newest frame begins there, the critical frames before
            it, which are to be given), or None when there is nothing to leave out, or not all critical
            frames from `first` on are held: then history gives what is due, until they are.
        """
        if not self._ring or first < self._criticals_from or self._ring[-1].first <= first:
            return None
        upto = self._ring[-1].first
        criticals = self.criticals(first, upto)
        return None if criticals is None else (upto, criticals)

    def criticals(self, first: int, upto: int) -> list[Delivery] | None:
        """Return the critical frames from `first` to before `upto`.

        Returns:
            None when not all of them are held, or one goes beyond either end.
        """
        if first >= upto:
            return []
        if first < self._criticals_from or upto > self._heard_to + 1:
            return None
        found = [each for each in self._criticals if first <= each.last and each.first < upto]
        if found and (found[0].first < first or found[-1].last >= upto):
            return None
        return found

    def _keep_critical(self, delivery: Delivery) -> None:
        self._critical_upto = delivery.last
        self._criticals.append(delivery)
        self._critical_bytes += delivery.size_bytes
        while len(self._criticals) > MAX_CRITICALS or self._critical_bytes > MAX_CRITICAL_BYTES:
            gone = self._criticals.popleft()
            self._critical_bytes -= gone.size_bytes
            self._criticals_from = gone.last + 1

    # --- who is in step ---------------------------------------------------------------------------

    def join(self, session: Session) -> None:
        """Add a browser; it is loose."""
        self.sessions.add(session)
        self.loose.add(session)

    def leave(self, session: Session) -> None:
        """Remove a browser."""
        self.stand(session)
        self.sessions.discard(session)
        self.loose.discard(session)

    def sit(self, session: Session, offer: Offer) -> bool:
        """Seat a browser that is in step; one that is not stays loose.

        Returns:
            Whether it is seated: what comes is then given out by its cohort, not by `Session.step`.
        """
        if not session.in_step(self):
            return False
        due = session.sieve.due(self.head + 1)
        cohort = self._cohorts.get(session.variant)
        if cohort is None:
            cohort = self._cohorts[session.variant] = Cohort(session.variant, session.sieve.hand_over())
        elif cohort.due(self.head + 1) != due:
            return False  # until both were told how far the scan is
        else:
            session.sieve.hand_over()
        session.seat = cohort.sit(session, due, offer)
        self.loose.discard(session)
        return True

    def stand(self, session: Session) -> None:
        """Make a browser loose; call it before its variant changes."""
        if session.seat is None:
            return
        cohort = self._cohorts[session.variant]
        session.stand(*cohort.stand(session.seat))
        self.loose.add(session)
        if not cohort:
            del self._cohorts[session.variant]

    def given(self, session: Session) -> tuple[int, int]:
        """Return the (messages, bytes) a browser was given in step, now and before."""
        messages, bytes_sent = session.messages_in_step, session.bytes_in_step
        if session.seat is not None:
            more = self._cohorts[session.variant].given(session.seat)
            messages, bytes_sent = messages + more[0], bytes_sent + more[1]
        return messages, bytes_sent

    def tell_positions(self) -> bool:
        """Have readers whose filters left out all of what came last told how far the scan is.

        Returns:
            Whether there are any: let them go on.
        """
        told = [cohort.settle() for cohort in self._cohorts.values()]
        owing = [session for session in self.loose if session.sieve.owes]
        for session in owing:
            session.tell_position()
        return any(told) or bool(owing)

    def cohorts(self) -> list[Cohort]:
        """Return those in step, by variant."""
        return list(self._cohorts.values())

    def _queue(self, delivery: Delivery) -> None:
        if not all(cohort.queue(delivery) for cohort in self._cohorts.values()):
            self._disperse()

    def _disperse(self) -> None:
        for cohort in self._cohorts.values():
            for session, left in cohort.disperse():
                session.stand(*left)
                self.loose.add(session)
        self._cohorts.clear()
