"""What a producer may send: exact times, and that no window of time holds more than its quota."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RejectReason
from pipeline.ingest.config import QuotasSection
from pipeline.ingest.open_scans import HELD_S, NoRoom
from pipeline.ingest.quotas import FOREIGN, Held, Quotas, producer_of
from pipeline.wire import Envelope, EnvelopeHeader

EVENT = b'{"type":"x"}'
END = b'{"type":"scanCompleted"}'
WHO = producer_of("", "p")


def quotas(max_producers: int = 10, **limits: float) -> Quotas:
    return Quotas(QuotasSection(**limits), max_producers)  # type: ignore[arg-type]


def envelope(
    count: int = 1, pseq: int = 1, channel: str = "scan/a", sign: str = "", last: bytes = EVENT
) -> Envelope:
    header = EnvelopeHeader(channel, "p", 1, pseq, 1, sign=sign)  # type: ignore[arg-type]
    return Envelope(header, [EVENT] * (count - 1) + [last] * min(count, 1))


def waits(held: Held | NoRoom | None) -> float:
    """Seconds to wait; 0 when it is taken."""
    if held is None:
        return 0.0
    assert isinstance(held, Held)
    assert held.wait_s > 0
    return held.wait_s


def test_no_two_kinds_of_producers_are_one() -> None:
    assert len({producer_of("a", "b"), producer_of("", "a"), producer_of("", ""), producer_of("b", "")}) == 4
    assert producer_of("a", "b") == producer_of("a", "c") == producer_of("a", "")
    assert producer_of("", "") == FOREIGN != producer_of("", FOREIGN)


def test_without_a_quota_nobody_is_asked_and_nobody_stopped() -> None:
    free = quotas()
    assert not free.any
    assert all(free.judge(envelope(4_096, channel=f"scan/{n}"), WHO, 10**6, 0.0) is None for n in range(100))
    for name in ("events_per_s", "bytes_per_s", "max_open_scans", "new_scans_per_hour"):
        assert quotas(**{name: 1}).any


def test_a_burst_then_the_rate_and_what_is_beyond_is_owed() -> None:
    limited = quotas(events_per_s=10, burst_s=2)
    assert waits(limited.judge(envelope(5), WHO, 100, 0.0)) == 0
    assert waits(limited.judge(envelope(30), WHO, 100, 0.0)) == 0, "taken whole: 15 are owed"
    assert waits(limited.judge(envelope(1), WHO, 100, 0.0)) == pytest.approx(1.6, abs=1e-3)
    assert waits(limited.judge(envelope(1), WHO, 100, 1.5)) == pytest.approx(0.1, abs=1e-3)
    assert waits(limited.judge(envelope(1), WHO, 100, 1.601)) == 0
    assert waits(limited.judge(envelope(1), producer_of("", "q"), 100, 1.5)) == 0, "another one has its own"


def test_bytes_count_as_events_do() -> None:
    limited = quotas(bytes_per_s=1_000, burst_s=1)
    assert waits(limited.judge(envelope(1), WHO, 3_000, 0.0)) == 0
    assert waits(limited.judge(envelope(1), WHO, 1, 0.0)) == pytest.approx(2.0, abs=0.01)
    both = quotas(bytes_per_s=1_000, events_per_s=1, burst_s=1)
    assert waits(both.judge(envelope(2), WHO, 3_000, 0.0)) == 0
    assert waits(both.judge(envelope(1), WHO, 1, 0.0)) == pytest.approx(2.0, abs=0.01), "the longer of both"
    held = both.judge(envelope(1), WHO, 1, 0.0)
    assert isinstance(held, Held)
    assert held.reason is RejectReason.RATE
    assert "quotas.events_per_s = 1 " in held.problem


def test_numbers_without_an_event_count_as_well() -> None:
    limited = quotas(events_per_s=10, burst_s=1)
    header = EnvelopeHeader("scan/a", "p", 1, 1, 1, rejected=tuple((n, "json") for n in range(30)))
    assert waits(limited.judge(Envelope(header, []), WHO, 1, 0.0)) == 0
    assert waits(limited.judge(envelope(1), WHO, 1, 0.0)) == pytest.approx(2.1, abs=0.01)


def test_a_new_scan_too_many_is_refused_and_one_that_goes_on_is_held_back() -> None:
    limited = quotas(max_open_scans=1)
    assert limited.judge(envelope(), WHO, 1, 0.0) is None
    refused = limited.judge(envelope(channel="scan/b"), WHO, 1, 0.0)
    assert isinstance(refused, NoRoom)
    held = limited.judge(envelope(channel="scan/c", pseq=7), WHO, 1, 0.0)
    assert held == Held(RejectReason.QUOTA, HELD_S, refused.problem)


@pytest.mark.parametrize(
    "left",
    [envelope(3, last=END), envelope(3, sign="bye"), envelope(0, pseq=4, sign="bye")],
    ids=["its end", "bye with events", "bye"],
)
def test_a_scan_is_open_until_its_end_or_bye(left: Envelope) -> None:
    limited = quotas(max_open_scans=1)
    assert limited.judge(envelope(), WHO, 1, 0.0) is None
    assert limited.judge(left, WHO, 1, 1.0) is None
    assert limited.judge(envelope(channel="scan/b"), WHO, 1, 2.0) is None


def test_a_foreign_producers_scans_are_counted_too() -> None:
    limited = quotas(max_open_scans=1)
    assert limited.refuse(FOREIGN, "scan/a", [EVENT], 0.0) == ""
    assert "max_open_scans is 1" in limited.refuse(FOREIGN, "scan/b", [EVENT], 0.0)
    assert limited.refuse(FOREIGN, "scan/a", [EVENT, END], 0.0) == ""
    assert limited.refuse(FOREIGN, "scan/c", [EVENT], 0.0) == ""


def test_signs_of_life_pass_while_the_rate_is_owed_but_not_more_than_is_needed() -> None:
    limited = quotas(events_per_s=1, burst_s=1, max_open_scans=1)
    alive = envelope(0, pseq=2, sign="alive")
    assert limited.judge(envelope(100), WHO, 1, 0.0) is None
    assert limited.judge(alive, WHO, 1, 5.0) is None
    assert limited.judge(alive, WHO, 1, 5.5) is not None
    assert limited.judge(alive, WHO, 1, 10.0) is None
    unknown = envelope(0, pseq=2, sign="alive", channel="scan/b")
    assert isinstance(limited.judge(unknown, WHO, 1, 10.0), Held), "that one is charged"
    assert limited.judge(envelope(0, pseq=2, sign="bye"), WHO, 1, 10.0) is None
    assert isinstance(limited.judge(envelope(0, pseq=2, sign="bye"), WHO, 1, 10.0), Held), "a second one, too"


def test_the_producers_kept_are_bounded_and_the_one_unheard_longest_begins_anew() -> None:
    limited = quotas(max_producers=2, events_per_s=1, burst_s=1)
    for pid in "abacab":
        limited.judge(envelope(50), producer_of("", pid), 1, 0.0)
    assert len(limited._rates) == 2
    assert waits(limited.judge(envelope(), producer_of("", "c"), 1, 0.0)) == 0
    assert waits(limited.judge(envelope(), producer_of("", "b"), 1, 0.0)) > 0


def test_other_quotas_hold_at_once() -> None:
    limited = quotas(events_per_s=1, burst_s=1)
    assert waits(limited.judge(envelope(50), WHO, 1, 0.0)) == 0
    assert waits(limited.judge(envelope(), WHO, 1, 0.0)) > 0
    limited.follow(QuotasSection(events_per_s=100.0), 10)
    assert waits(limited.judge(envelope(), WHO, 1, 0.0)) == 0
    limited.follow(QuotasSection(), 10)
    assert not limited.any


@given(
    messages=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 60), st.integers(1, 4_000)), max_size=80),
    events_per_s=st.sampled_from([1.0, 10.0, 100.0]),
    bytes_per_s=st.sampled_from([0.0, 100.0, 5_000.0]),
)
@settings(max_examples=150, deadline=None)
def test_no_window_holds_more_than_its_quota_and_a_message(
    messages: list[tuple[float, int, int]], events_per_s: float, bytes_per_s: float
) -> None:
    """And whoever waits as long as told is let in."""
    limited = quotas(events_per_s=events_per_s, bytes_per_s=bytes_per_s, burst_s=1)
    now, taken = 0.0, []
    for gap, events, size in messages:
        now += gap
        held = limited.judge(envelope(events), WHO, size, now)
        if isinstance(held, Held):
            now += held.wait_s * (1 + 1e-9) + 1e-9
            assert limited.judge(envelope(events), WHO, size, now) is None
        taken.append((now, events, size))
    for first in range(len(taken)):
        events = size = 0
        for at, more_events, more_bytes in taken[first:]:
            window_s = at - taken[first][0] + 1  # with the burst
            assert events <= window_s * events_per_s + 1e-3
            assert not bytes_per_s or size <= window_s * bytes_per_s + 1
            events += more_events
            size += more_bytes
