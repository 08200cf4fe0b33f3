from __future__ import annotations

from pipeline.edge.gate import Gate


def test_nothing_is_admitted_before_it_was_asked_for() -> None:
    gate = Gate()
    assert not gate.admits(5)
    assert gate.must_ask(5)
    assert gate.barred is None


def test_a_life_that_may_be_seen_is_admitted_and_no_other() -> None:
    gate = Gate()
    gate.judged(5, may_see=True)
    assert gate.admits(5)
    assert not gate.must_ask(5)
    assert not gate.admits(6)
    assert gate.must_ask(6)


def test_one_that_may_not_is_not_asked_for_again_before_a_recheck() -> None:
    gate = Gate()
    gate.judged(5, may_see=False)
    assert not gate.admits(5)
    assert not gate.must_ask(5)
    assert gate.barred == 5
    assert gate.must_ask(6), "the next life may be one's own"
    gate.recheck()
    assert gate.must_ask(5)
    assert gate.barred is None


def test_a_later_life_takes_the_place_of_the_one_before() -> None:
    gate = Gate()
    gate.judged(5, may_see=True)
    gate.judged(6, may_see=False)
    assert not gate.admits(5)
    assert not gate.admits(6)


def test_a_channel_that_is_not_there_admits_nothing() -> None:
    gate = Gate()
    gate.judged(None, may_see=False)
    assert gate.barred is None
    assert gate.must_ask(5)
