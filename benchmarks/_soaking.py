"""A load that goes on and on: scans that begin, run and end, one after the other, and a reader of each.

Process `p` sends the scans `soak-p-0`, `soak-p-1` …; each is read from its start to its end. A reader that is
cut off comes back with its position, and says when an event is missing, twice, or told to be skipped.
"""

from __future__ import annotations

import contextlib
import json
import select
import time
from multiprocessing.connection import Connection as Pipe

from _producers import EVENT, STARTED, WAIT_S
from _readers import WebSocket

from pipeline import Emitter

END = b'{"type":"scanCompleted"}'
AGAIN_S = 0.1
STEP = 50


def scan_name(process: int, number: int) -> str:
    """Return the id of a process's scan."""
    return f"soak-{process}-{number}"


def send(pipe: Pipe, run_dir: str, process: int, per_s: float, life_s: float) -> None:
    """Send scans until told to stop; then tell (scans, events)."""
    number = sent = 0
    over = False
    with Emitter(run_dir=run_dir) as emitter:
        emitter.wait_ready(WAIT_S)
        began = time.monotonic()
        while not over:
            scan_id = scan_name(process, number)
            emitter.emit(STARTED, scan_id=scan_id)
            until = time.monotonic() + life_s
            while time.monotonic() < until and not over:
                for _ in range(STEP):
                    emitter.emit(EVENT, scan_id=scan_id)
                sent += STEP
                ahead_s = began + sent / per_s - time.monotonic()
                if ahead_s < -1:  # after a kill; what was not sent then is not made up for
                    began -= ahead_s
                over = pipe.poll(max(0.0, ahead_s))
            emitter.emit(END, scan_id=scan_id)
            number += 1
        emitter.flush(WAIT_S)
    pipe.send((number, sent + 2 * number))


class _Reading:
    """How far the reader of a process's scans is."""

    def __init__(self, port: int, process: int) -> None:
        self._port = port
        self._process = process
        self.scan = 0
        self.events = 0
        self.cuts = 0
        self.problems: list[str] = []
        self._position = ""
        self._last = 0
        self._socket: WebSocket | None = None

    def connect(self) -> WebSocket | None:
        """Connect where it was; None when nobody answers."""
        path = f"/ws/scans/{scan_name(self._process, self.scan)}?since={self._position or 'start'}"
        try:
            self._socket = WebSocket(self._port, path, deflate=False)
        except (OSError, SystemExit):
            self._socket = None
        return self._socket

    def take(self) -> bool:
        """Take what has come; return whether another connection is due."""
        assert self._socket is not None
        try:
            more = self._socket.socket.recv(1_048_576)
        except BlockingIOError:
            return False
        except OSError:
            more = b""
        if not more:
            self.cuts += 1
            return True
        self._socket.data += more
        due = [self._frame(*frame) for frame in self._socket.frames()]
        return True in due

    def _frame(self, first: int, payload: bytes) -> bool:
        if first & 0x0F == 0x9:
            with contextlib.suppress(OSError):
                assert self._socket is not None
                self._socket.pong()
        elif payload.startswith(b'{"type":"batch"'):
            head = json.loads(payload[: payload.index(b'"events":')] + b'"events":[]}')
            since, last = head["seq"]
            if since != self._last + 1:
                name = scan_name(self._process, self.scan)
                self.problems.append(f"{name}: event {since} after {self._last}")
            self.events += last - since + 1
            self._last, self._position = last, f"{head['epoch']}:{last}"
            if b'"scanCompleted"' in payload[-200:]:
                self.scan += 1
                self._last, self._position = 0, ""
                return True
        elif payload.startswith((b'{"type":"lag"', b'{"type":"reset"', b'{"type":"snapshot"')):
            self.problems.append(payload[:200].decode(errors="replace"))
        return False

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket is not None:
            self._socket.socket.close()


def read(pipe: Pipe, port: int, processes: int) -> None:
    """Read until told how many scans each process has sent, and all are read.

    It tells (events, cuts, problems) then.
    """
    poller = select.epoll()
    readings = [_Reading(port, process) for process in range(processes)]
    held: dict[int, _Reading] = {}
    loose = list(readings)
    wanted: list[int] | None = None
    until = float("inf")
    while wanted is None or any(each.scan < count for each, count in zip(readings, wanted, strict=True)):
        if time.monotonic() > until:
            missing = [each.scan for each in readings]
            readings[0].problems.append(f"scans {wanted} were sent, and only {missing} came to their end")
            break
        for reading in loose[:]:
            if (socket := reading.connect()) is not None:
                held[socket.socket.fileno()] = reading
                poller.register(socket.socket, select.EPOLLIN)
                loose.remove(reading)
        for number, _ in poller.poll(AGAIN_S):
            reading = held[number]
            if reading.take():
                poller.unregister(number)
                del held[number]
                reading.close()
                loose.append(reading)
        if wanted is None and pipe.poll(0):
            wanted = pipe.recv()
            until = time.monotonic() + WAIT_S
    for reading in readings:
        reading.close()
    pipe.send(
        (
            sum(reading.events for reading in readings),
            sum(reading.cuts for reading in readings),
            [problem for reading in readings for problem in reading.problems],
        )
    )
