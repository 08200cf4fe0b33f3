"""What a shard tells of its channels: what changed adds up to the whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.throttle_batch import listing
from pipeline.throttle_batch.config import CleanupSection
from pipeline.throttle_batch.listing import Listing
from pipeline.wire import ChannelsReply, ChannelsRequest, ChannelSummary
from tests.unit.throttle_batch.conftest import START, TERMINAL, BatcherRig, Core, fact, foreign, load_core

BRIEF = CleanupSection(cleanup_after_s=5.0, idle_cleanup_s=20.0)


class Mirror:
    """A reader: what it knows by what it was told."""

    def __init__(self) -> None:
        self.scans: dict[str, ChannelSummary] = {}
        self.version: str | None = None

    def ask(self, told: Listing, now: float) -> ChannelsReply:
        reply = told.reply(ChannelsRequest(1, self.version), now)
        if reply.whole:
            self.scans.clear()
        for summary in reply.channels:
            self.scans[summary.channel] = summary
        for name in reply.gone:
            self.scans.pop(name, None)  # it may have come and gone since
        self.version = reply.version
        return reply


def names(reply: ChannelsReply) -> list[str]:
    return sorted(summary.channel for summary in reply.channels)


def still(summary: ChannelSummary) -> ChannelSummary:
    """Without what time alone changes."""
    return replace(summary, elapsed_s=0.0, events_per_s=0.0, time_left=None)


def everything(told: Listing, now: float) -> dict[str, ChannelSummary]:
    return {each.channel: still(each) for each in told.reply(ChannelsRequest(1), now).channels}


def test_only_what_changed_is_told(core: Core) -> None:
    rig = core.batcher(1.0)
    told, reader = Listing(3, "boot", rig.batcher), Mirror()
    rig.at(1.0, foreign(START, TERMINAL, channel="scan/a"), foreign(START, TERMINAL, channel="scan/b"))
    rig.until(2.0)
    first = reader.ask(told, 2.0)
    assert (first.id, first.shard, first.whole, names(first)) == (1, 3, True, ["scan/a", "scan/b"])
    assert reader.ask(told, 2.0) == ChannelsReply(1, 3, [], first.version, whole=False)
    rig.at(3.0, foreign(START, channel="scan/b"))
    change = reader.ask(told, 3.0)
    assert (change.whole, names(change), change.gone) == (False, ["scan/b"], [])
    assert change.channels[0].epoch > first.channels[1].epoch


def test_a_channel_whose_memory_is_freed_is_gone(core: Core) -> None:
    rig = core.batcher(1.0, cleanup=BRIEF)
    told, reader = Listing(0, "boot", rig.batcher), Mirror()
    rig.at(1.0, foreign(START, TERMINAL))
    reader.ask(told, 2.0)
    rig.until(100.0)
    change = reader.ask(told, 100.0)
    assert (change.whole, change.channels, change.gone) == (False, [], ["scan/a"])
    assert reader.ask(told, 100.0).gone == []


def test_a_scan_that_is_deleted_is_gone(core: Core) -> None:
    rig = core.batcher(1.0)
    told, reader = Listing(0, "boot", rig.batcher), Mirror()
    rig.at(1.0, foreign(START, TERMINAL))
    reader.ask(told, 2.0)
    rig.batcher.delete("scan/a", reader.scans["scan/a"].epoch)
    assert reader.ask(told, 3.0).gone == ["scan/a"]


@pytest.mark.parametrize(
    "since",
    [
        "",
        ":",
        "boot",
        "boot:",
        "boot:-1",
        "boot:x",
        "boot:²",
        "boot:99",
        "other:0",
        "boot:0:0",
        "boot:" + "9" * 999,
    ],
)
def test_who_asks_since_something_else_is_given_the_whole(core: Core, since: str) -> None:
    rig = core.batcher(1.0)
    rig.at(1.0, foreign(START))
    reply = Listing(0, "boot", rig.batcher).reply(ChannelsRequest(1, since), 2.0)
    assert (reply.whole, names(reply)) == (True, ["scan/a"])


def test_a_worker_that_began_anew_gives_the_whole(core: Core) -> None:
    rig = core.batcher(1.0)
    rig.at(1.0, foreign(START))
    reader = Mirror()
    reader.ask(Listing(0, "one", rig.batcher), 2.0)
    rig.restart(3.0)
    assert reader.ask(Listing(0, "two", rig.batcher), 3.0).whole


def test_a_rate_that_falls_is_told_until_it_is_nothing(core: Core) -> None:
    rig = core.batcher(1.0)
    told, reader = Listing(0, "boot", rig.batcher), Mirror()
    rig.at(1.0, foreign(START, *(fact(number) for number in range(50))))
    rig.until(3.0)
    rates = [reader.ask(told, now).channels[0].events_per_s for now in (2.0, 3.0, 5.0)]
    assert rates[0] > rates[1] > rates[2] > 0
    reader.ask(told, 10_000.0)
    assert reader.scans["scan/a"].events_per_s == 0
    assert reader.ask(told, 10_001.0).channels == []


def test_scans_whose_rates_fall_take_turns(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_MOVING", 2)
    rig = core.batcher(1.0)
    told, reader = Listing(0, "boot", rig.batcher), Mirror()
    for index in range(5):
        rig.at(1.0, foreign(START, fact(), channel=f"scan/{index}"))
    rig.until(2.0)
    reader.ask(told, 2.0)
    turns = [names(reader.ask(told, 2.0)) for _ in range(5)]
    assert [len(turn) for turn in turns] == [2] * 5
    assert set().union(*turns[:3]) == {f"scan/{index}" for index in range(5)}


STEPS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from("abc"), st.sampled_from([START, TERMINAL, fact(1), fact(2)])),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 0.3, 3.0, 6.0, 30.0])),
    st.tuples(st.just("ask"), st.integers(0, 1)),
    st.tuples(st.just("delete"), st.sampled_from("abc")),
)


@given(st.lists(STEPS, max_size=40))
def test_what_changed_adds_up_to_the_whole(steps: list[tuple]) -> None:
    rig: BatcherRig = load_core().batcher(0.0, cleanup=BRIEF)
    told, readers, now = Listing(0, "boot", rig.batcher), [Mirror(), Mirror()], 0.0
    for action, *given_ in [*steps, ("ask", 0), ("ask", 1)]:
        if action == "send":
            rig.at(now, foreign(given_[1], channel=f"scan/{given_[0]}"))
        elif action == "wait":
            now += given_[0]
            rig.until(now)
        elif action == "delete":
            channel = rig.batcher.current(f"scan/{given_[0]}")
            if channel is not None and channel.terminal_at is not None:
                rig.batcher.delete(channel.name, channel.epoch)
        else:
            reader = readers[given_[0]]
            reader.ask(told, now)
            assert {name: still(each) for name, each in reader.scans.items()} == everything(told, now)
