"""A browser too far behind: what it is told, given and shown; `test_session` has what may go wrong."""

from __future__ import annotations

import json

import pytest

from pipeline.edge.action import Deliver, FetchState, Say
from pipeline.edge.delivery import Delivery
from pipeline.edge.filter import read_filter
from pipeline.edge.lagging import PUBLISHED_WITHIN_S, STATES_APART_S
from pipeline.edge.variant import HEROFORGE, NATIVE, Variant
from tests.unit.edge.test_session import Browser, at, come, stalled


def behind(variant: Variant = NATIVE) -> tuple[Browser, list[object]]:
    """One that is due event 3 of 18 and may be left behind; 13 is critical, 17 and 18 are the newest frame.

    And what it will be told: (first, last) of events, and messages.
    """
    browser = stalled(variant)
    come(browser, critical=True)  # 13
    come(browser, count=3)  # 14 to 16
    browser.reader.worker.now = 12.0
    come(browser, count=2)
    said: list[object] = []
    take = browser.reader.take

    def noting(action: Deliver | Say) -> None:
        if isinstance(action, Say):
            said.append(json.loads(action.message))
        else:
            said.append((action.delivery.first, action.delivery.last))
        take(action)

    browser.reader.take = noting  # type: ignore[method-assign]
    browser.reads = True
    return browser, said


def lag(first: int, to: int, skipped: int) -> dict[str, object]:
    return {
        "type": "lag",
        "scanId": "demo",
        "skippedMessages": skipped,
        "from": first,
        "to": to,
        "reason": "too_slow",
    }


def state(seq: int) -> dict[str, object]:
    return {"type": "snapshot", "scan_id": "demo", "epoch": 1, "seq": seq, "state": {"at": [1, seq]}}


def answered(browser: Browser) -> None:
    assert browser.asked == FetchState(1)
    browser.ask(browser.reader.worker)
    browser.answer()


def test_it_is_told_what_is_left_out_given_what_is_critical_and_shown_the_state() -> None:
    browser, said = behind()
    browser.drive()
    assert said == [], "the state is asked for first: the lag reaches to it"
    answered(browser)
    assert said == [lag(3, 18, 15), (13, 13), state(18)]
    assert (browser.session.skipped, browser.session.lagging.count) == (15, 15)
    come(browser, count=2)
    at(browser, 13.0)
    assert said[3:] == [(19, 20)]
    assert browser.asked is None


@pytest.mark.parametrize(
    "variant", [HEROFORGE, Variant("native", wanted=read_filter(types=["note", "portFound"]))]
)
def test_one_that_is_shown_no_state_goes_on_with_the_newest_frame(variant: Variant) -> None:
    browser, said = behind(variant)
    browser.drive()
    assert browser.asked is None
    told, *rest = said
    assert isinstance(told, dict)
    assert told["skippedMessages"] == 13
    assert rest == [(13, 13), (17, 18)]
    assert not browser.session.wants_state_again


def test_a_state_ahead_of_the_frames_waits_for_them_and_the_rest_of_one_comes_from_history() -> None:
    browser, said = behind()
    worker = browser.reader.worker
    worker.commit(2)
    browser.drive()
    answered(browser)
    assert said == []
    come(browser, count=4)  # 19 to 22
    assert said == [lag(3, 20, 17), (13, 13), state(20)]
    at(browser, 13.0)
    browser.ask(worker)
    browser.answer()
    assert said[3:] == [(21, 22)]


def test_a_critical_event_that_the_state_is_ahead_of_comes_before_it() -> None:
    browser, said = behind()
    browser.reader.worker.commit(2)
    browser.drive()
    answered(browser)
    come(browser, count=2, critical=True)
    assert said == [lag(3, 20, 15), (13, 13), (19, 20), state(20)]


def test_a_state_that_would_cut_a_critical_frame_is_let_go_of() -> None:
    browser, said = behind()
    browser.reader.worker.commit(1)
    browser.drive()
    answered(browser)
    come(browser, count=3, critical=True)
    assert said == [lag(3, 18, 15), (13, 13), (19, 21)]
    assert browser.session.wants_state_again
    at(browser, 12.0 + STATES_APART_S)
    answered(browser)
    assert said[3:] == [state(21)]


def test_a_state_whose_frames_do_not_come_is_let_go_of() -> None:
    browser, said = behind()
    browser.reader.worker.commit(1)
    browser.drive()
    answered(browser)
    at(browser, 12.0 + PUBLISHED_WITHIN_S - 0.1)
    assert said == []
    at(browser, 12.0 + PUBLISHED_WITHIN_S)
    assert said == [lag(3, 16, 13), (13, 13), (17, 18)]


def test_a_state_is_let_go_of_when_a_frame_before_it_was_lost() -> None:
    browser, said = behind()
    worker = browser.reader.worker
    worker.commit(2)
    browser.drive()
    answered(browser)
    worker.publish(2, critical=True)
    come(browser)  # 21
    assert said == [], "which events of the gap are critical is history's to say"
    for _ in range(20):
        at(browser, worker.now + 1.0)
        browser.ask(worker)
        browser.answer()
    given = [each for each in said if isinstance(each, tuple)]
    assert [first for first, _ in given] == [3, *(last + 1 for _, last in given[:-1])]
    assert browser.session.skipped == 0


def test_one_that_is_behind_again_soon_is_told_so_and_shown_the_state_later_whatever_comes() -> None:
    browser, said = behind()
    browser.drive()
    answered(browser)
    browser.reads = False
    worker = browser.reader.worker
    come(browser)  # 19: its socket is full
    for second in range(13, 30):
        worker.now = float(second)
        come(browser)
    del said[:]
    browser.reads = True
    browser.drive()
    assert browser.asked is None
    assert [each["type"] for each in said if isinstance(each, dict)] == ["lag"]
    for second in range(30, 72):
        at(browser, float(second))
    assert browser.session.pace.full
    assert browser.session.seat is None, "it is not in step: what it shows is not right"
    assert browser.session.wants_state_again
    at(browser, 12.0 + STATES_APART_S)
    answered(browser)
    assert said[-1] == state(worker.lives[1].head)
    assert browser.session.seat is not None


def test_a_new_life_needs_no_state() -> None:
    browser, said = behind()
    browser.drive()
    worker = browser.reader.worker
    browser.ask(worker)
    worker.begin()
    browser.feed.add(Delivery.of_frame(worker.publish(1)), worker.now)
    for _ in range(20):
        browser.answer()
        browser.ask(worker)
        at(browser, worker.now + 1.0)
    kinds = [each["type"] for each in said if isinstance(each, dict)]
    assert kinds == ["reset"]
    assert (browser.reader.epoch, browser.reader.next) == (2, 2)


def test_a_filter_that_comes_before_the_state_makes_it_superfluous() -> None:
    browser, said = behind()
    browser.drive()
    browser.session.refilter(read_filter(types=["portFound"]))
    answered(browser)
    assert [each["type"] for each in said if isinstance(each, dict)] == ["filter", "lag"]


def test_what_is_owed_comes_one_message_at_a_time_the_state_last() -> None:
    browser = stalled()
    worker = browser.reader.worker
    for _ in range(3):
        come(browser, critical=True)
    worker.now = 12.0
    come(browser)
    browser.behind = False
    browser.drive()
    browser.ask(worker)
    browser.answer()
    for owed in (3, 2, 1, 0):
        assert len(browser.reader.owed) == owed
        assert browser.session.seat is None
        assert browser.reader.state_due
        browser.behind = False  # it takes one message a time
        browser.drive()
    assert not browser.reader.state_due
    browser.behind, browser.reads = False, True
    browser.drive()
    assert browser.reader.next == 17
