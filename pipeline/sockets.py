"""ZeroMQ sockets as this pipeline uses them: names, bounds, one binder a name.

Where they are, `endpoints` says: in the run directory, or at a TCP address, with CURVE where this process has
a key. libzmq lets a second process bind the same ipc path and silently takes all its traffic, so that each
binder holds a lock beside such a socket.

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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import zmq

from pipeline.allow_list import AllowList
from pipeline.endpoints import Endpoints, connect_problem, endpoints_of
from pipeline.errors import ConfigError, EndpointError
from pipeline.libzmq import check_libzmq
from pipeline.links import DEAD_AFTER_S
from pipeline.log import Log
from pipeline.places import socket_path
from pipeline.zap import FAILURES, HANDSHAKE_S, Gatekeeper

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


def found(where: Path | Endpoints, pattern: str) -> list[str]:
    """Return the names of sockets, in the order of their numbers.

    Args:
        where: where they are; a path is a run directory.
        pattern: a name, or a glob with one number in it, such as `shard-*.events`.
    """
    return endpoints_of(where).found(pattern)


def bound_by(stage: str, index: int, shards: Iterable[int]) -> list[str]:
    """Return the names of the sockets that a process binds.

    Args:
        stage: `ingest`, `throttle-batch`, `edge` or `notify`; others bind none.
        index: which ingest or edge it is.
        shards: those a throttle-batch process owns.
    """
    if stage == "ingest":
        return [ingest_data(index), ingest_control(index)]
    if stage == "throttle-batch":
        return [
            name for shard in shards for name in (shard_in(shard), shard_events(shard), shard_history(shard))
        ]
    return {"edge": [edge_control(index)], "notify": [NOTIFY_CONTROL]}.get(stage, [])


class Binder:
    """Makes a process's sockets, and holds the locks of those it binds.

    Args:
        context: the process's ZeroMQ context.
        where: where the sockets are; a path is a run directory that has them all.
        log: told who is refused, where this process asks for keys; None to tell nobody.

    Raises:
        LibraryError: libzmq is too old.

    Attributes:
        bound: name -> address, of what was bound to a TCP port.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], where: Path | Endpoints, log: Log | None = None
    ) -> None:
        check_libzmq(zmq.zmq_version_info())
        self._context = context
        self.endpoints = endpoints_of(where)
        self._log = log
        self._sockets: list[zmq.Socket[bytes]] = []
        self._locks: list[IO[str]] = []
        self._gate: Gatekeeper | None = None
        self._watched: list[zmq.Socket[bytes]] = []
        self.bound: dict[str, str] = {}

    @property
    def allowed(self) -> AllowList | None:
        """Who may connect to what is bound with CURVE; None where nothing is."""
        return self._gate.allowed if self._gate is not None else None

    def refused(self) -> dict[str, int]:
        """Return how many connections were refused: reason -> number."""
        return self._gate.refused() if self._gate is not None else {}

    def read_allowed_anew(self) -> None:
        """Read the allow-list again."""
        if self._gate is not None:
            self._gate.read_anew()

    def is_keyed(self, name: str) -> bool:
        """Say whether a socket that was bound tells by whose key a message came."""
        return self._gate is not None and name in self.bound

    def bind(self, kind: int, name: str, *, high_water_mark: int) -> zmq.Socket[bytes]:
        """Return a socket bound to `name`; nobody else can bind it while this process lives.

        Args:
            kind: `zmq.PULL`, `zmq.ROUTER`, `zmq.XPUB` ….
            high_water_mark: messages queued for each peer; what happens beyond is the socket type's way.

        Raises:
            ConfigError: it would be bound without what keeps strangers out.
            EndpointError: another process holds the name, or the path or address cannot be used.
        """
        tcp = self.endpoints.is_tcp(name)
        if tcp and (problems := self.endpoints.bind_problems(name)):
            raise ConfigError(problems)
        path = None if tcp else self._lock(name)
        socket = self._open(kind, high_water_mark)
        if kind == zmq.XPUB:
            socket.setsockopt(zmq.XPUB_VERBOSE, 1)  # every joiner is answered with its channel's head
        address = self.endpoints.address(name)
        if tcp:
            self._guard(socket, name)
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            raise EndpointError(f"{path or f'{name} at {address}'}: {error.strerror}") from None
        if path is not None:
            path.chmod(0o600)
        else:
            self.bound[name] = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        return socket

    def _lock(self, name: str) -> Path:
        """Hold the lock of an ipc socket, and return its path."""
        path = socket_path(self.endpoints.run_dir, name)
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
        return path

    def _guard(self, socket: zmq.Socket[bytes], name: str) -> None:
        """Prepare a socket for TCP: where this process has a key, only who is allowed gets in."""
        socket.setsockopt(zmq.IPV6, int("[" in self.endpoints.address(name)))
        socket.setsockopt(zmq.HANDSHAKE_IVL, int(HANDSHAKE_S * 1000))
        keys, directory = self.endpoints.keys, self.endpoints.allowed_dir
        if keys is None or directory is None:
            return
        if self._gate is None:
            self._gate = Gatekeeper(self._context, directory, self._log)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())
        socket.setsockopt_string(zmq.ZAP_DOMAIN, name)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without its handler nobody gets in
        self._gate.watch(socket.get_monitor_socket(FAILURES), name)
        self._watched.append(socket)

    def connect(
        self, kind: int, names: Iterator[str] | list[str], *, high_water_mark: int
    ) -> zmq.Socket[bytes]:
        """Return a socket connected to every one of `names`, whether somebody is bound there yet or not.

        libzmq aborts the process when a connection has pings and its incoming queue is full. So a SUB, whose
        queue may well be, has no pings, and its owner asks `links`; and the queue of a DEALER has no bound:
        nothing comes by it but answers, and what waits to be answered is bounded by `high_water_mark` and by
        what the kernel holds. Nothing comes by a PUSH.

        Raises:
            ConfigError: one of them has an address that nobody can connect to; or one is reached with CURVE,
                and another not: a socket does either.
        """
        socket = self._open(kind, high_water_mark)
        if kind == zmq.SUB:
            socket.setsockopt(zmq.SNDHWM, 0)  # past it, libzmq silently drops subscriptions
        else:
            socket.setsockopt(zmq.RCVHWM, 0)
            socket.setsockopt(zmq.HEARTBEAT_IVL, int(PING_INTERVAL_S * 1000))
            socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, int(DEAD_AFTER_S * 1000))
            socket.setsockopt(zmq.HEARTBEAT_TTL, int(DEAD_AFTER_S * 1000))  # the other side lets go as well
        if problems := self.endpoints.connect_problems(names := list(names)):
            raise ConfigError(problems)
        for name in names:
            self.join(socket, name)
        return socket

    def take_away(self, *names: str) -> None:
        """Take away the socket files of names that this process has bound, so that it is found no more.

        Its locks hold until `close`: whoever binds a name next does so after this.
        """
        for name in names:
            if not self.endpoints.is_tcp(name):
                socket_path(self.endpoints.run_dir, name).unlink(missing_ok=True)

    def connect_anew(self, socket: zmq.Socket[bytes], name: str) -> None:
        """Replace the connection of a socket to `name`; what has come by it and was not read is dropped."""
        socket.disconnect(self.endpoints.address(name))
        self.join(socket, name)

    def join(self, socket: zmq.Socket[bytes], name: str) -> None:
        """Connect a socket to one more name.

        Raises:
            ConfigError: it has an address that nobody can connect to.
        """
        address = self.endpoints.address(name)
        if self.endpoints.is_tcp(name):
            book = self.endpoints.book
            if problem := connect_problem(address, name, book.source):
                raise ConfigError([problem])
            socket.setsockopt(zmq.IPV6, int("[" in address))
            socket.setsockopt(zmq.HANDSHAKE_IVL, int(HANDSHAKE_S * 1000))
            if (keys := self.endpoints.keys) is not None:
                socket.setsockopt(zmq.CURVE_SERVERKEY, book.server_key(name).encode())
                socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public.encode())
                socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())
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
        for socket in self._watched:
            socket.disable_monitor()
        if self._gate is not None:
            self._gate.stop()
            self._gate = None
        for socket in self._sockets:
            socket.close(linger=0)
        for lock in self._locks:
            lock.close()
        self._sockets.clear()
        self._watched.clear()
        self._locks.clear()


def tell_bound(binder: Binder, log: Log) -> None:
    """Log what was bound to TCP ports, and whether strangers can connect to it."""
    for name, address in binder.bound.items():
        log.info("bound", socket=name, address=address, keys=binder.is_keyed(name))
    if binder.bound and binder.allowed is None:
        log.warning("without keys any user of this machine can connect", sockets=", ".join(binder.bound))


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


def drain_named(
    socket: zmq.Socket[bytes], limit: int, max_bytes: int = MAX_DRAINED_BYTES
) -> Iterator[tuple[str, bytes]]:
    """Yield (name of the peer's key, message), as `drain` does, of a socket that is bound with CURVE.

    It costs more than `drain`: only a message that is not copied by libzmq's binding tells who sent it.
    """
    size = 0
    for _ in range(limit):
        try:
            frame = socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return
        if socket.rcvmore:
            _skip_parts(socket)
        message = frame.bytes
        yield str(frame.get("User-Id")), message
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


def drain_router_named(socket: zmq.Socket[bytes], limit: int) -> Iterator[tuple[bytes, bytes, str]]:
    """Yield (peer, message, name of the peer's key), as `drain_router`, of a socket bound with CURVE."""
    for _ in range(limit):
        try:
            parts = socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return
        if len(parts) == 2:
            yield parts[0].bytes, parts[1].bytes, str(parts[1].get("User-Id"))


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
