"""Asks a pipeline for what `top` shows, and waits a bounded time for the answers. Shell.

The stages are asked by `RollCall`; those of them that answer are asked for scans and connections, too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import zmq

from pipeline.endpoints import Endpoints, endpoints_of
from pipeline.errors import MessageMalformed
from pipeline.operate.beacons import hear
from pipeline.operate.board import MAX_CONNECTIONS, Snapshot
from pipeline.operate.processes import figures_of
from pipeline.roll_call import RollCall
from pipeline.runtime import wall_ms
from pipeline.sockets import Binder, drain, edge_control, found, shard_history
from pipeline.stages import Told
from pipeline.wire import (
    ChannelsReply,
    ChannelsRequest,
    ChannelSummary,
    ConnectionsReply,
    ConnectionsRequest,
    ConnectionSummary,
    decode_edge_reply,
    decode_history_reply,
    encode,
)

ANSWER_S = 1.0
"""How long the stages may take to answer."""
BEACON_S = 0.8
"""How long a worker's sign of life is waited for; by default there are three a second."""

_DRAINED = 100


class Gathering:
    """Args:
    where: where the sockets are; a path is a run directory.
    """

    def __init__(self, where: Path | Endpoints) -> None:
        self._where = where
        self._shards = 0
        self._call = RollCall(where)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._binder = Binder(self._context, where)
        self._dealers: dict[str, zmq.Socket[bytes]] = {}
        self._number = 0

    def close(self) -> None:
        """Close the sockets."""
        self._call.close()
        self._binder.close()
        self._context.term()

    def take(self) -> Snapshot:
        """Ask everybody, and return what was told; it takes `BEACON_S` and twice `ANSWER_S` at most."""
        self._learn_shards()
        told = self._call.ask(ANSWER_S)
        scans, replies = self._ask_further(told)
        here = [one for one in told if not endpoints_of(self._where).is_elsewhere(_socket_of(one.name))]
        pids = {one.stats.pid for one in here if one.stats is not None and one.stats.pid}
        processes = {pid: figures for pid in pids if (figures := figures_of(pid)) is not None}
        connections: list[ConnectionSummary] = [one for reply in replies for one in reply.connections]
        total = sum(reply.total for reply in replies)
        return Snapshot(told, scans, connections, total, processes, time.monotonic(), wall_ms())

    def _learn_shards(self) -> None:
        """Learn how many shards there are, so that one whose worker is gone is missed."""
        if self._shards:
            return
        heard = hear(self._where, BEACON_S, any_will_do=True)
        self._shards = next((beacon.shards for beacon in heard.values()), 0)
        names = found(self._where, shard_history(0).replace("0", "*"))
        # While no worker is there, as many as have left their sockets behind.
        shards = self._shards or max([0, *(int(name.split("-")[1].split(".")[0]) + 1 for name in names)])
        self._call.close()
        self._call = RollCall(self._where, shards)

    def _ask_further(self, told: Iterable[Told]) -> tuple[list[ChannelSummary], list[ConnectionsReply]]:
        self._number += 1
        waiting: dict[zmq.Socket[bytes], str] = {}
        poller = zmq.Poller()
        for one in told:
            question = self._question(one)
            if question is not None:
                dealer = self._put(*question)
                waiting[dealer] = one.name
                poller.register(dealer, zmq.POLLIN)
        scans: list[ChannelSummary] = []
        replies: list[ConnectionsReply] = []
        until = time.monotonic() + ANSWER_S
        while waiting and (left := until - time.monotonic()) > 0:
            for dealer in dict(poller.poll(int(left * 1000) + 1)):
                for message in drain(dealer, _DRAINED):
                    reply = _decoded(waiting.get(dealer, ""), message)
                    if reply is None or reply.id != self._number:
                        continue  # late, or of another version
                    if isinstance(reply, ChannelsReply):
                        scans += reply.channels
                    else:
                        replies.append(reply)
                    poller.unregister(dealer)
                    waiting.pop(dealer)
        return scans, replies

    def _question(self, one: Told) -> tuple[str, msgspec.Struct] | None:
        """Return the socket's name and what a stage is asked for; None if it has nothing more to tell."""
        stage, _, index = one.name.partition("-")
        if one.stats is None or stage in ("ingest", "notify"):
            return None
        if stage == "edge":
            return edge_control(int(index)), ConnectionsRequest(self._number, MAX_CONNECTIONS)
        return shard_history(int(index)), ChannelsRequest(self._number)

    def _put(self, name: str, question: msgspec.Struct) -> zmq.Socket[bytes]:
        dealer = self._dealers.get(name)
        if dealer is None:
            dealer = self._dealers[name] = self._binder.connect(zmq.DEALER, [name], high_water_mark=4)
        with contextlib.suppress(zmq.Again):  # it has not taken the last ones
            dealer.send(encode(question), zmq.NOBLOCK)
        return dealer


def _decoded(name: str, message: bytes) -> ChannelsReply | ConnectionsReply | None:
    try:
        reply = decode_edge_reply(message) if name.startswith("edge-") else decode_history_reply(message)
    except MessageMalformed:
        return None
    return reply if isinstance(reply, ChannelsReply | ConnectionsReply) else None


def _socket_of(name: str) -> str:
    """Return the name of the socket by which a stage answers."""
    return f"{name}.history" if name.startswith("shard-") else f"{name}.control"
