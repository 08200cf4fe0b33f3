from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.unit.throttle_batch.conftest import Core, fact, load_core

HUGE = 1 << 40


def filled(core: Core, events: list[bytes], *, channel_bytes: int = HUGE, total_bytes: int = HUGE):
    history = core.history.History(channel_bytes, total_bytes)
    history.append(core.history.Chunk("scan/a", 7, 1, events))
    return history


def check_reading(core: Core) -> None:
    events = [fact(number) for number in range(1, 1_001)]  # several blocks
    history = filled(core, events)
    assert history.held("scan/a", 7) == 1
    for first, upto in ((1, 1_000), (1, 1), (300, 300), (255, 258), (256, 257), (1_000, 1_000), (2, 999)):
        assert history.read("scan/a", 7, first, upto, HUGE) == (first, events[first - 1 : upto])
    assert history.read("scan/a", 7, 1, 2_000, HUGE) == (1, events)
    assert history.read("scan/a", 7, 0, 2, HUGE) == (1, events[:2])
    assert history.read("scan/a", 7, 5, 4, HUGE) == (5, [])
    assert history.read("scan/a", 7, 1_001, 2_000, HUGE) == (1_001, [])


def test_reading(core: Core) -> None:
    check_reading(core)


def test_a_life_that_is_not_held(core: Core) -> None:
    history = filled(core, [fact(1)])
    assert history.held("scan/a", 8) is None
    assert history.held("scan/b", 7) is None
    assert history.read("scan/a", 8, 3, 9, HUGE) == (3, [])


def check_pages(core: Core) -> None:
    """A page ends before it grows past its bytes (an event counts its separator), and is never empty."""
    events = [fact(number, 100) for number in range(1, 21)]
    history = filled(core, events)
    for max_bytes, count in (
        (1, 1),
        (100, 1),
        (101, 1),
        (201, 1),
        (202, 2),
        (1_010, 10),
        (2_019, 19),
        (2_020, 20),
    ):
        assert history.read("scan/a", 7, 1, 20, max_bytes) == (1, events[:count])


def test_pages(core: Core) -> None:
    check_pages(core)


def test_pages_one_after_the_other_give_everything(core: Core) -> None:
    events = [fact(number, number % 700) for number in range(900)]
    history = filled(core, events)
    seen: list[bytes] = []
    while len(seen) < len(events):
        first, page = history.read("scan/a", 7, len(seen) + 1, 900, 5_000)
        assert first == len(seen) + 1
        seen += page
    assert seen == events


def check_a_channel_lets_go_of_its_oldest(core: Core) -> None:
    history = core.history.History(100_000, HUGE)
    events = [fact(number, 1_000) for number in range(500)]
    for seq, raw in enumerate(events, start=1):
        history.append(core.history.Chunk("scan/a", 7, seq, [raw]))
        assert history.size_bytes <= 100_000
    held = history.held("scan/a", 7)
    assert held > 400
    assert history.size_bytes == (501 - held) * 1_000
    assert history.trimmed_events == held - 1
    assert history.read("scan/a", 7, 1, 500, HUGE) == (held, events[held - 1 :])


def test_a_channel_lets_go_of_its_oldest(core: Core) -> None:
    check_a_channel_lets_go_of_its_oldest(core)


def check_in_all_the_largest_lets_go(core: Core) -> None:
    history = core.history.History(HUGE, 300_000)
    history.append(core.history.Chunk("scan/small", 1, 1, [fact(0, 1_000)]))
    for seq in range(1, 1_001):
        history.append(core.history.Chunk("scan/large", 1, seq, [fact(seq, 1_000)]))
        assert history.size_bytes <= 300_000
    assert history.held("scan/small", 1) == 1
    assert history.held("scan/large", 1) > 700
    assert history.read("scan/small", 1, 1, 1, HUGE)[1] == [fact(0, 1_000)]


def test_in_all_the_largest_lets_go(core: Core) -> None:
    check_in_all_the_largest_lets_go(core)


def test_a_log_that_lost_everything_goes_on(core: Core) -> None:
    history = filled(core, [fact(number, 60_000) for number in range(1, 4)], channel_bytes=65_536)
    assert history.held("scan/a", 7) == 3
    history.append(core.history.Chunk("scan/a", 7, 4, [fact(4, 60_000)]))
    assert history.held("scan/a", 7) == 5, "a block goes as a whole"
    assert history.read("scan/a", 7, 1, 4, HUGE) == (5, [])
    history.append(core.history.Chunk("scan/a", 7, 5, [fact(5)]))
    assert history.read("scan/a", 7, 1, 5, HUGE) == (5, [fact(5)])


def test_what_is_dropped_frees_its_bytes(core: Core) -> None:
    history = filled(core, [fact(1, 1_000)])
    history.drop("scan/a", 7)
    history.drop("scan/a", 7)
    assert history.size_bytes == 0
    assert history.trimmed_events == 0, "that is cleanup, no bound was met"
    assert history.held("scan/a", 7) is None


class HistoryModel(RuleBasedStateMachine):
    """Against a model that forgets nothing: what is read is a run of what was appended, from `held` on."""

    @initialize(
        channel_bytes=st.sampled_from([1, 70_000, HUGE]), total_bytes=st.sampled_from([100_000, HUGE])
    )
    def start(self, channel_bytes: int, total_bytes: int) -> None:
        self.core = load_core()
        self.history = self.core.history.History(channel_bytes, total_bytes)
        self.bounds = (channel_bytes, total_bytes)
        self.model: dict[tuple[str, int], list[bytes]] = {}
        self.counted = 0

    @rule(
        channel=st.sampled_from(["scan/a", "scan/b"]),
        epoch=st.integers(1, 2),
        count=st.integers(1, 400),
        size=st.sampled_from([0, 100, 30_000]),
    )
    def append(self, channel: str, epoch: int, count: int, size: int) -> None:
        count = min(count, 8) if size == 30_000 else count
        log = self.model.setdefault((channel, epoch), [])
        events = [fact(len(log) + index, size) for index in range(count)]
        self.history.append(self.core.history.Chunk(channel, epoch, len(log) + 1, events))
        log += events

    @rule(channel=st.sampled_from(["scan/a", "scan/b"]), epoch=st.integers(1, 2))
    def drop(self, channel: str, epoch: int) -> None:
        held = self.history.held(channel, epoch)
        self.counted += held - 1 if held is not None else 0
        self.history.drop(channel, epoch)
        self.model.pop((channel, epoch), None)

    @rule(
        channel=st.sampled_from(["scan/a", "scan/b"]),
        epoch=st.integers(1, 2),
        first=st.integers(1, 1_000),
        count=st.integers(0, 600),
        max_bytes=st.sampled_from([1, 5_000, HUGE]),
    )
    def read(self, channel: str, epoch: int, first: int, count: int, max_bytes: int) -> None:
        upto = first + count
        start, events = self.history.read(channel, epoch, first, upto, max_bytes)
        log = self.model.get((channel, epoch))
        if log is None:
            assert (start, events) == (first, [])
            return
        assert start == max(first, self.history.held(channel, epoch))
        wanted = log[start - 1 : upto]
        assert events == wanted[: len(events)]
        assert bool(events) == bool(wanted)
        taken = sum(len(raw) + 1 for raw in events)
        assert taken <= max_bytes or len(events) == 1
        if len(events) < len(wanted):
            assert taken + len(wanted[len(events)]) + 1 > max_bytes, "the page is as full as may be"

    @invariant()
    def bounds_hold_and_all_is_counted(self) -> None:
        sizes = {}
        trimmed = self.counted
        for life, log in self.model.items():
            held = self.history.held(*life)
            assert 1 <= held <= len(log) + 1
            sizes[life] = sum(map(len, log[held - 1 :]))
            trimmed += held - 1
            assert sizes[life] <= self.bounds[0]
        assert self.history.size_bytes == sum(sizes.values()) <= self.bounds[1]
        assert self.history.trimmed_events == trimmed


HistoryModel.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
TestHistoryModel = HistoryModel.TestCase
