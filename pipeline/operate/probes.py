"""What waits for the canary: a subscriber of the shard's frames, and a browser's WebSocket. Shell.

Each is a thread, so that one that waits in vain holds up nothing. `canary` starts them, and says what for.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import logging
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import zmq

from pipeline.endpoints import Endpoints
from pipeline.errors import MessageMalformed
from pipeline.operate.hops import Readiness
from pipeline.runtime import wall_ms
from pipeline.sockets import Binder, drain, shard_events
from pipeline.wire import BEACON_TOPIC, SUBPROTOCOL, channel_name, decode_frame, frame_topic

HOP_S = 3.0
"""How long an event may take to the next hop."""
CLOSE_S = 1.0
NEEDS_ADMIN = "name the file with a token of the role admin: --token-file, or PIPELINE_TOKEN_FILE"
STEP_S = 0.05
"""How often it is looked whether to leave."""


class Probe(threading.Thread):
    """Waits for the traced event at one place.

    Attributes:
        ready: set when it would not miss it any more, or cannot be used.
        came: set when it came.
        at: when, monotonic seconds.
        problem: why it cannot be used.
        remedy: what to do about that; empty for what helps in most cases.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.ready = threading.Event()
        self.came = threading.Event()
        self.leave = threading.Event()
        self.at = 0.0
        self.problem = ""
        self.remedy = ""

    def _seen(self) -> None:
        self.at = time.monotonic()
        self.came.set()


class FrameProbe(Probe):
    """A subscriber of the shard's frames.

    Args:
        where: where the sockets are; a path is a run directory.
        shard: the canary's.
        scan_id: the canary's scan.
        mark: what the traced event holds, and no other.

    Attributes:
        epoch: the canary's life, once it came.
    """

    def __init__(self, where: Path | Endpoints, shard: int, scan_id: str, mark: bytes) -> None:
        super().__init__("doctor-frames")
        self._where = where
        self._shard = shard
        self._topic = frame_topic(channel_name("scan", scan_id))
        self._mark = mark
        self.epoch = 0

    def run(self) -> None:
        """Subscribe, and read until it came or it is told to leave."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        binder = Binder(context, self._where)
        try:
            frames = binder.connect(zmq.SUB, [shard_events(self._shard)], high_water_mark=1_000)
            # In this order: a beacon that comes tells that the topic before it is subscribed to as well.
            frames.setsockopt(zmq.SUBSCRIBE, self._topic)
            frames.setsockopt(zmq.SUBSCRIBE, BEACON_TOPIC)
            while not self.leave.is_set() and not self.came.is_set():
                if frames.poll(int(STEP_S * 1000)):
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


class BrowserProbe(Probe):
    """A browser's WebSocket.

    Args:
        url: the edge.
        scan_id: the canary's scan; empty to look at the edge's readiness only.
        mark: what the traced event holds, and no other.
        token: brought to the edge; empty for none.

    Attributes:
        readiness: what the edge says of itself.
    """

    def __init__(self, url: str, scan_id: str, mark: bytes, token: str = "") -> None:
        super().__init__("doctor-browser")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = url
        self._scan_id = scan_id
        self._mark = mark.decode()
        self.readiness = Readiness(url)

    def run(self) -> None:
        """Ask the edge whether it is ready, connect, and read until it came or it is told to leave."""
        # What Tornado would say of it on stderr is told as a finding.
        logging.getLogger("tornado").addHandler(logging.NullHandler())
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
            if not self._scan_id:
                return
            # The canary is nobody's scan: where there are accounts, it is for an admin to see.
            response = await client.fetch(
                HTTPRequest(
                    _address(self._url, "api/connections"),
                    headers=self._headers,
                    connect_timeout=HOP_S,
                    request_timeout=HOP_S,
                ),
                raise_error=False,
            )
            if response.code in (401, 403):
                why = response.body.decode(errors="replace")[:200]
                self.problem = f"the edge has accounts, and answers {response.code}: {why}"
                self.remedy = NEEDS_ADMIN
                return
        finally:
            client.close()
        address = _address(self._url, f"ws/scans/{self._scan_id}", socket=True)
        connection = await websocket_connect(
            HTTPRequest(
                f"{address}?since=start", headers=self._headers, connect_timeout=HOP_S, request_timeout=HOP_S
            ),
            subprotocols=[SUBPROTOCOL],
        )
        self.ready.set()
        reading = asyncio.ensure_future(connection.read_message())
        try:
            while not self.leave.is_set():
                done, _ = await asyncio.wait({reading}, timeout=STEP_S)
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


def outside(value: float, low: float, high: float) -> float:
    """Return how far a value is from a range; 0 within it."""
    return value - low if value < low else value - high if value > high else 0.0


def _date_skew(date: str, before_ms: int, after_ms: int) -> float | None:
    try:
        told_ms = email.utils.parsedate_to_datetime(date).timestamp() * 1000
    except (TypeError, ValueError):
        return None
    return outside(told_ms, before_ms - 1_000, after_ms) / 1000  # it tells whole seconds


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
