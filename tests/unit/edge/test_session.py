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
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from pipeline.edge.action import Action, Deliver, Fetch, FetchState, Say
from pipeline.edge.close_codes import REPORT_COMPLETED, SCAN_COMPLETED
from pipeline.edge.cohort import Cohort, Round
from pipeline.edge.config import RingSection
from pipeline.edge.delivery import Delivery
from pipeline.edge.feed import Feed
from pipeline.edge.filter import DEFAULT_CRITICAL, Filter, read_filter
from pipeline.edge.hub import Hub
from pipeline.edge.lagging import STATES_APART_S
from pipeline.edge.session import Greeting, Session
from pipeline.edge.since import Since
from pipeline.edge.variant import HEROFORGE, NATIVE, Variant
from pipeline.frame import Position
from pipeline.wire import (
    Document,
    FrameMessage,
    HeadReply,
    HeadRequest,
    Page,
    PageRequest,
    StateRequest,
)
from tests.unit.edge.worker_model import CHANNEL, MAX_LAG_S, Reader, Worker

GREETING = Greeting(5.0, 30.0, "1.2.3")
MAX_ROUNDS = 500
"""More rounds than this without anything new mean that edge and worker go round in circles."""


RARE = read_filter(types=["portFound"])
NONE_BUT_CRITICAL = read_filter(types=["nothing"])
FILTERED = (Variant("native", wanted=RARE), Variant("native", wanted=NONE_BUT_CRITICAL))


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
    asked: Fetch | FetchState | None = None
    answers: deque[HeadReply | Page | Document] = field(default_factory=deque)
    pages: int = 0

    @property
    def session(self) -> Session:
        return self.reader.session

    @property
    def now(self) -> float:
        return self.reader.worker.now

    def drive(self) -> None:
        """Give it what is due; only where it is alone also what is due to it in step."""
        if self.session.seat is not None:
            for cohort in self.feed.cohorts():
                while (given := cohort.give(1)) is not None:
                    for _ in given.late:
                        self.late(given.turn)
        self.behind = self.behind and not self.reads
        while (action := self.session.step(self.feed, self.now, idle=not self.behind)) is not None:
            assert not self.behind
            self.do(action)
        if not self.behind and self.feed.sit(self.session, self.offer):
            assert self.session not in self.feed.loose

    def offer(self, data: bytes) -> int:
        if self.behind:
            return 0
        if not self.reads:
            self.behind = True
            return len(data) // 2
        turn = self.feed._cohorts[self.session.variant]._queue[0]
        assert turn.data is data
        messages = self.reader.take_bytes(data, turn.first, turn.after - 1)
        self.in_step = (self.in_step[0] + messages, self.in_step[1] + len(data))
        return len(data)

    def late(self, turn: Round) -> None:
        """What the socket did not take waits for it."""
        self.feed.stand(self.session)
        assert self.session in self.feed.loose
        self.session.late(turn.after - 1, self.now)
        self.reader.take_bytes(turn.data, turn.first, turn.after - 1)
        self.behind = True

    def do(self, action: Action) -> None:
        if isinstance(action, Fetch):
            assert self.asked is None, "a second question before the first is answered"
            self.asked = action
            self.pages += 1
        elif isinstance(action, FetchState):
            assert self.asked is None
            self.asked = action
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
        elif isinstance(self.asked, FetchState) and not self.answers:
            self.answers.append(worker.state(StateRequest(1, CHANNEL, self.asked.epoch)))
        elif isinstance(self.asked, Fetch) and not self.answers:
            self.answers.append(worker.page(PageRequest(1, CHANNEL, self.asked.epoch, self.asked.first)))

    def answer(self) -> None:
        """Let the worker's answer arrive."""
        if not self.answers:
            return
        reply = self.answers.popleft()
        if isinstance(reply, HeadReply):
            self.reader.on_head(reply)
            if reply.epoch is not None:
                self.feed.learn(reply.epoch, reply.seq, self.now)
            actions = self.session.on_head(reply)
        elif isinstance(reply, Document):
            self.asked = None
            if reply.header.epoch is None:
                self.reader.snapshot_due = False
            actions = self.session.on_state(reply)
        else:
            self.asked = None
            delivery = Delivery.of_page(reply) if reply.header.last >= reply.header.first else None
            actions = self.session.on_page(reply, delivery, self.feed, self.now)
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
        self.hub = Hub(RingSection(max_frames=frames, max_bytes=ring_bytes), MAX_LAG_S)
        self.browsers: list[Browser] = []
        self.by_session: dict[Session, Browser] = {}
        self.asked_filters: dict[Session, Filter | None] = {}
        self.in_flight: deque[FrameMessage | tuple[str, int | None, int]] = deque()
        self.worker.publish(2)
        for variant in (NATIVE, HEROFORGE, NATIVE, *FILTERED):
            self.join(variant, 2, 0)
        self.settle("at the beginning")
        assert all(browser.session.seat is not None for browser in self.browsers)

    @rule(
        pick=st.integers(0, 4),
        frames=st.lists(
            st.tuples(st.integers(1, 7), st.booleans(), st.sampled_from([0.1, 0.3, 1.1, 5.0])),
            min_size=2,
            max_size=8,
        ),
        reads_again=st.booleans(),
        at_once=st.booleans(),
    )
    @precondition(lambda self: self.browsers)
    def pause(
        self, pick: int, frames: list[tuple[int, bool, float]], reads_again: bool, at_once: bool
    ) -> None:
        """One stops reading while frames come, and may then read again."""
        browser = self.browsers[pick % len(self.browsers)]
        browser.reads = False
        for count, critical, seconds in frames:
            self.publish(count, 1 if count > 1 else 0, critical, "come")
            while self.in_flight:
                self.arrive()
                if at_once:
                    self.give_all()
            self.time_passes(seconds)
        self.give_all()
        if reads_again:
            browser.reads = True
            self.drive()

    def give_all(self) -> None:
        feed = self.hub.feed(CHANNEL)
        for cohort in feed.cohorts() if feed is not None else []:
            while self.give(cohort, 2):
                pass

    @rule(
        variant=st.sampled_from([NATIVE, HEROFORGE, *FILTERED]),
        back=st.integers(0, 3),
        seq=st.integers(0, 30),
    )
    def join(self, variant: Variant, back: int, seq: int) -> None:
        since: Since = Position(max(0, self.worker.last_epoch - back), seq)
        if back >= 2:
            since = None if back == 2 else "start"
        session = Session(CHANNEL, variant, "c", since if variant.wire == "native" else None, GREETING)
        feed, _ = self.hub.join(session)
        self.browsers.append(Browser(Reader(self.worker, session), feed))
        self.by_session[session] = self.browsers[-1]
        self.asked_filters[session] = variant.wanted

    @rule(pick=st.integers(0, 100), wanted=st.sampled_from([None, RARE, NONE_BUT_CRITICAL]))
    @precondition(lambda self: self.browsers)
    def another_filter(self, pick: int, wanted: Filter | None) -> None:
        browser = self.browsers[pick % len(self.browsers)]
        if browser.session.variant.wire == "native":
            browser.feed.stand(browser.session)
            browser.session.refilter(wanted)
            self.asked_filters[browser.session] = wanted
            browser.drive()

    @rule()
    def positions_are_told(self) -> None:
        feed = self.hub.feed(CHANNEL)
        if feed is not None and feed.tell_positions():
            self.drive()

    @rule(
        count=st.integers(1, 7),
        merged=st.integers(0, 3),
        critical=st.booleans(),
        fate=st.sampled_from(["come", "come", "come", "lost", "twice"]),
    )
    def publish(self, count: int, merged: int, critical: bool, fate: str) -> None:
        frame = self.worker.publish(count, min(merged, count - 1), critical=critical)
        self.in_flight.extend([frame] * {"come": 1, "lost": 0, "twice": 2}[fate])

    @rule(count=st.integers(1, 2))
    def commit(self, count: int) -> None:
        self.worker.commit(count)

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
            if self.hub.add(what, self.worker.now) is not None:
                self.drive()
                self.look_for_what_is_critical(what)
        elif (feed := self.hub.feed(CHANNEL)) is not None:
            _, epoch, head = what
            assert epoch is not None
            if feed.learn(epoch, head, self.worker.now):
                self.drive()

    def look_for_what_is_critical(self, frame: FrameMessage) -> None:
        for browser in self.browsers if frame.header.critical else []:
            waits = browser.behind or browser.asked or browser.head_asked or browser.answers
            waits = waits or browser.session.lagging.state_held
            if not waits and browser.session.seat is None and browser.reader.epoch == frame.header.epoch:
                assert browser.reader.next is not None
                assert browser.reader.next > frame.header.last, "a critical event is not given at once"

    @rule(seconds=st.sampled_from([0.05, 0.1, 0.2, 0.5, 1.0, 4.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.worker.now += seconds
        self.drive()

    @rule(pick=st.integers(0, 100), back=st.integers(0, 9))
    @precondition(lambda self: self.browsers)
    def acks(self, pick: int, back: int) -> None:
        browser = self.browsers[pick % len(self.browsers)]
        if browser.reader.next is not None and browser.reader.next > 1:
            browser.session.ack(max(0, browser.reader.next - 1 - back))
            browser.session.judge(browser.feed, self.worker.now)
            if not browser.session.pace.full:
                browser.feed.stand(browser.session)

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
            browser.session.ack(10_000)
        self.beacon(lost=False)
        self.settle("with a beacon")
        for _ in range(12):  # each pace takes 3 s to rise
            self.worker.now += 1.0
            self.drive()
        self.worker.now += STATES_APART_S
        self.drive()
        self.settle("after a state is shown again")
        self.positions_are_told()
        self.give_all()
        assert self.worker.current is not None
        life = self.worker.lives[self.worker.current]
        for browser in self.browsers:
            reader = browser.reader
            assert browser.session.seat is not None, "it is not in step again"
            assert (reader.epoch, reader.next) == (life.epoch, life.head + 1), "a browser has not caught up"
            assert browser.session.skipped == reader.told_not_given
            assert browser.session.lagging.count == reader.told_too_slow
            assert not reader.state_due
            assert not browser.session.wants_state_again
            assert not reader.owed
            assert browser.feed.given(browser.session) == browser.in_step
            if browser.session.variant.wire == "native":
                assert reader.hello is not None
                asked = self.asked_filters[browser.session]
                held = browser.session.variant.wanted
                assert held == (asked.over(DEFAULT_CRITICAL) if asked is not None else None)
                assert (reader.wanted.over(DEFAULT_CRITICAL) if reader.wanted is not None else None) == held

    def settle(self, when: str) -> None:
        for _ in range(MAX_ROUNDS):
            while self.in_flight:
                self.arrive()
            self.worker.now += 1.0  # each pace has a tick in it
            self.drive()
            self.give_all()
            for browser in self.browsers:
                browser.ask(self.worker)
                browser.answer()
            if not any(browser.answers or browser.asked for browser in self.browsers):
                self.worker.now += 1.0
                self.drive()
                if not any(browser.asked for browser in self.browsers):
                    return
        raise AssertionError(f"edge and worker go round in circles {when}")


TestWhateverHappensOnTheWay = Edge.TestCase
TestWhateverHappensOnTheWay.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # making it small takes longer than a test may
)


# --- each rule of the table, on its own ---------------------------------------------------------------


def joined(
    worker: Worker, variant: Variant = NATIVE, since: Since = "start", feed: Feed | None = None
) -> Browser:
    """A browser that has joined and been given all there is."""
    session = Session(CHANNEL, variant, "c1", since, GREETING)
    browser = Browser(Reader(worker, session), feed or Feed(CHANNEL, RingSection(), MAX_LAG_S))
    browser.feed.join(session)
    while browser.head_asked or browser.asked or browser.answers:
        browser.ask(worker)
        browser.answer()
    return browser


def test_nothing_is_given_before_the_worker_has_answered() -> None:
    worker = Worker()
    session = Session(CHANNEL, NATIVE, "c1", None, GREETING)
    browser = Browser(Reader(worker, session), Feed(CHANNEL, RingSection(), MAX_LAG_S))
    browser.feed.add(Delivery.of_frame(worker.publish(3)), 0.0)
    assert session.step(browser.feed, 0.0, idle=True) is None
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
        "features": ["since", "snapshot", "lag", "reset", "ping", "filter"],
    }


def test_a_browser_that_is_early_waits_and_then_gets_everything() -> None:
    worker = Worker()
    browser = joined(worker)
    assert browser.reader.hello is not None
    assert (browser.reader.hello["epoch"], browser.reader.hello["seq"]) == (None, 0)
    assert browser.session.waiting
    browser.feed.add(Delivery.of_frame(worker.publish(2)), 0.0)
    browser.drive()
    assert not browser.session.waiting
    assert browser.reader.next == 3


@pytest.mark.parametrize(
    ("since", "resumed", "asks"),
    [
        (None, None, FetchState(1)),
        ("start", None, Fetch(1, 3)),
        (Position(1, 6), True, Fetch(1, 7)),
        (Position(1, 2), True, Fetch(1, 3)),
        (Position(1, 1), False, FetchState(1)),  # event 2 is not held any more
        (Position(1, 10), True, None),
        (Position(1, 11), False, FetchState(1)),  # a position that never was
        (Position(0, 4), False, FetchState(1)),  # another life
        (Position(7, 4), False, FetchState(1)),
    ],
)
def test_since(since: Since, resumed: bool | None, asks: Fetch | FetchState | None) -> None:
    worker = Worker(page_events=100)
    worker.publish(10)
    worker.trim(2)
    session = Session(CHANNEL, NATIVE, "c", since, GREETING)
    feed = Feed(CHANNEL, RingSection(), MAX_LAG_S)
    epoch = since.epoch if isinstance(since, Position) else None
    head = worker.head(HeadRequest(1, CHANNEL, epoch))
    (hello,) = session.on_head(head)
    assert isinstance(hello, Say)
    assert json.loads(hello.message)["resumed"] is resumed
    feed.learn(1, 10, 0.0)
    assert session.step(feed, 0.0, idle=True) == asks
    assert session.step(feed, 0.0, idle=True) is None, "one question at a time"


def test_a_snapshot_may_be_ahead_of_the_frames_and_the_rest_of_one_is_fetched() -> None:
    worker = Worker(page_events=100)
    worker.publish(5)
    worker.commit(2)
    browser = joined(worker, since=None)
    assert (browser.reader.epoch, browser.reader.next, browser.pages) == (1, 8, 0)
    assert not browser.feed.sit(browser.session, browser.offer)
    browser.feed.add(Delivery.of_frame(worker.publish(4)), 0.0)
    browser.drive()
    assert browser.asked == Fetch(1, 8)
    browser.ask(worker)
    browser.answer()
    assert browser.reader.next == 10
    assert browser.session.seat is not None


def test_who_comes_back_at_a_snapshot_before_its_frame_waits_for_what_follows() -> None:
    worker = Worker(page_events=100)
    worker.publish(5)
    worker.commit(2)
    assert joined(worker, since=None).reader.next == 8
    back = joined(worker, since=Position(1, 7))
    assert back.reader.hello is not None
    assert (back.reader.hello["resumed"], back.reader.hello["seq"]) == (True, 5)
    assert (back.reader.next, back.pages) == (8, 0), "and nothing is asked for"
    never = joined(worker, since=Position(1, 8))
    assert never.reader.hello is not None
    assert never.reader.hello["resumed"] is False
    back.feed.add(Delivery.of_frame(worker.publish(4)), 0.0)
    back.drive()
    back.ask(worker)
    back.answer()
    assert (back.reader.next, back.pages) == (10, 1), "the frame began before its position"


def test_a_snapshot_of_a_life_that_is_forgotten_is_not_waited_for() -> None:
    worker = Worker()
    worker.publish(5)
    browser = Browser(
        Reader(worker, session := Session(CHANNEL, NATIVE, "c", None, GREETING)),
        Feed(CHANNEL, RingSection(), MAX_LAG_S),
    )
    browser.ask(worker)
    browser.answer()
    assert browser.asked == FetchState(1)
    worker.forget(1)
    worker.begin()
    worker.publish(2)
    for _ in range(5):
        browser.ask(worker)
        browser.answer()
    assert not session.waiting
    browser.feed.learn(2, 2, 0.0)
    browser.drive()
    browser.ask(worker)
    browser.answer()
    assert (browser.reader.epoch, browser.reader.next) == (2, 3)


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
    browser.feed.add(Delivery.of_frame(worker.publish(2)), 0.0)
    browser.drive()
    assert browser.asked == Fetch(1, 2)
    browser.ask(worker)
    browser.answer()
    assert browser.reader.next == 7
    browser.feed.add(Delivery.of_frame(worker.publish(1)), 0.0)
    browser.drive()
    assert (browser.reader.next, browser.asked) == (8, None)


def test_a_lost_tail_is_found_by_a_beacon() -> None:
    worker = Worker(page_events=100)
    worker.publish(1)
    browser = joined(worker)
    worker.publish(3)
    assert browser.feed.learn(1, 4, 0.0)
    browser.drive()
    assert browser.asked == Fetch(1, 2)


def said(browser: Browser, page: Page) -> list[dict[str, object]]:
    """Have a page arrive; return what is said of it."""
    actions = browser.session.on_page(page, None, browser.feed, browser.now)
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
    browser.feed.learn(1, 9, worker.now)
    assert browser.session.step(browser.feed, browser.now, idle=True) == Fetch(1, 2)
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
    assert browser.session.step(browser.feed, browser.now, idle=True) == Fetch(1, 6)


def test_a_worker_whose_journal_went_back_is_not_asked_again_and_again() -> None:
    worker = Worker()
    worker.publish(9)
    browser = joined(worker)
    worker.publish(3)
    browser.feed.learn(1, 12, worker.now)
    assert browser.session.step(browser.feed, browser.now, idle=True) == Fetch(1, 10)
    worker.go_back(5)
    assert said(browser, worker.page(PageRequest(1, CHANNEL, 1, 10))) == []
    assert browser.session.step(browser.feed, browser.now, idle=True) is None
    browser.feed.add(Delivery.of_frame(worker.publish(1)), worker.now)
    assert browser.session.step(browser.feed, browser.now, idle=True) == Fetch(1, 10)
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
    browser.feed.learn(1, 12, 0.0)
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
    browser.feed.learn(1, 12, 0.0)
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
    browser.feed.add(Delivery.of_frame(worker.publish(1)), 0.0)
    browser.drive()
    browser.ask(worker)
    browser.answer()
    assert browser.reader.told_not_given == 10
    assert (browser.reader.epoch, browser.reader.next) == (2, 2)


def test_a_page_ends_inside_a_live_frame() -> None:
    worker = Worker(page_events=2)
    worker.publish(1)
    browser = joined(worker)
    browser.feed.add(Delivery.of_frame(worker.publish(3)), 0.0)
    worker.publish(1)
    browser.feed.learn(1, 5, 0.0)
    browser.drive()
    while browser.asked:
        browser.ask(worker)
        browser.answer()
    assert browser.reader.next == 6


def test_a_worker_that_lost_its_memory_does_not_make_a_slow_browser_begin_again() -> None:
    worker = Worker(page_events=2)
    browser = joined(worker)
    browser.feed.add(Delivery.of_frame(worker.publish(2)), 0.0)
    browser.drive()
    worker.publish(5)  # lost, and told by a beacon
    browser.feed.learn(1, 7, 0.0)
    browser.drive()
    worker.restart()
    for _ in range(10):
        browser.ask(worker)
        browser.answer()
    assert browser.pages == 1, "it keeps asking a worker that knows nothing"
    assert browser.reader.next == 3
    browser.feed.add(Delivery.of_frame(worker.publish(1)), 0.0)
    browser.drive()
    browser.ask(worker)
    browser.answer()
    assert (browser.reader.epoch, browser.reader.next) == (2, 2)


def test_heroforge_gets_what_comes_after_it_joined() -> None:
    worker = Worker()
    worker.publish(5)
    browser = joined(worker, variant=HEROFORGE)
    assert browser.reader.hello is None
    browser.feed.add(Delivery.of_frame(worker.publish(2)), 0.0)
    browser.drive()
    assert browser.reader.next == 8
    assert browser.pages == 0


def test_heroforge_is_told_of_an_unknown_channel_and_gets_it_when_it_begins() -> None:
    worker = Worker()
    browser = joined(worker, variant=HEROFORGE)
    assert browser.reader.not_found
    assert browser.session.waiting
    browser.feed.add(Delivery.of_frame(worker.publish(2)), 0.0)
    browser.drive()
    assert browser.reader.next == 3


def test_heroforge_lag_has_its_field_names() -> None:
    worker = Worker()
    worker.publish(5)
    session = Session("report/r1", HEROFORGE, "c", None, GREETING)
    feed = Feed("report/r1", RingSection(), MAX_LAG_S)
    session.on_head(HeadReply(1, "report/r1", 1, 5, 1))
    feed.learn(1, 12, 0.0)
    assert session.step(feed, 0.0, idle=True) == Fetch(1, 6)
    worker.publish(7)
    worker.trim(9)
    page = worker.page(PageRequest(1, CHANNEL, 1, 6))
    lag, events = session.on_page(page, Delivery.of_page(page), feed, 0.0)
    assert isinstance(lag, Say)
    assert json.loads(lag.message) == {"type": "lag", "skippedMessages": 4, "reportId": "r1"}
    assert isinstance(events, Deliver)


@pytest.mark.parametrize(("channel", "code"), [("scan/a", SCAN_COMPLETED), ("report/a", REPORT_COMPLETED)])
def test_how_it_ends(channel: str, code: object) -> None:
    assert Session(channel, HEROFORGE, "c", None, GREETING).completed() is code


# --- slow browsers ------------------------------------------------------------------------------------


def come(browser: Browser, *, count: int = 1, critical: bool = False) -> None:
    """A frame is published, and comes."""
    worker = browser.reader.worker
    browser.feed.add(Delivery.of_frame(worker.publish(count, critical=critical)), worker.now)
    browser.drive()


def at(browser: Browser, now: float) -> None:
    browser.reader.worker.now = now
    browser.drive()


def stalled(variant: Variant = NATIVE) -> Browser:
    """One that has stopped reading at 0 s, is at the lowest pace at 1 s, and has been given event 2."""
    worker = Worker()
    worker.publish(1)
    browser = joined(worker, variant)
    browser.reads = False
    for tenths in range(11):
        worker.now = tenths / 10
        come(browser)
    assert browser.session.pace.per_s == 1
    assert browser.reader.next == 3
    return browser


def test_one_that_reads_again_is_given_all_at_the_ticks_of_its_pace_in_one_message_each() -> None:
    browser = stalled()
    browser.reads = True
    at(browser, 1.2)
    assert browser.reader.next == 13, "what was due at the tick of 1 s"
    for tenths in range(13, 20):
        browser.reader.worker.now = tenths / 10
        come(browser)
        assert browser.reader.next == 13
    at(browser, 2.0)
    assert browser.reader.next == 20
    assert browser.pages == 1, "of what was before it came"
    assert browser.session.skipped == 0


def test_what_is_critical_does_not_wait_for_a_tick() -> None:
    browser = stalled()
    browser.reads = True
    at(browser, 1.2)
    browser.reader.worker.now = 1.3
    come(browser)
    assert browser.reader.next == 13
    come(browser, critical=True)
    assert browser.reader.next == 15, "and what was before it comes along"
    come(browser)
    assert browser.reader.next == 15


def test_the_pace_rises_by_itself_until_it_is_in_step_again() -> None:
    browser = stalled()
    browser.reads = True
    paces = []
    for seconds in range(2, 15):
        at(browser, float(seconds))
        paces.append(browser.session.pace.per_s)
    assert sorted(set(paces)) == [1, 2, 5, 10]
    assert paces == sorted(paces)
    assert browser.session.seat is not None


def test_one_that_still_reads_what_was_before_it_came_is_given_all_of_it_however_late() -> None:
    worker = Worker(page_events=2)
    worker.publish(4)
    browser = joined(worker)
    slow = Browser(Reader(worker, Session(CHANNEL, NATIVE, "s", None, GREETING)), browser.feed)
    slow.reads = False
    for seconds in range(0, 40, 2):
        worker.now = float(seconds)
        come(browser)
        slow.behind = slow.behind and seconds % 10 != 0
        slow.drive()
        slow.ask(worker)
        slow.answer()
    assert slow.session.skipped == 0
    assert slow.reader.next is not None
    assert 3 <= slow.reader.next < browser.reader.worker.lives[1].head


def test_one_at_full_pace_for_whom_history_was_slow_misses_nothing() -> None:
    worker = Worker(page_events=100)
    worker.publish(1)
    browser = joined(worker)
    worker.publish(2)  # lost
    come(browser)
    assert browser.asked == Fetch(1, 2)
    for seconds in range(1, 30):
        worker.now = float(seconds)
        come(browser)
    while browser.asked:
        browser.ask(worker)
        browser.answer()
    assert browser.session.skipped == 0
    assert browser.reader.next == worker.lives[1].head + 1


def test_one_whose_acks_are_old_is_slowed_and_one_that_acks_nothing_is_not() -> None:
    worker = Worker()
    worker.publish(1)
    acking, silent = joined(worker), joined(worker)
    acking.session.ack(1)
    for tenths in range(40):
        worker.now = tenths / 10
        for browser in (acking, silent):
            browser.session.judge(browser.feed, worker.now)
            if not browser.session.pace.full:
                browser.feed.stand(browser.session)
        frame = worker.publish(1)
        for browser in (acking, silent):
            browser.feed.add(Delivery.of_frame(frame), worker.now)
            browser.drive()
    assert silent.session.pace.full
    assert not acking.session.pace.full
    acking.session.ack(worker.lives[1].head)
    for seconds in range(4, 20):
        at(acking, float(seconds))
    assert acking.session.pace.full
    assert acking.session.seat is not None


# --- filters ------------------------------------------------------------------------------------------


def test_what_a_filter_left_out_of_the_old_life_is_told_before_the_reset() -> None:
    worker = Worker(page_events=100)
    browser = joined(worker, FILTERED[1])
    browser.feed.add(Delivery.of_frame(worker.publish(3)), 0.0)
    browser.drive()
    assert browser.reader.next == 1
    worker.begin()
    browser.feed.add(Delivery.of_frame(worker.publish(1)), 0.0)
    browser.drive()
    while browser.asked:
        browser.ask(worker)
        browser.answer()
    assert browser.reader.epoch == 2  # the reader holds the reset against the end of the old life
    assert browser.reader.told_not_given == 0


def test_who_was_told_more_than_those_in_step_joins_them_once_all_are_told_how_far_it_is() -> None:
    worker = Worker(page_events=100)
    worker.publish(1)
    feed = Feed(CHANNEL, RingSection(), MAX_LAG_S)
    first = joined(worker, FILTERED[1], feed=feed)
    assert first.session.seat is not None
    same = joined(worker, FILTERED[1], feed=feed)
    assert same.session.seat is not None
    ahead = joined(worker, FILTERED[1], Position(1, 1), feed=feed)
    assert ahead.session.seat is None
    assert [each.reader.next for each in (first, same, ahead)] == [1, 1, 2]
    assert feed.tell_positions()
    for browser in (first, same, ahead):
        browser.drive()
        assert browser.reader.next == 2
        assert browser.session.seat is not None
    assert not feed.tell_positions()


def test_acks_of_a_reader_whose_filter_lets_nothing_pass_are_not_old() -> None:
    worker = Worker(page_events=100)
    browser = joined(worker, FILTERED[1])
    browser.feed.add(Delivery.of_frame(worker.publish(1)), 0.0)
    browser.drive()
    browser.session.ack(0)
    browser.feed.stand(browser.session)
    worker.now = 5.0
    browser.drive()
    assert browser.session.pace.full
