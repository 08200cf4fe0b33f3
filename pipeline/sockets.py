"""ZeroMQ sockets as this pipeline uses them: names, bounds, one binder a name.

Every endpoint is an ipc socket in the run directory. libzmq lets a second process bind the same path and
silently takes all its traffic, so that each binder holds a lock beside its socket.

================== ================== ==================================================================
name               binder             who connects
================== ================== ==================================================================
ingest-I.data      ingest PULL        producers, PUSH
ingest-I.control   ingest ROUTER      numbered producers, DEALER
edge-I.control     edge ROUTER        other edges, `up`, DEALER
notify.control     notify ROUTER      `up`, edges, DEALER
shard-K.in         worker PULL        ingests, PUSH
shard-K.events     worker XPUB        edges, tails (frames, beacons), ingests (feedback)
shard-K.history    worker ROUTER      edges, tails, DEALER
================== ================== ==================================================================
"""

from __future__ import annotations

import fcntl
import math
import re
import socket as unix
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import zmq

from pipeline.errors import EndpointError
from pipeline.libzmq import check_libzmq
from pipeline.links import DEAD_AFTER_S
from pipeline.places import socket_path

MAX_WIRE_BYTES = 16_777_216
"""A peer that sends a larger message is cut off by libzmq before it is read into memory."""

MAX_RECEIVED_BYTES: dict[int, int] = {zmq.PULL: 2_097_152, zmq.ROUTER: 131_072, zmq.XPUB: 1_024}
"""The same of what is bound, where all that may come is smaller: envelopes of 1 MiB, with what ingest adds;
control messages and questions of 64 KiB; topics, of which libzmq makes a node a byte, each some 50 bytes."""

MAX_DRAINED_BYTES = 1_048_576
"""What one wake-up takes from a socket at most: it bounds what waits for one commit, and so how long acks and
critical events wait. With 8 MiB an event cost no less, but acks took longer than producers wait for them."""

PING_INTERVAL_S = 1.0
"""The sockets' own threads ping and answer, so a busy loop is not taken for a dead one. A connection on which
a peer answers none for `DEAD_AFTER_S` is made anew."""


def ingest_data(index: int) -> str:
    """Return the socket name of an ingest's data socket."""
    return f"ingest-{index}.data"


def ingest_control(index: int) -> str:
    """Return the socket name of an ingest's control socket."""
    return f"ingest-{index}.control"


def edge_control(index: int) -> str:
    """Return the socket name of an edge's control socket."""
    return f"edge-{index}.control"


NOTIFY_CONTROL = "notify.control"
"""The socket name of the notify process's control socket; there is one of it."""


def shard_in(shard: int) -> str:
    """Return the socket name of a shard's input."""
    return f"shard-{shard}.in"


def shard_events(shard: int) -> str:
    """Return the socket name of a shard's frames, beacons and feedback."""
    return f"shard-{shard}.events"


def shard_history(shard: int) -> str:
    """Return the socket name of a shard's history."""
    return f"shard-{shard}.history"


def found(run_dir: Path, pattern: str) -> list[str]:
    """Return the names of sockets in a run directory, in the order of their numbers.

    Args:
        pattern: a name, or a glob with one number in it, such as `shard-*.events`.
    """
    numbered = re.compile(re.escape(pattern).replace(r"\*", "[0-9]+"))
    names = [
        path.name for path in run_dir.glob(pattern) if path.is_socket() and numbered.fullmatch(path.name)
    ]
    return sorted(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


def is_bound(path: Path) -> bool:
    """Say whether somebody listens behind a socket file; one that was killed leaves its file behind."""
    with unix.socket(unix.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True  # its queue is full: it is there, and busy
        except OSError:
            return False
    return True


class Binder:
    """Makes a process's sockets, and holds the locks of those it binds.

    Args:
        context: the process's ZeroMQ context.
        run_dir: the run directory.

    Raises:
        LibraryError: libzmq is too old.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], run_dir: Path) -> None:
        check_libzmq(zmq.zmq_version_info())
        self._context = context
        self._run_dir = run_dir
        self._sockets: list[zmq.Socket[bytes]] = []
        self._locks: list[IO[str]] = []

    def bind(self, kind: int, name: str, *, high_water_mark: int) -> zmq.Socket[bytes]:
        """Return a socket bound to `name`; nobody else can bind it while this process lives.

        Args:
            kind: `zmq.PULL`, `zmq.ROUTER`, `zmq.XPUB` ….
            high_water_mark: messages queued for each peer; what happens beyond is the socket type's way.

        Raises:
            EndpointError: another process holds the name, or the path cannot be used.
        """
        path = socket_path(self._run_dir, name)
        try:
            lock = path.with_name(name + ".lock").open("w")
        except OSError as error:
            raise EndpointError(f"{path}.lock: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise EndpointError(f"{path}: another process is bound to it") from None
        self._locks.append(lock)
        socket = self._open(kind, high_water_mark)
        if kind == zmq.XPUB:
            socket.setsockopt(zmq.XPUB_VERBOSE, 1)  # every joiner is answered with its channel's head
        try:
            socket.bind(f"ipc://{path}")
        except zmq.ZMQError as error:
            raise EndpointError(f"{path}: {error.strerror}") from None
        path.chmod(0o600)
        return socket

    def connect(
        self, kind: int, names: Iterator[str] | list[str], *, high_water_mark: int
    ) -> zmq.Socket[bytes]:
        """Return a socket connected to every one of `names`, whether somebody is bound there yet or not.

        libzmq aborts the process when a connection has pings and its incoming queue is full. So a SUB, whose
        queue may well be, has no pings, and its owner asks `links`; and the queue of a DEALER has no bound:
        nothing comes by it but answers, and what waits to be answered is bounded by `high_water_mark` and by
        what the kernel holds. Nothing comes by a PUSH.
        """
        socket = self._open(kind, high_water_mark)
        if kind == zmq.SUB:
            socket.setsockopt(zmq.SNDHWM, 0)  # past it, libzmq silently drops subscriptions
        else:
            socket.setsockopt(zmq.RCVHWM, 0)
            socket.setsockopt(zmq.HEARTBEAT_IVL, int(PING_INTERVAL_S * 1000))
            socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, int(DEAD_AFTER_S * 1000))
            socket.setsockopt(zmq.HEARTBEAT_TTL, int(DEAD_AFTER_S * 1000))  # the other side lets go as well
        for name in names:
            socket.connect(f"ipc://{socket_path(self._run_dir, name)}")
        return socket

    def take_away(self, *names: str) -> None:
        """Take away the socket files of names that this process has bound, so that it is found no more.

        Its locks hold until `close`: whoever binds a name next does so after this.
        """
        for name in names:
            socket_path(self._run_dir, name).unlink(missing_ok=True)

    def connect_anew(self, socket: zmq.Socket[bytes], name: str) -> None:
        """Replace the connection of a socket to `name`; what has come by it and was not read is dropped."""
        address = f"ipc://{socket_path(self._run_dir, name)}"
        socket.disconnect(address)
        socket.connect(address)

    def _open(self, kind: int, high_water_mark: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        self._sockets.append(socket)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, high_water_mark)
        socket.setsockopt(zmq.RCVHWM, high_water_mark)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_RECEIVED_BYTES.get(kind, MAX_WIRE_BYTES))
        # A peer that restarts is found again at once, not after a growing pause.
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        return socket

    def close(self) -> None:
        """Close every socket and let go of the locks."""
        for socket in self._sockets:
            socket.close(linger=0)
        for lock in self._locks:
            lock.close()
        self._sockets.clear()
        self._locks.clear()


def drain(socket: zmq.Socket[bytes], limit: int, max_bytes: int = MAX_DRAINED_BYTES) -> Iterator[bytes]:
    """Yield what a socket has received, without waiting, up to `limit` messages or about `max_bytes`.

    The first part of a multipart message is yielded; nobody here sends the others, and they are dropped.
    """
    size = 0
    for _ in range(limit):
        try:
            message = socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return
        if socket.rcvmore:
            _skip_parts(socket)
        yield message
        size += len(message)
        if size >= max_bytes:
            return


def has_more(socket: zmq.Socket[bytes]) -> bool:
    """Say whether a socket has something to be received: its file descriptor tells of changes only."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)


def drain_router(socket: zmq.Socket[bytes], limit: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield (peer, message) of what a ROUTER socket has received, without waiting, up to `limit` messages."""
    for _ in range(limit):
        try:
            parts = socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        if len(parts) == 2:
            yield parts[0], parts[1]


def _skip_parts(socket: zmq.Socket[bytes]) -> None:
    while socket.rcvmore:
        socket.recv(zmq.NOBLOCK)


def poll_ms(deadline: float | None, now: float) -> int:
    """Return the timeout for `poll()`, in milliseconds: rounded up, so that it never wakes before `deadline`.

    Args:
        deadline: monotonic seconds, or None to wait for ever.
        now: monotonic seconds.
    """
    if deadline is None:
        return -1
    return max(0, math.ceil((deadline - now) * 1000))
