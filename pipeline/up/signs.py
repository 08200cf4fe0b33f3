"""Signs of life of the processes that `up` has started, without waiting for any. Shell.

======== ============================================================================================
stage    its sign
======== ============================================================================================
worker   the beacon of one of its shards
ingest   an answer to the question for its counters
edge     an answer to `GET /healthz`; only while there is one edge: those that share a port cannot be
         told apart
======== ============================================================================================
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from pathlib import Path

import zmq

from pipeline.errors import MessageMalformed
from pipeline.sockets import Binder, drain, ingest_control, shard_events
from pipeline.wire import BEACON_TOPIC, StatsRequest, decode_beacon, encode

_MAX_DRAINED = 10_000


class Signs:
    """Args:
    run_dir: the run directory.
    workers: shard -> name of the process that owns it.
    ingests: name -> index.
    edge: (name, address, port) of the only edge; None when there are several.
    """

    def __init__(
        self,
        run_dir: Path,
        workers: Mapping[int, str],
        ingests: Mapping[str, int],
        edge: tuple[str, str, int] | None,
    ) -> None:
        self._workers = workers
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._binder = Binder(self._context, run_dir)
        self._beacons = self._binder.connect(
            zmq.SUB, [shard_events(shard) for shard in workers], high_water_mark=1_000
        )
        self._beacons.setsockopt(zmq.SUBSCRIBE, BEACON_TOPIC)
        self._ingests = {
            name: self._binder.connect(zmq.DEALER, [ingest_control(index)], high_water_mark=2)
            for name, index in ingests.items()
        }
        self._edge = edge
        self._knock: _Knock | None = None

    def collect(self) -> set[str]:
        """Return the names of those that gave a sign since the last call, and ask again."""
        heard = self._heard_workers() | self._heard_ingests()
        if self._edge is not None:
            name, address, port = self._edge
            if self._knock is not None and (answered := self._knock.answered()) is not None:
                self._knock.close()
                self._knock = None
                if answered:
                    heard.add(name)
            if self._knock is None:
                self._knock = _Knock(address, port)
        return heard

    def close(self) -> None:
        """Close the sockets."""
        if self._knock is not None:
            self._knock.close()
        self._binder.close()
        self._context.term()

    def _heard_workers(self) -> set[str]:
        heard = set()
        for message in drain(self._beacons, _MAX_DRAINED):
            with contextlib.suppress(MessageMalformed):
                name = self._workers.get(decode_beacon(message).shard)
                if name is not None:
                    heard.add(name)
        return heard

    def _heard_ingests(self) -> set[str]:
        heard = set()
        for name, control in self._ingests.items():
            if any(drain(control, _MAX_DRAINED)):
                heard.add(name)
            with contextlib.suppress(zmq.Again):  # two questions wait already
                control.send(encode(StatsRequest()), zmq.NOBLOCK)
        return heard


class _Knock:
    """One question to an HTTP server, whose answer is looked for later."""

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self._socket.setblocking(False)
        self._question = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        self._failed = False
        try:
            self._socket.connect((address, port))
            self._ask()
        except BlockingIOError:
            pass  # it is asked when the answer is looked for
        except OSError:
            self._failed = True

    def answered(self) -> bool | None:
        """Return whether there is an answer; None while it may still come, False when it will not."""
        if self._failed:
            return False
        try:
            self._ask()
            return bool(self._socket.recv(64))
        except BlockingIOError:
            return None
        except OSError:
            return False

    def close(self) -> None:
        self._socket.close()

    def _ask(self) -> None:
        if self._question:
            self._question = self._question[self._socket.send(self._question) :]
