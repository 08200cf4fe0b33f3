"""The rules of the module's tables; times are exact."""

from __future__ import annotations

import pytest

from pipeline.edge.posts import (
    FULL_PAUSE_S,
    INGEST_WAIT_S,
    MAX_IDLE,
    MAX_RESEND_S,
    RESEND_S,
    Post,
    Posts,
    Told,
)
from pipeline.wire import Ack, Feedback, Nack, Reached, Retry, decode_envelope

EVENTS = [b'{"type":"a"}', b'{"type":"b"}', b'{"type":"c"}']
CHANNEL = "scan/demo"
TIMEOUT_S = 10.0


def posts() -> Posts:
    return Posts("edge", TIMEOUT_S)


def began(of: Posts, key: str = "", now: float = 0.0, events: list[bytes] = EVENTS) -> Post:
    post = of.begin(CHANNEL, events, key, now)
    if post.told is None:
        of.sent(post, now)
    return post


def ack(post: Post, committed: int | None = None) -> Ack:
    return Ack(post.pid, 0, post.channel, post.last if committed is None else committed)


def reached(post: Post, seq: int = 7) -> Reached:
    return Reached(post.pid, 0, post.channel, 5, seq, post.digest)


def heard(of: Posts, *items: object, now: float = 0.0) -> list[Post]:
    feedback = Feedback([], [], [], [])
    for item in items:
        lists = {Ack: feedback.acks, Retry: feedback.retries, Nack: feedback.nacks, Reached: feedback.reached}
        lists[type(item)].append(item)
    return of.hear(feedback, now)


# --- what is sent -------------------------------------------------------------------------------------


def test_one_envelope_that_says_bye() -> None:
    envelope = decode_envelope(began(posts(), "k").message)
    assert envelope.events == EVENTS
    header = envelope.header
    assert (header.channel, header.inc, header.pseq, header.una, header.sign) == (CHANNEL, 0, 1, 1, "bye")
    assert header.digest


def test_a_key_is_the_same_producer_wherever_it_is_posted() -> None:
    first, second = began(posts(), "k"), began(Posts("another", 1.0), "k", 99.0)
    assert first.message == second.message
    others = [
        posts().begin("scan/other", EVENTS, "k", 0.0),
        posts().begin(CHANNEL, EVENTS, "l", 0.0),
    ]
    assert len({post.pid for post in (first, *others)}) == 3
    other_body = posts().begin(CHANNEL, EVENTS[:2], "k", 0.0)
    assert (other_body.pid == first.pid, other_body.digest == first.digest) == (True, False)


def test_without_a_key_the_next_one_goes_on_where_the_last_one_ended() -> None:
    of = posts()
    first, beside = began(of), began(of)
    assert first.pid != beside.pid, "two at once do not share a producer"
    assert heard(of, ack(first)) == [first]
    third = began(of)
    assert (third.pid, third.first, third.digest) == (first.pid, 4, "")
    header = decode_envelope(third.message).header
    assert (header.pseq, header.una) == (4, 4)


def test_what_may_not_have_been_taken_is_followed_by_nothing() -> None:
    of = posts()
    silent, refused = began(of), began(of)
    heard(of, Nack(refused.pid, 0, CHANNEL, 2, "after_terminal", "ended"), ack(refused))
    assert of.handle_timeout(TIMEOUT_S) == [silent]
    assert {began(of).pid, began(of).pid}.isdisjoint({silent.pid, refused.pid})


def test_few_producers_are_kept() -> None:
    of = posts()
    for number in range(MAX_IDLE + 10):
        post = of.begin(f"scan/{number}", EVENTS, "", 0.0)
        of.sent(post, 0.0)
        heard(of, ack(post))
    assert of.begin("scan/9", EVENTS, "", 0.0).first == 1, "forgotten"
    assert of.begin("scan/10", EVENTS, "", 0.0).first == 4


# --- when ---------------------------------------------------------------------------------------------


def test_sent_again_until_it_is_acked() -> None:
    of = posts()
    post = began(of)
    times, now = [], 0.0
    while now < TIMEOUT_S:
        assert of.due(post.send_at - 0.001) == []
        now = post.send_at
        assert of.due(now) == [post]
        of.sent(post, now)
        times.append(round(now, 3))
    assert times[:4] == [RESEND_S, 0.9, 2.1, 4.5]
    assert post.send_at - times[-1] == pytest.approx(MAX_RESEND_S)
    heard(of, ack(post))
    assert of.due(1e9) == []


@pytest.mark.parametrize(
    ("reason", "pause_s"), [("gap", 0.0), ("full", FULL_PAUSE_S), ("max_channels", 0.05)]
)
def test_a_retry(reason: str, pause_s: float) -> None:
    of = posts()
    post = began(of)
    assert heard(of, Retry(post.pid, 0, CHANNEL, 1, reason), now=0.1) == []
    assert post.send_at == pytest.approx(0.1 + pause_s)


# --- what it is told ----------------------------------------------------------------------------------


def test_taken() -> None:
    of = posts()
    post = began(of)
    assert heard(of, ack(post, 2), reached(post, 6)) == [], "not the whole of it"
    assert heard(of, reached(post), ack(post)) == [post]
    assert post.told == Told("taken", (), (5, 7))
    assert len(of) == 0


def test_refused_in_part_and_as_a_whole() -> None:
    of = posts()
    part, whole = began(of), began(of)
    nacks = [Nack(part.pid, 0, CHANNEL, 2, "after_terminal", "has ended")] * 2
    assert heard(of, *nacks, reached(part), ack(part)) == [part]
    assert part.told == Told("taken", ((1, "after_terminal", "has ended"),), (5, 7))
    nacks = [Nack(whole.pid, 0, CHANNEL, number, "scan_owned", "no") for number in (1, 2, 3)]
    heard(of, *nacks, reached(whole, 3), ack(whole))
    assert whole.told is not None
    assert (len(whole.told.refused), whole.told.position) == (3, None), "that position is of an earlier one"


def test_a_key_that_stands_for_something_else() -> None:
    of = posts()
    post = began(of, "k")
    other = of.begin(CHANNEL, EVENTS[:1], "k", 0.1)
    assert other.told == Told("reused"), "the worker need not be asked"
    assert heard(of, Nack(post.pid, 0, CHANNEL, 1, "key_reused", f"digest {other.digest}: x")) == []
    assert heard(of, Nack(post.pid, 0, CHANNEL, 1, "key_reused", f"digest {post.digest}: x")) == [post]
    assert post.told == Told("reused")


def test_a_late_ack_is_for_what_the_key_stands_for() -> None:
    of = posts()
    first = began(of, "k")
    assert heard(of, reached(first), ack(first)) == [first]
    other = began(of, "k", events=EVENTS[:1])
    assert heard(of, reached(first), ack(first)) == [], "its envelope was sent twice"
    assert heard(of, ack(other)) == [], "nobody says what that is for"
    assert heard(of, Nack(other.pid, 0, CHANNEL, 1, "key_reused", f"digest {other.digest}: x")) == [other]


def test_the_same_again_shares_the_answer() -> None:
    of = posts()
    post = began(of, "k")
    assert of.begin(CHANNEL, EVENTS, "k", 3.0) is post
    assert len(of) == 1


def test_no_ingest() -> None:
    of = posts()
    post = of.begin(CHANNEL, EVENTS, "", 1.0)
    assert of.handle_timeout(1.0 + INGEST_WAIT_S - 0.001) == []
    assert of.handle_timeout(1.0 + INGEST_WAIT_S) == [post]
    assert post.told == Told("unsent")
    assert of.handle_timeout(99.0) == []


@pytest.mark.parametrize(("reason", "kind"), [("", "unanswered"), ("gap", "unanswered"), ("full", "held_up")])
def test_no_answer(reason: str, kind: str) -> None:
    of = posts()
    post = began(of, "k")
    if reason:
        heard(of, Retry(post.pid, 0, CHANNEL, 1, reason))
    assert of.handle_timeout(TIMEOUT_S - 0.001) == []
    assert of.handle_timeout(TIMEOUT_S) == [post]
    assert post.told is not None
    assert post.told.kind == kind
    assert began(of, "k", TIMEOUT_S) is not post, "a retry is another attempt"


def test_what_others_are_told_is_theirs() -> None:
    of = posts()
    began(of, "k")
    strange = [
        Ack("p", 1, CHANNEL, 9),
        Nack("p", 1, CHANNEL, 1, "schema", ""),
        Retry("p", 1, CHANNEL, 1, "gap"),
    ]
    assert heard(of, *strange, Reached("p", 1, CHANNEL, 5, 1)) == []
