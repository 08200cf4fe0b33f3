"""A canary: a scan of a few events, sent the whole way and timed at each hop. Shell.

=========== =============================================== ==========================================
hop         from, to                                        it is there when
=========== =============================================== ==========================================
`emitter`   emitter, an ingest                              the ingest welcomes it
`ack`       ingest, worker, journal, and back               the traced event is acked
`publish`   worker, XPUB, a subscriber                      a frame with it comes
`websocket` worker, edge, a browser's WebSocket             a message with it comes
=========== =============================================== ==========================================

Each way out is watched by one of the `probes`, so that a hop that is down holds up no other. The canary is
sent only where a worker takes it at once: else it would stay in a queue, and come to life when the worker
does.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from pathlib import Path

import zmq

from pipeline.emitter import Emitter
from pipeline.endpoints import Endpoints, endpoints_of
from pipeline.errors import EventRejected, MessageMalformed, NotDelivered, PipelineError
from pipeline.event import CANARY_LABEL
from pipeline.operate.hops import Flight, Hop, Readiness
from pipeline.operate.probes import HOP_S, STEP_S, BrowserProbe, FrameProbe, Probe, outside
from pipeline.runtime import wall_ms
from pipeline.shards import shard_of
from pipeline.sockets import Binder, shard_history
from pipeline.wire import DeleteReply, DeleteRequest, channel_name, decode_history_reply, encode


def canary_id(shard: int, shards: int) -> str:
    """Return a new scan id that a shard owns."""
    while True:
        scan_id = f"doctor-{secrets.token_hex(4)}"
        if shard_of(channel_name("scan", scan_id), shards) == shard:
            return scan_id


def fly(
    where: Path | Endpoints, url: str, shard: int, shards: int, until: float, token: str
) -> tuple[Flight, Readiness]:
    """Send a canary, and time it at each hop.

    Args:
        where: where the sockets are; a path is a run directory.
        url: the edge.
        shard: the shard it goes through; its worker must be there and able to write.
        shards: how many there are.
        until: monotonic seconds; nothing is waited for after that.
        token: brought to the edge; empty for none.

    Returns:
        What became of it, and what the edge says of itself.
    """
    flight = Flight(canary_id(shard, shards), shard)
    mark = f"canary-{secrets.token_hex(8)}"
    frames = FrameProbe(where, shard, flight.scan_id, mark.encode())
    browser = BrowserProbe(url, flight.scan_id, mark.encode(), token)
    frames.start()
    browser.start()
    emitter = Emitter(flight.scan_id, endpoints=endpoints_of(where), own=True)
    try:
        _send(flight, emitter, mark, (frames, browser), until)
    finally:
        for probe in (frames, browser):
            probe.leave.set()
        with contextlib.suppress(PipelineError):
            emitter.close(timeout_s=0.1)
        for probe in (frames, browser):
            probe.join(HOP_S)
    return flight, browser.readiness


def _send(
    flight: Flight, emitter: Emitter, mark: str, probes: tuple[FrameProbe, BrowserProbe], until: float
) -> None:
    welcome = Hop("emitter")
    flight.hops.append(welcome)
    began = time.monotonic()
    try:
        emitter.wait_ready(_left(until))
    except NotDelivered:
        welcome.problem = "no ingest welcomes a producer"
        return
    welcome.latency_ms = _ms(began)
    frames, browser = probes
    watched: list[tuple[str, Probe]] = [("publish", frames), ("websocket", browser)]
    for _, probe in watched:
        if not probe.ready.wait(_left(until)):
            probe.problem = f"it could not be watched for within {HOP_S:g} s"
    ack = Hop("ack")
    flight.hops.append(ack)
    opened_ms = wall_ms()
    try:
        emitter.emit({"type": "scanStarted", "name": "pipeline doctor", "labels": {CANARY_LABEL: "doctor"}})
        emitter.flush(_left(until))
        opened_by_ms = wall_ms()
        sent = time.monotonic()
        emitter.emit({"type": "phaseStarted", "phase": mark})
        emitter.flush(_left(until))
        ack.latency_ms = _ms(sent)
    except (NotDelivered, EventRejected) as error:
        ack.problem = str(error)
        return
    finally:
        with contextlib.suppress(PipelineError):
            emitter.emit({"type": "scanCompleted"})
    if refused := emitter.rejected():
        ack.latency_ms, ack.problem = None, f"it was refused: {refused[0].message}"
        return
    for name, probe in watched:
        hop = Hop(name, problem=probe.problem, remedy=probe.remedy)
        flight.hops.append(hop)
        if not probe.problem and not probe.came.wait(_left(until)):
            hop.problem = f"it did not come within {HOP_S:g} s"
        if probe.came.is_set():
            hop.latency_ms, hop.problem = (probe.at - sent) * 1000, ""
    if frames.epoch:
        flight.epoch_skew_s = outside(frames.epoch, opened_ms, opened_by_ms) / 1000
    with contextlib.suppress(NotDelivered):
        emitter.flush(_left(until))
        flight.ended = True


def _left(until: float) -> float:
    """Return how long to wait now: a hop's time, and not beyond the end."""
    return max(STEP_S, min(HOP_S, until - time.monotonic()))


def _ms(since: float) -> float:
    return (time.monotonic() - since) * 1000


def remove(where: Path | Endpoints, flight: Flight, until: float) -> None:
    """Have the worker delete the canary's scan, and note why it could not.

    Args:
        where: where the sockets are; a path is a run directory.
        flight: what became of it.
        until: monotonic seconds; nothing is waited for after that.
    """
    if not flight.ended:
        return
    channel = channel_name("scan", flight.scan_id)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    binder = Binder(context, where)
    try:
        worker = binder.connect(zmq.DEALER, [shard_history(flight.shard)], high_water_mark=4)
        worker.send(encode(DeleteRequest(1, channel)), zmq.NOBLOCK)
        if not worker.poll(int(_left(until) * 1000)):
            flight.left = "its worker did not answer in time"
            return
        reply = decode_history_reply(worker.recv(zmq.NOBLOCK))
        flight.left = reply.problem if isinstance(reply, DeleteReply) else "its worker cannot delete scans"
    except (MessageMalformed, zmq.Again):
        flight.left = "its worker cannot delete scans"
    finally:
        binder.close()
        context.term()
