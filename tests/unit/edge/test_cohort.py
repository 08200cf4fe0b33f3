"""Readers in step: everybody gets each frame once, whoever comes, goes or does not take it meanwhile."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from pipeline.edge.cohort import MAX_QUEUED, Cohort
from pipeline.edge.config import RingSection
from pipeline.edge.deflate import Contexts, Deflate
from pipeline.edge.delivery import Delivery
from pipeline.edge.feed import Feed
from pipeline.edge.session import Greeting, Session
from pipeline.edge.variant import HEROFORGE, NATIVE, Variant
from pipeline.wire import FrameHeader, FrameMessage, HeadReply

GREETING = Greeting(5.0, 30.0, "1")
CHANNEL = "scan/a"


class Socket:
    """Takes what it is offered, or only the first so many bytes of the next message."""

    def __init__(self) -> None:
        self.took: list[bytes] = []
        self.room: int | None = None

    def offer(self, data: bytes) -> int:
        if self.room is not None:
            return min(self.room, len(data))
        self.took.append(data)
        return len(data)


def frame(seq: int) -> Delivery:
    header = FrameHeader(1, seq, seq)
    return Delivery.of_frame(FrameMessage(CHANNEL, header, b'[{"type":"x","n":%d}]' % seq))


def started(head: int = 0) -> Feed:
    feed = Feed(CHANNEL, RingSection(), 10.0)
    feed.learn(1, head, 0.0)
    return feed


def seated(feed: Feed, variant: Variant = NATIVE) -> tuple[Session, Socket]:
    session, socket = Session(CHANNEL, variant, "c", "start", GREETING), Socket()
    feed.join(session)
    session.on_head(HeadReply(1, CHANNEL, feed.epoch, feed.head, feed.head + 1))
    assert feed.sit(session, socket.offer)
    return session, socket


def only(feed: Feed) -> Cohort:
    (cohort,) = feed.cohorts()
    return cohort


def give_all(cohort: Cohort, at_most: int = 100) -> list[tuple[Session, int]]:
    late = []
    while (given := cohort.give(at_most)) is not None:
        late += given.late
    return late


def test_a_frame_goes_to_all_in_parts_as_the_same_bytes() -> None:
    feed = started()
    sockets = [seated(feed)[1] for _ in range(5)]
    shared = frame(1)
    feed.add(shared, 0.0)
    cohort = only(feed)
    sizes = []
    while (given := cohort.give(2)) is not None:
        assert not given.late
        sizes.append(given.seats)
    assert sizes == [2, 2, 1]
    for socket in sockets:
        assert socket.took == [shared.encoded(NATIVE).data]
        assert socket.took[0] is shared.encoded(NATIVE).data


def test_the_next_frame_waits_until_everybody_has_the_one_before() -> None:
    feed = started()
    sockets = [seated(feed)[1] for _ in range(3)]
    feed.add(frame(1), 0.0)
    feed.add(frame(2), 0.0)
    cohort = only(feed)
    turns = []
    while (given := cohort.give(2)) is not None:
        turns.append((given.turn.first, given.seats))
    assert turns == [(1, 2), (1, 1), (2, 2), (2, 1)]
    assert [len(socket.took) for socket in sockets] == [2, 2, 2]


def test_one_that_comes_during_a_round_gets_only_what_follows() -> None:
    feed = started()
    first, second = seated(feed), seated(feed)
    feed.add(frame(1), 0.0)
    cohort = only(feed)
    assert cohort.give(1) is not None
    session, socket = seated(feed)
    give_all(cohort)
    assert socket.took == []
    feed.add(frame(2), 0.0)
    give_all(cohort)
    assert socket.took == [frame(2).encoded(NATIVE).data]
    assert len(first[1].took) == len(second[1].took) == 2
    assert feed.given(session) == (1, len(socket.took[0]))
    assert feed.given(first[0]) == (2, sum(map(len, first[1].took)))


def test_one_that_leaves_and_comes_back_during_a_round_gets_each_frame_once() -> None:
    feed = started()
    sessions = [seated(feed) for _ in range(3)]
    feed.add(frame(1), 0.0)
    cohort = only(feed)
    assert cohort.give(1) is not None
    session, socket = sessions[0]  # it had its turn
    feed.stand(session)
    assert session in feed.loose
    assert session.step(feed, 0.0, idle=True) is None
    assert feed.sit(session, socket.offer)
    give_all(cohort)
    feed.add(frame(2), 0.0)
    give_all(cohort)
    assert [len(each.took) for _, each in sessions] == [2, 2, 2]


def test_one_that_leaves_before_its_turn_is_given_the_frame_by_cursor() -> None:
    feed = started()
    seated(feed)
    session, socket = seated(feed)
    shared = frame(1)
    feed.add(shared, 0.0)
    cohort = only(feed)
    assert cohort.give(1) is not None
    feed.stand(session)
    assert feed.given(session) == (0, 0)
    action = session.step(feed, 0.0, idle=True)
    assert action is not None
    assert feed.sit(session, socket.offer)
    give_all(cohort)
    assert socket.took == []


def test_who_does_not_take_all_of_it_is_named_with_what_it_took() -> None:
    feed = started()
    slow, socket = seated(feed)
    other = seated(feed)[1]
    socket.room = 3
    feed.add(frame(1), 0.0)
    given = only(feed).give(100)
    assert given is not None
    assert given.late == [(slow, 3)]
    feed.stand(slow)
    assert feed.given(slow) == (0, 0), "the transmitter counts what it writes of it"
    assert len(other.took) == 1


def test_a_seat_that_was_left_keeps_what_it_was_given() -> None:
    feed = started()
    session, socket = seated(feed, HEROFORGE)
    for seq in (1, 2):
        feed.add(frame(seq), 0.0)
    give_all(only(feed))
    given = feed.given(session)
    assert given == (2, sum(map(len, socket.took)))
    feed.stand(session)
    assert feed.given(session) == given
    assert feed.cohorts() == []


def test_a_gap_makes_everybody_stand_up_each_where_it_is() -> None:
    feed = started()
    sessions = [seated(feed)[0] for _ in range(2)]
    feed.add(frame(1), 0.0)
    cohort = only(feed)
    assert cohort.give(1) is not None
    feed.add(frame(5), 0.0)
    assert cohort.give(1) is None
    assert feed.cohorts() == []
    assert feed.loose == set(sessions)
    assert [session.lag(feed) for session in sessions] == [4, 5]


def test_a_process_that_does_not_keep_up_holds_so_many_frames_and_no_more() -> None:
    feed = started()
    session = seated(feed)[0]
    for seq in range(1, MAX_QUEUED + 1):
        feed.add(frame(seq), 0.0)
    assert session.seat is not None
    feed.add(frame(MAX_QUEUED + 1), 0.0)
    assert session.seat is None
    assert session.lag(feed) == MAX_QUEUED + 1


def test_each_variant_has_its_own_bytes() -> None:
    feed = started()
    ours, theirs = seated(feed)[1], seated(feed, HEROFORGE)[1]
    feed.add(frame(1), 0.0)
    for cohort in feed.cohorts():
        give_all(cohort)
    assert ours.took == [frame(1).encoded(NATIVE).data]
    assert theirs.took == [frame(1).encoded(HEROFORGE).data]


def test_only_one_that_has_everything_sits_down() -> None:
    feed = started(3)
    session = Session(CHANNEL, NATIVE, "c", "start", GREETING)
    feed.join(session)
    socket = Socket()
    assert not feed.sit(session, socket.offer), "it has not joined"
    session.on_head(HeadReply(1, CHANNEL, 1, 3, 1))
    assert not feed.sit(session, socket.offer), "it is behind"
    session.late(3, 0.0)
    assert feed.sit(session, socket.offer)
    feed.leave(session)
    assert feed.cohorts() == []
    assert feed.sessions == feed.loose == set()


# --- a window that is kept ----------------------------------------------------------------------------


class Reading:
    """A reader that keeps its window: inflates what it was given, by the one rule there is for it."""

    def __init__(self, feed: Feed, variant: Variant) -> None:
        self.feed = feed
        self.session, self.socket = Session(CHANNEL, variant, "c", "start", GREETING), Socket()
        feed.join(self.session)
        self.session.on_head(HeadReply(1, CHANNEL, feed.epoch, feed.head, feed.head + 1))
        assert feed.sit(self.session, self.socket.offer)
        self.first = feed.head + 1

    def aside(self, payload: bytes) -> None:
        """Be given a message that the others are not, as a watcher gives it; then be in step again."""
        self.feed.stand(self.session)
        self.socket.took.append(self.session.variant.message(payload))
        assert self.feed.sit(self.session, self.socket.offer)

    def said(self) -> list[bytes]:
        window, texts = zlib.decompressobj(-15), []
        for data in self.socket.took:
            size = data[1] & 0x7F
            payload = data[2:] if size < 126 else data[4:] if size == 126 else data[10:]
            if data[0] & 0x40:
                payload = window.decompress(payload + b"\x00\x00\xff\xff")
            texts.append(payload)
        return texts


def keeping(contexts: Contexts) -> Variant:
    return Variant("native", deflate=Deflate(15, 1, 60, contexts))


@given(st.lists(st.sampled_from(["frame", "frame", "give", "join", "leave", "aside"]), max_size=60))
def test_whoever_comes_goes_or_is_told_something_else_reads_every_message(doings: list[str]) -> None:
    feed, variant, head = started(), keeping(Contexts(8)), 0
    readers = [Reading(feed, variant)]
    everybody = list(readers)
    frames: dict[int, bytes] = {}
    expected: dict[Reading, list[bytes]] = {}
    for number, doing in enumerate(doings):
        if doing == "frame":
            head += 1
            delivery = frame(head)
            frames[head] = delivery.batch()
            feed.add(delivery, 0.0)
            continue
        for cohort in feed.cohorts():
            assert not give_all(cohort)
        if doing == "join":
            readers.append(Reading(feed, variant))
            everybody.append(readers[-1])
        elif doing == "leave" and readers:
            gone = readers.pop(number % len(readers))
            feed.leave(gone.session)
            expected[gone] = gone.said()
        elif doing == "aside" and readers:
            readers[number % len(readers)].aside(b'{"type":"aside","text":"%s"}' % (b"xyz" * 40))
    for cohort in feed.cohorts():
        give_all(cohort)
    for reader in readers:
        told = [text for text in reader.said() if b"aside" not in text]
        assert told == [frames[seq] for seq in range(reader.first, head + 1)]
    assert all(gone.said() == said for gone, said in expected.items())


def test_frames_refer_to_those_before_until_somebody_sits_down() -> None:
    feed, variant = started(), keeping(Contexts(1))
    first = Reading(feed, variant)
    for seq in (1, 2):
        feed.add(frame(seq), 0.0)
        give_all(only(feed))
    alone, referring = map(len, first.socket.took)
    assert referring < alone
    second = Reading(feed, variant)
    feed.add(frame(3), 0.0)
    give_all(only(feed))
    assert len(first.socket.took[2]) > referring
    assert first.socket.took[2] is second.socket.took[0]
    assert second.said() == [frame(3).batch()]


def test_without_room_for_a_window_each_frame_is_compressed_alone() -> None:
    feed, variant = started(), keeping(Contexts(0))
    reader = Reading(feed, variant)
    for seq in (1, 2):
        feed.add(frame(seq), 0.0)
        give_all(only(feed))
    assert reader.socket.took == [frame(seq).encoded(variant).data for seq in (1, 2)]
