"""Go-back-N: timelines with exact times, and a channel that loses, doubles and reorders, with a real worker's
rules at its other end."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.event import Catalogue
from pipeline.outbox import (
    FULL_PAUSE_S,
    MAX_PACKED_BYTES,
    MAX_PACKED_EVENTS,
    MAX_PAUSE_S,
    MAX_TIMEOUT_S,
    MAX_WINDOW_BYTES,
    MAX_WINDOW_EVENTS,
    MIN_WINDOW_EVENTS,
    TIMEOUT_S,
    Outbox,
)
from pipeline.throttle_batch.batcher import Batcher
from pipeline.throttle_batch.config import BatchSection, ThrottleBatchConfig
from pipeline.wire import Envelope, EnvelopeHeader, Feedback, decode_envelope, encode_envelope


def event(number: int, size: int = 0) -> bytes:
    raw = b'{"type":"x","n":%d,"pad":"' % number
    return raw + b"." * (size - len(raw) - 2) + b'"}'


def outbox(count: int = 0, size: int = 0) -> Outbox:
    filled = Outbox("scan/a", "p", 7)
    for number in range(1, count + 1):
        assert filled.add(event(number, size)) == number
    return filled


def send_all(box: Outbox, now: float = 0.0) -> list[tuple[int, int]]:
    """Send what the window allows; return each message as (pseq, events)."""
    sent = []
    while (message := box.next_message(now)) is not None:
        header, events = message
        box.sent(events, now)
        sent.append((header.pseq, len(events)))
    return sent


def test_an_empty_outbox_has_nothing_to_do() -> None:
    box = outbox()
    assert (len(box), box.size_bytes) == (0, 0)
    assert box.next_message(0.0) is None
    assert box.next_deadline() is None
    assert not box.handle_timeout(1e9)
    assert box.acked(5, 0.0) == 0


def test_a_message_names_its_first_number_and_the_oldest_that_is_not_acked() -> None:
    box = outbox(3)
    message = box.next_message(0.0)
    assert message == (EnvelopeHeader("scan/a", "p", 7, 1, 1), [event(1), event(2), event(3)])
    assert box.next_message(0.0) == message, "it was not sent, so it comes again"
    send_all(box)
    box.acked(2, 0.0)
    box.add(event(4))
    message = box.next_message(0.0)
    assert message is not None
    assert (message[0].pseq, message[0].una) == (4, 3)


def test_a_message_is_packed_up_to_its_bounds() -> None:
    assert send_all(outbox(MAX_PACKED_EVENTS + 1))[0] == (1, MIN_WINDOW_EVENTS)
    wide = outbox(MIN_WINDOW_EVENTS)
    send_all(wide)
    wide.acked(MIN_WINDOW_EVENTS, 0.0)
    for number in range(2 * MIN_WINDOW_EVENTS + 5):
        wide.add(event(number))
    assert [count for _, count in send_all(wide)] == [MAX_PACKED_EVENTS]
    large = outbox(5, 50_000)
    assert send_all(large) == [(1, 2), (3, 2), (5, 1)]
    assert send_all(outbox(2, MAX_PACKED_BYTES + 1)) == [(1, 1), (2, 1)]


def test_the_window_grows_with_acks_to_its_maximum_and_halves_when_something_is_missed() -> None:
    box = outbox(6 * MAX_WINDOW_EVENTS)

    def window() -> int:
        return sum(count for _, count in send_all(box))

    assert window() == MIN_WINDOW_EVENTS
    box.acked(MIN_WINDOW_EVENTS, 0.0)
    assert window() == 2 * MIN_WINDOW_EVENTS
    acked = MIN_WINDOW_EVENTS
    while acked < 2 * MAX_WINDOW_EVENTS:
        acked += box.acked(acked + 5_000, 0.0)
        send_all(box)
    box.retry("gap", 0.0)
    assert window() == MAX_WINDOW_EVENTS // 2
    assert box.acked(box.una + 799, 0.0) == 800
    assert window() == 800 + 100, "and grows slower, once it has met a bound"
    for _ in range(20):
        box.retry("gap", 0.0)
    assert window() == MIN_WINDOW_EVENTS


def test_the_window_is_bounded_in_bytes() -> None:
    box = outbox(MIN_WINDOW_EVENTS, 65_000)
    sent = sum(count for _, count in send_all(box)) * 65_000
    assert MAX_WINDOW_BYTES <= sent < MAX_WINDOW_BYTES + MAX_PACKED_BYTES
    box.acked(2, 0.0)
    assert send_all(box) == [(sent // 65_000 + 1, 2)], "an ack makes room for as much"


# name -> steps (time, call, what it gives), played one after the other on an outbox with three events
TIMELINES: dict[str, list[tuple[float, Callable[[Outbox, float], object], object]]] = {
    "no ack: back after the timeout, which doubles to its bound": [
        (10.0, send_all, [(1, 3)]),
        (10.0, lambda box, _: box.next_deadline(), 10.0 + TIMEOUT_S),
        (10.29, Outbox.handle_timeout, False),
        (10.3, Outbox.handle_timeout, True),
        (10.3, Outbox.handle_timeout, False),
        (10.3, lambda box, _: box.next_deadline(), None),
        (10.3, send_all, [(1, 3)]),
        (10.89, Outbox.handle_timeout, False),
        (10.91, Outbox.handle_timeout, True),
        (11.0, send_all, [(1, 3)]),
        (12.3, Outbox.handle_timeout, True),
        (13.0, send_all, [(1, 3)]),
        (15.5, Outbox.handle_timeout, True),
        (16.0, send_all, [(1, 3)]),
        (16.0, lambda box, _: box.next_deadline(), 16.0 + MAX_TIMEOUT_S),
        (19.0, Outbox.handle_timeout, True),
        (19.0, send_all, [(1, 3)]),
        (19.0, lambda box, _: box.next_deadline(), 19.0 + MAX_TIMEOUT_S),
    ],
    "an ack is progress: the timeout runs anew": [
        (10.0, send_all, [(1, 3)]),
        (10.2, lambda box, now: box.acked(1, now), 1),
        (10.2, lambda box, _: box.next_deadline(), 10.2 + TIMEOUT_S),
        (10.49, Outbox.handle_timeout, False),
        (10.51, Outbox.handle_timeout, True),
        (10.51, send_all, [(2, 2)]),
    ],
    "slow acks: the timeout is twice what they take, and comes down slowly": [
        (10.0, send_all, [(1, 3)]),
        (10.25, lambda box, now: box.acked(3, now), 3),
        (10.3, lambda box, _: box.add(event(4)), 4),
        (10.3, send_all, [(4, 1)]),
        (10.3, lambda box, _: box.next_deadline(), 10.8),
        (10.31, lambda box, now: box.acked(4, now), 1),
        (10.4, lambda box, _: box.add(event(5)), 5),
        (10.4, send_all, [(5, 1)]),
        (10.4, lambda box, _: box.next_deadline(), 10.4 + 2 * 0.9 * 0.25),
    ],
    "very slow acks: the timeout has a bound": [
        (10.0, send_all, [(1, 3)]),
        (19.0, lambda box, now: box.acked(3, now), 3),
        (19.0, lambda box, _: box.add(event(4)), 4),
        (19.0, send_all, [(4, 1)]),
        (19.0, lambda box, _: box.next_deadline(), 19.0 + MAX_TIMEOUT_S),
    ],
    "what was sent twice measures nothing: the timeout stays doubled until something new is acked": [
        (10.0, send_all, [(1, 3)]),
        (10.3, Outbox.handle_timeout, True),
        (10.3, send_all, [(1, 3)]),
        (10.35, lambda box, now: box.acked(3, now), 3),
        (10.4, lambda box, _: box.add(event(4)), 4),
        (10.4, send_all, [(4, 1)]),
        (10.4, lambda box, _: box.next_deadline(), 10.4 + 2 * TIMEOUT_S),
        (10.5, lambda box, now: box.acked(4, now), 1),
        (10.5, lambda box, _: box.add(event(5)), 5),
        (10.5, send_all, [(5, 1)]),
        (10.5, lambda box, _: box.next_deadline(), 10.5 + TIMEOUT_S),
    ],
    "an ack that says nothing new is no progress": [
        (10.0, send_all, [(1, 3)]),
        (10.1, lambda box, now: box.acked(1, now), 1),
        (10.2, lambda box, now: box.acked(1, now), 0),
        (10.2, lambda box, now: box.acked(0, now), 0),
        (10.2, lambda box, _: box.next_deadline(), 10.1 + TIMEOUT_S),
    ],
    "sending more does not put the timeout off": [
        (10.0, send_all, [(1, 3)]),
        (10.2, lambda box, _: box.add(event(4)), 4),
        (10.2, send_all, [(4, 1)]),
        (10.31, Outbox.handle_timeout, True),
        (10.31, send_all, [(1, 4)]),
    ],
    "everything acked: nothing to wait for": [
        (10.0, send_all, [(1, 3)]),
        (10.1, lambda box, now: box.acked(3, now), 3),
        (10.1, lambda box, _: box.next_deadline(), None),
        (99.0, Outbox.handle_timeout, False),
        (99.0, lambda box, _: box.add(event(4)), 4),
        (99.0, send_all, [(4, 1)]),
        (99.0, lambda box, _: box.next_deadline(), 99.0 + TIMEOUT_S),
    ],
    "a gap: back at once": [
        (10.0, send_all, [(1, 3)]),
        (10.1, lambda box, now: box.retry("gap", now), None),
        (10.1, send_all, [(1, 3)]),
        (10.1, lambda box, _: box.next_deadline(), 10.1 + TIMEOUT_S),
    ],
    "no room: back after a pause": [
        (10.0, send_all, [(1, 3)]),
        (10.0, lambda box, now: box.retry("full", now), None),
        (10.0, lambda box, _: box.next_deadline(), 10.0 + FULL_PAUSE_S),
        (10.04, send_all, []),
        (10.04, Outbox.handle_timeout, False),
        (10.04, lambda box, _: box.next_deadline(), 10.0 + FULL_PAUSE_S),
        (10.06, Outbox.handle_timeout, False),
        (10.06, lambda box, _: box.next_deadline(), None),
        (10.06, send_all, [(1, 3)]),
    ],
    "no room for a channel: the same": [
        (10.0, send_all, [(1, 3)]),
        (10.0, lambda box, now: box.retry("max_channels", now), None),
        (10.0, lambda box, _: box.held_up, "max_channels"),
        (10.04, send_all, []),
        (10.06, Outbox.handle_timeout, False),
        (10.06, send_all, [(1, 3)]),
        (10.1, lambda box, now: box.acked(1, now), 1),
        (10.1, lambda box, _: box.held_up, ""),
    ],
    "more than the producer's rate: back after the pause asked for, which an ack does not end": [
        (10.0, send_all, [(1, 3)]),
        (10.0, lambda box, now: box.retry("rate", now, 2.0), None),
        (10.1, lambda box, now: box.acked(1, now), 1),
        (10.1, lambda box, _: box.held_up, "rate"),
        (10.1, send_all, []),
        (10.1, lambda box, _: box.next_deadline(), 12.0),
        (11.9, Outbox.handle_timeout, False),
        (11.9, send_all, []),
        (12.0, Outbox.handle_timeout, False),
        (12.0, send_all, [(2, 2)]),
        (12.1, lambda box, now: box.acked(3, now), 2),
        (12.1, lambda box, _: box.held_up, ""),
    ],
    "a pause asked for has a bound, and is no shorter than the usual one": [
        (10.0, send_all, [(1, 3)]),
        (10.0, lambda box, now: box.retry("rate", now, 1e9), None),
        (10.0, lambda box, _: box.next_deadline(), 10.0 + MAX_PAUSE_S),
        (15.0, Outbox.handle_timeout, False),
        (15.0, send_all, [(1, 3)]),
        (15.0, lambda box, now: box.retry("quota", now, 1e-9), None),
        (15.0, lambda box, _: box.next_deadline(), 15.0 + FULL_PAUSE_S),
    ],
    "an ack ends the pause": [
        (10.0, send_all, [(1, 3)]),
        (10.0, lambda box, now: box.retry("full", now), None),
        (10.01, lambda box, now: box.acked(1, now), 1),
        (10.01, send_all, [(2, 2)]),
    ],
    "acked although it was to be sent again": [
        (10.0, send_all, [(1, 3)]),
        (10.1, Outbox.go_back, None),
        (10.1, lambda box, now: box.acked(2, now), 2),
        (10.1, send_all, [(3, 1)]),
        (10.1, lambda box, now: box.acked(99, now), 1),
        (10.1, lambda box, _: (len(box), box.size_bytes), (0, 0)),
    ],
}


@pytest.mark.parametrize("name", TIMELINES)
def test_timeline(name: str) -> None:
    box = outbox(3)
    for at, call, expected in TIMELINES[name]:
        result = call(box, at)
        wanted = pytest.approx(expected) if isinstance(expected, float) else expected
        assert result == wanted, f"at {at}"


def test_a_full_window_waits_for_an_ack() -> None:
    box = outbox(MIN_WINDOW_EVENTS + 1)
    assert box.has_room
    send_all(box)
    assert not box.has_room
    box.acked(1, 0.0)
    assert box.has_room
    large = outbox(9, 65_000)
    send_all(large)
    assert not large.has_room, "in bytes as well"


def test_a_claim_is_in_every_message() -> None:
    box = Outbox("scan/a", "p", 7, own=True)
    box.add(event(1))
    message = box.next_message(0.0)
    assert message is not None
    assert message[0].own


def test_a_refusal_is_news_once_and_only_of_what_is_not_acked() -> None:
    box = outbox(3)
    send_all(box)
    assert [box.refused(pseq) for pseq in (2, 2, 0, 4, 3)] == [True, False, False, False, True]
    assert len(box) == 3, "it is acked like the others"
    box.acked(2, 0.0)
    assert [box.refused(pseq) for pseq in (2, 3)] == [False, False]


class Link:
    """An outbox and a worker, with messages between them that a test lets through, loses or doubles."""

    def __init__(self, max_pending_bytes: int = 1_000_000) -> None:
        self.now = 0.0
        self.box = outbox()
        self.added: list[bytes] = []
        self.log: list[bytes] = []
        self.messages: list[bytes] = []
        self.feedback: list[Feedback] = []
        batch = BatchSection(max_frame_bytes=2_000, max_pending_bytes=max_pending_bytes)
        self.worker = Batcher(ThrottleBatchConfig(batch=batch), Catalogue(), 1_000, 0.0)

    def add(self, size: int) -> None:
        raw = event(len(self.added) + 1, size)
        self.added.append(raw)
        assert self.box.add(raw) == len(self.added)

    def send(self) -> None:
        message = self.box.next_message(self.now)
        if message is not None:
            header, events = message
            self.messages.append(encode_envelope(header, events))
            self.box.sent(events, self.now)

    def deliver(self, at: int, *, keep: bool = False) -> None:
        """Let the worker have a message, not always the oldest; keep it, to be delivered again."""
        if self.messages:
            at %= len(self.messages)
            envelope: Envelope = decode_envelope(self.messages[at] if keep else self.messages.pop(at))
            self.worker.receive(envelope, self.now)
        self.wake_worker()

    def wake_worker(self) -> None:
        self.worker.handle_timeout(self.now)
        for chunk in self.worker.uncommitted().chunks:
            assert chunk.first == len(self.log) + 1
            self.log.extend(chunk.events)
        self.feedback.append(self.worker.committed(self.now).feedback)

    def hear(self) -> None:
        if not self.feedback:
            return
        feedback = self.feedback.pop(0)
        assert not feedback.nacks
        for ack in feedback.acks:
            assert ack.committed <= len(self.log), "acked before it was durable"
            self.box.acked(ack.committed, self.now)
        for retry in feedback.retries:
            self.box.retry(retry.reason, self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        before = (self.box.next_deadline(), len(self.box), self.box.resent)
        if before[0] is None or self.now < before[0]:
            assert not self.box.handle_timeout(self.now)
            assert (self.box.next_deadline(), len(self.box), self.box.resent) == before, "early, and not idle"
        self.box.handle_timeout(self.now)

    def check(self) -> None:
        assert self.log == self.added[: len(self.log)]
        assert self.box.size_bytes == sum(map(len, self.added[len(self.added) - len(self.box) :]))


OPERATIONS = {
    "add": lambda link, value: link.add(value * 37),
    "send": lambda link, _: link.send(),
    "deliver": Link.deliver,
    "deliver twice": lambda link, value: link.deliver(value, keep=True),
    "lose": lambda link, value: link.messages and link.messages.pop(value % len(link.messages)),
    "hear": lambda link, _: link.hear(),
    "lose feedback": lambda link, _: link.feedback and link.feedback.pop(0),
    "wait": lambda link, value: link.wait(value * 0.02),
}


@given(
    steps=st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 40)), max_size=150),
    max_pending_bytes=st.sampled_from([2_000, 1_000_000]),
)
@settings(max_examples=200)
def test_whatever_the_channel_does_everything_arrives_once_and_in_order(
    steps: list[tuple[str, int]], max_pending_bytes: int
) -> None:
    link = Link(max_pending_bytes)
    for name, value in steps:
        OPERATIONS[name](link, value)
        link.check()
    for _ in range(2_000):  # from here on nothing is lost
        link.send()
        while link.messages:
            link.deliver(0)
        link.wake_worker()
        while link.feedback:
            link.hear()
        link.check()
        if not len(link.box):
            break
        link.wait(0.05)
    assert len(link.box) == 0, "the outbox and the worker wait for each other"
    assert link.log == link.added
    assert [json.loads(raw)["n"] for raw in link.log] == list(range(1, len(link.added) + 1))
