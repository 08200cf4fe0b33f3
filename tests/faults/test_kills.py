"""Processes killed with -9 while a scan runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from pipeline import Emitter
from tests.e2e.watching import Watchers
from tests.faults.crashing import events_of, kill, parts
from tests.faults.readers import StayingNative
from tests.faults.scene import past
from tests.faults.stand import Stand
from tests.harness import PATIENCE, Pipeline, deadline

SCAN = "office"


def test_each_stage_is_killed_in_turn_while_the_reference_scan_runs(stands: Callable[..., Stand]) -> None:
    stand = stands(shards=4)
    stand.begin()
    sent = events_of(1, SCAN)
    with Watchers() as watchers, Emitter(SCAN, run_dir=str(stand.run_dir)) as emitter:
        readers = [
            watchers.add(StayingNative(watchers.loop, stand.ws(f"/ws/scans/{SCAN}"))) for _ in range(3)
        ]
        given = 0
        for index, part in enumerate(parts(sent, 12)):
            for event in part:
                emitter.emit(event)
            if index % 2 == 1:  # what was killed before is back, and two parts are on their way
                readers[0].wait_for(lambda reader, given=given: reader.seq >= given)
                stand.kill(stand.names[index // 2 % 3])
                given += 2 * len(part)
        emitter.flush(60 * PATIENCE)
        for reader in readers:
            reader.wait_for(lambda reader: reader.seq == len(sent))
            reader.check(sent)
            assert not any(hello.resumed is False for hello in reader.hellos)
    end = deadline(10)
    while len(stand.deaths) < 6:
        assert not past(end), stand.deaths
    assert sorted(Counter(stand.deaths).items()) == [((name, -9), 2) for name in sorted(stand.names)]


def test_one_of_two_ingests_killed_for_good_the_other_takes_over(pipeline: Pipeline) -> None:
    pipeline.start(ingests=2)
    sent = events_of(2, SCAN)
    with (
        Watchers() as watchers,
        Emitter(SCAN, run_dir=str(pipeline.run_dir)) as one,
        Emitter("other", run_dir=str(pipeline.run_dir)) as other,
    ):
        readers = [watchers.native(pipeline.ws(f"/ws/scans/{scan_id}")) for scan_id in (SCAN, "other")]
        for index, part in enumerate(parts(sent, 4)):
            for event in part:
                one.emit(event)
                other.emit(event)
            if index == 1:
                kill(pipeline, "ingest-0")
        for emitter in (one, other):
            emitter.flush(60 * PATIENCE)
        for reader in readers:
            reader.wait_for(lambda reader: reader.seq == len(sent))
            reader.check(sent)


def test_worker_without_a_journal_killed_readers_are_told_of_the_new_life_and_nothing_wedges(
    pipeline: Pipeline,
) -> None:
    config = {"throttle-batch": '[journal]\nkind = "memory"\n'}
    pipeline.start(config=config)
    sent = events_of(4, SCAN)
    before, after = sent[:6_000], sent[6_000:]
    with Watchers() as watchers, Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        staying = watchers.native(pipeline.ws(f"/ws/scans/{SCAN}"))
        away = watchers.native(pipeline.ws(f"/ws/scans/{SCAN}"))
        for event in before:
            emitter.emit(event)
        emitter.flush(30 * PATIENCE)
        for reader in (staying, away):
            reader.wait_for(lambda reader: reader.seq == len(before))
        away.disconnect()
        kill(pipeline, "throttle-batch-0")
        pipeline.start_one("throttle-batch-0", config=config).wait_for("ready")
        for event in after:
            emitter.emit(event)
        emitter.flush(60 * PATIENCE)

        # The old life went with the worker's memory; what was not acked yet begins the new one.
        staying.wait_for(lambda reader: reader.seq == len(after))
        old, new = sorted(staying.events)
        assert [(reset.epoch, reset.reason) for reset in staying.resets] == [(new, "forgotten")]
        _check_life(staying.events[old], before)
        _check_life(staying.events[new], after)
        away.connect()
        away.wait_for(lambda reader: reader.seq == len(after))
        assert [hello.resumed for hello in away.hellos] == [None, False]
        base, state = away.states[new]
        assert (base, state["event_count"]) == (len(after), len(after)), "the new life's state, whole"
        assert new not in away.events
        assert staying.problems == away.problems == []


def _check_life(got: dict[int, bytes], sent: list[bytes]) -> None:
    """Hold one life against what was sent into it: in its place, and only progress left out."""
    assert all(sent[seq - 1] == event for seq, event in got.items())
    left_out = [event for seq, event in enumerate(sent, 1) if seq not in got]
    assert all(b'"scanProgress"' in event for event in left_out)
