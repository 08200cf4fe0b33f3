"""A reader whose queue is full, while time passes and the other side may go; a process of its own.

    python -m tests.sockets.full_queue RUN_DIR KIND WHAT

libzmq says what it dislikes by ending the process, so that a test cannot do this in its own. Time is told by
the pings of another connection: libzmq's own timers, so that nobody sleeps.
"""

from __future__ import annotations

import socket as unix
import sys
from pathlib import Path

import zmq

from pipeline.sockets import DEAD_AFTER_S, PING_INTERVAL_S, Binder, shard_history
from tests.harness import PATIENCE

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER"
CLOCK, PEER = shard_history(1), shard_history(0)
QUEUED = 50


class Clock:
    """Tells libzmq's time: the other side of a connection that pings."""

    def __init__(self, binder: Binder, run_dir: Path) -> None:
        with unix.socket(unix.AF_UNIX) as listener:
            listener.bind(str(run_dir / CLOCK))
            listener.listen()
            binder.connect(zmq.DEALER, [CLOCK], high_water_mark=1)
            self._way, _ = listener.accept()
        self._way.settimeout(30 * PATIENCE)
        self._way.sendall(GREETING + READY)

    def tick(self, count: int) -> None:
        """Wait for so many pings."""
        seen = b""
        while seen.count(b"\x04PING") < count:
            block = self._way.recv(4096)
            assert block
            for _ in range(block.count(b"\x04PING")):
                self._way.sendall(b"\x04\x05\x04PONG")
            seen += block


def main(run_dir: Path, kind: int, what: str) -> None:
    """Fill the queue of a reader, let time pass, read it, and see that it still works."""
    here: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    there: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    ours, theirs = Binder(here, run_dir), Binder(there, run_dir)
    clock = Clock(ours, run_dir)
    peer = theirs.bind(zmq.ROUTER if kind == zmq.DEALER else zmq.XPUB, PEER, high_water_mark=1_000)
    reader = ours.connect(kind, [PEER], high_water_mark=2)
    if kind == zmq.SUB:
        reader.setsockopt(zmq.SUBSCRIBE, b"")
    _speak(kind, reader, peer, QUEUED, joins=True)
    clock.tick(2)
    if what == "gone":
        theirs.close()
        clock.tick(2)  # whatever pings has pinged once since
        peer = theirs.bind(zmq.ROUTER if kind == zmq.DEALER else zmq.XPUB, PEER, high_water_mark=1_000)
    else:
        clock.tick(round(DEAD_AFTER_S / PING_INTERVAL_S) + 2)
    while reader.poll(500):
        reader.recv(zmq.NOBLOCK)
    _speak(kind, reader, peer, 1, joins=what == "gone")
    assert reader.recv() == b"something"
    for each, context in ((ours, here), (theirs, there)):
        each.close()
        context.term()
    print("works")


def _speak(kind: int, reader: zmq.Socket[bytes], peer: zmq.Socket[bytes], count: int, *, joins: bool) -> None:
    """Have the peer send so much; before, it must know the reader.

    Args:
        joins: whether the peer has not met this subscriber yet.
    """
    if kind == zmq.DEALER:
        reader.send(b"a question")
        who = peer.recv_multipart()[0]
        for _ in range(count):
            peer.send_multipart((who, b"something"))
        return
    if joins:
        assert peer.recv() == b"\x01"
    for _ in range(count):
        peer.send(b"something")


if __name__ == "__main__":
    main(Path(sys.argv[1]), {"DEALER": zmq.DEALER, "SUB": zmq.SUB}[sys.argv[2]], sys.argv[3])
