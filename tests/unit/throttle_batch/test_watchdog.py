from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.event import Error, Event, ScanOrphaned, ScanResumed, ScanStalled
from pipeline.throttle_batch.sections import WatchdogSection
from pipeline.throttle_batch.watchdog import MAX_PRESENT, Watchdog

SETTINGS = WatchdogSection(
    stalled_after_s=30, stalled_factor=4, stalled_at_most_s=200, orphaned_after_s=60, orphan_grace_s=100
)
NEVER = float("-inf")


class Rig:
    """A watchdog that is driven to exact times; `said` is what it said, and when."""

    def __init__(self, settings: WatchdogSection = SETTINGS, now: float = 0.0) -> None:
        self.dog = Watchdog(settings, now)
        self.since = NEVER
        self.said: list[tuple[float, str]] = []
        self.ended = False

    def until(self, end: float) -> None:
        while not self.ended and (due := self.dog.next_deadline(self.since)) is not None and due <= end:
            assert self.dog.handle_timeout(due - 0.001, self.since) is None, "early does nothing"
            self._say(due, self.dog.handle_timeout(due, self.since))
            assert self.dog.handle_timeout(due, self.since) is None, "twice does nothing"

    def _say(self, now: float, event: Event | None) -> None:
        if event is not None:
            self.said.append((now, type(event).__name__))
            if isinstance(event, Error):
                assert event.fatal
                self.ended = True

    def event(self, now: float, pid: str = "p") -> None:
        self.until(now)
        self.dog.heard(pid, now)
        self._say(now, self.dog.resumed(now, by_event=True))
        self.dog.event(now)

    def alive(self, now: float, pid: str = "p") -> None:
        self.until(now)
        self.dog.heard(pid, now)
        self._say(now, self.dog.resumed(now, by_event=False))

    def bye(self, now: float, pid: str = "p") -> None:
        self.until(now)
        self.dog.bye(pid, now)


E, A, B = Rig.event, Rig.alive, Rig.bye
ALIVE = [(A, float(second)) for second in range(5, 1000, 5)]

# what happens when -> what is said when, until 999 s
TIMELINES = {
    "nothing at all": ([], [(30, "ScanStalled")]),
    "an event, and nothing more": (
        [(E, 1)],
        [(31, "ScanStalled"), (61, "ScanOrphaned"), (161, "Error")],
    ),
    "a producer that lives stalls, and is no orphan": ([(E, 1), *ALIVE], [(31, "ScanStalled")]),
    "it goes on": (
        [(E, 1), *ALIVE[:9], (E, 50), *ALIVE[9:]],
        [(31, "ScanStalled"), (50, "ScanResumed"), (246, "ScanStalled")],
    ),
    "a sign of life ends no stall": (
        [(E, 1), (A, 40), (A, 90)],
        [(31, "ScanStalled"), (150, "ScanOrphaned"), (250, "Error")],
    ),
    "but it ends being an orphan": (
        [(E, 1), (A, 70), *ALIVE[14:]],
        [(31, "ScanStalled"), (61, "ScanOrphaned"), (70, "ScanResumed"), (100, "ScanStalled")],
    ),
    "an event does, too": (
        [(E, 1), (E, 70), (B, 71)],
        [(31, "ScanStalled"), (61, "ScanOrphaned"), (70, "ScanResumed"), (270, "ScanStalled")],
    ),
    "a bye is waited for": ([(E, 1), (B, 2)], [(31, "ScanStalled")]),
    "another one goes on": ([(E, 1), (B, 2), (E, 20, "q"), (B, 21, "q")], [(96, "ScanStalled")]),
    "one of two is enough": ([(E, 1), (E, 1, "q"), *ALIVE], [(31, "ScanStalled")]),
    "the last one says bye, the other is gone": (
        [(E, 1), (E, 1, "q"), (A, 30), (B, 31)],
        [(31, "ScanStalled"), (91, "ScanOrphaned"), (191, "Error")],
    ),
    "a foreign producer is never an orphan": ([(E, 1, "")], [(31, "ScanStalled")]),
    "nor one beside a numbered one": ([(E, 1), (E, 2, "")], [(32, "ScanStalled")]),
}


@pytest.mark.parametrize("name", TIMELINES)
def test_what_is_said_and_when(name: str) -> None:
    happens, expected = TIMELINES[name]
    rig = Rig()
    for does, now, *who in happens:
        does(rig, now, *who)
    rig.until(999)
    assert rig.said == expected


def test_a_scan_that_makes_pauses_is_given_more_time() -> None:
    rig = Rig()
    for now in (0, 20, 21, 22):
        rig.event(now)
    assert rig.dog.patience_s == pytest.approx(80, rel=0.03), "four times the longest pause"
    rig.event(80)
    assert rig.said == [], "58 s are less"
    assert rig.dog.patience_s == 200, "but no more than this"


def test_pauses_are_forgotten_in_time() -> None:
    rig = Rig()
    for now in (0.0, 25.0):
        rig.event(now)
    for tenth in range(251, 20_000):
        rig.event(tenth / 10)
    assert rig.dog.patience_s == 30


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"stalled_after_s": 0}, ["ScanOrphaned", "Error"]),
        ({"orphaned_after_s": 0}, ["ScanStalled"]),
        ({"stalled_after_s": 0, "orphaned_after_s": 0}, []),
        ({"orphaned_after_s": 10}, ["ScanOrphaned", "Error"]),
        ({"stalled_at_most_s": 0}, ["ScanStalled", "ScanOrphaned", "Error"]),
    ],
)
def test_each_part_can_be_turned_off(changed: dict[str, float], said: list[str]) -> None:
    rig = Rig(WatchdogSection(**{"orphaned_after_s": 400, **changed}))
    rig.event(1)
    rig.until(1e6)
    assert [name for _, name in rig.said] == said


def test_with_its_defaults_an_ordinary_scan_hears_nothing() -> None:
    rig = Rig(WatchdogSection())
    now = 0.0
    for pause in (0.1, 5, 30, 240, 299, 600, 20, 280, 900):  # longer and longer ones
        now += pause
        for moment in range(0, int(pause), 5):
            rig.alive(now - pause + moment)
        rig.event(now)
    assert rig.said == []


@pytest.mark.parametrize("status", ["running", "stalled", "orphaned"])
def test_after_a_restart_nothing_is_said_twice_and_times_begin_anew(status: str) -> None:
    rig = Rig()
    rig.since = 1_000.0
    rig.dog.restore(status, ("p", "q"), foreign=False)
    rig.until(5_000)
    expected = {
        "running": [(1_030, "ScanStalled"), (1_060, "ScanOrphaned"), (1_160, "Error")],
        "stalled": [(1_060, "ScanOrphaned"), (1_160, "Error")],
        "orphaned": [(1_100, "Error")],
    }
    assert rig.said == expected[status]


def test_a_restart_keeps_that_a_foreign_producer_sent_something() -> None:
    rig = Rig()
    rig.dog.restore("stalled", ("p",), foreign=True)
    rig.until(5_000)
    assert rig.said == []


def test_the_time_in_which_nothing_could_be_heard_does_not_count() -> None:
    rig = Rig()
    rig.event(1)
    rig.since = 500
    assert rig.dog.handle_timeout(500, rig.since) is None
    rig.until(529)
    assert rig.said == []
    rig.until(530)
    assert rig.said == [(530, "ScanStalled")]


def test_what_was_silent_is_told() -> None:
    rig = Rig()
    rig.event(1)
    stalled = rig.dog.handle_timeout(31, NEVER)
    assert stalled == ScanStalled(silent_s=30.0)
    assert rig.dog.resumed(45.04, by_event=True) == ScanResumed(silent_s=44.0)
    rig.dog.event(45.04)
    orphaned = rig.dog.handle_timeout(46 + 200, NEVER)
    assert isinstance(orphaned, ScanOrphaned)
    assert "nothing was heard of it for 245 s" in str(orphaned.message)


def test_producers_are_bounded() -> None:
    dog = Watchdog(SETTINGS, 0)
    new = [dog.heard(f"p{number}", 1) for number in range(MAX_PRESENT + 5)]
    assert new == [True] * MAX_PRESENT + [False] * 5
    assert [dog.heard("p0", 2), dog.bye("p0", 2), dog.bye("p0", 3), dog.bye(f"p{MAX_PRESENT}", 3)] == [
        False,
        True,
        False,
        False,
    ]


STEPS = st.lists(
    st.tuples(st.sampled_from([E, A, B]), st.floats(0.1, 90), st.sampled_from(["p", "q", ""])), max_size=40
)


@given(steps=STEPS)
def test_whatever_happens_what_is_said_makes_sense(steps) -> None:
    """At most one end; nothing is resumed that was not wrong; nothing is said twice."""
    rig = Rig()
    now = 0.0
    for does, pause, pid in steps:
        now += pause
        if rig.ended:
            break
        if does is E or pid:
            does(rig, now, pid)
    rig.until(now + 10_000)
    wrong = ""
    for _, name in rig.said:
        assert name != "ScanResumed" or wrong
        assert name != "ScanStalled" or not wrong
        assert name != "ScanOrphaned" or wrong != "ScanOrphaned"
        assert name != "Error" or wrong == "ScanOrphaned"
        wrong = "" if name == "ScanResumed" else name
    assert [name for _, name in rig.said].count("Error") <= 1
    assert rig.said == sorted(rig.said, key=lambda item: item[0])
