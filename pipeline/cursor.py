"""Where a reader of frames is in one channel, and what it must ask for to go on. Pure.

A cursor names the next event due. Live frames and pages of history move it alike, so that every event is
printed once and in order, or told as one that is no longer held.

======================================= ==============================================================
the cursor                              what follows
======================================= ==============================================================
not begun                               nothing is due: what was published before was never promised
a page is awaited                       frames are only heard of; the pages bring their events
inside the frame that comes             it is printed, from the cursor on
before what the channel has published   a page from history
in a life that is over                  pages of that life to its end, then `Reset`, then the next life that
                                        is held, were it over too
past what its own life has committed    `Reset`: this position was never reached; but in a life that was
                                        cut off it was, and nothing follows it there
past what is published, not past that   it waits: a scan's state may have shown what no frame has brought
at an event that is damaged             told, and on behind it
======================================= ==============================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pipeline.frame import Position
from pipeline.wire import PageHeader


@dataclass(frozen=True, slots=True)
class Missed:
    """Events `first` to `last` of a life are no longer held, or damaged; nobody can be given them."""

    epoch: int
    first: int
    last: int
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """The cursor has moved to the beginning of another life, or of its own.

    Attributes:
        epoch: the life it was in.
        now: the life it is in.
        why: in words, what became of the place it was at.
    """

    epoch: int
    now: int
    why: str


Note: TypeAlias = Missed | Reset


@dataclass(frozen=True, slots=True)
class PageTaken:
    """What a page means.

    Attributes:
        print_from: the first of its events that is due; None when none is.
        notes: what to tell before them.
        unknown: nobody knows the channel.
    """

    print_from: int | None = None
    notes: tuple[Note, ...] = ()
    unknown: bool = False


class Cursor:
    """A cursor that has not begun.

    Attributes:
        position: the last event printed, or the place before the first one due; None before it has begun.
        live: a live frame of this life was due: what is fetched from then on did not come by one.
    """

    __slots__ = ("_asked_at", "_epoch", "_fetching", "_head", "_life", "_loose", "_must_ask", "_next", "live")

    def __init__(self) -> None:
        self._epoch: int | None = None
        self._next = 1
        self._life: int | None = None
        self._head = 0
        self._fetching = False
        self._asked_at: tuple[int | None, int] = (None, 0)
        self._must_ask = False
        self._loose = False
        self.live = False

    @property
    def position(self) -> Position | None:
        return None if self._epoch is None else Position(self._epoch, self._next - 1)

    @property
    def behind(self) -> bool:
        """Whether `fetch` returns a question now."""
        if self._epoch is None or self._fetching:
            return False
        if self._must_ask:
            return True
        return self._life is not None and (
            self._life > self._epoch or (self._life == self._epoch and self._next <= self._head)
        )

    def begin(self, epoch: int, seq: int, *, ask: bool = False, loose: bool = False) -> None:
        """Begin with the event `epoch:seq`; call it once.

        Args:
            ask: whether to ask for it although nothing was heard of it yet.
            loose: whether it is none of its business what is no longer held at that place.
        """
        self._epoch, self._next = epoch, seq
        self._must_ask, self._loose = ask, loose

    def learn(self, epoch: int, head: int) -> None:
        """Take in how far the channel is, from whatever tells it; what is older than known is ignored."""
        if self._life is None or epoch > self._life:
            self._life, self._head = epoch, head
        elif epoch == self._life:
            self._head = max(self._head, head)

    def frame(self, epoch: int, first: int, last: int) -> int | None:
        """Take in a live frame.

        Returns:
            The first of its events that is due now, all later ones with it; None when none is.
        """
        self.learn(epoch, last)
        if epoch != self._epoch or self._fetching or self._must_ask or not first <= self._next <= last:
            return None
        due, self._next = self._next, last + 1
        self._loose, self.live = False, True
        return due

    def fetch(self) -> Position:
        """Return the event to ask history for; call it while `behind`, and `page` with the answer."""
        assert self._epoch is not None
        self._fetching, self._must_ask = True, False
        self._asked_at = self._life, self._head
        return Position(self._epoch, self._next)

    def page(self, header: PageHeader) -> PageTaken:
        """Take in the answer to `fetch`."""
        self._fetching = False
        current = header.current
        if current is None:
            if self._life == self._asked_at[0]:  # else a new life was heard of since the question
                self._life, self._head = None, 0
        else:
            self.learn(current, header.head if current == header.epoch else 0)
        if header.last >= header.first and header.last >= self._next:
            notes = self._skip_to(header.first)
            due, self._next = self._next, header.last + 1
            self._loose = False
            return PageTaken(due, notes)
        if header.damaged >= self._next:
            notes = self._skip_to(header.first)
            damaged = Missed(header.epoch, self._next, header.damaged, damaged=True)
            self._next = header.damaged + 1
            self._loose = False
            return PageTaken(notes=(*notes, damaged))
        if current is None and not header.held:
            return PageTaken(unknown=True)
        notes = self._skip_to(header.head + 1) if header.held else ()
        if current == header.epoch:
            return self._at_the_end(header, notes)
        if current is None or (self._life is not None and current < self._life):
            return PageTaken(notes=notes)  # a newer life was heard of: the next answer knows it too
        why = "was cut off, its journal went back" if header.cut else "is over"
        following = header.next if header.next is not None else current
        return PageTaken(notes=(*notes, self._reset(following, why if header.held else "is not held")))

    def _at_the_end(self, header: PageHeader, notes: tuple[Note, ...]) -> PageTaken:
        if self._next > header.head and header.cut:
            self._head = header.head
            return PageTaken(notes=notes)
        if self._next > max(header.head, header.committed) + 1:
            return PageTaken(notes=(*notes, self._reset(header.epoch, f"ends at {header.head}")))
        if (self._life, self._head) == self._asked_at:
            # Had it more, the page would hold it; without this the same question came again at once.
            self._head = header.head
        self._loose = False
        return PageTaken(notes=notes)

    def _skip_to(self, first: int) -> tuple[Note, ...]:
        """Move the cursor over what is no longer held."""
        if first <= self._next:
            return ()
        assert self._epoch is not None
        missed = Missed(self._epoch, self._next, first - 1)
        self._next = first
        return () if self._loose else (missed,)

    def _reset(self, epoch: int, why: str) -> Reset:
        assert self._epoch is not None
        reset = Reset(self._epoch, epoch, why)
        self._epoch, self._next = epoch, 1
        self._must_ask, self._loose, self.live = True, False, False
        return reset
