"""Asks every stage of a pipeline how it is, and waits a bounded time for the answers. Shell.

For an edge, which answers `/api/pipeline` with it, and for whoever looks at a pipeline from a terminal; what
the answers mean, `stages` says. It blocks: who has an event loop calls it in a thread, always the same one.

=========================================== ==============================================================
a stage                                     how it is known
=========================================== ==============================================================
shard                                       its number is below the number of shards; without that number, as
                                            the others
ingest, edge, notify                        its control socket is in the run directory, and somebody listens
                                            there, or has answered there before; one that ends well takes its
                                            socket away. Or it stands in the address book; of edges there,
                                            those that have answered before
=========================================== ==============================================================
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import zmq

from pipeline.endpoints import Endpoints, endpoints_of
from pipeline.errors import MessageMalformed
from pipeline.sockets import (
    NOTIFY_CONTROL,
    Binder,
    drain,
    edge_control,
    found,
    ingest_control,
    shard_history,
)
from pipeline.stages import Told
from pipeline.wire import (
    ConnectionsReply,
    ConnectionsRequest,
    StatsReply,
    StatsRequest,
    decode_edge_reply,
    encode,
)

ANSWER_S = 1.0
"""How long a stage may take to answer."""

_DRAINED = 100


class RollCall:
    """Args:
    where: where the sockets are; a path is a run directory.
    shards: how many shards there are; 0: those whose sockets are there.
    """

    def __init__(self, where: Path | Endpoints, shards: int = 0) -> None:
        self._endpoints = endpoints_of(where)
        self._shards = shards
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._binder = Binder(self._context, self._endpoints)
        self._dealers: dict[str, zmq.Socket[bytes]] = {}
        self._heard: set[str] = set()
        self._number = 0

    def close(self) -> None:
        """Close the sockets."""
        self._binder.close()
        self._context.term()

    def ask(self, timeout_s: float = ANSWER_S) -> list[Told]:
        """Ask every stage, and return what they told, those too that did not answer.

        It returns when all who are there have answered, or after `timeout_s` seconds.
        """
        self._number += 1
        told: dict[str, Told] = {}
        waiting: dict[str, zmq.Socket[bytes]] = {}
        for name, socket_name in self._stages():
            listens = self._endpoints.listens(socket_name)
            if not listens and name not in self._heard and not self._is_certain(name):
                continue  # left behind by one that was killed, perhaps long ago
            told[name] = Told(name)
            if listens:
                waiting[name] = self._put(name, socket_name)
        poller = zmq.Poller()
        for dealer in waiting.values():
            poller.register(dealer, zmq.POLLIN)
        end = time.monotonic() + timeout_s
        while waiting and (left := end - time.monotonic()) > 0:
            ready = dict(poller.poll(int(left * 1000) + 1))
            for name, dealer in list(waiting.items()):
                if dealer in ready:
                    told[name] = self._take(told[name], dealer)
                    if _is_whole(told[name]):
                        poller.unregister(dealer)
                        del waiting[name]
        for name in waiting.keys() - self._heard:
            if name.startswith("edge-") and self._endpoints.is_tcp(f"{name}.control"):
                del told[name]  # it may have been replaced by one with another number, before we were here
        self._heard.update(name for name, one in told.items() if one.stats is not None)
        return list(told.values())

    def _is_certain(self, name: str) -> bool:
        return self._shards > 0 and name.startswith("shard-")

    def _stages(self) -> Iterator[tuple[str, str]]:
        """Yield (name, name of the socket that answers) of each."""
        for socket_name in found(self._endpoints, ingest_control(0).replace("0", "*")):
            yield socket_name.partition(".")[0], socket_name
        if self._shards:
            shards = [shard_history(shard) for shard in range(self._shards)]
        else:
            shards = found(self._endpoints, shard_history(0).replace("0", "*"))
        for socket_name in shards:
            yield socket_name.partition(".")[0], socket_name
        for pattern in (edge_control(0).replace("0", "*"), NOTIFY_CONTROL):
            for socket_name in found(self._endpoints, pattern):
                yield socket_name.partition(".")[0], socket_name

    def _put(self, name: str, socket_name: str) -> zmq.Socket[bytes]:
        dealer = self._dealers.get(name)
        if dealer is None:
            dealer = self._dealers[name] = self._binder.connect(zmq.DEALER, [socket_name], high_water_mark=4)
        questions: list[msgspec.Struct] = [StatsRequest(self._number)]
        if name.startswith("edge-"):
            questions.append(ConnectionsRequest(self._number, 0))
        with contextlib.suppress(zmq.Again):  # it has not taken the last ones
            for question in questions:
                dealer.send(encode(question), zmq.NOBLOCK)
        return dealer

    def _take(self, told: Told, dealer: zmq.Socket[bytes]) -> Told:
        for message in drain(dealer, _DRAINED):
            try:
                reply = decode_edge_reply(message)
            except MessageMalformed:
                continue  # of another version, which its silence tells
            if reply.id != self._number:
                continue  # late, for an earlier question
            if isinstance(reply, StatsReply):
                told = told._replace(stats=reply)
            elif isinstance(reply, ConnectionsReply):
                told = told._replace(readers=reply.readers, connections=reply.total)
        return told


def _is_whole(told: Told) -> bool:
    return told.stats is not None and (told.readers is not None or not told.name.startswith("edge-"))
