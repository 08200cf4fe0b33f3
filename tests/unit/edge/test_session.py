"""`Session` against a model of the worker: whatever is lost, doubled, late or restarted on the way.

The rules of the machine are what can happen between a worker, an edge and its browsers; `Reader` checks
each message the moment it is given, and the end of each run lets everything flow and looks whether
every browser has caught up.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from pipeline.edge.close_codes import REPORT_COMPLETED, SCAN_COMPLETED
from pipeline.edge.cohort import Cohort, Round
from pipeline.edge.config import RingSection
from pipeline.edge.delivery import Delivery
from pipeline.edge.feed import Feed
from pipeline.edge.hub import Hub
from pipeline.edge.session import Action, Deliver, Fetch, Greeting, Say, Session, Since
from pipeline.edge.variant import HEROFORGE, NATIVE, Variant
from pipeline.frame import Position
from pipeline.wire import FrameMessage, HeadReply, HeadRequest, Page, PageRequest
from tests.unit.edge.worker_model import CHANNEL, Reader, Worker

GREETING = Greeting(5.0, 30.0, "1.2.3")
MAX_ROUNDS = 500
"""More rounds than this without anything new mean that edge and worker go round in circles."""


@dataclass
class Browser:
    """A session with the shell around it: its questions, its socket, and whether it reads.

    Attributes:
        reads: else its socket takes half of the next message, and then nothing.
        behind: something waits for the socket.
        in_step: messages and bytes that it was offered, and took whole.
    """

    reader: Reader
    feed: Feed
    reads: bool = True
    behind: bool = False
    in_step: tuple[int, int] = (0, 0)
    head_asked: bool = True
    asked: Fetch | None = None
    answers: deque[HeadReply | Page] = field(default_factory=deque)
    pages: int = 0

    @property
    def session(self) -> Session:
        return self.reader.session

    def drive(self) -> None:
        """Give it what is due; only where it is alone also what is due to it in step."""
        if self.session.seat is not None:
            for cohort in self.feed.cohorts():
                while (given := cohort.give(1)) is not None:
                    for _ in given.late:
                        self.late(given.turn)
        self.behind = self.behind and not self.reads
        while not self.behind:
            action = self.session.step(self.feed)
            if action is None:
                if self.feed.sit(self.session, self.offer):
                    assert self.session not in self.feed.loose
                break
            self.do(action)

    def offer(self, data: bytes) -> int:
        if self.behind:
            return 0
        if not self.reads:
            self.behind = True
            return len(data) // 2
        seat = self.session.seat
        assert seat is not None
        batch_end = self.end_of(data, seat.next)
        messages = self.reader.take_bytes(data, seat.next, batch_end)
        self.in_step = (self.in_step[0] + messages, self.in_step[1] + len(data))
        return len(data)

    def end_of(self, data: bytes, first: int) -> int:
        """Return the last event of the frame that begins with `first`."""
        delivery = self.feed.find(first)
        if delivery is None:  # a small ring has let go of it while its cohort still gives it out
            (turn,) = [
                cohort._queue[0] for cohort in self.feed.cohorts() if cohort.variant == self.session.variant
            ]
            assert (turn.first, turn.data) == (first, data)
            return turn.after - 1
        assert delivery.encoded(self.session.variant).data is data, "the ring and the cohort share the bytes"
        return delivery.last

    def late(self, turn: Round) -> None:
        """What the socket did not take waits for it."""
        self.feed.stand(self.session)
        assert self.session in self.feed.loose
        self.session.given(turn.after - 1)
        self.reader.take_bytes(turn.data, turn.first, turn.after - 1)
        self.behind = True

    def do(self, action: Action) -> None:
        if isinstance(action, Fetch):
            assert self.asked is None, "a second question before the first is answered"
            self.asked = action
            self.pages += 1
        else:
            self.reader.take(action)
            self.behind = not self.reads

    def ask(self, worker: Worker) -> None:
        """Let the worker answer what is asked; the answer may still take its time."""
        if self.head_asked:
            self.head_asked = False
            since = self.session.since
            epoch = since.epoch if isinstance(since, Position) else None
            self.answers.append(worker.head(HeadRequest(1, CHANNEL, epoch)))
        elif self.asked is not None and not self.answers:
            self.answers.append(worker.page(PageRequest(1, CHANNEL, self.asked.epoch, self.asked.first)))

    def answer(self) -> None:
        """Let the worker's answer arrive."""
        if not self.answers:
            return
        reply = self.answers.popleft()
        if isinstance(reply, HeadReply):
            self.reader.on_head(reply)
            if reply.epoch is not None:
                self.feed.learn(reply.epoch, reply.seq)
            actions = self.session.on_head(reply)
        else:
            self.asked = None
            delivery = Delivery.of_page(reply) if reply.header.last >= reply.header.first else None
            actions = self.session.on_page(reply, delivery, self.feed)
        for action in actions:
            self.do(action)
        self.drive()


class Edge(RuleBasedStateMachine):
    """One edge, one channel, any number of browsers."""

    @initialize(
        frames=st.integers(1, 5),
        ring_bytes=st.sampled_from([60, 300, 100_000]),
        page_events=st.integers(1, 6),
    )
    def start(self, frames: int, ring_bytes: int, page_events: int) -> None:
        self.worker = Worker(page_events)
        self.hub = Hub(RingSection(max_frames=frames, max_bytes=ring_bytes))
        self.browsers: list[Browser] = []
        self.by_session: dict[Session, Browser] = {}
        self.in_flight: deque[FrameMessage | tuple[str, int | None, int]] = deque()

    @rule(variant=st.sampled_from([NATIVE, HEROFORGE]), back=st.integers(0, 2), seq=st.integers(0, 30))
    def join(self, variant: Variant, back: int, seq: int) -> None:
        since: Since = None if back == 2 else Position(max(0, self.worker.last_epoch - back), seq)
        session = Session(CHANNEL, variant, "c", since if variant == NATIVE else None, GREETING)
        feed, _ = self.hub.join(session)
        self.browsers.append(Browser(Reader(self.worker, session), feed))
        self.by_session[session] = self.browsers[-1]

    @rule(
        count=st.integers(1, 7),
        merged=st.integers(0, 3),
        fate=st.sampled_from(["come", "come", "lost", "twice"]),
    )
    def publish(self, count: int, merged: int, fate: str) -> None:
        frame = self.worker.publish(count, min(merged, count - 1))
        self.in_flight.extend([frame] * {"come": 1, "lost": 0, "twice": 2}[fate])

    @rule(lost=st.booleans())
    def beacon(self, lost: bool) -> None:
        if not lost and self.worker.current is not None:
            life = self.worker.lives[self.worker.current]
            self.in_flight.append(("head", life.epoch, life.head))

    @rule()
    @precondition(lambda self: self.in_flight)
    def arrive(self) -> None:
        what = self.in_flight.popleft()
        if isinstance(what, FrameMessage):
            if self.hub.add(what) is not None:
                self.drive()
        elif (feed := self.hub.feed(CHANNEL)) is not None:
            _, epoch, head = what
            assert epoch is not None
            if feed.learn(epoch, head):
                self.drive()

    @rule(pick=st.integers(0, 100))
    @precondition(lambda self: self.browsers)
    def worker_answers(self, pick: int) -> None:
        self.browsers[pick % len(self.browsers)].ask(self.worker)

    @rule(pick=st.integers(0, 100))
    @precondition(lambda self: self.browsers)
    def answer_arrives(self, pick: int) -> None:
        self.browsers[pick % len(self.browsers)].answer()

    @rule(pick=st.integers(0, 100), reads=st.booleans())
    @precondition(lambda self: self.browsers)
    def slow_or_not(self, pick: int, reads: bool) -> None:
        browser = self.browsers[pick % len(self.browsers)]
        browser.reads = reads
        if browser.session.seat is None:
            browser.drive()

    @rule(count=st.sampled_from([1, 3, 1_000]))
    def trim(self, count: int) -> None:
        self.worker.trim(count)

    @rule(first=st.integers(1, 30), count=st.integers(1, 5))
    def damage(self, first: int, count: int) -> None:
        self.worker.damage(first, count)

    @rule(count=st.integers(0, 5))
    def journal_goes_back(self, count: int) -> None:
        self.worker.go_back(count)

    @rule()
    def new_life(self) -> None:
        self.worker.begin()

    @rule()
    def old_life_is_freed(self) -> None:
        old = [epoch for epoch in self.worker.lives if epoch != self.worker.current]
        if old:
            self.worker.forget(old[0])

    @rule()
    def worker_restarts(self) -> None:
        self.worker.restart()

    @rule(pick=st.integers(0, 100), seats=st.integers(1, 3))
    def a_part_is_given(self, pick: int, seats: int) -> None:
        feed = self.hub.feed(CHANNEL)
        if feed is not None and (cohorts := feed.cohorts()):
            self.give(cohorts[pick % len(cohorts)], seats)

    def give(self, cohort: Cohort, seats: int) -> bool:
        given = cohort.give(seats)
        if given is None:
            return False
        for session, _ in given.late:
            self.by_session[session].late(given.turn)
        return True

    @rule(pick=st.integers(0, 100))
    @precondition(lambda self: self.browsers)
    def leave(self, pick: int) -> None:
        browser = self.browsers.pop(pick % len(self.browsers))
        self.hub.leave(browser.session)
        assert browser.session.seat is None

    def drive(self) -> None:
        for browser in self.browsers:
            if browser.session.seat is None:
                browser.drive()

    def teardown(self) -> None:
        if not hasattr(self, "worker"):
            return
        self.settle("without anything new")
        self.worker.publish(2)
        for browser in self.browsers:
            browser.reads = True
        self.beacon(lost=False)
        self.settle("with a beacon")
        assert self.worker.current is not None
        life = self.worker.lives[self.worker.current]
        for browser in self.browsers:
            reader = browser.reader
            assert (reader.epoch, reader.next) == (life.epoch, life.head + 1), "a browser has not caught up"
            assert browser.session.skipped == reader.told_not_given
            assert browser.feed.given(browser.session) == browser.in_step
            if browser.session.variant == NATIVE:
                assert reader.hello is not None

    def settle(self, when: str) -> None:
        for _ in range(MAX_ROUNDS):
            while self.in_flight:
                self.arrive()
            self.drive()
            feed = self.hub.feed(CHANNEL)
            for cohort in feed.cohorts() if feed is not None else []:
                while self.give(cohort, 2):
                    pass
            for browser in self.browsers:
                browser.ask(self.worker)
                browser.answer()
            if not any(browser.answers or browser.asked for browser in self.browsers):
                return
        raise AssertionError(f"edge and worker go round in circles {when}")


TestWhateverHappensOnTheWay = Edge.TestCase
TestWhateverHappensOnTheWay.settings = settings(max_examples=150, stateful_step_count=40)


# --- each rule of the table, on its own ---------------------------------------------------------------


def joined(worker: Worker, variant: Variant = NATIVE, since: Since = None) -> Browser:
    """A browser that has joined and been given all there is."""
    session = Session(CHANNEL, variant, "c1", since, GREETING)
    browser = Browser(Reader(worker, session), Feed(CHANNEL, RingSection()))
    while browser.head_asked or browser.asked or browser.answers:
        browser.ask(worker)
        browser.answer()
    return browser


def test_nothing_is_given_before_the_worker_has_answered() -> None:
    worker = Worker()
    session = Session(CHANNEL, NATIVE, "c1", None, GREETING)
    browser = Browser(Reader(worker, session), Feed(CHANNEL, RingSection()))
    browser.feed.add(Delivery.of_frame(worker.publish(3)))
    assert session.step(browser.feed) is None
    assert not session.waiting


def test_hello_says_where_the_scan_is_and_who_the_browser_is() -> None:
    worker = Worker()
    worker.publish(3)
    assert joined(worker).reader.hello == {
        "type": "hello",
        "scan_id": "demo",
        "connection_id": "c1",
        "epoch": 1,
        "seq": 3,
        "resumed": None,
        "ping_interval": 5.0,
        "client_timeout": 30.0,
        "server_version": "1.2.3",
        "features": ["since", "lag", "reset", "ping"],
    }


def test_a_browser_that_is_early_waits_and_then_gets_everything() -> None:
    worker = Worker()
    browser = joined(worker)
    assert browser.reader.hello is not None
    assert (browser.reader.hello["epoch"], browser.reader.hello["seq"]) == (None, 0)
    assert browser.session.waiting
    browser.feed.add(Delivery.of_frame(worker.publish(2)))
    browser.drive()
    assert not browser.session.waiting
    assert browser.reader.next == 3


@pytest.mark.parametrize(
    ("since", "resumed", "first"),
    [
        (None, None, 3),
        ("start", None, 3),
        (Position(1, 6), True, 7),
        (Position(1, 2), True, 3),
        (Position(1, 1), False, 3),  # event 2 is not held any more
        (Position(1, 10), True, 11),
        (Position(1, 11), False, 3),  # a position that never was
        (Position(0, 4), False, 3),  # another life
        (Position(7, 4), False, 3),
    ],
)
def test_since(since: Since, resumed: bool | None, first: int) -> None:
    worker = Worker(page_events=100)
    worker.publish(10)
    worker.trim(2)
    session = Session(CHANNEL, NATIVE, "c", since, GREETING)
    feed = Feed(CHANNEL, RingSection())
    epoch = since.epoch if isinstance(since, Position) else None
    head = worker.head(HeadRequest(1, CHANNEL, epoch))
    (hello,) = session.on_head(head)
    assert isinstance(hello, Say)
    assert json.loads(hello.message)["resumed"] is resumed
    feed.learn(1, 10)
    assert session.step(feed) == (Fetch(1, first) if first <= 10 else None)


def test_a_returning_browser_gets_the_end_of_the_old_life_and_then_the_new_one() -> None:
    worker = Worker(page_events=100)
    worker.publish(5)
    worker.begin()
    worker.publish(4)
    browser = joined(worker, since=Position(1, 2))
    assert browser.reader.hello is not None
    assert browser.reader.hello["resumed"] is True
    assert (browser.reader.epoch, browser.reader.next) == (2, 5)
    assert browser.reader.told_not_given == 0


def test_a_gap_in_the_live_frames_is_filled_from_history_and_live_goes_on() -> None:
    worker = Worker(page_events=100)
    worker.publish(1)
    browser = joined(worker)
    worker.publish(3)  # lost
    browser.feed.add(Delivery.of_frame(worker.publish(2)))
    browser.drive()
    assert browser.asked == Fetch(1, 2)
    browser.ask(worker)
    browser.answer()
    assert browser.reader.next == 7
    browser.feed.add(Delivery.of_frame(worker.publish(1)))
    browser.drive()
    assert (browser.reader.next, browser.asked) == (8, None)


def test_a_lost_tail_is_found_by_a_beacon() -> None:
    worker = Worker(page_events=100)
    worker.publish(1)
    browser = joined(worker)
    worker.publish(3)
    assert browser.feed.learn(1, 4)
    browser.drive()
    assert browser.asked == Fetch(1, 2)


def said(browser: Browser, page: Page) -> list[dict[str, object]]:
    """Have a page arrive; return what is said of it."""
    actions = browser.session.on_page(page, None, browser.feed)
    return [json.loads(action.message) for action in actions if isinstance(action, Say)]


def test_what_is_damaged_is_told_by_number_and_what_is_behind_it_follows() -> None:
    worker = Worker(page_events=100)
    worker.publish(9)
    worker.trim(2)
    worker.damage(3, 1)
    worker.damage(5, 3)
    browser = joined(worker)
    assert (browser.reader.next, browser.reader.told_not_given) == (10, 4)
    assert browser.session.skipped == 4


def test_what_is_damaged_behind_what_is_no_longer_held_is_told_apart() -> None:
    worker = Worker()
    worker.publish(1)
    browser = joined(worker)
    worker.publish(8)
    browser.feed.learn(1, 9)
    assert browser.session.step(browser.feed) == Fetch(1, 2)
    worker.trim(3)
    worker.damage(4, 2)
    assert said(browser, worker.page(PageRequest(1, CHANNEL, 1, 2))) == [
        {
            "type": "lag",
            "scanId": "demo",
            "skippedMessages": 2,
            "from": 2,
            "to": 3,
            "reason": "no_longer_held",
        },
        {"type": "lag", "scanId": "demo", "skippedMessages": 2, "from": 4, "to": 5, "reason": "damaged"},
    ]
    assert browser.session.step(browser.feed) == Fetch(1, 6)


def test_a_worker_whose_journal_went_back_is_not_asked_again_and_again() -> None:
    worker = Worker()
    worker.publish(9)
    browser = joined(worker)
    worker.publish(3)
    browser.feed.learn(1, 12)
    assert browser.session.step(browser.feed) == Fetch(1, 10)
    worker.go_back(5)
    assert said(browser, worker.page(PageRequest(1, CHANNEL, 1, 10))) == []
    assert browser.session.step(browser.feed) is None
    browser.feed.add(Delivery.of_frame(worker.publish(1)))
    assert browser.session.step(browser.feed) == Fetch(1, 10)
    assert said(browser, worker.page(PageRequest(1, CHANNEL, 1, 10))) == [
        {"type": "reset", "scan_id": "demo", "epoch": 2, "reason": "went_back"}
    ]


def test_what_is_no_longer_held_is_told_by_number() -> None:
    worker = Worker(page_events=100)
    worker.publish(2)
    browser = joined(worker)
    browser.reads = False
    worker.publish(10)
    worker.trim(7)
    browser.feed.learn(1, 12)
    browser.reads = True
    browser.drive()
    browser.ask(worker)
    browser.answer()
    assert browser.reader.told_not_given == 5
    assert browser.session.skipped == 5
    assert browser.reader.next == 13


def test_when_nothing_is_held_all_of_it_is_told_as_skipped() -> None:
    worker = Worker(page_events=100)
    worker.publish(2)
    browser = joined(worker)
    worker.publish(10)
    worker.trim(12)
    browser.feed.learn(1, 12)
    browser.drive()
    browser.ask(worker)
    browser.answer()
    assert (browser.reader.told_not_given, browser.reader.next, browser.asked) == (10, 13, None)


def test_what_is_gone_of_the_old_life_is_told_before_the_reset() -> None:
    worker = Worker(page_events=100)
    worker.publish(2)
    browser = joined(worker)
    worker.publish(10)
    worker.trim(12)
    worker.begin()
    browser.feed.add(Delivery.of_frame(worker.publish(1)))
    browser.drive()
    browser.ask(worker)
    browser.answer()
    assert browser.reader.told_not_given == 10
    assert (browser.reader.epoch, browser.reader.next) == (2, 2)


def test_a_page_ends_inside_a_live_frame() -> None:
    worker = Worker(page_events=2)
    worker.publish(1)
    browser = joined(worker)
    browser.feed.add(Delivery.of_frame(worker.publish(3)))
    worker.publish(1)
    browser.feed.learn(1, 5)
    browser.drive()
    while browser.asked:
        browser.ask(worker)
        browser.answer()
    assert browser.reader.next == 6


def test_a_worker_that_lost_its_memory_does_not_make_a_slow_browser_begin_again() -> None:
    worker = Worker(page_events=2)
    browser = joined(worker)
    browser.feed.add(Delivery.of_frame(worker.publish(2)))
    browser.drive()
    worker.publish(5)  # lost, and told by a beacon
    browser.feed.learn(1, 7)
    browser.drive()
    worker.restart()
    for _ in range(10):
        browser.ask(worker)
        browser.answer()
    assert browser.pages == 1, "it keeps asking a worker that knows nothing"
    assert browser.reader.next == 3
    browser.feed.add(Delivery.of_frame(worker.publish(1)))
    browser.drive()
    browser.ask(worker)
    browser.answer()
    assert (browser.reader.epoch, browser.reader.next) == (2, 2)


def test_heroforge_gets_what_comes_after_it_joined() -> None:
    worker = Worker()
    worker.publish(5)
    browser = joined(worker, variant=HEROFORGE)
    assert browser.reader.hello is None
    browser.feed.add(Delivery.of_frame(worker.publish(2)))
    browser.drive()
    assert browser.reader.next == 8
    assert browser.pages == 0


def test_heroforge_is_told_of_an_unknown_channel_and_gets_it_when_it_begins() -> None:
    worker = Worker()
    browser = joined(worker, variant=HEROFORGE)
    assert browser.reader.not_found
    assert browser.session.waiting
    browser.feed.add(Delivery.of_frame(worker.publish(2)))
    browser.drive()
    assert browser.reader.next == 3


def test_heroforge_lag_has_its_field_names() -> None:
    worker = Worker()
    worker.publish(5)
    session = Session("report/r1", HEROFORGE, "c", None, GREETING)
    feed = Feed("report/r1", RingSection())
    session.on_head(HeadReply(1, "report/r1", 1, 5, 1))
    feed.learn(1, 12)
    assert session.step(feed) == Fetch(1, 6)
    worker.publish(7)
    worker.trim(9)
    page = worker.page(PageRequest(1, CHANNEL, 1, 6))
    lag, events = session.on_page(page, Delivery.of_page(page), feed)
    assert isinstance(lag, Say)
    assert json.loads(lag.message) == {"type": "lag", "skippedMessages": 4, "reportId": "r1"}
    assert isinstance(events, Deliver)


@pytest.mark.parametrize(("channel", "code"), [("scan/a", SCAN_COMPLETED), ("report/a", REPORT_COMPLETED)])
def test_how_it_ends(channel: str, code: object) -> None:
    assert Session(channel, HEROFORGE, "c", None, GREETING).completed() is code
