"""Many browsers of one edge: some read as fast as they can, some have stopped reading.

The fast ones share a thread that takes whatever comes, answers pings, checks that nothing is missing, and
notes when each batch came.
"""

from __future__ import annotations

import json
import selectors
import threading
import time
from pathlib import Path

from pipeline.frame import Frame
from pipeline.wire import HeadRequest, encode, encode_frame
from tests.harness import PATIENCE
from tests.sockets.peers import WAIT_S, Edge, PlayedWorkers, RawBrowser
from tests.unit.edge.worker_model import CHANNEL, Worker

PONG = b"\x8a\x80\0\0\0\0"


class FastReaders(threading.Thread):
    """Args:
    browsers: open, and nobody else reads them.

    Attributes:
        came: of each, when its batches came.
        problem: what was wrong with what came, if anything was.
    """

    def __init__(self, browsers: list[RawBrowser]) -> None:
        super().__init__(daemon=True)
        self.came: list[list[float]] = [[] for _ in browsers]
        self.problem: str | None = None
        self._data = [browser._data for browser in browsers]
        self._next = [1 for _ in browsers]
        self._browsers = browsers
        self._over = False
        self._came = threading.Condition()
        self._selector = selectors.DefaultSelector()
        for number, browser in enumerate(browsers):
            browser.socket.setblocking(False)
            self._selector.register(browser.socket, selectors.EVENT_READ, number)

    def run(self) -> None:
        while not self._over:
            for key, _ in self._selector.select(0.1):
                try:
                    more = key.fileobj.recv(1_048_576)  # type: ignore[union-attr]
                except BlockingIOError:
                    continue
                if not more:
                    self._selector.unregister(key.fileobj)
                    self.problem = self.problem or f"browser {key.data} was cut off"
                    continue
                self._take(key.data, more, time.monotonic(), key.fileobj)  # type: ignore[arg-type]

    def stop(self) -> None:
        """Stop reading, and leave."""
        self._over = True
        self.join()
        for browser in self._browsers:
            browser.socket.close()
        self._selector.close()

    def wait_for(self, seq: int) -> None:
        """Wait until each of them has this event."""
        with self._came:
            done = self._came.wait_for(lambda: self.problem or min(self._next) > seq, WAIT_S * PATIENCE)
        assert self.problem is None, self.problem
        assert done, f"event {seq} did not come to all: {self._next}"

    def _take(self, number: int, more: bytes, now: float, socket: object) -> None:
        data = self._data[number] + more
        while (frame := _split(data)) is not None:
            opcode, payload, data = frame
            if opcode == 0x9:
                socket.send(PONG)  # type: ignore[attr-defined]
            elif opcode == 0x1 and b'"type":"batch"' in payload[:20]:
                self.came[number].append(now)
                first, last = json.loads(payload)["seq"]
                if first != self._next[number]:
                    self.problem = f"event {first} came where {self._next[number]} was due"
                self._next[number] = last + 1
        self._data[number] = data
        with self._came:
            self._came.notify_all()


def _split(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Return (opcode, payload, the rest) of the first frame; None when it is not all there."""
    if len(data) < 2:
        return None
    size, start = data[1], 2
    if size >= 126:
        start = 4 if size == 126 else 10
        size = int.from_bytes(data[2:start], "big")
    if len(data) < start + size:
        return None
    return data[0] & 0x0F, data[start : start + size], data[start + size :]


class Scan:
    """A scan whose worker is played: frames of one event, of a given size, at a given rate."""

    def __init__(self, workers: PlayedWorkers, event_bytes: int) -> None:
        self.seq = 0
        self._workers = workers
        self._pad = b"." * event_bytes

    def publish(self, *, critical: bool = False) -> None:
        """Publish the next frame."""
        self.seq += 1
        event = b'{"type":"x","n":%d,"pad":"%b"}' % (self.seq, self._pad)
        frame = Frame(CHANNEL, 1, self.seq, self.seq, (event,), critical=critical)
        self._workers.publish(CHANNEL, encode_frame(frame))

    def play(self, frames: int, every_s: float) -> None:
        """Publish so many frames, one each so many seconds."""
        due = time.monotonic()
        for _ in range(frames):
            self.publish()
            due += every_s
            threading.Event().wait(max(0.0, due - time.monotonic()))


def join(
    edge: Edge, workers: PlayedWorkers, count: int, seq: int, receive_buffer: int = 0
) -> list[RawBrowser]:
    """Open so many browsers that have everything up to `seq`."""
    model = Worker()
    if seq:
        model.publish(seq)
    browsers = []
    for _ in range(count):
        browsers.append(edge.raw(f"/ws/scans/demo?since=1:{seq}", receive_buffer=receive_buffer))
        answer_head(workers, model)
    return browsers


def answer_head(workers: PlayedWorkers, model: Worker) -> None:
    """Answer the edge's next question, which is how far the scan is."""
    shard, peer, request = workers.question()
    assert isinstance(request, HeadRequest)
    workers.answer(shard, peer, encode(model.head(request)))


def rss_bytes(pid: int) -> int:
    """Return how much memory a process has in use."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024
