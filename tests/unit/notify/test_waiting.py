"""What waits for a hook: timelines with exact times, and the bounds."""

from __future__ import annotations

from pipeline.notify.config import DeliverySection
from pipeline.notify.retrying import Verdict
from pipeline.notify.waiting import Drop, Waiting

SETTINGS = DeliverySection(
    first_retry_s=4.0, max_retry_s=16.0, give_up_after_s=100.0, max_waiting=3, timeout_s=1.0
)
WHOLE = 1.0
"""The chance that leaves a pause whole."""


def waiting(*numbers: int) -> Waiting:
    found = Waiting(SETTINGS)
    for number in numbers:
        assert found.add(number, 0.0, 0.0) == []
    return found


def test_one_at_a_time_and_in_order() -> None:
    hook = waiting(1, 2)
    assert hook.next_deadline() == 0.0
    assert hook.take(0.0) == (1, [])
    assert hook.next_deadline() is None
    assert hook.take(0.0) == (None, [])
    assert hook.answered(Verdict.DELIVERED, 0.0, WHOLE, 1.0) == []
    assert hook.next_deadline() == 1.0
    assert hook.take(1.0) == (2, [])
    hook.answered(Verdict.DELIVERED, 0.0, WHOLE, 2.0)
    assert hook.next_deadline() is None
    assert hook.take(3.0) == (None, [])
    assert len(hook) == 0


def test_while_a_receiver_is_unwell_everything_waits_and_the_same_message_is_next() -> None:
    hook = waiting(1, 2)
    now = 0.0
    for pause in (4.0, 8.0, 16.0, 16.0):
        assert hook.take(now) == (1, [])
        hook.answered(Verdict.UNWELL, 0.0, WHOLE, now)
        assert hook.next_deadline() == now + pause
        assert hook.take(now + pause - 0.001) == (None, [])
        now += pause
    assert hook.failures == 4
    assert hook.take(now) == (1, [])
    hook.answered(Verdict.DELIVERED, 0.0, WHOLE, now)
    assert hook.failures == 0
    assert hook.take(now) == (2, [])
    hook.answered(Verdict.UNWELL, 0.0, WHOLE, now)
    assert hook.next_deadline() == now + 4.0  # it begins anew


def test_a_message_that_is_refused_waits_alone() -> None:
    hook = waiting(1, 2, 3)
    assert hook.take(0.0) == (1, [])
    hook.answered(Verdict.REFUSED, 0.0, WHOLE, 0.0)
    assert hook.take(0.0) == (2, [])
    hook.answered(Verdict.DELIVERED, 0.0, WHOLE, 1.0)
    assert hook.take(1.0) == (3, [])
    hook.answered(Verdict.DELIVERED, 0.0, WHOLE, 2.0)
    assert hook.next_deadline() == 4.0
    assert hook.take(4.0) == (1, [])
    hook.answered(Verdict.REFUSED, 0.0, WHOLE, 4.0)
    assert hook.next_deadline() == 12.0


def test_a_receiver_may_ask_for_time_even_if_it_took_the_message() -> None:
    hook = waiting(1, 2, 3)
    hook.take(0.0)
    hook.answered(Verdict.DELIVERED, 2.0, WHOLE, 0.0)
    assert hook.next_deadline() == 2.0
    hook.take(2.0)
    hook.answered(Verdict.UNWELL, 10.0, 0.0, 2.0)
    assert hook.next_deadline() == 12.0
    hook.take(12.0)
    hook.answered(Verdict.UNWELL, 1e6, 0.0, 12.0)
    assert hook.next_deadline() == 28.0


def test_beyond_its_bound_the_oldest_goes_but_not_the_one_under_way() -> None:
    hook = waiting(1, 2, 3)
    assert hook.take(0.0) == (1, [])
    assert hook.add(4, 0.0, 0.0) == [Drop(2, "queue_full")]
    assert hook.add(5, 0.0, 0.0) == [Drop(3, "queue_full")]
    hook.answered(Verdict.UNWELL, 0.0, WHOLE, 0.0)
    assert hook.add(6, 0.0, 0.0) == [Drop(1, "queue_full")]
    assert hook.take(4.0) == (4, [])


def test_what_is_too_old_goes_when_it_would_be_its_turn() -> None:
    hook = Waiting(SETTINGS)
    hook.add(1, -99.0, 0.0)
    hook.add(2, -50.0, 0.0)
    assert hook.take(0.999) == (1, [])
    hook.answered(Verdict.UNWELL, 0.0, WHOLE, 0.999)
    assert hook.take(4.999) == (2, [Drop(1, "expired")])
    hook.answered(Verdict.UNWELL, 0.0, WHOLE, 4.999)
    assert hook.take(60.0) == (None, [Drop(2, "expired")])
    assert hook.next_deadline() is None


def test_what_a_hook_that_is_gone_was_to_be_sent_goes() -> None:
    hook = waiting(1, 2)
    hook.take(0.0)
    assert hook.answered(Verdict.GONE, 0.0, WHOLE, 0.0) == [Drop(1, "gone"), Drop(2, "gone")]
    assert hook.gone
    assert hook.add(3, 0.0, 0.0) == [Drop(3, "gone")]
    assert hook.next_deadline() is None


def test_a_hook_that_is_another_one_is_sent_at_once_what_waits() -> None:
    hook = waiting(1, 2)
    hook.take(0.0)
    hook.answered(Verdict.REFUSED, 0.0, WHOLE, 0.0)
    hook.take(0.0)
    hook.answered(Verdict.UNWELL, 0.0, WHOLE, 0.0)
    assert (hook.failures, hook.next_deadline()) == (1, 4.0)
    hook.renew(1.0)
    assert (hook.failures, hook.next_deadline()) == (0, 1.0)
    assert hook.take(1.0) == (1, []), "in their order"
    hook.answered(Verdict.GONE, 0.0, WHOLE, 1.0)
    assert hook.gone
    hook.renew(2.0)
    assert hook.add(3, 2.0, 2.0) == []


def test_what_waits_for_a_hook_that_is_no_more_is_dropped() -> None:
    hook = waiting(1, 2)
    hook.take(0.0)
    assert hook.leave() == [Drop(1, "no_hook"), Drop(2, "no_hook")]
    assert len(hook) == 0
