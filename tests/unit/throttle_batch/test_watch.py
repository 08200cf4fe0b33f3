"""The watchdogs as the batcher keeps them: what they say is in the log, numbered, committed and published."""

from __future__ import annotations

import json
from itertools import pairwise

import msgspec
import pytest

from pipeline.throttle_batch.sections import StateSection, WatchdogSection
from pipeline.wire import Envelope, EnvelopeHeader
from tests.unit.throttle_batch.conftest import START, TERMINAL, BatcherRig, Core, fact, foreign, numbered

WATCHED = WatchdogSection(
    stalled_after_s=30, stalled_factor=1, stalled_at_most_s=30, orphaned_after_s=60, orphan_grace_s=100
)
PLACE = ("scan/a", 1_001_000)
"""The life whose first event comes at 1.0 s."""


def sign(what: str, pid: str = "p", inc: int = 1, channel: str = "scan/a") -> Envelope:
    return Envelope(EnvelopeHeader(channel, pid, inc, 1, 1, sign=what), [])


def watched(core: Core, **changed: object) -> BatcherRig:
    return core.batcher(watchdog=WATCHED, **changed)


def types(rig: BatcherRig, place: tuple[str, int] = PLACE) -> list[str]:
    return [json.loads(raw)["type"] for raw in rig.log[place]]


def published(rig: BatcherRig) -> list[tuple[float, str]]:
    return [(round(now, 3), json.loads(raw)["type"]) for now, frame in rig.frames for raw in frame.events]


def test_what_is_said_is_an_event_like_any_other(core: Core) -> None:
    rig = watched(core)
    rig.at(1.0, numbered(1, START))
    rig.until(1_000)
    assert published(rig) == [
        (1.0, "scanStarted"),
        (31.0, "scanStalled"),
        (61.0, "scanOrphaned"),
        (161.0, "error"),
    ]
    assert types(rig) == ["scanStarted", "scanStalled", "scanOrphaned", "error"]
    channel = rig.batcher.life(*PLACE)
    assert channel is None, "it ended, and was cleaned up"
    assert rig.batcher.past("scan/a").state.status == "failed"
    assert rig.batcher.counters["added{type=scanStalled}"] == 1


def test_another_watchdog_judges_a_silence_that_lasts(core: Core) -> None:
    rig = watched(core)
    rig.at(1.0, numbered(1, START))
    rig.until(20.0)
    sooner = msgspec.structs.replace(WATCHED, stalled_after_s=25, stalled_at_most_s=25, orphaned_after_s=0)
    rig.follow(20.0, watchdog=sooner)
    rig.until(50.0)
    assert published(rig) == [(1.0, "scanStarted"), (26.0, "scanStalled")]
    rig.follow(50.0, watchdog=WATCHED)
    rig.until(70.0)
    assert published(rig)[2:] == [(61.0, "scanOrphaned")]
    rig.follow(70.0, watchdog=msgspec.structs.replace(WATCHED, orphan_grace_s=15))
    rig.until(80.0)
    assert published(rig)[3:] == [(76.0, "error")]


def test_the_state_is_what_was_said(core: Core) -> None:
    rig = watched(core)
    rig.at(1.0, numbered(1, START))
    found = []
    for now in (30.9, 31.0, 61.0, 70.0):
        rig.until(now)
        if now == 70.0:
            rig.wake(now, sign("alive"))
        found.append(rig.batcher.current("scan/a").state.status)
    assert found == ["running", "stalled", "orphaned", "running"]


def test_it_is_resumed_before_the_event_that_says_so(core: Core) -> None:
    rig = watched(core)
    rig.at(1.0, numbered(1, START))
    rig.at(40.0, numbered(2, fact(1), TERMINAL))
    assert types(rig) == ["scanStarted", "scanStalled", "scanResumed", "note", "scanCompleted"]
    rig.until(200.0)
    assert len(rig.log[PLACE]) == 5, "what has ended is not watched"


def test_exactly_one_end_whatever_a_producer_does(core: Core) -> None:
    rig = watched(core)
    rig.at(1.0, numbered(1, START))
    rig.until(170.0)
    rig.at(171.0, numbered(2, fact(1), TERMINAL))
    assert types(rig) == ["scanStarted", "scanStalled", "scanOrphaned", "error", "note"]
    assert [nack.reason for nack in rig.nacks] == ["after_terminal"]


def test_signs_keep_a_scan_from_being_an_orphan(core: Core) -> None:
    rig = watched(core)
    rig.at(1.0, numbered(1, START))
    for second in range(5, 200, 5):
        rig.at(float(second), sign("alive"))
    assert types(rig) == ["scanStarted", "scanStalled"]
    assert rig.acked() == 1, "a sign numbers nothing"


def test_after_a_bye_it_is_waited_for(core: Core) -> None:
    rig = watched(core)
    rig.at(1.0, numbered(1, START))
    rig.at(2.0, sign("bye"))
    rig.until(1_000.0)
    assert types(rig) == ["scanStarted", "scanStalled"]


def test_signs_of_nobody_and_of_a_fenced_one_change_nothing(core: Core) -> None:
    rig = watched(core)
    rig.at(0.5, sign("alive"), sign("bye", "q"), sign("alive", channel="report/a"))
    assert rig.batcher.channels() == []
    rig.at(1.0, numbered(1, START, inc=2))
    rig.at(2.0, sign("bye", inc=1))
    rig.until(70.0)
    assert types(rig)[-1] == "scanOrphaned", "the bye was of an earlier process"


def test_reports_are_not_watched(core: Core) -> None:
    rig = watched(core)
    rig.at(1.0, numbered(1, fact(1), channel="report/a"))
    rig.until(1_000.0)
    assert types(rig, ("report/a", PLACE[1])) == ["note"]


@pytest.mark.parametrize("killed_at", [10.0, 35.0, 70.0, 165.0])
def test_a_kill_doubles_nothing_and_begins_the_times_anew(core: Core, killed_at: float) -> None:
    rig = watched(core)
    rig.at(1.0, numbered(1, START))
    rig.until(killed_at)
    before = types(rig)
    rig.restart(1_000.0)
    rig.until(1_029.0)
    assert types(rig) == before
    rig.until(2_000.0)
    assert types(rig) == ["scanStarted", "scanStalled", "scanOrphaned", "error"]


def test_a_kill_forgets_neither_who_is_there_nor_who_said_bye(core: Core) -> None:
    rig = watched(core)
    rig.at(1.0, numbered(1, START), numbered(1, fact(1), pid="q"))
    rig.at(2.0, sign("bye"))
    assert rig.kept[PLACE].present == ("q",)
    assert rig.kept[PLACE].folded == 0, "only that is written"
    rig.restart(10.0)
    rig.at(11.0, sign("bye", "q"))
    rig.restart(20.0)
    rig.until(1_000.0)
    assert types(rig) == ["scanStarted", "note", "scanStalled"]


def test_time_in_which_nothing_could_be_heard_is_no_silence(core: Core) -> None:
    rig = watched(core)
    rig.at(1.0, numbered(1, START))
    rig.batcher.deaf(500.0)
    rig.wake(500.0)
    rig.until(529.9)
    assert types(rig) == ["scanStarted"]
    rig.until(530.0)
    assert types(rig) == ["scanStarted", "scanStalled"]


def test_what_was_cleaned_up_is_not_watched(core: Core) -> None:
    rig = core.batcher(watchdog=WatchdogSection(stalled_after_s=80_000, orphaned_after_s=0))
    rig.at(1.0, numbered(1, START))
    rig.until(400_000.0)
    assert types(rig) == ["scanStarted", "scanStalled"], "80,000 s after it, then 86,400 s until cleanup"


def test_an_old_life_is_not_watched_beside_its_successor(core: Core) -> None:
    rig = watched(core)
    rig.at(1.0, foreign(START, TERMINAL))
    rig.at(2.0, foreign(START))
    rig.until(100.0)
    assert types(rig) == ["scanStarted", "scanCompleted"]
    assert types(rig, (PLACE[0], rig.batcher.current("scan/a").epoch)) == ["scanStarted", "scanStalled"]


# --- states: what is kept when, and what a freed one gives back --------------------------------------


def ports(first: int, count: int) -> list[bytes]:
    return [
        b'{"type":"portFound","ip":"10.0.%d.1","port":%d,"protocol":"TCP","state":"Open"}'
        % (number // 100, number % 100)
        for number in range(first, first + count)
    ]


def test_a_large_state_is_kept_more_rarely(core: Core) -> None:
    rig = core.batcher()
    kept = []
    for batch in range(60):
        rig.at(1.0 + batch, numbered(1 + batch * 200, *ports(batch * 200, 200)))
        kept.append(rig.kept[PLACE].folded)
    steps = [later - earlier for earlier, later in pairwise(kept) if later > earlier]
    assert steps[0] == 400, "two batches of 200 are the first 256 events"
    assert steps[-1] >= 1_200, "12,000 entries and an eighth of them"
    assert steps == sorted(steps)


def test_a_freed_scan_gives_back_what_it_held(core: Core) -> None:
    rig = core.batcher(state=StateSection(max_total_entries=200))
    rig.at(1.0, numbered(1, *ports(0, 150), TERMINAL))
    rig.at(2.0, numbered(1, *ports(0, 150), channel="scan/b"))
    assert rig.batcher.current("scan/a").state.totals().exact
    assert not rig.batcher.current("scan/b").state.totals().exact
    rig.until(400.0)
    rig.at(401.0, numbered(1, *ports(0, 40), channel="scan/c"))
    assert rig.batcher.current("scan/c").state.totals().exact


def test_a_life_that_goes_on_after_cleanup_asks_for_what_it_was(core: Core) -> None:
    rig = core.batcher()
    rig.at(1.0, numbered(1, *ports(0, 150), TERMINAL))
    rig.until(400.0)
    rig.batcher.receive(numbered(152, ports(5_000, 1)[0]), 401.0)
    [channel] = rig.batcher.wanted()
    assert rig.batcher.wanted() == []
    channel.supply(rig.details[PLACE])
    rig.wake(401.0)
    totals = channel.state.totals()
    assert (totals.hosts, totals.open_ports, totals.exact) == (3, 151, True)


def test_a_scan_that_has_ended_long_ago_is_listed_after_a_restart_as_it_was(core: Core) -> None:
    rig = core.batcher()
    rig.at(1.0, numbered(1, *ports(0, 300), TERMINAL))
    rig.until(400.0)
    before = rig.batcher.past("scan/a").state
    assert before.totals.open_ports == 300
    rig.restart(500.0)
    assert rig.batcher.past("scan/a").state == before


def test_a_state_that_is_lost_says_so(core: Core) -> None:
    rig = core.batcher()
    rig.at(1.0, numbered(1, *ports(0, 150), TERMINAL))
    rig.until(400.0)
    rig.batcher.receive(numbered(152, ports(5_000, 1)[0]), 401.0)
    [channel] = rig.batcher.wanted()
    channel.supply(b"\xff")
    rig.wake(401.0)
    totals = channel.state.totals()
    assert (totals.open_ports, totals.exact) == (1, False)
    assert channel.state.status == "completed"


def test_a_failed_commit_loses_no_detail(core: Core) -> None:
    """A checkpoint waits, and what is then kept at once comes in its place."""
    rig = core.batcher()
    rig.at(1.0, numbered(1, *ports(0, 300)))
    rig.batcher.receive(numbered(301, fact(1)), 1.5)
    [checkpoint] = rig.batcher.uncommitted().checkpoints
    assert checkpoint.detail is not None
    rig.batcher.receive(foreign(fact(2)), 1.6)
    [later] = rig.batcher.uncommitted().checkpoints
    assert (later.state.folded, later.state.best_effort, later.detail) == (300, True, checkpoint.detail)


def test_a_revived_life_is_as_it_was(core: Core) -> None:
    rig = core.batcher()
    rig.at(1.0, numbered(1, *ports(0, 300), START))
    live = rig.batcher.current("scan/a")
    record = rig.record(PLACE)
    revived = rig.batcher.revive(record, 2.0)
    assert revived.state.totals() == live.state.totals()
    assert (revived.committed_seq, revived.event_bytes) == (live.committed_seq, live.event_bytes)
    assert rig.batcher.current("scan/a") is live


def test_one_that_says_bye_with_its_events_is_not_waited_for(core: Core) -> None:
    rig = watched(core)
    rig.at(1.0, numbered(1, START, sign="bye"))
    rig.at(20.0, numbered(1, fact(), pid="q", sign="bye"))
    assert rig.kept[PLACE].present == ()
    rig.until(1_000)
    assert types(rig) == ["scanStarted", "note", "scanStalled"], "never an orphan"
    rig.at(1_001.0, numbered(2, fact(1), sign="bye"))
    assert types(rig)[-2:] == ["scanResumed", "note"]


def test_it_is_a_sign_of_life_and_does_not_stand_for_who_is_gone(core: Core) -> None:
    rig = watched(core)
    rig.at(1.0, numbered(1, START))
    rig.at(50.0, numbered(1, fact(), pid="q", sign="bye"))
    rig.until(109.0)
    assert "scanOrphaned" not in types(rig)
    rig.until(111.0)
    assert types(rig)[-1] == "scanOrphaned"


def keyed(name: str, envelope: Envelope) -> Envelope:
    """The same, as ingest hands it on where producers have keys."""
    return Envelope(msgspec.structs.replace(envelope.header, by=name), envelope.events)


def test_another_keys_signs_are_not_heard(core: Core) -> None:
    alone, disturbed = watched(core), watched(core)
    for rig in (alone, disturbed):
        rig.at(1.0, keyed("ada", numbered(1, fact(1))))
        rig.at(2.0, keyed("ada", sign("bye")))
    for second in (3, 20, 40, 60, 80):
        disturbed.at(float(second), keyed("mallory", sign("alive", "m")))
    for rig in (alone, disturbed):
        rig.until(1_000)
    assert types(disturbed) == types(alone)
    assert "scanOrphaned" not in types(alone)
    assert disturbed.batcher.counters["rejected{reason=scan_owned}"] == 5


def test_signs_of_others_are_not_heard_by_a_claimed_scan(core: Core) -> None:
    rig = watched(core)
    rig.at(1.0, numbered(1, START, own=True))
    rig.at(2.0, sign("bye"))
    for second in (3, 20, 40):
        rig.at(float(second), sign("alive", "other"))
    rig.until(1_000)
    assert "scanOrphaned" not in types(rig), "who was never there is not gone"
    assert rig.batcher.counters["rejected{reason=scan_owned}"] == 3
