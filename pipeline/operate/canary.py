"""A canary: a scan of a few events, sent the whole way and timed at each hop. Shell.

=========== =============================================== ==========================================
hop         from, to                                        it is there when
=========== =============================================== ==========================================
`emitter`   emitter, an ingest                              the ingest welcomes it
`ack`       ingest, worker, journal, and back               the traced event is acked
`publish`   worker, XPUB, a subscriber                      a frame with it comes
`websocket` worker, edge, a browser's WebSocket             a message with it comes
=========== =============================================== ==========================================

Each way out is watched by a thread of its own, so that a hop that is down holds up no other. The canary is
sent only where a worker takes it at once: else it would stay in a queue, and come to life when the worker
does.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import secrets
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import zmq

from pipeline.emitter import Emitter
from pipeline.errors import EventRejected, MessageMalformed, NotDelivered, PipelineError
from pipeline.operate.hops import Flight, Hop, Readiness
from pipeline.runtime import wall_ms
from pipeline.shards import shard_of
from pipeline.sockets import Binder, drain, shard_events, shard_history
from pipeline.wire import (
    BEACON_TOPIC,
    SUBPROTOCOL,
    DeleteReply,
    DeleteRequest,
    channel_name,
    decode_frame,
    decode_history_reply,
    encode,
    frame_topic,
)

HOP_S = 3.0
"""How long an event may take to the next hop."""
CLOSE_S = 1.0
_STEP_S = 0.05


class _Probe(threading.Thread):
    """Waits for the traced event at one place.

    Attributes:
        ready: set when it would not miss it any more, or cannot be used.
        came: set when it came.
        at: when, monotonic seconds.
        problem: why it cannot be used.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.ready = threading.Event()
        self.came = threading.Event()
        self.leave = threading.Event()
        self.at = 0.0
        self.problem = ""

    def _seen(self) -> None:
        self.at = time.monotonic()
        self.came.set()


class FrameProbe(_Probe):
    """A subscriber of the shard's frames.

    Args:
        run_dir: the run directory.
        shard: the canary's.
        scan_id: the canary's scan.
        mark: what the traced event holds, and no other.

    Attributes:
        epoch: the canary's life, once it came.
    """

    def __init__(self, run_dir: Path, shard: int, scan_id: str, mark: bytes) -> None:
        super().__init__("doctor-frames")
        self._run_dir = run_dir
        self._shard = shard
        self._topic = frame_topic(channel_name("scan", scan_id))
        self._mark = mark
        self.epoch = 0

    def run(self) -> None:
        """Subscribe, and read until it came or it is told to leave."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        binder = Binder(context, self._run_dir)
        try:
            frames = binder.connect(zmq.SUB, [shard_events(self._shard)], high_water_mark=1_000)
            # In this order: a beacon that comes tells that the topic before it is subscribed to as well.
            frames.setsockopt(zmq.SUBSCRIBE, self._topic)
            frames.setsockopt(zmq.SUBSCRIBE, BEACON_TOPIC)
            while not self.leave.is_set() and not self.came.is_set():
                if frames.poll(int(_STEP_S * 1000)):
                    self._take(frames)
        finally:
            binder.close()
            context.term()

    def _take(self, frames: zmq.Socket[bytes]) -> None:
        for message in drain(frames, 1_000):
            if message.startswith(BEACON_TOPIC):
                self.ready.set()
            elif self._mark in message and not self.came.is_set():
                with contextlib.suppress(MessageMalformed):
                    self.epoch = decode_frame(message).header.epoch
                    self._seen()


class BrowserProbe(_Probe):
    """A browser's WebSocket.

    Args:
        url: the edge.
        scan_id: the canary's scan; empty to look at the edge's readiness only.
        mark: what the traced event holds, and no other.

    Attributes:
        readiness: what the edge says of itself.
    """

    def __init__(self, url: str, scan_id: str, mark: bytes) -> None:
        super().__init__("doctor-browser")
        self._url = url
        self._scan_id = scan_id
        self._mark = mark.decode()
        self.readiness = Readiness(url)

    def run(self) -> None:
        """Ask the edge whether it is ready, connect, and read until it came or it is told to leave."""
        try:
            asyncio.run(self._watch())
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what the doctor is to tell
            self.problem = str(error) or type(error).__name__
            self.readiness.answer = self.readiness.answer or self.problem
        finally:
            self.ready.set()

    async def _watch(self) -> None:
        from tornado.httpclient import AsyncHTTPClient, HTTPRequest
        from tornado.websocket import websocket_connect

        client = AsyncHTTPClient(force_instance=True)
        try:
            before = wall_ms()
            response = await client.fetch(
                HTTPRequest(_address(self._url, "readyz"), connect_timeout=HOP_S, request_timeout=HOP_S),
                raise_error=False,
            )
            if response.code == 599:  # Tornado's own: there was no answer
                self.problem = self.readiness.answer = str(response.error)
                return
            self.readiness.status = response.code
            self.readiness.answer = response.body.decode(errors="replace")[:500]
            self.readiness.skew_s = _date_skew(response.headers.get("Date", ""), before, wall_ms())
        finally:
            client.close()
        if not self._scan_id:
            return
        address = _address(self._url, f"ws/scans/{self._scan_id}", socket=True)
        connection = await websocket_connect(
            HTTPRequest(f"{address}?since=start", connect_timeout=HOP_S, request_timeout=HOP_S),
            subprotocols=[SUBPROTOCOL],
        )
        self.ready.set()
        reading = asyncio.ensure_future(connection.read_message())
        try:
            while not self.leave.is_set():
                done, _ = await asyncio.wait({reading}, timeout=_STEP_S)
                if not done:
                    continue
                message = reading.result()
                if message is None:
                    self.problem = (
                        f"the edge closed with {connection.close_code} {connection.close_reason or ''}"
                    )
                    return
                if self._mark in str(message):
                    self._seen()
                    return
                reading = asyncio.ensure_future(connection.read_message())
        finally:
            connection.close(1000)
            with contextlib.suppress(asyncio.TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    while await reading is not None:
                        reading = asyncio.ensure_future(connection.read_message())


def look_at_edge(url: str) -> Readiness:
    """Return what an edge says of itself, and send nothing through."""
    probe = BrowserProbe(url, "", b"-")
    probe.start()
    probe.join(2 * HOP_S)
    return probe.readiness


def canary_id(shard: int, shards: int) -> str:
    """Return a new scan id that a shard owns."""
    while True:
        scan_id = f"doctor-{secrets.token_hex(4)}"
        if shard_of(channel_name("scan", scan_id), shards) == shard:
            return scan_id


def fly(run_dir: Path, url: str, shard: int, shards: int, until: float) -> tuple[Flight, Readiness]:
    """Send a canary, and time it at each hop.

    Args:
        run_dir: the run directory.
        url: the edge.
        shard: the shard it goes through; its worker must be there and able to write.
        shards: how many there are.
        until: monotonic seconds; nothing is waited for after that.

    Returns:
        What became of it, and what the edge says of itself.
    """
    flight = Flight(canary_id(shard, shards), shard)
    mark = f"canary-{secrets.token_hex(8)}"
    frames = FrameProbe(run_dir, shard, flight.scan_id, mark.encode())
    browser = BrowserProbe(url, flight.scan_id, mark.encode())
    frames.start()
    browser.start()
    emitter = Emitter(flight.scan_id, run_dir=str(run_dir), own=True)
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
    watched: list[tuple[str, _Probe]] = [("publish", frames), ("websocket", browser)]
    for _, probe in watched:
        if not probe.ready.wait(_left(until)):
            probe.problem = f"it could not be watched for within {HOP_S:g} s"
    ack = Hop("ack")
    flight.hops.append(ack)
    opened_ms = wall_ms()
    try:
        emitter.emit({"type": "scanStarted", "name": "pipeline doctor"})
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
        hop = Hop(name, problem=probe.problem)
        flight.hops.append(hop)
        if not probe.problem and not probe.came.wait(_left(until)):
            hop.problem = f"it did not come within {HOP_S:g} s"
        if probe.came.is_set():
            hop.latency_ms, hop.problem = (probe.at - sent) * 1000, ""
    if frames.epoch:
        flight.epoch_skew_s = _outside(frames.epoch, opened_ms, opened_by_ms) / 1000
    with contextlib.suppress(NotDelivered):
        emitter.flush(_left(until))
        flight.ended = True


def _left(until: float) -> float:
    """Return how long to wait now: a hop's time, and not beyond the end."""
    return max(_STEP_S, min(HOP_S, until - time.monotonic()))


def _ms(since: float) -> float:
    return (time.monotonic() - since) * 1000


def _outside(value: float, low: float, high: float) -> float:
    """Return how far a value is from a range; 0 within it."""
    return value - low if value < low else value - high if value > high else 0.0


def _date_skew(date: str, before_ms: int, after_ms: int) -> float | None:
    try:
        told_ms = email.utils.parsedate_to_datetime(date).timestamp() * 1000
    except (TypeError, ValueError):
        return None
    return _outside(told_ms, before_ms - 1_000, after_ms) / 1000  # it tells whole seconds


def _address(url: str, path: str, *, socket: bool = False) -> str:
    """Return the address of something below an edge's.

    Args:
        url: the edge's, `http` or `https`.
        path: below it, without a slash before it.
        socket: whether it is a WebSocket's.
    """
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}[parts.scheme] if socket else parts.scheme
    return urlunsplit((scheme, parts.netloc, f"{parts.path.rstrip('/')}/{path}", "", ""))


def remove(run_dir: Path, flight: Flight, until: float) -> None:
    """Have the worker delete the canary's scan, and note why it could not.

    Args:
        run_dir: the run directory.
        flight: what became of it.
        until: monotonic seconds; nothing is waited for after that.
    """
    if not flight.ended:
        return
    channel = channel_name("scan", flight.scan_id)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    binder = Binder(context, run_dir)
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
