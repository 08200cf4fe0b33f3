"""Processes killed with -9 while a scan runs."""

from __future__ import annotations

import pytest

from pipeline import Emitter
from tests.e2e.watching import Watchers
from tests.faults.crashing import events_of, kill, parts, restart
from tests.harness import Pipeline

SCAN = "office"


@pytest.mark.parametrize("ingests", [1, 2])
def test_ingest_killed_nothing_is_lost_twice_or_out_of_order(pipeline: Pipeline, ingests: int) -> None:
    pipeline.start(ingests=ingests)
    sent = events_of(1, SCAN)
    with Watchers() as watchers, Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        reader = watchers.native(pipeline.ws(f"/ws/scans/{SCAN}"))
        for index, part in enumerate(parts(sent, 12)):
            for event in part:
                emitter.emit(event)
            if index % 3 == 1:
                restart(pipeline, f"ingest-{index // 3 % ingests}")
        emitter.flush(60)
        assert emitter.rejected() == []
        reader.wait_for(lambda reader: reader.seq == len(sent))
        reader.check(sent)


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
            emitter.flush(60)
        for reader in readers:
            reader.wait_for(lambda reader: reader.seq == len(sent))
            reader.check(sent)


def test_edge_killed_readers_that_come_back_get_everything_once(pipeline: Pipeline) -> None:
    pipeline.start()
    sent = events_of(3, SCAN)
    with Watchers() as watchers, Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        readers = [watchers.native(pipeline.ws(f"/ws/scans/{SCAN}")) for _ in range(5)]
        done = 0
        for part in parts(sent, 5):
            for event in part:
                emitter.emit(event)
            done += len(part)
            some = done - len(part) // 2
            for reader in readers:
                reader.wait_for(lambda reader, some=some: reader.seq >= some)
            if done < len(sent):
                restart(pipeline, "edge-0")
                for reader in readers:
                    reader.wait_closed()
                    reader.connect()
        for reader in readers:
            reader.wait_for(lambda reader: reader.seq == len(sent))
            assert [hello.resumed for hello in reader.hellos] == [None, True, True, True, True]
            reader.check(sent)


def test_worker_killed_readers_are_told_of_the_new_life_and_nothing_wedges(pipeline: Pipeline) -> None:
    pipeline.start()
    sent = events_of(4, SCAN)
    before, after = sent[:6_000], sent[6_000:]
    with Watchers() as watchers, Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        staying = watchers.native(pipeline.ws(f"/ws/scans/{SCAN}"))
        away = watchers.native(pipeline.ws(f"/ws/scans/{SCAN}"))
        for event in before:
            emitter.emit(event)
        emitter.flush(30)
        for reader in (staying, away):
            reader.wait_for(lambda reader: reader.seq == len(before))
        away.disconnect()
        restart(pipeline, "throttle-batch-0")
        for event in after:
            emitter.emit(event)
        emitter.flush(60)

        # The old life went with the worker's memory; what was not acked yet begins the new one.
        staying.wait_for(lambda reader: reader.seq == len(after))
        old, new = sorted(staying.events)
        assert [(reset.epoch, reset.reason) for reset in staying.resets] == [(new, "forgotten")]
        _check_life(staying.events[old], before)
        _check_life(staying.events[new], after)
        away.connect()
        away.wait_for(lambda reader: reader.seq == len(after))
        assert [hello.resumed for hello in away.hellos] == [None, False]
        _check_life(away.events[new], after)
        assert staying.problems == away.problems == []


def test_worker_killed_while_events_are_on_their_way(pipeline: Pipeline) -> None:
    pipeline.start()
    sent = events_of(5, SCAN)
    with Watchers() as watchers, Emitter(SCAN, run_dir=str(pipeline.run_dir)) as emitter:
        reader = watchers.native(pipeline.ws(f"/ws/scans/{SCAN}"))
        for index, part in enumerate(parts(sent, 9)):
            for event in part:
                emitter.emit(event)
            if index % 3 == 1:
                restart(pipeline, "throttle-batch-0")
        emitter.flush(60)
        reader.wait_for(lambda reader: reader.epoch and sent[-1] in reader.events[reader.epoch].values())
        # Each life is an unbroken piece of what was sent, and the last one reaches to the end.
        for epoch, events in reader.events.items():
            before = next(sent.index(event) - seq for seq, event in events.items() if sent.count(event) == 1)
            assert all(sent[before + seq] == event for seq, event in events.items())
            if epoch == reader.epoch:
                assert before + 1 + reader.seq == len(sent)
        assert reader.problems == []


def _check_life(got: dict[int, bytes], sent: list[bytes]) -> None:
    """Hold one life against what was sent into it: in its place, and only progress left out."""
    assert all(sent[seq - 1] == event for seq, event in got.items())
    left_out = [event for seq, event in enumerate(sent, 1) if seq not in got]
    assert all(b'"scanProgress"' in event for event in left_out)
