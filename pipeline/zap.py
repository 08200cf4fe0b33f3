"""Answers libzmq when a peer with a key connects: the handler of ZAP (ZeroMQ RFC 27). Shell.

One a process that binds sockets with CURVE, in a thread of its own: a handshake waits for no loop.
`allow_list` decides; the name of a socket is its ZAP domain. What fails before a key is known, libzmq tells
by the socket's monitor; it is counted here, too.

============ =============================================================================================
refused      why
============ =============================================================================================
unknown_key  its key is in no file of the allow-list
role         its key is, but not for this socket
mechanism    it speaks NULL or PLAIN: it has no key
server_key   it does not know this process's public key
handshake    it broke off, or spoke something else
============ =============================================================================================

One that is refused for its key is told so by ingests, for a producer says it to people. Others hear nothing,
and try again after `HANDSHAKE_S`: so a peer that is allowed later gets in by itself.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from pipeline.allow_list import PRODUCE, AllowList, needed
from pipeline.errors import ConfigError
from pipeline.key_files import read_allowed
from pipeline.log import LimitedLog, Log

HANDSHAKE_S = 5.0
"""A connection whose handshake takes longer is closed."""

FAILURES = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_MONITOR_STOPPED
)
"""What a monitor tells."""

_VERSION = b"1.0"
_OK, _LATER, _REFUSED = b"200", b"300", b"400"


class Gatekeeper:
    """Runs from the moment it is made until `stop`; sockets are bound after it is made.

    Args:
        context: of the sockets it is asked for.
        directory: the allow-list.
        log: where refusals go, a few a second.

    Raises:
        ConfigError: the allow-list cannot be used.

    Attributes:
        allowed: who may connect now.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], directory: Path, log: Log | None) -> None:
        self._context = context
        self._directory = directory
        self._log = log
        self._limited_log = LimitedLog(log) if log is not None else None
        self.allowed: AllowList = read_allowed(directory)
        self._refusals: Counter[str] = Counter()
        self._handler = context.socket(zmq.REP)
        self._handler.setsockopt(zmq.LINGER, 0)
        self._handler.bind("inproc://zeromq.zap.01")
        self._stop, self._stopped = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        address = f"inproc://gatekeeper-{id(self)}"
        self._stopped.bind(address)
        self._stop.connect(address)
        self._monitors: dict[zmq.Socket[bytes], str] = {}
        self._new: list[tuple[zmq.Socket[bytes], str]] = []
        self._thread = threading.Thread(target=self._run, name="gatekeeper", daemon=True)
        self._thread.start()

    def watch(self, monitor: zmq.Socket[bytes], name: str) -> None:
        """Count what fails before a key is known; the monitor is the thread's from now on."""
        self._new.append((monitor, name))
        self._stop.send(b"new")

    def read_anew(self) -> None:
        """Read the allow-list again; one with a mistake is not taken. Who is connected stays so."""
        try:
            self.allowed = read_allowed(self._directory)
        except ConfigError as error:
            if self._log is not None:
                for problem in error.problems:
                    self._log.error("allow-list refused; the old one holds", problem=problem)
            return
        if self._log is not None:
            self._log.info("allow-list read anew", peers=len(self.allowed.peers))

    def refused(self) -> dict[str, int]:
        """Return how many connections were refused: reason -> number."""
        return dict(self._refusals.copy())

    def stop(self) -> None:
        """End the thread and close its sockets; those it watched must be monitored no more."""
        self._stop.send(b"")
        self._thread.join()
        for socket in (self._handler, self._stop, self._stopped, *self._monitors):
            socket.close(linger=0)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._handler, zmq.POLLIN)
        poller.register(self._stopped, zmq.POLLIN)
        while True:
            for socket, _ in poller.poll():
                if socket is self._handler:
                    self._answer(self._handler.recv_multipart())
                elif socket is self._stopped:
                    if not self._stopped.recv():
                        return
                    while self._new:
                        monitor, name = self._new.pop()
                        self._monitors[monitor] = name
                        poller.register(monitor, zmq.POLLIN)
                else:
                    self._take_failure(socket)

    def _answer(self, parts: list[bytes]) -> None:
        """Answer one request; a name that is empty lets nobody in."""
        version, number, domain, address, _, mechanism, *credentials = [*parts, *[b""] * (6 - len(parts))]
        socket_name = domain.decode("utf-8", "replace")
        status, name = _REFUSED, ""
        if (
            version == _VERSION
            and mechanism == b"CURVE"
            and len(credentials) == 1
            and len(credentials[0]) == 32
        ):
            key = z85.encode(credentials[0]).decode()
            peer, reason = self.allowed.judge(socket_name, key)
            if peer is not None and reason is None:
                status, name = _OK, peer.name
            else:
                status = _REFUSED if needed(socket_name) == PRODUCE else _LATER
                self._refuse(
                    str(reason),
                    socket=socket_name,
                    address=address.decode("utf-8", "replace"),
                    key=key,
                    peer=peer.name if peer is not None else "",
                )
        else:
            self._refuse("mechanism", socket=socket_name, address=address.decode("utf-8", "replace"))
        text = b"OK" if status == _OK else b"this key is not allowed here"
        self._handler.send_multipart([_VERSION, number, status, text, name.encode(), b""])

    def _take_failure(self, monitor: zmq.Socket[bytes]) -> None:
        told = parse_monitor_message(monitor.recv_multipart())
        event, value = told["event"], told["value"]
        if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            self._refuse("handshake", socket=self._monitors[monitor])
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            if value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
                reason = "mechanism"
            elif value == zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC:
                reason = "server_key"
            else:
                reason = "handshake"
            self._refuse(reason, socket=self._monitors[monitor])

    def _refuse(self, reason: str, **fields: object) -> None:
        self._refusals[reason] += 1
        if self._limited_log is not None:
            self._limited_log.warning("connection refused", time.monotonic(), reason=reason, **fields)
