"""More comes than the frame budget lets out: every bound holds, what is left out is counted and told."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import zmq

from pipeline import Emitter
from pipeline.event import Catalogue
from pipeline.frame import Frame
from pipeline.outbox import MIN_WINDOW_EVENTS, Outbox
from pipeline.throttle_batch.batcher import Batcher
from pipeline.throttle_batch.config import ThrottleBatchConfig
from pipeline.wire import Envelope
from tests.e2e.watching import Watchers
from tests.faults.oracle import check_log
from tests.faults.readers import StayingRest, wait_end
from tests.faults.stand import Stand
from tests.faults.traffic import END, event

SCAN = "office"
NOW = 1_000.0
BUDGET = """
[batch]
max_frames_per_s = 2
max_frame_bytes = 65536
max_pending_bytes = 65536
"""
BUFFERED_BYTES = 200_000


def test_a_critical_event_behind_a_full_window_waits_for_no_budget() -> None:
    """The clock stands still, so whatever waits for a token, or for a timeout, waits for ever."""
    outbox = Outbox("scan/office", "scanner", 1)
    batcher = Batcher(ThrottleBatchConfig(), Catalogue(), 0, NOW)
    facts = [event("a", number) for number in range(1, 20 * MIN_WINDOW_EVENTS)]
    for raw in facts:
        outbox.add(raw)
    outbox.add(event("a", len(facts) + 1, "phaseStarted"))
    frames: list[Frame] = []
    windows = 0
    while len(outbox):
        before = len(outbox)
        while (message := outbox.next_message(NOW)) is not None:
            header, events = message
            batcher.receive(Envelope(header, events), NOW)
            outbox.sent(events, NOW)
        windows += 1
        batcher.uncommitted()
        release = batcher.committed(NOW)
        frames += release.frames
        for ack in release.feedback.acks:
            outbox.acked(ack.committed, NOW)
        assert len(outbox) < before, f"{before} events wait, and nothing moves"
    assert windows > 3
    assert frames[-1].critical
    assert frames[-1].last == len(facts) + 1
    assert [frame.first for frame in frames] == [1, *(frame.last + 1 for frame in frames[:-1])]


def test_a_numbered_producer_is_slowed_down_and_loses_nothing(stands: Callable[..., Stand]) -> None:
    stand = stands(config={"throttle-batch": BUDGET})
    stand.begin()
    sent = [event("a", number) for number in range(1, 6_001)]
    size = len(sent[-1])
    with Watchers() as watchers:
        rest = watchers.add(StayingRest(watchers.loop, f"{stand.url}/api/scans/{SCAN}/events", limit=10_000))
        emitter = Emitter(SCAN, run_dir=str(stand.run_dir), max_buffered_bytes=BUFFERED_BYTES)
        most = 0
        for raw in sent:
            emitter.emit(raw)
            most = max(most, emitter.unacked)
        emitter.emit(END)
        emitter.close(60)
        wait_end(rest, 60)
        check_log(rest.log(), {"a": sent})
    assert most * (size - 5) <= BUFFERED_BYTES
    assert stand.stop()["throttle-batch-0"]["not_taken{reason=full}"] > 0


def test_what_a_foreign_producer_sends_too_much_is_counted_and_told(stands: Callable[..., Stand]) -> None:
    stand = stands(config={"throttle-batch": BUDGET})
    stand.begin()
    sent = [
        b'{"type":"note","scan_id":"office","producer":"a","n":%d}' % number for number in range(1, 20_001)
    ]
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with Watchers() as watchers, context.socket(zmq.PUSH) as push:
        rest = watchers.add(StayingRest(watchers.loop, f"{stand.url}/api/scans/{SCAN}/events", limit=10_000))
        push.connect(f"ipc://{stand.run_dir / 'ingest-0.data'}")
        for start in range(0, len(sent), 100):
            push.send(b"\n".join(sent[start : start + 100]))
        # A critical event finds room when the others do not; what follows it is told before it.
        push.send(b'{"type":"phaseStarted","phase":"late","scan_id":"office"}')
        rest.wait_for(lambda reader: _told(reader) + _given(reader) == len(sent), 60)
        rest.disconnect()
    context.term()
    given = [msgspec.json.decode(raw)["n"] for raw in _log(rest) if b'"note"' in raw]
    assert given == sorted(set(given))
    counted = stand.stop()
    assert counted["ingest-0"].get("dropped{reason=shard_full}", 0) == 0
    assert counted["throttle-batch-0"]["dropped{reason=pending_full}"] == _told(rest) > 0


def _log(rest: StayingRest) -> list[bytes]:
    return [raw for held in rest.events.values() for raw in held.values()]


def _given(rest: StayingRest) -> int:
    return sum(b'"note"' in raw for raw in _log(rest))


def _told(rest: StayingRest) -> int:
    losses = [msgspec.json.decode(raw) for raw in _log(rest) if b'"type":"lost"' in raw]
    assert all(loss["reason"] == "pending_full" for loss in losses)
    return sum(loss["count"] for loss in losses)
