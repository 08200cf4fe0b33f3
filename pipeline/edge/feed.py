"""One watched channel: its recent frames, shared by all its browsers, and who is in step with it. Pure.

Filled by `upstream` through `hub`, read by `session` and `fan_out`. The ring holds contiguous frames only:
after a gap it begins anew, and every session that is behind asks history for what it misses. So a late join,
a gap, a lost tail, a restart and a slow client are one code path: a cursor. Readers whose cursor is at the
head sit in a `cohort`, which gives them a frame that follows; whatever else comes makes them stand up.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pipeline.edge.cohort import Cohort, Offer
from pipeline.edge.config import RingSection
from pipeline.edge.delivery import Delivery
from pipeline.edge.variant import Variant

if TYPE_CHECKING:
    from pipeline.edge.session import Session


class Feed:
    """One watched channel.

    Attributes:
        channel: `kind/id`.
        epoch: its present life as far as known; None when it does not exist.
        head: the last event known to be published in that life.
        sessions: the browsers that watch it.
        loose: those of them that are not in step: each is given what is due to it on its own.
        ring_bytes: bytes of events held.
    """

    __slots__ = (
        "_cohorts",
        "_limits",
        "_ring",
        "channel",
        "epoch",
        "head",
        "loose",
        "ring_bytes",
        "sessions",
    )

    def __init__(self, channel: str, limits: RingSection) -> None:
        self.channel = channel
        self.epoch: int | None = None
        self.head = 0
        self.sessions: set[Session] = set()
        self.loose: set[Session] = set()
        self.ring_bytes = 0
        self._cohorts: dict[Variant, Cohort] = {}
        self._ring: deque[Delivery] = deque()
        self._limits = limits

    def add(self, delivery: Delivery) -> bool:
        """Take in a live frame.

        Returns:
            Whether there is anything new in it.
        """
        if self.epoch is not None and delivery.epoch < self.epoch:
            return False
        if delivery.epoch != self.epoch:
            self._begin(delivery.epoch)
        held_to = self._ring[-1].last if self._ring else 0
        if delivery.last <= held_to:
            return False
        if delivery.first != held_to + 1:
            self.clear()
        if delivery.first == self.head + 1:
            self._queue(delivery)
        else:
            self._disperse()
        self._ring.append(delivery)
        self.ring_bytes += delivery.size_bytes
        self.head = max(self.head, delivery.last)
        while len(self._ring) > self._limits.max_frames or (
            self.ring_bytes > self._limits.max_bytes and len(self._ring) > 1
        ):
            self.ring_bytes -= self._ring.popleft().size_bytes
        return True

    def learn(self, epoch: int, head: int) -> bool:
        """Take in how far the channel is, from a beacon or an answer.

        Returns:
            Whether it is further than was known.
        """
        if self.epoch is not None and (epoch, head) <= (self.epoch, self.head):
            return False
        if epoch != self.epoch:
            self._begin(epoch)
        self.head = max(self.head, head)
        self._disperse()  # there is something that no frame has brought
        return True

    def went_back(self, head: int) -> None:
        """Take notice that the worker has the present life only up to `head`, less than it had published."""
        self._disperse()
        self.clear()
        self.head = head

    def forget(self) -> None:
        """Take notice that the channel exists no more."""
        self._disperse()
        self.clear()
        self.epoch = None
        self.head = 0

    def find(self, seq: int) -> Delivery | None:
        """Return the held frame that begins with `seq` of the present life."""
        for delivery in reversed(self._ring):
            if delivery.first == seq:
                return delivery
            if delivery.first < seq:
                return None
        return None

    def clear(self) -> None:
        """Let go of the held frames; who still needs them asks history."""
        self._ring.clear()
        self.ring_bytes = 0

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
        cohort = self._cohorts.get(session.variant)
        if cohort is None:
            cohort = self._cohorts[session.variant] = Cohort(session.variant)
        session.seat = cohort.sit(session, self.head + 1, offer)
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

    def _begin(self, epoch: int) -> None:
        self._disperse()
        self.clear()
        self.epoch = epoch
        self.head = 0
