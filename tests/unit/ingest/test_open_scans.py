"""How many scans a producer has open: timelines with exact times, and a model that counts in another way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ingest import open_scans
from pipeline.ingest.open_scans import SIGN_INTERVAL_S, NoRoom, OpenScans

Step = tuple[float, Callable[[OpenScans, float], object], object]


def enter(channel: str, who: str = "p", *, begins: bool = True) -> Callable[[OpenScans, float], object]:
    """Say `taken`, `refused` or `held`."""

    def step(scans: OpenScans, now: float) -> object:
        found = scans.enter(who, channel, now, begins=begins)
        return "taken" if found is None else "held" if found.held else "refused"

    return step


def sign(channel: str, who: str = "p") -> Callable[[OpenScans, float], object]:
    return lambda scans, now: scans.sign(who, channel, now)


def leave(channel: str, who: str = "p") -> Callable[[OpenScans, float], object]:
    return lambda scans, _: scans.leave(who, channel)


def open_of(who: str = "p") -> Callable[[OpenScans, float], object]:
    return lambda scans, _: scans.open_of(who)


# name -> (max_open, new_per_hour, steps); what is silent for 100 s is open no more
TIMELINES: dict[str, tuple[int, int, list[Step]]] = {
    "one too many is refused, and so is what follows of it": (
        2,
        0,
        [
            (0.0, enter("a"), "taken"),
            (0.0, enter("b"), "taken"),
            (1.0, enter("c"), "refused"),
            (1.0, enter("a"), "taken"),
            (2.0, leave("a"), True),
            (2.0, enter("c", begins=False), "refused"),
            (2.0, open_of(), 1),
            (3.0, enter("d"), "taken"),
        ],
    ),
    "another producer has its own": (
        1,
        0,
        [
            (0.0, enter("a"), "taken"),
            (0.0, enter("a", "q"), "taken"),
            (0.0, enter("b", "q"), "refused"),
            (0.0, enter("b"), "refused"),
        ],
    ),
    "one that goes on is held back, until there is room": (
        1,
        0,
        [
            (0.0, enter("a"), "taken"),
            (0.0, enter("b", begins=False), "held"),
            (5.0, enter("b", begins=False), "held"),
            (6.0, leave("a"), True),
            (6.0, enter("b", begins=False), "taken"),
            (6.0, open_of(), 1),
        ],
    ),
    "a refused one that is left may come again": (
        1,
        0,
        [
            (0.0, enter("a"), "taken"),
            (0.0, enter("b"), "refused"),
            (1.0, leave("b"), False),
            (1.0, leave("b"), None),
            (1.0, leave("a"), True),
            (1.0, enter("b"), "taken"),
        ],
    ),
    "silence ends both": (
        1,
        0,
        [
            (0.0, enter("a"), "taken"),
            (10.0, enter("b"), "refused"),
            (99.9, enter("c"), "refused"),
            (100.0, enter("d"), "taken"),
            (109.9, enter("b"), "refused"),
            (199.9, enter("e"), "refused"),
            (209.9, enter("b"), "taken"),
        ],
    ),
    "a sign of life keeps it open; and opens nothing": (
        1,
        0,
        [
            (0.0, sign("a"), None),
            (0.0, enter("a"), "taken"),
            (90.0, sign("a"), True),
            (90.5, sign("a"), False),
            (91.0, sign("a"), True),
            (190.0, enter("b"), "refused"),
            (190.9, sign("b"), False),
            (191.0, open_of(), 1),
            (191.0, enter("c"), "taken"),
        ],
    ),
    "so many an hour, and at once": (
        0,
        6,
        [
            *((0.0, enter(f"s{number}"), "taken") for number in range(6)),
            (0.0, enter("s6"), "refused"),
            (0.0, enter("s5"), "taken"),
            (599.0, enter("s7", begins=False), "held"),
            (601.0, enter("s8"), "taken"),
            (601.0, enter("s9"), "refused"),
            (9999.0, enter("s10"), "taken"),
        ],
    ),
}


@pytest.mark.parametrize("name", TIMELINES)
def test_timeline(name: str) -> None:
    max_open, new_per_hour, steps = TIMELINES[name]
    scans = OpenScans(max_open, new_per_hour, 100.0, 10)
    for number, (now, call, wanted) in enumerate(steps):
        assert call(scans, now) == wanted, f"step {number}"


def test_the_problem_names_the_limit() -> None:
    scans = OpenScans(1, 0, 100.0, 10)
    assert scans.enter("p", "a", 0.0, begins=True) is None
    problem = "1 of this producer's scans are open; quotas.max_open_scans is 1"
    assert scans.enter("p", "b", 0.0, begins=True) == NoRoom(problem, held=False)
    scans = OpenScans(0, 1, 100.0, 10)
    assert scans.enter("p", "a", 0.0, begins=True) is None
    problem = "this producer begins too many scans; quotas.new_scans_per_hour is 1"
    assert scans.enter("p", "b", 0.0, begins=True) == NoRoom(problem, held=False)


def test_other_limits_hold_from_now_on_and_what_is_open_stays_open() -> None:
    scans = OpenScans(1, 0, 100.0, 10)
    assert [enter(channel)(scans, 0.0) for channel in "ab"] == ["taken", "refused"]
    scans.follow(3, 0, 100.0, 10)
    assert [enter(channel)(scans, 1.0) for channel in "abcd"] == ["taken", "taken", "taken", "refused"]


def test_what_is_kept_in_mind_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_scans, "MAX_KNOWN", 5)
    scans = OpenScans(3, 100, 1e9, 4)
    for number in range(50):
        assert enter("a", f"p{number}")(scans, float(number)) == "taken"
        assert len(scans) <= 5
    for number in range(50):
        enter(f"s{number}", "q")(scans, 100.0)
        assert len(scans) <= 10
    assert scans.open_of("q") == 3, "what is refused pushes out nothing that is open"
    assert len(scans._begun) <= 4


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["enter", "go on", "sign", "leave"]),
            st.sampled_from("pq"),
            st.sampled_from("abcde"),
            st.floats(0, 40),
        ),
        max_size=80,
    ),
    st.integers(1, 3),
)
@settings(max_examples=200, deadline=None)
def test_no_more_are_open_than_may_be_and_each_is_let_in_while_there_is_room(
    steps: list[tuple[str, str, str, float]], max_open: int
) -> None:
    scans = OpenScans(max_open, 0, 100.0, 10)
    heard: dict[tuple[str, str], float] = {}  # of those that are open
    refused: dict[tuple[str, str], float] = {}
    now = 0.0
    for what, who, channel, gap in steps:
        now += gap
        key = who, channel
        heard = {each: at for each, at in heard.items() if at > now - 100}
        refused = {each: at for each, at in refused.items() if at > now - 100}
        count = sum(each[0] == who for each in heard)
        if what == "leave":
            heard.pop(key, None), refused.pop(key, None)
            scans.leave(who, channel)
        elif what == "sign":
            passed = scans.sign(who, channel, now)
            for known, wanted in ((heard, {True, False}), (refused, {False})):
                if key in known:
                    known[key] = now
                    assert passed in wanted
            assert (passed is None) == (key not in heard and key not in refused)
        else:
            told = enter(channel, who, begins=what == "enter")(scans, now)
            if key in heard:
                assert told == "taken"
                heard[key] = now
            elif key in refused:
                assert told == "refused"
                refused[key] = now
            elif count < max_open:
                assert told == "taken"
                heard[key] = now
            else:
                assert told == ("refused" if what == "enter" else "held")
                if what == "enter":
                    refused[key] = now
        assert scans.open_of(who) <= max_open


def test_a_sign_may_come_each_interval() -> None:
    scans = OpenScans(0, 0, 100.0, 10)
    scans.enter("p", "a", 0.0, begins=True)
    passed = [number for number in range(1, 101) if scans.sign("p", "a", number / 8)]
    assert passed == list(range(1, 101, round(8 * SIGN_INTERVAL_S)))
