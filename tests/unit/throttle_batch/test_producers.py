"""The rules of the module's table one by one; what the batcher makes of them is in test_batcher."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.throttle_batch.producers import RETRY_INTERVAL_S, Producer, Producers, Verdict
from pipeline.throttle_batch.records import ProducerRecord
from pipeline.wire import EnvelopeHeader


def header(pseq: int, una: int = 1, inc: int = 5, pid: str = "p", channel: str = "scan/a") -> EnvelopeHeader:
    return EnvelopeHeader(channel, pid, inc, pseq, una)


def known(taken: int = 8, committed: int = 6, max_producers: int = 9) -> tuple[Producers, Producer]:
    """Producers that know one: incarnation 5, 1 to `taken` taken, of these `committed` committed."""
    producers = Producers(max_producers, Counter())
    producer, verdict = producers.judge(header(1), taken)
    assert verdict is Verdict.NEW
    producer.taken, producer.committed = taken, committed
    return producers, producer


# (pseq, una, count) of a message -> verdict, when 1 to 8 are taken and 1 to 6 committed
VERDICTS = {
    "all committed": ((1, 1, 6), Verdict.AGAIN),
    "the last committed": ((6, 1, 1), Verdict.AGAIN),
    "some only taken": ((5, 1, 3), Verdict.TAKEN),
    "up to the last taken": ((1, 1, 8), Verdict.TAKEN),
    "the last taken": ((8, 8, 1), Verdict.TAKEN),
    "reaches beyond": ((1, 1, 9), Verdict.NEW),
    "the next": ((9, 7, 1), Verdict.NEW),
    "one missing": ((10, 7, 1), Verdict.GAP),
    "many missing": ((1_000, 9, 50), Verdict.GAP),
    "the next, by its una": ((9, 9, 1), Verdict.NEW),
    "una beyond": ((12, 12, 1), Verdict.NEW),
    "una beyond, and a gap": ((14, 12, 1), Verdict.GAP),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_verdict(name: str) -> None:
    (pseq, una, count), expected = VERDICTS[name]
    producers, producer = known()
    assert producers.judge(header(pseq, una), count) == (producer, expected)
    jumped = max(0, una - 9)
    assert (producer.taken, producer.committed) == ((8, 6) if not jumped else (una - 1, una - 1))
    assert producers.counters["jumped"] == jumped
    duplicates = count if expected in (Verdict.AGAIN, Verdict.TAKEN) else 0
    assert producers.counters["duplicates"] == duplicates


@pytest.mark.parametrize(("pseq", "una", "verdict"), [(1, 1, "NEW"), (7, 7, "NEW"), (7, 3, "GAP")])
def test_one_we_know_not_starts_at_its_una(pseq: int, una: int, verdict: str) -> None:
    for producers in (Producers(9, Counter()), known()[0]):
        producer, found = producers.judge(header(pseq, una, inc=6), 1)
        assert (producer.inc, producer.taken, producer.committed) == (6, una - 1, una - 1)
        assert found is Verdict[verdict]
        assert producers.counters["jumped"] == 0


def test_an_older_incarnation_is_fenced_and_changes_nothing() -> None:
    producers, producer = known()
    assert producers.judge(header(9, 9, inc=4), 1)[1] is Verdict.FENCED
    assert (producer.inc, producer.taken, producer.committed) == (5, 8, 6)
    assert producers.judge(header(9), 1) == (producer, Verdict.NEW)


def test_each_channel_of_each_producer_is_apart() -> None:
    producers, producer = known()
    for other in (header(1, channel="scan/b"), header(1, pid="q")):
        assert producers.judge(other, 1)[0] is not producer
    assert producers.judge(header(9), 1)[0] is producer


def test_the_one_unheard_longest_is_forgotten() -> None:
    producers, producer = known(max_producers=2)
    other, _ = producers.judge(header(1, pid="q"), 1)
    producers.judge(header(3), 1)  # a duplicate is a sign of life too
    producers.judge(header(1, pid="r"), 1)
    assert producers.counters["producers_forgotten"] == 1
    assert producers.forgotten == [("q", "scan/a")]
    assert producers.judge(header(9), 1)[0] is producer
    assert producers.judge(header(1, pid="q"), 1)[0] is not other


def test_what_is_restored_is_committed() -> None:
    producers = Producers(2, Counter())
    for pid in ("a", "b", "c"):
        producers.restore(ProducerRecord(pid, "scan/a", 5, 7))
    assert producers.counters["producers_forgotten"] == 1
    assert producers.forgotten == [("a", "scan/a")]
    producer, verdict = producers.judge(header(7, pid="c"), 1)
    assert (producer.taken, producer.committed, verdict) == (7, 7, Verdict.AGAIN)
    assert producers.judge(header(9, pid="b"), 1)[1] is Verdict.GAP
    assert producers.judge(header(7, 7, pid="a"), 1)[1] is Verdict.NEW, "the oldest was forgotten"


def test_the_same_is_asked_for_only_now_and_then() -> None:
    producer = Producer(5, 8, 6)
    assert producer.may_ask(1.0)
    assert not producer.may_ask(1.0)
    assert not producer.may_ask(1.0 + RETRY_INTERVAL_S - 0.001)
    assert producer.may_ask(1.0 + RETRY_INTERVAL_S + 0.001)
    producer.taken = 9
    assert producer.may_ask(1.06), "at once when something was taken"
