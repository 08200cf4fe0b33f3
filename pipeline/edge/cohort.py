"""Readers of one feed and variant that are in step: each is due the next live frame, and nothing else. Pure.

The fast path. A frame is composed once and queued once here; `fan_out` offers its bytes to one seat after the
other, in parts, so that a frame to thousands does not hold up the process. A seat has a reader's cursor while
it is in step, so that whoever stands up, at whatever moment, knows what it was given.

============================================ =========================================================
what happens                                 what the cohort does
============================================ =========================================================
a frame that follows the last one            queued behind those still being given out
a reader sits down during a round            it is due what comes after the head: older rounds pass it by
a reader stands up, and its turn comes       its seat is due nothing: passed by
a reader sits down again                     a new seat; the old one stays due nothing
their filter leaves out a whole frame        nothing is queued; seats stay due its first event
they keep a window, and a reader sits down   the window begins anew with the next frame
frames wait past `MAX_QUEUED`                everybody stands up, and is given the rest by cursor
============================================ =========================================================
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from pipeline.edge.deflate import Context
from pipeline.edge.delivery import Delivery, Encoded
from pipeline.edge.sieve import Sieve
from pipeline.edge.variant import Variant
from pipeline.edge.ws_frame import text_frame

if TYPE_CHECKING:
    from pipeline.edge.session import Session

Offer = Callable[[bytes], int]
"""Gives bytes to a reader's socket, and returns how many it took; OSError: none. Nobody for whom others wait
is seated, so nothing is asked before."""

MAX_QUEUED = 64
"""Frames that wait for their round; more mean that the process does not keep up."""

_NOTHING = 0
"""The cursor of a seat that was left: no event has this number."""


class Seat:
    """One reader in step.

    Attributes:
        next: the next event due to it; nobody's number once it was left.
        offer: gives bytes to its socket.
        session: whose seat it is.
    """

    __slots__ = ("_bytes_before", "_messages_before", "next", "offer", "session")

    def __init__(
        self, session: Session, at: int, offer: Offer, messages_before: int, bytes_before: int
    ) -> None:
        self.next = at
        self.offer = offer
        self.session = session
        self._messages_before = messages_before
        self._bytes_before = bytes_before

    def given(self, messages: int, bytes_sent: int) -> tuple[int, int]:
        """Return the (messages, bytes) given here, by the cohort's sums now."""
        return messages - self._messages_before, bytes_sent - self._bytes_before


class Round(NamedTuple):
    """One frame on its way to all seats.

    Attributes:
        first: its first event: whom that is due, it is offered to.
        after: the event after its last one.
        data: its bytes.
        messages: how many messages they are.
    """

    first: int
    after: int
    data: bytes
    messages: int


class Given(NamedTuple):
    """What came of one part.

    Attributes:
        turn: the frame.
        seats: how many had their turn.
        late: (who did not take all of its bytes, how many it took). The caller lets these stand up, and gives
            them the rest.
    """

    turn: Round
    seats: int
    late: list[tuple[Session, int]]


class Cohort:
    """Args:
    variant: of all its readers.
    sieve: their filter, with what the first of them was not told yet.
    """

    __slots__ = (
        "_at", "_bytes", "_context", "_messages", "_queue", "_seats", "_sieve", "_stale", "_turns", "variant"
    )  # fmt: skip

    def __init__(self, variant: Variant, sieve: Sieve) -> None:
        self.variant = variant
        self._sieve = sieve
        self._context: Context | None = None
        self._seats: dict[Session, Seat] = {}
        self._queue: deque[Round] = deque()
        self._turns: list[Seat] = []
        self._stale = True
        self._at = 0
        self._messages = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._seats)

    def due(self, following: int) -> int:
        """Return the event that the next message begins with, if a frame from `following` on is next."""
        return self._sieve.due(following)

    def sit(self, session: Session, at: int, offer: Offer) -> Seat:
        """Seat a reader that was told of everything before `at`, which is what `due` returns."""
        seat = self._seats[session] = Seat(session, at, offer, self._messages, self._bytes)
        self._stale = True
        if self._context is not None:
            self._context.forget()
        return seat

    def stand(self, seat: Seat) -> tuple[int, int, int]:
        """Let a reader go.

        Returns:
            (the next event due to it, messages it was given here, their bytes).
        """
        del self._seats[seat.session]
        self._stale = True
        return self._leave(seat)

    def disperse(self) -> list[tuple[Session, tuple[int, int, int]]]:
        """Let everybody go, each with what `stand` returns; what was queued is theirs to ask for."""
        left = [(session, self._leave(seat)) for session, seat in self._seats.items()]
        self._seats.clear()
        self._queue.clear()
        self._stale = True
        self._at = 0
        return left

    def _leave(self, seat: Seat) -> tuple[int, int, int]:
        messages, bytes_sent = self.given(seat)
        due, seat.next = seat.next, _NOTHING
        return due, messages, bytes_sent

    def given(self, seat: Seat) -> tuple[int, int]:
        """Return the (messages, bytes) a reader was given since it sat down."""
        messages, bytes_sent = seat.given(self._messages, self._bytes)
        for waiting in self._queue:
            if waiting.first >= seat.next:
                messages -= waiting.messages
                bytes_sent -= len(waiting.data)
        return messages, bytes_sent

    def queue(self, delivery: Delivery) -> bool:
        """Take in the frame after the last one, for everybody who is seated.

        Returns:
            Whether there was room; else call `disperse`.
        """
        if len(self._queue) >= MAX_QUEUED:
            return False
        passed = self._sieve.take(delivery)
        if passed is not None:
            self._queue_up(passed)
        return True

    def settle(self) -> bool:
        """Have who is seated told how far the scan is, if their filter left out all of what came last.

        Returns:
            Whether something is queued for that.
        """
        settled = self._sieve.settle()
        if settled is not None:
            self._queue_up(settled)
        return settled is not None

    def _queue_up(self, passed: Delivery) -> None:
        data, messages = self._encoded(passed)
        self._queue.append(Round(passed.first, passed.last + 1, data, messages))
        self._messages += messages
        self._bytes += len(data)

    def _encoded(self, passed: Delivery) -> Encoded:
        deflate = self.variant.deflate
        if deflate is None or deflate.contexts is None:
            return passed.encoded(self.variant)
        if self._context is None:
            self._context = deflate.contexts.open(deflate)
            if self._context is None:
                return passed.encoded(self.variant)
        payload = passed.batch()
        packed = self._context.compress(payload)
        return Encoded(text_frame(payload) if packed is None else text_frame(packed, compressed=True), 1)

    def give(self, at_most: int) -> Given | None:
        """Offer the first of the queued frames to whose turn it is; None when everybody has everything.

        Args:
            at_most: so many seats.
        """
        while self._queue:
            if self._at == 0 and self._stale:
                self._turns = list(self._seats.values())
                self._stale = False
            part = self._turns[self._at : self._at + at_most]
            if part:
                self._at += len(part)
                turn = self._queue[0]
                return Given(turn, len(part), _offer(turn, part))
            self._at = 0
            self._queue.popleft()
        if self._stale:
            self._turns = []  # nobody who left is kept alive until the next frame
        return None


def _offer(turn: Round, seats: list[Seat]) -> list[tuple[Session, int]]:
    """Offer a frame to each seat that is due it; return who did not take it whole."""
    first, after, data = turn.first, turn.after, turn.data
    size = len(data)
    late = []
    for seat in seats:
        if seat.next == first:
            try:
                taken = seat.offer(data)
            except OSError:  # it would block, or it is closed, which its owner finds out
                taken = 0
            if taken == size:
                seat.next = after
            else:
                late.append((seat.session, taken))
    return late
