"""Processes and readers that hang, and a producer that sends rubbish: nobody else is harmed."""

from __future__ import annotations

import itertools
import random

import zmq

from pipeline import Emitter
from pipeline.shards import shard_of
from tests.e2e.watching import Watchers
from tests.faults.crashing import events_of, parts, scan_of_worker, stopped
from tests.harness import PATIENCE, Pipeline

SHORT_QUEUES = """
[ingest]
shard_high_water_mark = 10
"""
SMALL_BUFFERS = """
[limits]
kernel_buffer_bytes = 4096
"""


def test_one_of_two_workers_hangs_the_scans_of_the_other_go_on(pipeline: Pipeline) -> None:
    pipeline.start(workers=2, config={"ingest": SHORT_QUEUES})
    hung, fine = (scan_of_worker(pipeline, worker, workers=2) for worker in (0, 1))
    sent = {scan_id: events_of(1, scan_id) for scan_id in (hung, fine)}
    run_dir = str(pipeline.run_dir)
    with Watchers() as watchers, Emitter(hung, run_dir=run_dir) as one, Emitter(fine, run_dir=run_dir) as two:
        readers = {scan_id: watchers.native(pipeline.ws(f"/ws/scans/{scan_id}")) for scan_id in sent}
        for event in sent[hung][:5_000]:
            one.emit(event)
        readers[hung].wait_for(lambda reader: reader.seq == 5_000)
        with stopped(pipeline, "throttle-batch-0"):
            _fill_queue(pipeline, hung)
            for event in sent[hung][5_000:]:
                one.emit(event)
            for event in sent[fine]:
                two.emit(event)
            two.flush(30 * PATIENCE)
            readers[fine].wait_for(lambda reader: reader.seq == len(sent[fine]))
            # A list that lacks a worker's scans says so.
            _, listed = pipeline.get("/api/scans")
            assert ([scan["scan_id"] for scan in listed["scans"]], listed["complete"]) == ([fine], False)
            assert one.unacked == len(sent[hung]) - 5_000
        one.flush(60 * PATIENCE)
        readers[hung].wait_for(lambda reader: reader.seq == len(sent[hung]))
        for scan_id, reader in readers.items():
            reader.check(sent[scan_id])
            assert len(reader.hellos) == 1
    assert pipeline.stop()["ingest-0"]["dropped{reason=shard_full}"] > 0


def test_a_worker_hangs_its_readers_are_told_and_told_when_it_is_back(pipeline: Pipeline) -> None:
    pipeline.start(config={"edge": "[upstream]\nsilent_s = 1\n"})
    sent = events_of(4, "office")[:2_000]
    with Watchers() as watchers, Emitter("office", run_dir=str(pipeline.run_dir)) as emitter:
        reader = watchers.native(pipeline.ws("/ws/scans/office"))
        for event in sent[:1_000]:
            emitter.emit(event)
        reader.wait_for(lambda reader: reader.seq == 1_000)
        with stopped(pipeline, "throttle-batch-0"):
            for event in sent[1_000:]:
                emitter.emit(event)
            reader.wait_for(lambda reader: reader.degraded == [True])
            late = watchers.native(pipeline.ws("/ws/scans/office"))
            late.wait_for(lambda reader: reader.degraded == [True])
        for told in (reader, late):
            told.wait_for(lambda reader: reader.degraded == [True, False] and reader.seq == len(sent))
            told.check(sent)


def _fill_queue(pipeline: Pipeline, scan_id: str) -> None:
    """Send more to a scan's shard than fits between the ingest and a worker that does not read.

    By a foreign producer, to another scan of the shard: it does not wait for acks.
    """
    shard = shard_of(f"scan/{scan_id}", pipeline.shards)
    noise = next(
        name
        for name in map("noise-{}".format, itertools.count())
        if shard_of(f"scan/{name}", pipeline.shards) == shard
    )
    event = b'{"type":"note","scan_id":"%b","text":"%b"}' % (noise.encode(), b"x" * 50_000)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context.socket(zmq.PUSH) as push:
        push.connect(f"ipc://{pipeline.run_dir / 'ingest-0.data'}")
        for _ in range(100):
            push.send(event)
    context.term()


def test_one_of_two_edges_hangs_the_readers_of_the_other_go_on(pipeline: Pipeline) -> None:
    pipeline.start()
    sent = events_of(2, "office")
    with Watchers() as watchers, Emitter("office", run_dir=str(pipeline.run_dir)) as emitter:
        there = watchers.native(pipeline.ws("/ws/scans/office"))
        pipeline.port = 0
        pipeline.start_edge(1)
        hung = watchers.native(pipeline.ws("/ws/scans/office"))
        with stopped(pipeline, "edge-1"):
            for part in parts(sent, 10):
                for event in part:
                    emitter.emit(event)
                emitter.flush(30 * PATIENCE)
            there.wait_for(lambda reader: reader.seq == len(sent))
            assert hung.seq < len(sent)
        hung.wait_for(lambda reader: reader.seq == len(sent))
        for reader in (there, hung):
            reader.check(sent)
            assert len(reader.hellos) == 1


def test_a_reader_that_hangs_costs_the_others_nothing_and_gets_everything_when_it_reads_on(
    pipeline: Pipeline,
) -> None:
    pipeline.start(config={"edge": SMALL_BUFFERS})
    # Larger than what the kernel and the library take in on behalf of a reader that does not read.
    note = "x" * 2_000
    sent = [b'{"type":"note","text":"%d %b"}' % (n, note.encode()) for n in range(2_500)]
    with Watchers() as watchers, Emitter("office", run_dir=str(pipeline.run_dir)) as emitter:
        hung = watchers.native(pipeline.ws("/ws/scans/office"))
        readers = [watchers.native(pipeline.ws("/ws/scans/office")) for _ in range(3)]
        emitter.emit(sent[0])
        hung.wait_for(lambda reader: reader.seq == 1)
        hung.pause()
        for event in sent[1:]:
            emitter.emit(event)
        emitter.flush(60 * PATIENCE)
        for reader in readers:
            reader.wait_for(lambda reader: reader.seq == len(sent))
            reader.check(sent)
        assert hung.seq < len(sent)
        hung.resume()
        hung.wait_for(lambda reader: reader.seq == len(sent))
        hung.check(sent)
        assert hung.closes == []


def test_rubbish_beside_a_scan_is_counted_and_disturbs_nobody(pipeline: Pipeline) -> None:
    pipeline.start()
    sent = events_of(3, "office")
    rubbish = _rubbish()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with (
            Watchers() as watchers,
            Emitter("office", run_dir=str(pipeline.run_dir)) as emitter,
            context.socket(zmq.PUSH) as push,
        ):
            push.connect(f"ipc://{pipeline.run_dir / 'ingest-0.data'}")
            reader = watchers.native(pipeline.ws("/ws/scans/office"))
            for index, part in enumerate(parts(sent, 10)):
                for event in part:
                    emitter.emit(event)
                for message in rubbish[index::10]:
                    push.send(message)
                push.send_multipart([b"{", b"}", b"\x01"])
            # What is sent last on the same socket comes last: the rubbish has been taken in then.
            push.send(b'{"type":"scanStarted","scan_id":"foreign"}')
            foreign = watchers.native(pipeline.ws("/ws/scans/foreign"))
            foreign.wait_for(lambda reader: reader.seq == 1)
            emitter.flush(30 * PATIENCE)
            reader.wait_for(lambda reader: reader.seq == len(sent))
            reader.check(sent)
            assert emitter.rejected() == []
    finally:
        context.term()
    counted = pipeline.stop()["ingest-0"]
    assert counted["events"] >= len(sent) + 1
    for reason in ("utf8", "json", "too_large", "schema", "bad_scan_id"):
        assert counted[f"rejected{{reason={reason}}}"] > 0
    assert all(process.popen.returncode == 0 for process in pipeline.processes.values())


def _rubbish() -> list[bytes]:
    rng = random.Random(11)
    bad = [
        b"",
        b"\x01",
        b"\x01{}\n",
        b"\x02hello",
        b"{",
        b"[" * 50_000,
        b"null",
        b'{"type":"portFound","scan_id":"x","port":"many"}',
        b'{"type":"hostDiscovered","scan_id":"../x","ip":"10.0.0.1"}',
        b'{"type":"hostDiscovered","ip":"10.0.0.1"}',
        b'{"type":"note","scan_id":"x","text":"\xff\xfe"}',
        b'{"type":"note","scan_id":"x","text":"' + b"a" * 70_000 + b'"}',
        b"{" + b" " * 2_000_000 + b"}",
        b'\x01{"channel":"scan/office","pid":"p","inc":1,"pseq":0,"una":9}\n{}',
    ]
    noise = [rng.randbytes(rng.randrange(200)) for _ in range(500)]
    return [rng.choice(bad) for _ in range(500)] + noise + bad
