from __future__ import annotations

import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.throttle_batch.config import CleanupSection
from pipeline.wire import Ack, Envelope, Retry
from tests.unit.throttle_batch.conftest import (
    EPOCH,
    FACTS,
    START,
    TERMINAL,
    BatcherRig,
    Core,
    check_ledger,
    critical,
    fact,
    foreign,
    numbered,
    state,
    taken,
    what,
)

# --- lives --------------------------------------------------------------------------------------------


def check_cleanup_is_exactly_after_the_terminal_event(core: Core) -> None:
    rig = core.batcher()
    rig.at(1.0, foreign(FACTS[1], TERMINAL))
    rig.at(2.0, foreign(FACTS[2]))
    rig.at(1.5, foreign(b'{"type":"reportCompleted","report_id":"r"}', channel="report/r"))
    rig.at(61.499)
    assert rig.batcher.current("report/r") is not None
    rig.wake(61.5)
    assert rig.batcher.current("report/r") is None
    assert rig.batcher.take_gone() == [("report/r", EPOCH + 1_500)]
    rig.at(300.999)
    assert rig.batcher.current("scan/a") is not None
    assert rig.batcher.next_deadline() == 301.0
    rig.wake(301.0)
    assert rig.batcher.current("scan/a") is None
    assert rig.batcher.life("scan/a", EPOCH + 1_000) is None
    assert rig.batcher.take_gone() == [("scan/a", EPOCH + 1_000)]
    assert rig.batcher.take_gone() == []
    assert rig.batcher.counters["channels_cleaned_up"] == 2
    assert rig.batcher.next_deadline() is None


def check_another_cleanup_holds_for_what_is_there(core: Core) -> None:
    rig = core.batcher(cleanup=CleanupSection(cleanup_after_s=300, idle_cleanup_s=900))
    rig.at(1.0, foreign(FACTS[1], TERMINAL))
    rig.at(1.0, foreign(FACTS[1], channel="scan/b"))
    rig.until(10.0)
    rig.follow(10.0, cleanup=CleanupSection(cleanup_after_s=20, idle_cleanup_s=100))
    assert rig.batcher.next_deadline() == 21.0
    rig.until(30.0)
    assert rig.batcher.take_gone() == [("scan/a", EPOCH + 1_000)]
    rig.follow(30.0, cleanup=CleanupSection(cleanup_after_s=20, idle_cleanup_s=500))
    rig.until(500.0)
    assert rig.batcher.take_gone() == [], "a later time is not forgotten"
    rig.until(502.0)
    assert rig.batcher.take_gone() == [("scan/b", EPOCH + 1_000)]


def check_an_event_after_cleanup_goes_on_with_the_life(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, foreign(START, FACTS[1], TERMINAL))
    rig.at(1.0, foreign(FACTS[1], channel="scan/b"))
    rig.until(90_000.0)
    assert rig.batcher.channels() == []
    past = rig.batcher.past("scan/a")
    assert (past.epoch, past.head, past.ended, past.ended_ms) == (EPOCH, 3, True, EPOCH)
    assert not rig.batcher.past("scan/b").ended
    rig.frames.clear()
    rig.at(90_000.0, foreign(FACTS[2], TERMINAL), foreign(FACTS[2], channel="scan/b"))
    again = rig.batcher.current("scan/a")
    assert rig.batcher.past("scan/a") is None
    assert (again.epoch, again.head_seq) == (EPOCH, 4), "and a second terminal event is refused"
    assert rig.batcher.counters["rejected{reason=after_terminal}"] == 1
    assert again.state.counts == {"scanStarted": 1, "other": 2, "scanCompleted": 1}
    assert again.elapsed_s(90_000.0) == 0.0, "which ended when it ended"
    assert rig.batcher.current("scan/b").epoch == EPOCH + 1_000
    rig.at(90_299.0)
    assert [(frame.channel, frame.first) for _, frame in rig.frames] == [("scan/a", 4), ("scan/b", 2)]
    assert rig.batcher.current("scan/a") is again
    rig.at(90_300.0)
    assert rig.batcher.current("scan/a") is None, "freed again, as long after it came back"
    assert rig.batcher.past("scan/a").head == 4
    rig.until(176_500.0)
    assert rig.batcher.current("scan/b") is None


def check_a_life_that_came_back_for_what_is_refused_is_freed_again(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, foreign(TERMINAL))
    rig.at(400.0, foreign(TERMINAL))
    assert rig.batcher.counters["rejected{reason=after_terminal}"] == 1
    assert rig.batcher.current("scan/a") is not None
    rig.until(800.0)
    assert rig.batcher.channels() == []


def check_a_start_after_cleanup_begins_a_new_life(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, foreign(START, TERMINAL), foreign(START, channel="scan/b"))
    rig.until(86_500.0)
    assert rig.batcher.channels() == []
    rig.at(86_500.0, foreign(START), foreign(START, channel="scan/b"))
    assert rig.batcher.current("scan/a").epoch == EPOCH + 86_500_000
    assert rig.batcher.current("scan/b").epoch == EPOCH, "which never ended"
    assert rig.batcher.current("scan/b").head_seq == 2


def check_a_life_that_was_cut_off_takes_no_more(core: Core) -> None:
    """Any event begins the next one, in memory or after cleanup; what was taken is not taken twice."""
    rig = core.batcher()
    rig.at(0.0, numbered(1, START, FACTS[1]), foreign(START, channel="scan/b"))
    rig.restart(1.0, cut=True)
    rig.at(2.0, numbered(1, START, FACTS[1], FACTS[2]))
    assert rig.batcher.current("scan/a").epoch == EPOCH + 2_000
    assert rig.log["scan/a", EPOCH + 2_000] == [FACTS[2]]
    assert rig.batcher.life("scan/a", EPOCH).published_seq == 2, "what was held can still be read"
    rig.at(2.5, numbered(4, FACTS[3]))
    assert rig.batcher.current("scan/a").epoch == EPOCH + 2_000, "which is not cut off"
    rig.until(86_500.0)
    assert rig.batcher.past("scan/b").cut
    rig.at(86_500.0, foreign(FACTS[1], channel="scan/b"))
    assert rig.batcher.current("scan/b").epoch == EPOCH + 86_500_000
    assert not rig.batcher.current("scan/b").cut


def check_a_life_that_is_forgotten_is_not_gone_on_with(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, foreign(FACTS[1]))
    rig.until(86_500.0)
    rig.batcher.forget("scan/a", EPOCH - 1)
    assert rig.batcher.past("scan/a") is not None, "another life was meant"
    rig.batcher.forget("scan/a", EPOCH)
    assert rig.batcher.past("scan/a") is None
    rig.at(86_500.0, foreign(FACTS[2]))
    assert rig.batcher.current("scan/a").epoch == EPOCH + 86_500_000
    rig.batcher.forget("scan/a", EPOCH + 86_500_000)
    assert rig.batcher.current("scan/a") is not None, "what is in memory is not forgotten"


def check_states_are_kept_now_and_then(core: Core) -> None:
    """At the 256th event after the last time, at the end of memory, and at the worker's end."""
    rig = core.batcher()
    for number in range(255):
        rig.at(number / 100, numbered(number + 1, FACTS[number % 200]))
    rig.at(3.0, numbered(256, FACTS[0]))
    place = ("scan/a", EPOCH)
    assert rig.kept[place].folded == 0, "the wake-up keeps what was committed before it"
    rig.at(3.1, numbered(257, FACTS[0]))
    assert (rig.kept[place].folded, rig.kept[place].counts) == (256, {"other": 256})
    rig.at(3.2, numbered(258, TERMINAL))
    assert rig.kept[place].folded == 256
    assert [(each.epoch, each.state.folded) for each in rig.batcher.last_commit().checkpoints] == [
        (EPOCH, 258)
    ]
    assert rig.batcher.last_commit().checkpoints == []
    rig.at(3.3, numbered(259, FACTS[0]))
    rig.until(303.2)
    assert (rig.kept[place].folded, rig.kept[place].status) == (259, "completed")
    assert not rig.batcher.last_commit()


def check_best_effort_is_kept_at_once(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, foreign(FACTS[1]))
    assert rig.kept["scan/a", EPOCH].best_effort
    rig.at(0.1, numbered(1, FACTS[1], channel="scan/b"))
    assert not rig.kept["scan/b", EPOCH + 100].best_effort
    rig.at(0.2, foreign(FACTS[1], channel="scan/b"))
    assert rig.kept["scan/b", EPOCH + 100].best_effort
    rig.restart(1.0)
    assert rig.batcher.current("scan/a").best_effort
    assert rig.batcher.uncommitted().checkpoints == []


# --- restart ------------------------------------------------------------------------------------------


def check_a_restart_goes_on_where_it_was(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, START, *FACTS[1:4], state("p", 30)))
    before = rig.batcher.current("scan/a").snapshot()
    rig.restart(5.0)
    channel = rig.batcher.current("scan/a")
    assert (channel.epoch, channel.head_seq, channel.published_seq) == (EPOCH, 5, 5)
    assert channel.snapshot().counts == before.counts
    assert (channel.state.phase, channel.state.progress.percent) == ("p", 30.0)
    assert channel.elapsed_s(5.0) == 5.0
    assert channel.next_deadline(5.0) is None, "what was committed is fetched by readers, not sent again"
    rig.frames.clear()
    rig.at(6.0, numbered(4, FACTS[3], state("p", 30), FACTS[6]))
    rig.until(7.0)
    assert taken(rig) == [START, *FACTS[1:4], state("p", 30), FACTS[6]]
    assert [(frame.epoch, frame.first) for _, frame in rig.frames] == [(EPOCH, 6)]


def check_what_was_committed_is_acked_again_after_a_restart(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, *FACTS[1:4]), numbered(1, FACTS[9], pid="q", inc=3))
    rig.restart(1.0)
    rig.acks.clear()
    rig.at(1.0, numbered(1, *FACTS[1:4]), numbered(1, FACTS[9], pid="q", inc=2))
    assert rig.acks == [Ack("p", 1, "scan/a", 3)]
    assert [nack.reason for nack in rig.nacks] == ["fenced"]
    rig.at(1.1, numbered(5, FACTS[5]))
    assert rig.retries == [Retry("p", 1, "scan/a", 4, "gap")]
    assert len(taken(rig)) == 4


def check_what_was_not_committed_is_taken_after_a_restart(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, numbered(1, *FACTS[1:4]))
    rig.batcher.receive(numbered(4, *FACTS[4:9]), 0.1)
    rig.restart(1.0)
    rig.at(1.0, numbered(4, *FACTS[4:9], una=4))
    assert taken(rig) == FACTS[1:9]
    assert rig.batcher.counters["jumped"] == 0


def check_a_restart_counts_the_time_it_was_away(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, foreign(START, channel="scan/gone"), foreign(START, channel="scan/there"))
    rig.at(0.0, foreign(START, channel="scan/idle"))
    rig.at(10.0, foreign(TERMINAL, channel="scan/gone"))
    rig.at(100.0, foreign(TERMINAL, channel="scan/there"))
    rig.at(200.0, foreign(FACTS[1], channel="scan/there"))
    rig.restart(310.0)
    assert [channel.name for channel in rig.batcher.channels()] == ["scan/there", "scan/idle"]
    assert rig.batcher.past("scan/gone").ended
    assert rig.batcher.take_gone() == [], "the readers of old were told, and new ones ask"
    assert rig.batcher.current("scan/there").elapsed_s(310.0) == 100.0
    assert rig.batcher.next_deadline() == 400.0, "from the end, not from the last event"
    rig.at(400.0)
    assert rig.batcher.current("scan/there") is None
    rig.at(401.0, foreign(FACTS[3], channel="scan/gone"))
    assert rig.batcher.current("scan/gone").head_seq == 3
    rig.restart(90_000.0)
    assert rig.batcher.channels() == []
    assert {name: rig.batcher.past(f"scan/{name}").head for name in ("gone", "there", "idle")} == {
        "gone": 3,
        "there": 3,
        "idle": 1,
    }


def check_every_life_is_there_after_a_restart(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, foreign(START, TERMINAL, START, TERMINAL))
    rig.at(200.0, foreign(START, FACTS[1]))
    rig.restart(250.0)
    assert rig.batcher.current("scan/a").epoch == EPOCH + 200_000
    old = rig.batcher.life("scan/a", EPOCH)
    assert (old.head_seq, old.terminal_at) == (2, 0.0)
    rig.until(301.0)
    assert rig.batcher.take_gone() == [("scan/a", EPOCH), ("scan/a", EPOCH + 1)]
    assert rig.batcher.past("scan/a") is None, "only the present life's end is kept in mind"
    assert rig.batcher.current("scan/a").epoch == EPOCH + 200_000


def check_a_new_life_after_a_restart_is_later(core: Core) -> None:
    """Even though the wall clock may have been set back."""
    for after_s in (0.0, 300.0):  # its memory is freed, or not
        rig = core.batcher(cleanup=CleanupSection(cleanup_after_s=after_s))
        rig.at(500.0, foreign(START, TERMINAL))
        rig.restart(100.0)
        assert (rig.batcher.past("scan/a") is not None) == (after_s == 0.0)
        rig.at(100.0, foreign(START))
        assert rig.batcher.current("scan/a").epoch == EPOCH + 500_001


def check_idle_cleanup(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, foreign(FACTS[1]))
    rig.at(1_000.0, foreign(FACTS[2]))
    rig.at(86_400.0)
    assert rig.batcher.current("scan/a") is not None
    rig.at(87_399.9)
    assert rig.batcher.current("scan/a") is not None
    rig.at(87_400.0)
    assert rig.batcher.current("scan/a") is None


def check_what_is_in_no_frame_yet_is_told(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, foreign(FACTS[1]))
    assert rig.batcher.pending() == (1, len(FACTS[1]))
    rig.at(0.05, foreign(*FACTS[2:4]), foreign(FACTS[4], channel="scan/b"))
    assert rig.batcher.pending() == (4, sum(map(len, FACTS[1:5])))
    rig.until(1.0)
    assert rig.batcher.pending() == (0, 0)


def check_cleanup_waits_for_what_is_pending(core: Core) -> None:
    rig = core.batcher(cleanup=CleanupSection(cleanup_after_s=0.0))
    rig.at(0.0, foreign(*FACTS[:50]))
    rig.at(0.01, foreign(TERMINAL, FACTS[1]))
    rig.until(5.0)
    check_ledger([frame for _, frame in rig.frames], rig.log["scan/a", EPOCH])
    assert rig.batcher.channels() == []
    assert rig.batcher.next_deadline() is None


def check_a_start_after_the_end_begins_a_new_life(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, foreign(START, *FACTS[:60]))
    rig.at(0.0, foreign(TERMINAL, FACTS[1], START, FACTS[2], TERMINAL, FACTS[3], START))
    epochs = sorted({frame.epoch for _, frame in rig.frames})
    assert epochs == [EPOCH, EPOCH + 1, EPOCH + 2]
    assert rig.batcher.current("scan/a").epoch == EPOCH + 2
    rig.until(1.0)
    assert [frame.epoch for _, frame in rig.frames] == sorted(frame.epoch for _, frame in rig.frames)
    for epoch in epochs:
        assert rig.batcher.life("scan/a", epoch).epoch == epoch, "an old life can still be read"
        frames = [frame for _, frame in rig.frames if frame.epoch == epoch]
        check_ledger(frames, rig.log["scan/a", epoch])
    rig.at(300.0)
    assert [rig.batcher.life("scan/a", epoch) is None for epoch in epochs] == [True, True, False]
    assert rig.batcher.current("scan/a").epoch == EPOCH + 2


def check_a_start_within_a_life_begins_none(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, foreign(START, FACTS[1]))
    rig.at(1.0, foreign(START))
    assert {frame.epoch for _, frame in rig.frames} == {EPOCH}


def check_a_life_replaced_as_it_expires(core: Core) -> None:
    """Receive comes before cleanup in a wake-up: the old life is replaced, then freed, then committed."""
    rig = core.batcher()
    rig.at(0.0, foreign(TERMINAL))
    rig.wake(300.0, foreign(START))
    rig.until(301.0)
    assert [channel.epoch for channel in rig.batcher.channels()] == [EPOCH + 300_000]
    assert rig.batcher.counters["channels_cleaned_up"] == 1


def check_what_an_ended_life_lost_is_told_before_the_next(core: Core) -> None:
    rig = core.batcher(max_pending_bytes=4_000, max_frame_bytes=2_000)
    big = [fact(number, 1_000) for number in range(10)]
    rig.at(0.0, foreign(TERMINAL))
    rig.at(0.0, foreign(*big))
    assert rig.batcher.current("scan/a").lost == 6, "there is no room to say so yet"
    rig.at(0.0, foreign(START))
    rig.at(0.0, foreign(*big))
    rig.until(3.0)
    for epoch, count in ((EPOCH, 6), (EPOCH + 1, 6)):
        frames = [frame for _, frame in rig.frames if frame.epoch == epoch]
        check_ledger(frames, rig.log["scan/a", epoch])
        assert rig.log["scan/a", epoch][-1] == b'{"type":"lost","count":%d,"reason":"pending_full"}' % count
    assert [frame.epoch for _, frame in rig.frames] == sorted(frame.epoch for _, frame in rig.frames)


# --- time ---------------------------------------------------------------------------------------------


def check_nothing_leaves_before_the_commit(core: Core) -> None:
    rig = core.batcher()
    rig.batcher.receive(numbered(1, critical()), 0.0)
    assert rig.batcher.next_deadline() is None
    assert rig.batcher.handle_timeout(10.0) == []
    commit = rig.batcher.uncommitted()
    assert [(chunk.first, chunk.events) for chunk in commit.chunks] == [(1, [critical()])]
    assert commit.acks == [Ack("p", 1, "scan/a", 1)]
    assert rig.batcher.uncommitted() == commit, "as long as it is not durable"
    release = rig.batcher.committed(10.0)
    assert release.feedback.acks == commit.acks
    assert [what(frame) for frame in release.frames] == ["c"]
    assert rig.batcher.uncommitted().chunks == []
    assert rig.batcher.committed(10.0).frames == []


def check_early_and_repeated_timeouts_do_nothing(core: Core) -> None:
    rig = core.batcher()
    rig.at(0.0, foreign(FACTS[1]), foreign(FACTS[2], channel="scan/b"))
    assert rig.batcher.next_deadline() == 0.1
    for now in (0.0, 0.05, 0.099):
        assert rig.batcher.handle_timeout(now) == []
    assert rig.batcher.next_deadline() == 0.1
    assert [frame.channel for frame in rig.batcher.handle_timeout(0.1)] == ["scan/a", "scan/b"]
    assert rig.batcher.handle_timeout(0.1) == []


def check_ten_thousand_idle_channels_cost_no_wakeups(core: Core) -> None:
    rig = core.batcher(max_channels=20_000)
    for number in range(10_000):
        rig.batcher.receive(foreign(FACTS[1], channel=f"scan/{number}"), 0.0)
    rig.wake(0.0)
    rig.wakeups = 0
    rig.until(86_000.0)
    assert rig.wakeups == 1, "one for the frames of all; none for a day"
    assert len(rig.frames) == 10_000
    assert rig.batcher.next_deadline() == 86_400.0
    before = gc_count("Deadlines")
    assert rig.batcher.handle_timeout(86_399.9) == []
    assert gc_count("Deadlines") == before, "and nothing is taken from the heap"
    rig.at(80_000.0, foreign(FACTS[2], channel="scan/7"))
    rig.until(86_001.0)
    assert rig.wakeups == 3, "one busy channel wakes nobody else"


def gc_count(name: str) -> int:
    """How many entries all heaps of deadlines hold."""
    return sum(len(heap._heap) for heap in gc.get_objects() if type(heap).__name__ == name)


def check_a_freed_channel_leaves_nothing_behind(core: Core) -> None:
    """The deadline of idle cleanup, a day ahead, must not keep a channel that ended long ago."""
    rig = core.batcher()
    rig.at(0.0, foreign(FACTS[1], channel="scan/live"))  # its deadline comes before all that are left over
    for number in range(1, 151):
        rig.at(number * 400.0, foreign(FACTS[1], channel=f"scan/{number}"))
        rig.at(number * 400.0 + 1.0, foreign(TERMINAL, channel=f"scan/{number}"))
    rig.until(150 * 400.0 + 301.0)
    kind = core._channel.Channel
    rig.frames.clear()
    gc.collect()
    held = sum(1 for thing in gc.get_objects() if type(thing) is kind)
    assert [channel.name for channel in rig.batcher.channels()] == ["scan/live"]
    assert held < 50


CHECKS = [
    check
    for name, check in sorted(globals().items())
    if name.startswith("check_") and check.__module__ == __name__
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_rule(core: Core, check) -> None:
    check(core)


# --- whatever happens on the way ----------------------------------------------------------------------


class Producer:
    """A producer as the protocol has it: it keeps what is not acked, and goes back to it."""

    def __init__(self, pid: str, channel: str, events: list[bytes | None]) -> None:
        self.pid, self.channel, self.events = pid, channel, events
        self.una = 1

    def message(self, first: int, count: int) -> Envelope:
        """The events from `una + first` on; None among them is a number that ingest took out."""
        start = min(self.una + first, len(self.events))
        part = self.events[start - 1 : start - 1 + count]
        rejected = tuple((offset, "json") for offset, raw in enumerate(part) if raw is None)
        present = [raw for raw in part if raw is not None]
        return numbered(start, *present, una=self.una, pid=self.pid, channel=self.channel, rejected=rejected)

    @property
    def done(self) -> bool:
        return self.una > len(self.events)

    def hear(self, rig: BatcherRig) -> None:
        self.una = max(self.una, rig.acked(self.pid, self.channel) + 1)


PRODUCED = st.lists(
    st.one_of(
        st.none(),
        st.tuples(st.just("fact"), st.sampled_from([0, 300, 900])),
        st.tuples(st.just("state"), st.just(0)),
        st.tuples(st.just("critical"), st.sampled_from([0, 900])),
    ),
    min_size=1,
    max_size=30,
)
STEP = st.tuples(
    st.integers(0, 3),  # which producer
    st.integers(0, 6),  # from where, after its una
    st.integers(1, 8),  # how many
    st.sampled_from(["arrive", "arrive", "twice", "lost", "late"]),
    st.sampled_from([0.0, 0.001, 0.05, 0.3]),  # until the wake-up after it
    st.booleans(),  # whether its producer hears the acks
)


def check_delivery(core: Core, produced: list, steps: list) -> None:
    """Lost, doubled and reordered on the way: the log is what was produced, once, in order."""
    producers = []
    for index, specs in enumerate(produced):
        pid, channel = f"p{index}", f"scan/{'ab'[index % 2]}"
        events: list[bytes | None] = []
        for number, spec in enumerate(specs):
            tag = index * 1_000 + number
            if spec is None:
                events.append(None)
            elif spec[0] == "state":
                events.append(state("xy"[number % 2], size=0).replace(b'"pad"', b'"tag":%d,"pad"' % tag))
            else:
                events.append((critical if spec[0] == "critical" else fact)(tag, spec[1]))
        producers.append(Producer(pid, channel, events))
    rig = core.batcher(max_pending_bytes=4_000, max_frame_bytes=2_000, max_batch_events=5)
    largest = 8 * 1_000
    now = 0.0
    late: list[Envelope] = []
    for which, first, count, fate, gap, hears in steps:
        producer = producers[which % len(producers)]
        if not producer.done:
            message = producer.message(first, count)
            arriving = {"arrive": [message], "twice": [message] * 2, "lost": [], "late": []}[fate]
            if fate == "late":
                late.append(message)
            elif late:
                arriving.append(late.pop())
            for envelope in arriving:
                rig.batcher.receive(envelope, now)
                waiting = [channel.waiting_bytes for channel in rig.batcher.channels()]
                assert max(waiting, default=0) <= 4_000 + largest
        if gap:
            rig.at(now)
            now += gap
            rig.until(now)
        if hears:
            producer.hear(rig)
    rounds = 0
    while not all(producer.done for producer in producers):
        rounds += 1
        assert rounds < 200, "a producer that keeps sending from una gets everything through"
        rig.at(now, *[producer.message(0, 8) for producer in producers if not producer.done])
        now += 0.3
        rig.until(now)
        for producer in producers:
            producer.hear(rig)
    rig.until(now + 10.0)
    for producer in producers:
        others = {raw for other in producers if other is not producer for raw in other.events}
        log = rig.log.get((producer.channel, EPOCH + epoch_ms(rig, producer.channel)), [])
        mine = [raw for raw in log if raw not in others]
        assert mine == [raw for raw in producer.events if raw is not None]
    for channel in rig.batcher.channels():
        frames = [frame for _, frame in rig.frames if frame.channel == channel.name]
        check_ledger(frames, rig.log[channel.name, channel.epoch])
        assert channel.waiting_bytes == 0


def epoch_ms(rig: BatcherRig, channel: str) -> int:
    life = rig.batcher.current(channel)
    return life.epoch - EPOCH if life else 0


@given(produced=st.lists(PRODUCED, min_size=1, max_size=4), steps=st.lists(STEP, max_size=60))
@settings(max_examples=60, deadline=None)
def test_delivery_whatever_happens_on_the_way(core: Core, produced: list, steps: list) -> None:
    check_delivery(core, produced, steps)


FOREIGN_STEP = st.tuples(
    st.sampled_from(["scan/a", "scan/b", "report/a"]),
    st.lists(
        st.one_of(
            st.sampled_from([TERMINAL, START, critical(1), state("x", 1), state("x", 2)]),
            st.builds(fact, st.integers(0, 9), st.sampled_from([0, 500, 900])),
        ),
        max_size=9,
    ),
    st.sampled_from([0.0, 0.01, 0.1, 1.0, 100.0]),
)


@given(steps=st.lists(FOREIGN_STEP, max_size=40))
@settings(max_examples=60, deadline=None)
def test_every_life_is_told_whole(core: Core, steps: list[tuple[str, list[bytes], float]]) -> None:
    """Ends, new starts and losses in any order: each life is a log of its own, and they do not mix."""
    rig = core.batcher(max_pending_bytes=3_000, max_frame_bytes=2_000, max_batch_events=5)
    now, sent = 0.0, 0
    for channel, events, gap in steps:
        rig.at(now, foreign(*events, channel=channel))
        sent += len(events)
        now += gap
    rig.until(now + 100_000.0)
    assert rig.batcher.channels() == []
    assert rig.batcher.next_deadline() is None
    gone = rig.batcher.take_gone()
    assert set(gone) == set(rig.log), "freed, and again when an event had come after that"
    assert len(gone) == rig.batcher.counters["channels_cleaned_up"]
    told = dropped = 0
    for (channel, epoch), log in rig.log.items():
        frames = [frame for _, frame in rig.frames if (frame.channel, frame.epoch) == (channel, epoch)]
        check_ledger(frames, log)
        assert sum(frame.terminal for frame in frames) <= 1, "one terminal event a life"
        told += sum(b'"lost"' in raw for raw in log)
        dropped += sum(int(raw.split(b'"count":')[1].split(b",")[0]) for raw in log if b'"lost"' in raw)
    counters = rig.batcher.counters
    assert dropped == counters["dropped{reason=pending_full}"], "each loss is told"
    assert counters["events"] == sum(map(len, rig.log.values()))
    assert sent == counters["events"] - told + dropped + counters["rejected{reason=after_terminal}"]
    for name in {channel for channel, _ in rig.log}:
        epochs = [frame.epoch for _, frame in rig.frames if frame.channel == name]
        assert epochs == sorted(epochs), "an old life leaves before the next"
