"""A process that reads many scans, each by a WebSocket of its own, and counts: events, frames, bytes.

It looks at the first bytes of each message only, so that it costs little beside what is measured. Also a
process that subscribes to the workers' frames without an edge.
"""

from __future__ import annotations

import multiprocessing
import select
import socket
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import zmq
from _load import upgrade

from pipeline.sockets import shard_events
from pipeline.wire import decode_frame

CONTEXT = multiprocessing.get_context("spawn")
PONG = b"\x8a\x80\0\0\0\0"
WAIT_S = 60.0


class WebSocket:
    """One connection.

    Attributes:
        head: the answer to the upgrade request.
        data: what has come and is no whole frame.
    """

    def __init__(self, port: int, path: str, *, deflate: bool) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        self.socket.sendall(upgrade(port, path, deflate=deflate, protocol="scanstream.v1.json"))
        answer = b""
        while b"\r\n\r\n" not in answer:
            more = self.socket.recv(65_536)
            if not more:
                raise SystemExit(f"no WebSocket at {path}: {answer[:200]!r}")
            answer += more
        self.head, _, self.data = answer.partition(b"\r\n\r\n")
        if not self.head.startswith(b"HTTP/1.1 101"):
            raise SystemExit(f"no WebSocket at {path}: {self.head[:200]!r}")
        self.socket.setblocking(False)

    def pong(self) -> None:
        """Answer a ping."""
        self.socket.send(PONG)

    def frames(self) -> list[tuple[int, bytes]]:
        """Return (its first byte, payload) of each frame that is whole."""
        found, data, at = [], self.data, 0
        while len(data) - at >= 2:
            size, start = data[at + 1], at + 2
            if size >= 126:
                start += 2 if size == 126 else 8
                size = int.from_bytes(data[at + 2 : start], "big")
            if len(data) < start + size:
                break
            found.append((data[at], data[start : start + size]))
            at = start + size
        self.data = data[at:]
        return found


def _range(payload: bytes) -> int:
    """Return how many events a batch is about."""
    at = payload.index(b'"seq":[', 0, 400) + 7
    first, last = payload[at : payload.index(b"]", at)].split(b",")
    return int(last) - int(first) + 1


def _read(pipe: Pipe, port: int, scans: Sequence[str]) -> None:
    """Read until told how many events there are, and they are there; then tell what came."""
    counts = {"events": 0, "frames": 0, "bytes": 0, "lagged": 0}
    poller = select.epoll()
    sockets: dict[int, WebSocket] = {}
    greeted = 0

    def take(connection: WebSocket) -> None:
        nonlocal greeted
        for first, payload in connection.frames():
            if first & 0x0F == 0x9:
                connection.pong()
            elif payload.startswith(b'{"type":"batch"'):
                counts["frames"] += 1
                counts["bytes"] += len(payload)
                counts["events"] += _range(payload)
            elif payload.startswith(b'{"type":"hello"'):
                greeted += 1
            elif payload.startswith(b'{"type":"lag"'):
                counts["lagged"] += 1
            elif first & 0x0F == 0x8:
                raise SystemExit(f"a reader was closed: {payload!r}")

    def look(seconds: float) -> bool:
        came = poller.poll(seconds)
        for number, _ in came:
            connection = sockets[number]
            try:
                connection.data += connection.socket.recv(1_048_576)
            except BlockingIOError:
                continue
            take(connection)
        return bool(came)

    for scan_id in scans:
        connection = WebSocket(port, f"/ws/scans/{scan_id}?since=start", deflate=False)
        sockets[connection.socket.fileno()] = connection
        poller.register(connection.socket, select.EPOLLIN)
        take(connection)
        look(0)
    while greeted < len(scans) or counts["events"] < len(scans):
        look(1)
    pipe.send(dict(counts))
    pipe.recv()
    for name in counts:
        counts[name] = 0
    wanted = None
    began = time.process_time()
    pipe.send("counting")
    heard_at = time.monotonic()
    while wanted is None or counts["events"] < wanted:
        now = time.monotonic()
        if look(0.2):
            heard_at = now
        elif now > heard_at + WAIT_S:
            raise SystemExit(f"{counts['events']} of {wanted} events came")
        if wanted is None and pipe.poll(0):
            wanted = pipe.recv()
    pipe.send({**counts, "at": time.perf_counter(), "cpu_s": time.process_time() - began})
    for connection in sockets.values():
        connection.socket.close()


def _subscribe(pipe: Pipe, run_dir: str, shards: int) -> None:
    """The same with the frames as the workers publish them."""
    counts = {"events": 0, "frames": 0, "bytes": 0, "lagged": 0}
    with zmq.Context() as context, context.socket(zmq.SUB) as sub:
        sub.setsockopt(zmq.RCVHWM, 0)
        sub.setsockopt(zmq.SUBSCRIBE, b"F|")
        for shard in range(shards):
            sub.connect(f"ipc://{Path(run_dir) / shard_events(shard)}")
        pipe.send(dict(counts))
        pipe.recv()
        while sub.poll(0):
            sub.recv()
        began = time.process_time()
        pipe.send("counting")
        wanted = None
        heard_at = time.monotonic()
        while wanted is None or counts["events"] < wanted:
            now = time.monotonic()
            if sub.poll(100):
                message = sub.recv()
                heard_at = now
                header = decode_frame(message).header
                counts["events"] += header.last - header.first + 1
                counts["frames"] += 1
                counts["bytes"] += len(message)
            elif now > heard_at + WAIT_S:
                raise SystemExit(f"{counts['events']} of {wanted} events came")
            if wanted is None and pipe.poll(0):
                wanted = pipe.recv()
        pipe.send({**counts, "at": time.perf_counter(), "cpu_s": time.process_time() - began})


class Readers:
    """A process that reads, from when it is made.

    Args:
        target: `_read` or `_subscribe`.
        args: what it needs to know.
    """

    def __init__(self, target: Any, *args: object) -> None:
        self._pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=target, args=(theirs, *args), daemon=True)
        self.process.start()
        theirs.close()
        self._hear()

    @classmethod
    def of_edge(cls, port: int, scans: Sequence[str]) -> Readers:
        """Return a WebSocket a scan; each scan has one event, and that has come."""
        return cls(_read, port, list(scans))

    @classmethod
    def of_bus(cls, run_dir: Path, shards: int) -> Readers:
        """Return a subscriber of all frames."""
        return cls(_subscribe, str(run_dir), shards)

    def _hear(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            raise SystemExit("the readers ended; what they said stands above") from None

    def begin(self) -> None:
        """Count from now on."""
        self._pipe.send("begin")
        self._hear()

    def finish(self, events: int) -> dict[str, float]:
        """Wait until so many events have come since `begin`.

        Returns:
            `events`, `frames`, `bytes`, `lagged`; `at`, when the last one came, `time.perf_counter`; `cpu_s`.
        """
        self._pipe.send(events)
        counts: dict[str, float] = self._hear()
        self.process.join()
        return counts

    def close(self) -> None:
        """End it for certain."""
        self._pipe.close()
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
