"""A cursor: timelines of what it hears and does, and one held against a worker whose frames get lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cursor import Cursor, Missed, PageTaken, Reset
from pipeline.frame import Position
from pipeline.wire import FrameMessage, PageHeader, PageRequest
from tests.unit.edge.worker_model import CHANNEL, Worker


def page(
    epoch: int,
    first: int,
    last: int,
    head: int,
    *,
    held: bool = True,
    current: int | None = -1,
    damaged: int = 0,
    cut: bool = False,
    committed: int = 0,
    following: int | None = None,
) -> PageHeader:
    """A page's header; the life asked for is the present one unless said otherwise."""
    current = epoch if current == -1 else current
    return PageHeader(
        *(1, CHANNEL, epoch, first, last, head, held, current),
        damaged=damaged,
        cut=cut,
        committed=committed,
        next=following,
    )


Step = tuple[Callable[[Cursor], object], object]


def frame(epoch: int, first: int, last: int, due: int | None) -> Step:
    return lambda cursor: cursor.frame(epoch, first, last), due


def asks(epoch: int, seq: int) -> Step:
    return lambda cursor: (cursor.behind, cursor.fetch()), (True, Position(epoch, seq))


def answer(header: PageHeader, taken: PageTaken) -> Step:
    return lambda cursor: cursor.page(header), taken


def at_rest(epoch: int, seq: int) -> Step:
    return lambda cursor: (cursor.behind, cursor.position), (False, Position(epoch, seq))


def begin(epoch: int, seq: int, **how: bool) -> Step:
    return lambda cursor: cursor.begin(epoch, seq, **how), None


def learn(epoch: int, head: int) -> Step:
    return lambda cursor: cursor.learn(epoch, head), None


NOTHING = PageTaken()
TIMELINES: dict[str, list[Step]] = {
    "frames that follow on": [begin(1, 1), frame(1, 1, 3, 1), frame(1, 4, 4, 4), at_rest(1, 4)],
    "a frame seen again": [begin(1, 1), frame(1, 1, 3, 1), frame(1, 2, 3, None), at_rest(1, 3)],
    "a frame of which a part is new": [begin(1, 1), frame(1, 1, 3, 1), frame(1, 2, 5, 4), at_rest(1, 5)],
    "before it has begun nothing is due": [
        frame(1, 1, 3, None),
        (lambda cursor: (cursor.behind, cursor.position), (False, None)),
    ],
    "a gap is fetched, and what comes meanwhile is, too": [
        begin(1, 1),
        frame(1, 1, 3, 1),
        frame(1, 6, 7, None),
        asks(1, 4),
        frame(1, 8, 9, None),
        (lambda cursor: cursor.behind, False),
        answer(page(1, 4, 7, 7), PageTaken(4)),
        asks(1, 8),
        answer(page(1, 8, 9, 9), PageTaken(8)),
        at_rest(1, 9),
    ],
    "a lost last frame shows by the beacon": [
        begin(1, 1),
        frame(1, 1, 3, 1),
        learn(1, 5),
        asks(1, 4),
        answer(page(1, 4, 5, 5), PageTaken(4)),
        at_rest(1, 5),
        learn(1, 5),
        at_rest(1, 5),
    ],
    "what is no longer held is told": [
        begin(1, 1),
        learn(1, 9),
        asks(1, 1),
        answer(page(1, 4, 9, 9), PageTaken(4, (Missed(1, 1, 3),))),
        at_rest(1, 9),
    ],
    "what is damaged is told, and what is behind it follows": [
        begin(1, 1),
        learn(1, 9),
        asks(1, 1),
        answer(page(1, 1, 2, 9), PageTaken(1)),
        asks(1, 3),
        answer(page(1, 3, 2, 9, damaged=5), PageTaken(None, (Missed(1, 3, 5, damaged=True),))),
        asks(1, 6),
        answer(page(1, 6, 9, 9), PageTaken(6)),
        at_rest(1, 9),
    ],
    "what is damaged behind what is no longer held": [
        begin(1, 1),
        learn(1, 9),
        asks(1, 1),
        answer(
            page(1, 4, 3, 9, damaged=9), PageTaken(None, (Missed(1, 1, 3), Missed(1, 4, 9, damaged=True)))
        ),
        at_rest(1, 9),
    ],
    "from the start, what is damaged is a loss": [
        begin(1, 1, loose=True),
        learn(1, 9),
        asks(1, 1),
        answer(page(1, 4, 3, 9, damaged=8), PageTaken(None, (Missed(1, 4, 8, damaged=True),))),
        asks(1, 9),
    ],
    "the journal goes back, and then a new life begins": [
        begin(1, 1),
        frame(1, 1, 9, 1),
        learn(1, 12),
        asks(1, 10),
        answer(page(1, 10, 9, 7, cut=True), NOTHING),
        at_rest(1, 9),
        learn(1, 7),
        at_rest(1, 9),
        learn(2, 1),
        asks(1, 10),
        answer(
            page(1, 10, 9, 7, current=2, cut=True),
            PageTaken(None, (Reset(1, 2, "was cut off, its journal went back"),)),
        ),
    ],
    "nothing of it is held any more": [
        begin(1, 3),
        learn(1, 9),
        asks(1, 3),
        answer(page(1, 3, 2, 9), PageTaken(None, (Missed(1, 3, 9),))),
        at_rest(1, 9),
    ],
    "from the start: what was let go of before is nobody's loss, what is later on is": [
        begin(1, 1, loose=True),
        learn(1, 9),
        asks(1, 1),
        answer(page(1, 4, 5, 9), PageTaken(4)),
        asks(1, 6),
        answer(page(1, 8, 9, 9), PageTaken(8, (Missed(1, 6, 7),))),
    ],
    "another life: the old one to its end, then the new one from its first event": [
        begin(1, 1),
        frame(1, 1, 3, 1),
        frame(2, 1, 2, None),
        asks(1, 4),
        answer(page(1, 4, 5, 5, current=2), PageTaken(4)),
        asks(1, 6),
        answer(page(1, 6, 5, 5, current=2), PageTaken(None, (Reset(1, 2, "is over"),))),
        asks(2, 1),
        answer(page(2, 1, 2, 2), PageTaken(1)),
        frame(2, 3, 3, 3),
        at_rest(2, 3),
    ],
    "several lives later: each that is held, in order": [
        begin(1, 1),
        frame(1, 1, 3, 1),
        frame(4, 1, 2, None),
        asks(1, 4),
        answer(page(1, 4, 3, 3, current=4, following=2), PageTaken(None, (Reset(1, 2, "is over"),))),
        asks(2, 1),
        answer(page(2, 1, 5, 5, current=4, following=3), PageTaken(1)),
        asks(2, 6),
        answer(page(2, 6, 5, 5, current=4, following=3), PageTaken(None, (Reset(2, 3, "is over"),))),
        asks(3, 1),
        answer(page(3, 1, 1, 1, current=4), PageTaken(1)),
        asks(3, 2),
        answer(page(3, 2, 1, 1, current=4), PageTaken(None, (Reset(3, 4, "is over"),))),
        asks(4, 1),
        answer(page(4, 1, 2, 2), PageTaken(1)),
        at_rest(4, 2),
    ],
    "another life, and the old one is gone": [
        begin(1, 4, ask=True),
        asks(1, 4),
        answer(page(1, 4, 3, 0, held=False, current=2), PageTaken(None, (Reset(1, 2, "is not held"),))),
        asks(2, 1),
        answer(page(2, 1, 0, 0), NOTHING),
        frame(2, 1, 1, 1),
        at_rest(2, 1),
    ],
    "a position nobody has reached begins anew": [
        begin(1, 9, ask=True),
        asks(1, 9),
        answer(page(1, 9, 8, 5), PageTaken(None, (Reset(1, 1, "ends at 5"),))),
        asks(1, 1),
        answer(page(1, 1, 5, 5), PageTaken(1)),
        at_rest(1, 5),
    ],
    "a position that is committed and not published is waited at": [
        begin(1, 8, ask=True),
        asks(1, 8),
        answer(page(1, 8, 7, 5, committed=7), NOTHING),
        at_rest(1, 7),
        frame(1, 6, 6, None),
        frame(1, 7, 9, 8),
        at_rest(1, 9),
    ],
    "a position past what is committed begins anew": [
        begin(1, 9, ask=True),
        asks(1, 9),
        answer(page(1, 9, 8, 5, committed=7), PageTaken(None, (Reset(1, 1, "ends at 5"),))),
        asks(1, 1),
    ],
    "a position in a life that is still to come": [
        begin(7, 9, ask=True),
        asks(7, 9),
        answer(page(7, 9, 8, 0, held=False, current=2), PageTaken(None, (Reset(7, 2, "is not held"),))),
        asks(2, 1),
    ],
    "a position at the head has nothing to print": [
        begin(1, 6, ask=True),
        frame(1, 6, 6, None),
        asks(1, 6),
        answer(page(1, 6, 6, 6), PageTaken(6)),
        at_rest(1, 6),
    ],
    "a channel nobody knows is waited for, and its next life tells that the old one is gone": [
        begin(1, 4, ask=True),
        asks(1, 4),
        answer(page(1, 4, 3, 0, held=False, current=None), PageTaken(unknown=True)),
        at_rest(1, 3),
        frame(2, 1, 1, None),
        asks(1, 4),
        answer(page(1, 4, 3, 0, held=False, current=2), PageTaken(None, (Reset(1, 2, "is not held"),))),
        asks(2, 1),
    ],
    "a life heard of while the worker says it knows none": [
        begin(1, 4, ask=True),
        asks(1, 4),
        frame(2, 1, 1, None),
        answer(page(1, 4, 3, 0, held=False, current=None), PageTaken(unknown=True)),
        asks(1, 4),
    ],
    "an answer older than what was heard since": [
        begin(1, 4, ask=True),
        asks(1, 4),
        frame(1, 4, 6, None),
        answer(page(1, 4, 3, 3), NOTHING),
        asks(1, 4),
        answer(page(1, 4, 6, 6), PageTaken(4)),
    ],
    "an answer that has less than was heard is not asked for again at once": [
        begin(1, 1),
        learn(1, 9),
        asks(1, 1),
        answer(page(1, 1, 0, 0), NOTHING),
        at_rest(1, 0),
        learn(1, 9),
        asks(1, 1),
    ],
    "an old life's frame is late": [begin(2, 1), learn(2, 0), frame(1, 8, 9, None), at_rest(2, 0)],
}


@pytest.mark.parametrize("name", TIMELINES)
def test_timeline(name: str) -> None:
    cursor = Cursor()
    for number, (call, expected) in enumerate(TIMELINES[name]):
        assert call(cursor) == expected, f"step {number}"


class Reader:
    """A cursor with a worker at its other end; what lies between loses, doubles and delays as a test likes.

    Every event is given, or told as missed, exactly once in each life; a life ends with a `Reset`.
    """

    def __init__(self) -> None:
        self.worker = Worker()
        self.cursor = Cursor()
        self.cursor.begin(1, 1)
        self.frames: list[FrameMessage] = []
        self.request: PageRequest | None = None
        self.answers: list[PageHeader] = []
        self.epoch = 1
        self.due = 1
        self.worker.begin()

    def publish(self, value: int) -> None:
        self.frames.append(self.worker.publish(value % 5 + 1))

    def hear(self, value: int, *, again: bool = False) -> None:
        if self.frames:
            header = (self.frames[0] if again else self.frames.pop(0)).header
            due = self.cursor.frame(header.epoch, header.first, header.last)
            if due is not None:
                self.given(header.epoch, due, header.last)

    def beacon(self, _value: int) -> None:
        """What a beacon says comes after the frames before it, of which none may have come."""
        self.frames.clear()
        if self.worker.current is not None:
            self.cursor.learn(self.worker.current, self.worker.lives[self.worker.current].head)

    def ask(self, _value: int) -> None:
        if self.request is None and self.cursor.behind:
            epoch, seq = self.cursor.fetch()
            assert (epoch, seq) == (self.epoch, self.due)
            self.request = PageRequest(1, CHANNEL, epoch, seq)

    def serve(self, _value: int) -> None:
        """The worker answers; an answer on its way may be lost, and the question is then repeated."""
        if self.request is not None:
            self.answers = [self.worker.page(self.request).header]

    def take_answer(self, _value: int) -> None:
        if not self.answers:
            return
        self.request = None
        header = self.answers.pop()
        taken = self.cursor.page(header)
        for note in taken.notes:
            if isinstance(note, Missed):
                assert (note.epoch, note.first) == (self.epoch, self.due)
                assert note.last >= note.first
                if note.damaged:
                    told = range(note.first, note.last + 1)
                    assert self.worker.lives[note.epoch].damaged.issuperset(told), "only what is damaged"
                self.due = note.last + 1
            else:
                assert note.epoch == self.epoch < note.now
                if note.why == "is over":
                    assert self.due == self.worker.ends.get(note.epoch, 0) + 1, "left before its end"
                self.epoch, self.due = note.now, 1
        if taken.print_from is not None:
            self.given(header.epoch, taken.print_from, header.last)

    def given(self, epoch: int, first: int, last: int) -> None:
        assert (epoch, first) == (self.epoch, self.due)
        assert last >= first
        self.due = last + 1

    def new_life(self, _value: int) -> None:
        self.worker.begin()

    def settle(self) -> None:
        """From here on nothing is lost."""
        for _ in range(10_000):
            self.beacon(0)
            self.ask(0)
            self.serve(0)
            if not self.answers:
                return
            self.take_answer(0)
        raise AssertionError("it asks for ever")


OPERATIONS: dict[str, Callable[[Reader, int], object]] = {
    "publish": Reader.publish,
    "hear": Reader.hear,
    "hear twice": lambda reader, value: reader.hear(value, again=True),
    "lose a frame": lambda reader, _: reader.frames and reader.frames.pop(0),
    "beacon": Reader.beacon,
    "ask": Reader.ask,
    "serve": Reader.serve,
    "lose an answer": lambda reader, _: reader.answers.clear(),
    "take an answer": Reader.take_answer,
    "trim": lambda reader, value: reader.worker.trim(value % 4),
    "damage": lambda reader, value: reader.worker.damage(value % 30 + 1, value % 4 + 1),
    "go back": lambda reader, value: reader.worker.go_back(value % 4),
    "a new life": Reader.new_life,
    "cleanup": lambda reader, value: reader.worker.forget(value % (reader.worker.last_epoch + 1)),
    "restart without a journal": lambda reader, _: reader.worker.restart(),
}


@given(steps=st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 20)), max_size=120))
@settings(max_examples=400)
def test_every_event_is_given_or_told_exactly_once_whatever_is_lost(steps: list[tuple[str, int]]) -> None:
    reader = Reader()
    for name, value in steps:
        OPERATIONS[name](reader, value)
    if reader.worker.current is not None and reader.worker.lives[reader.worker.current].cut:
        reader.worker.publish(1)  # of a life that went back nothing else is promised than the next one
    reader.settle()
    if reader.worker.current is not None:
        life = reader.worker.lives[reader.worker.current]
        assert (reader.epoch, reader.due) == (life.epoch, life.head + 1)
