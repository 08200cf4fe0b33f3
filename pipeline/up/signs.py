"""Signs of life of the processes that `up` has started, without waiting for any. Shell.

======== =================================== ======================================================
stage    its sign of life                    it can be used when
======== =================================== ======================================================
worker   the beacon of one of its shards     there is one
ingest   an answer about its counters        there is one
edge     an answer about its counters        that says it hears every shard, and does not drain
notify   an answer about its counters        that says it has heard every shard
======== =================================== ======================================================
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import NamedTuple

import zmq

from pipeline.endpoints import Endpoints
from pipeline.errors import MessageMalformed
from pipeline.sockets import NOTIFY_CONTROL, Binder, drain, edge_control, ingest_control, shard_events
from pipeline.wire import BEACON_TOPIC, StatsReply, StatsRequest, decode_beacon, decode_edge_reply, encode

_MAX_DRAINED = 10_000


class Heard(NamedTuple):
    """Who gave a sign of life since the last call.

    Attributes:
        alive: their names.
        ready: those of them who can be used.
        pids: name -> the process that answered, where it says so; a name may be held by a stranger.
    """

    alive: set[str]
    ready: set[str]
    pids: dict[str, int]


class Signs:
    """Args:
    endpoints: where the sockets are.
    workers: shard -> name of the process that owns it.
    ingests: name -> index.
    edges: name -> index, of all that may run now or later.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        workers: Mapping[int, str],
        ingests: Mapping[str, int],
        edges: Mapping[str, int],
    ) -> None:
        self._workers = workers
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._binder = Binder(self._context, endpoints)
        self._beacons = self._binder.connect(
            zmq.SUB, [shard_events(shard) for shard in workers], high_water_mark=1_000
        )
        self._beacons.setsockopt(zmq.SUBSCRIBE, BEACON_TOPIC)
        self._ingests = {name: self._dealer(ingest_control(index)) for name, index in ingests.items()}
        self._notify = {"notify": self._dealer(NOTIFY_CONTROL)}
        self._edges = {name: self._dealer(edge_control(index)) for name, index in edges.items()}

    def collect(self) -> Heard:
        """Return who gave a sign since the last call, and ask again."""
        workers = self._heard_workers()
        heard = Heard(set(workers), set(workers), {})
        for name, control in (self._ingests | self._edges | self._notify).items():
            for answer in _answers(control):
                heard.alive.add(name)
                heard.pids[name] = answer.pid
                if not answer.counters.get("silent_shards") and not answer.counters.get("draining"):
                    heard.ready.add(name)
        return heard

    def close(self) -> None:
        """Close the sockets."""
        self._binder.close()
        self._context.term()

    def _dealer(self, name: str) -> zmq.Socket[bytes]:
        return self._binder.connect(zmq.DEALER, [name], high_water_mark=2)

    def _heard_workers(self) -> set[str]:
        heard = set()
        for message in drain(self._beacons, _MAX_DRAINED):
            with contextlib.suppress(MessageMalformed):
                name = self._workers.get(decode_beacon(message).shard)
                if name is not None:
                    heard.add(name)
        return heard


def _answers(control: zmq.Socket[bytes]) -> list[StatsReply]:
    """Return what has come, and ask again."""
    answers = []
    for message in drain(control, _MAX_DRAINED):
        with contextlib.suppress(MessageMalformed):
            answers.append(decode_edge_reply(message))
    with contextlib.suppress(zmq.Again):  # two questions wait already
        control.send(encode(StatsRequest()), zmq.NOBLOCK)
    return [answer for answer in answers if isinstance(answer, StatsReply)]
