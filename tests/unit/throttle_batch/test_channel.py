from __future__ import annotations

import bisect
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.throttle_batch.history import Chunk
from tests.unit.throttle_batch.conftest import (
    TERMINAL,
    Core,
    budgeted,
    check_ledger,
    critical,
    fact,
    state,
    treatment,
)

INFO = b'{"type":"error","message":"m","fatal":false}'
FIFTY = tuple(fact(number) for number in range(50))

# name -> ((time, events), ...), then each frame as (time, first, last, what)
TIMELINES = {
    "one fact leaves after the interval": (
        [(0.0, [fact()])],
        [(0.1, 1, 1, "")],
    ),
    "the interval runs from the first pending event": (
        [(0.0, [fact()]), (0.06, [fact()]), (0.09, [fact()]), (0.15, [fact()])],
        [(0.1, 1, 3, ""), (0.25, 4, 4, "")],
    ),
    "fifty leave at once when there is a token": (
        [(0.0, FIFTY)],
        [(0.0, 1, 50, "")],
    ),
    "the next fifty wait for the next token": (
        [(0.0, FIFTY), (0.01, FIFTY)],
        [(0.0, 1, 50, ""), (0.1, 51, 100, "")],
    ),
    "the fifty-first waits for its interval": (
        [(0.0, FIFTY), (0.05, [fact()])],
        [(0.0, 1, 50, ""), (0.15, 51, 51, "")],
    ),
    "without a token the batch grows": (
        [(0.0, FIFTY), (0.02, FIFTY), (0.04, FIFTY), (0.06, FIFTY)],
        [(0.0, 1, 50, ""), (0.1, 51, 200, "")],
    ),
    "fifty are reached by several commits": (
        [(0.0, FIFTY[:30]), (0.03, FIFTY[:20])],
        [(0.03, 1, 50, "")],
    ),
    "a critical event leaves at once": (
        [(0.0, [critical()])],
        [(0.0, 1, 1, "c")],
    ),
    "a critical event flushes what is before it, with the token": (
        [(0.0, [fact(), fact()]), (0.03, [critical()]), (0.04, FIFTY)],
        [(0.03, 1, 2, ""), (0.03, 3, 3, "c"), (0.13, 4, 53, "")],
    ),
    "a critical event flushes without a token just the same": (
        [(0.0, FIFTY), (0.01, [fact()]), (0.02, [critical()])],
        [(0.0, 1, 50, ""), (0.02, 51, 51, ""), (0.02, 52, 52, "c")],
    ),
    "a critical event alone takes no token": (
        [(0.0, [critical()]), (0.01, FIFTY)],
        [(0.0, 1, 1, "c"), (0.01, 2, 51, "")],
    ),
    "criticals of one wake-up share a frame, with what is between": (
        [(0.0, [critical(), fact(), critical(), fact()])],
        [(0.0, 1, 3, "c"), (0.1, 4, 4, "")],
    ),
    "criticals of two wake-ups do not": (
        [(0.0, [critical()]), (0.001, [critical()])],
        [(0.0, 1, 1, "c"), (0.001, 2, 2, "c")],
    ),
    "of a state key the latest survives, with its own seq": (
        [(0.0, [state("x", 1), state("y", 1)]), (0.05, [state("x", 2), fact(), state("x", 3)])],
        [(0.1, 1, 5, "m2")],
    ),
    "state of two frames does not meet": (
        [(0.0, [state("x", 1)]), (0.2, [state("x", 2)])],
        [(0.1, 1, 1, ""), (0.3, 2, 2, "")],
    ),
    "the terminal event is critical": (
        [(0.0, [fact()]), (0.02, [TERMINAL]), (0.03, [fact()])],
        [(0.02, 1, 1, ""), (0.02, 2, 2, "ct"), (0.13, 3, 3, "")],
    ),
    "an error that is not fatal ends nothing": (
        [(0.0, [INFO])],
        [(0.0, 1, 1, "c")],
    ),
    "a frame of too many bytes is cut, the rest waits for tokens": (
        [(0.0, [fact(number, 60_000) for number in range(27)])],
        [(0.1, 1, 13, ""), (0.2, 14, 26, ""), (0.3, 27, 27, "")],
    ),
    "a flush of too many bytes leaves whole": (
        [(0.0, [*(fact(number, 60_000) for number in range(27)), critical()])],
        [(0.0, 1, 13, ""), (0.0, 14, 26, ""), (0.0, 27, 27, ""), (0.0, 28, 28, "c")],
    ),
    "past twenty critical frames a second they are gathered": (
        [(0.0, [critical()])] * 20
        + [(0.001, [critical()]), (0.011, [fact(), critical()]), (0.022, [critical()])],
        [*((0.0, seq, seq, "c") for seq in range(1, 21)), (0.021, 21, 23, "c"), (0.042, 24, 24, "c")],
    ),
    "a second later they are not": (
        [(0.0, [critical()])] * 20 + [(1.0, [critical()])] * 20,
        [*((0.0, seq, seq, "c") for seq in range(1, 21)), *((1.0, seq, seq, "c") for seq in range(21, 41))],
    ),
}


def check_timeline(core: Core, name: str) -> None:
    actions, expected = TIMELINES[name]
    rig = core.channel()
    for now, events in actions:
        rig.at(now, *events)
    rig.until(10.0)
    assert rig.table == expected
    check_ledger([frame for _, frame in rig.frames], rig.sent)
    assert rig.channel.next_deadline(10.0) is None


@pytest.mark.parametrize("name", TIMELINES)
def test_timeline(core: Core, name: str) -> None:
    check_timeline(core, name)


def check_the_budget_of_a_steady_flow(core: Core) -> None:
    """250 facts a second for a minute: none is lost, and no more than 600 frames."""
    rig = core.channel()
    for step in range(15_000):
        rig.at(step / 250, fact(step))
    rig.until(60.0)
    assert 60 / 0.104 - 1 <= len(rig.frames) <= 600
    rig.until(61.0)
    check_ledger([frame for _, frame in rig.frames], rig.sent)


def test_the_budget_of_a_steady_flow(core: Core) -> None:
    check_the_budget_of_a_steady_flow(core)


def check_early_and_repeated_calls_do_nothing(core: Core) -> None:
    rig = core.channel()
    rig.at(0.0, fact())
    assert rig.frames == rig.channel.handle_timeout(0.0999) == [], "there is a token, but it is not time"
    rig = core.channel()
    rig.at(0.0, *FIFTY)
    rig.at(0.0, fact())
    channel = rig.channel
    for now in (0.0, 0.05, 0.0999):
        assert channel.handle_timeout(now) == []
    assert [frame.first for frame in channel.handle_timeout(0.1)] == [51]
    assert channel.handle_timeout(0.1) == []
    for _ in range(20):
        rig.at(0.2, critical())
    rig.at(0.2, critical())
    assert channel.next_deadline(0.2) == pytest.approx(0.22)
    assert channel.handle_timeout(0.2) == []
    assert channel.handle_timeout(0.219) == []
    assert [frame.critical for frame in channel.handle_timeout(0.22)] == [True]
    assert channel.handle_timeout(0.22) == []


def test_early_and_repeated_calls_do_nothing(core: Core) -> None:
    check_early_and_repeated_calls_do_nothing(core)


def accept(core: Core, channel, raw: bytes, now: float) -> None:
    (run,) = core.read([raw])
    channel.accept(run, now)


def test_nothing_leaves_before_it_is_committed(core: Core) -> None:
    channel = core.channel().channel
    raw = critical()
    accept(core, channel, raw, 0.0)
    assert channel.uncommitted() == Chunk("scan/a", 7, 1, [raw])
    assert channel.next_deadline(5.0) is None
    assert channel.handle_timeout(5.0) == []
    assert channel.state.counts == {}
    assert (channel.head_seq, channel.published_seq, channel.waiting_bytes) == (1, 0, len(raw))
    assert [frame.last for frame in channel.committed(5.0)] == [1]
    assert channel.state.counts == {"phaseStarted": 1}
    assert channel.uncommitted() is None
    assert (channel.head_seq, channel.published_seq, channel.waiting_bytes) == (1, 1, 0)


def test_a_slow_commit_does_not_add_to_the_interval(core: Core) -> None:
    rig = core.channel()
    raw = fact()
    accept(core, rig.channel, raw, 0.0)
    assert [frame.first for frame in rig.channel.committed(0.4)] == [1]


def test_the_room_of_a_channel(core: Core) -> None:
    rig = core.channel()
    assert rig.channel.room_bytes == 3_145_728
    rig.at(0.0, fact(size=1_000))
    assert rig.channel.room_bytes == 3_144_728
    rig.until(0.1)
    assert rig.channel.room_bytes == 3_145_728


def check_cleanup_times(core: Core) -> None:
    rig = core.channel()
    channel = rig.channel
    assert channel.cleanup_at() == 86_400.0
    rig.at(50.0, fact())
    assert channel.cleanup_at() == 86_450.0
    assert not channel.expired(86_449.9)
    rig.at(60.0, TERMINAL)
    rig.at(70.0, fact())
    assert channel.cleanup_at() == 360.0
    rig.until(71.0)
    assert not channel.expired(359.999)
    assert channel.expired(360.0)
    accept(core, rig.channel, fact(), 360.0)
    assert not channel.expired(400.0), "something waits"


def test_cleanup_times(core: Core) -> None:
    check_cleanup_times(core)


def test_elapsed_ends_with_the_terminal_event(core: Core) -> None:
    rig = core.channel(now=5.0)
    assert rig.channel.elapsed_s(7.0) == 2.0
    rig.at(8.0, TERMINAL)
    rig.at(9.0, fact())
    assert rig.channel.elapsed_s(20.0) == 3.0


def test_close_cuts_all_that_is_pending(core: Core) -> None:
    rig = core.channel()
    rig.at(0.0, *FIFTY)
    for _ in range(20):
        rig.at(0.0, critical())
    rig.at(0.0, fact(), critical(), fact())
    frames = rig.channel.close()
    assert [(frame.first, frame.last, frame.critical) for frame in frames] == [
        (71, 71, False),
        (72, 72, True),
        (73, 73, False),
    ]
    assert rig.channel.close() == []
    assert rig.channel.next_deadline(1.0) is None


def test_frames_and_merged_are_counted(core: Core) -> None:
    rig = core.channel()
    for second in range(5):
        rig.at(float(second), state("x", 1), state("x", 2), critical())
    assert rig.channel.frames == len(rig.frames) == 10
    assert rig.channel.merged == 5


SMALL_FACT = st.builds(fact, st.integers(0, 9))
EVENT = st.one_of(
    st.builds(fact, st.integers(0, 9), st.sampled_from([0, 0, 100, 900])),
    SMALL_FACT,
    st.builds(state, st.sampled_from("xyz"), st.integers(0, 99)),
    st.builds(critical, st.integers(0, 9), st.sampled_from([0, 0, 900])),
)
SCHEDULE = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.floats(0, 0.03), st.floats(0, 0.5), st.floats(0, 3)),
        st.one_of(st.lists(EVENT, max_size=12), st.lists(SMALL_FACT, min_size=8, max_size=24)),
    ),
    max_size=60,
)


def check_schedule(core: Core, schedule: list[tuple[float, list[bytes]]], start: float = 0.0) -> None:
    """What holds of every schedule: the ledger, the budget, criticals at once, nothing left behind."""
    rig = core.channel(start, max_batch_events=10, max_frame_bytes=2_000)
    now = start
    critical_commits = []
    for gap, events in schedule:
        now += gap
        rig.at(now, *events)
        if any(treatment(raw).event_class.value == "critical" for raw in events):
            critical_commits.append(now)
    rig.until(now + 0.2 + 0.1 * len(rig.sent))
    check_ledger([frame for _, frame in rig.frames], rig.sent)
    assert rig.channel.next_deadline(now) is None
    assert rig.channel.waiting_bytes == 0

    left_at = {seq: when for when, frame in rig.frames for seq in range(frame.first, frame.last + 1)}
    assert [when for when, _ in rig.frames] == sorted(when for when, _ in rig.frames)
    for earlier, later in itertools.pairwise(when for when, _ in budgeted(rig.frames)):
        assert later - earlier >= 0.1 - 1e-6, "10 frames/s, one at a time"
    for when, frame in budgeted(rig.frames):
        pending = bisect.bisect_right(rig.accepted_at, when) - frame.first + 1
        waited = when - rig.accepted_at[frame.first - 1]
        assert pending >= 10 or waited >= 0.1 - 1e-6, "and none before its time"
    for seq, raw in enumerate(rig.sent, start=1):
        accepted_at = rig.accepted_at[seq - 1]
        waited = left_at[seq] - accepted_at
        assert waited >= 0
        if treatment(raw).event_class.value == "critical":
            assert waited <= 0.02 + 1e-6, "a critical event is gathered 20 ms at most"
            lately = [when for when in critical_commits if accepted_at - 1.0 <= when <= accepted_at]
            if len(lately) <= 20:
                assert waited == 0, "and not at all below the critical rate"


def test_the_first_of_many_schedules(core: Core) -> None:
    """One that holds everything, so that the mutation tests need no search."""
    check_schedule(core, MIXED)


MIXED: list[tuple[float, list[bytes]]] = [
    (0.0, [fact(1), state("x", 1), state("x", 2)]),
    (0.02, [fact(size=900), fact(size=900), fact(size=900)]),
    (0.01, [critical(1), fact(2), critical(2), state("y", 1), state("y", 2)]),
    (0.05, [fact(number) for number in range(12)]),
    (0.01, [fact(number) for number in range(12)]),
    (0.2, [fact(number) for number in range(12)]),
    (0.01, [fact(number) for number in range(12)]),
    (0.03, [fact(number) for number in range(12)]),
    (0.3, [fact(5)]),
    (0.01, [fact(3), critical(3)]),
    *[(0.003, [critical(number), fact(number)]) for number in range(60)],
    (0.3, [state("z", 1), fact(4)]),
    (0.001, [state("z", 2)]),
]


@given(schedule=SCHEDULE, start=st.sampled_from([0.0, 1234.5678, 3_000_000.1]))
@settings(max_examples=60, deadline=None)
def test_every_schedule(core: Core, schedule: list[tuple[float, list[bytes]]], start: float) -> None:
    check_schedule(core, schedule, start)
