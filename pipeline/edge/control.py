"""An edge's control socket, and its questions to the other edges of the pipeline. Shell.

`edge-I.control` is bound by each edge; `up` asks it for counters, and takes the answer as a sign of life.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable

import zmq

from pipeline.errors import MessageMalformed
from pipeline.log import LimitedLog, Log
from pipeline.sockets import Binder, drain, drain_router, edge_control, found, has_more
from pipeline.vitals import Vitals
from pipeline.wire import (
    ConnectionsReply,
    ConnectionsRequest,
    decode_edge_reply,
    decode_edge_request,
    encode,
)

ANSWER_S = 0.5
"""How long another edge may take to answer."""

_DRAINED = 200


class Control:
    """Args:
    index: which edge this is.
    binder: makes the sockets.
    log: where lines go.
    vitals: how this edge is.
    figures: returns its counters now.
    connections: returns its connections, so many at most, and how many there are.

    Raises:
        EndpointError: another edge has this index.
    """

    def __init__(
        self,
        index: int,
        binder: Binder,
        log: Log,
        vitals: Vitals,
        figures: Callable[[], dict[str, float]],
        connections: Callable[[ConnectionsRequest], ConnectionsReply],
    ) -> None:
        self._name = edge_control(index)
        self._binder = binder
        self._limited_log = LimitedLog(log)
        self._vitals = vitals
        self._figures = figures
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[ConnectionsReply]] = {}
        self._others: dict[str, zmq.Socket[bytes]] = {}
        self.counters: Counter[str] = Counter()
        self._control = binder.bind(zmq.ROUTER, self._name, high_water_mark=100)
        self._loop.add_reader(self._control.fileno(), self._answer)
        self._loop.call_soon(self._answer)

    def close(self) -> None:
        """Answer no more, and be found no more; the binder closes the sockets."""
        if not self._binder.endpoints.is_tcp(self._name):  # another edge may follow under another index
            (self._binder.endpoints.run_dir / self._name).unlink(missing_ok=True)
        for socket in (self._control, *self._others.values()):
            self._loop.remove_reader(socket.fileno())

    def _answer(self) -> None:
        for peer, message in drain_router(self._control, _DRAINED):
            try:
                request = decode_edge_request(message)
            except MessageMalformed as error:
                self.counters["malformed{socket=control}"] += 1
                self._limited_log.warning("malformed control message", time.monotonic(), problem=error)
                continue
            if isinstance(request, ConnectionsRequest):
                reply = encode(self._connections(request))
            else:
                name, now = self._name.partition(".")[0], time.monotonic()
                reply = encode(self._vitals.reply(request.id, name, self._figures(), now))
            try:
                self._control.send_multipart((peer, reply), zmq.NOBLOCK)
            except zmq.Again:
                self.counters["dropped{reason=asker_full}"] += 1
        if has_more(self._control):
            self._loop.call_soon(self._answer)

    async def all_connections(self, limit: int) -> tuple[list[ConnectionsReply], bool]:
        """Ask every edge for its connections, this one too.

        Args:
            limit: the most connections told by each.

        Returns:
            (the answers, whether these are all; an edge that does not answer within `ANSWER_S` is left out).
        """
        request = ConnectionsRequest(next(self._ids), limit)
        waiting = [self._ask(name, limit) for name in self._siblings()]
        replies = [self._connections(request)]
        if not waiting:
            return replies, True
        done, late = await asyncio.wait(waiting, timeout=ANSWER_S)
        for future in late:
            future.cancel()
        return replies + [future.result() for future in done], not late

    def _siblings(self) -> list[str]:
        """Return the names of the other edges' sockets behind which somebody listens."""
        return [
            name
            for name in found(self._binder.endpoints, edge_control(0).replace("0", "*"))
            if name != self._name and self._binder.endpoints.listens(name)
        ]

    def _ask(self, name: str, limit: int) -> asyncio.Future[ConnectionsReply]:
        other = self._others.get(name)
        if other is None:
            other = self._others[name] = self._binder.connect(zmq.DEALER, [name], high_water_mark=100)
            self._loop.add_reader(other.fileno(), self._take, other)
        number = next(self._ids)
        future: asyncio.Future[ConnectionsReply] = self._loop.create_future()
        self._asked[number] = future
        future.add_done_callback(lambda _: self._asked.pop(number, None))
        try:
            other.send(encode(ConnectionsRequest(number, limit)), zmq.NOBLOCK)
        except zmq.Again:
            self.counters["dropped{reason=edge_full}"] += 1
        self._loop.call_soon(self._take, other)
        return future

    def _take(self, other: zmq.Socket[bytes]) -> None:
        for message in drain(other, _DRAINED):
            try:
                reply = decode_edge_reply(message)
            except MessageMalformed as error:
                self.counters["malformed{socket=edge}"] += 1
                self._limited_log.warning("malformed answer from an edge", time.monotonic(), problem=error)
                continue
            future = self._asked.get(reply.id)
            if isinstance(reply, ConnectionsReply) and future is not None and not future.done():
                future.set_result(reply)
        if has_more(other):
            self._loop.call_soon(self._take, other)
