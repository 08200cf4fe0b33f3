"""What a reader of frames asks the workers: a few questions at a time a shard, until answered. Shell.

A worker that is killed takes the questions it had along; the one that follows it is asked again. A shard
that does not answer holds up no other.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import zmq

from pipeline.sockets import Binder, drain, shard_history
from pipeline.wire import (
    ChannelsRequest,
    HeadRequest,
    HistoryReply,
    Page,
    PageRequest,
    PastRequest,
    StateRequest,
    decode_history_reply,
    encode,
)

MAX_ASKED = 2
"""Questions on their way to a shard at once; the others wait here, so that a worker's readers take turns."""
ANSWER_S = 1.0
"""A question that is not answered for so long is asked again."""
TOLD_AFTER = 5
"""A question asked in vain so often is told, once, until an answer comes."""

Question: TypeAlias = HeadRequest | PageRequest | ChannelsRequest | StateRequest | PastRequest
Compose: TypeAlias = Callable[[int], Question]


@dataclass(slots=True)
class _Asked:
    shard: int
    message: bytes
    again_at: float
    times: int = 1


class Questions:
    """Args:
    binder: makes the sockets.
    notice: told, one line at a time, which shard does not answer.
    """

    def __init__(self, binder: Binder, notice: Callable[[str], None]) -> None:
        self._binder = binder
        self._notice = notice
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Asked] = {}
        self._waiting: defaultdict[int, deque[Compose]] = defaultdict(deque)
        self._on_their_way: defaultdict[int, int] = defaultdict(int)
        self._silent: set[int] = set()
        self._sockets: dict[int, zmq.Socket[bytes]] = {}

    def __len__(self) -> int:
        """Return how many are not answered."""
        return len(self._asked) + sum(map(len, self._waiting.values()))

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """Those answers come by; a question to a shard not asked before adds one."""
        return list(self._sockets.values())

    def ask(self, shard: int, compose: Compose, now: float) -> None:
        """Ask a shard.

        Args:
            compose: makes the question of its number.
            now: monotonic seconds.
        """
        self._waiting[shard].append(compose)
        self._send_waiting(shard, now)

    def next_deadline(self) -> float | None:
        """Return when to call `repeat`; None while nothing is asked."""
        return min((asked.again_at for asked in self._asked.values()), default=None)

    def repeat(self, now: float) -> None:
        """Ask again what is not answered in time."""
        for asked in self._asked.values():
            if now >= asked.again_at:
                asked.again_at = now + ANSWER_S
                asked.times += 1
                self._send(asked)
                if asked.times > TOLD_AFTER and asked.shard not in self._silent:
                    self._silent.add(asked.shard)
                    self._notice(f"waiting: shard {asked.shard} does not answer")

    def answers(self, limit: int, now: float) -> Iterator[HistoryReply]:
        """Yield the answers that have come to what is still asked, and ask what waited for them.

        Args:
            limit: how many answers of each shard are looked at.
            now: monotonic seconds.

        Raises:
            MessageMalformed: a worker sent something else; the others are still there.
        """
        for shard, socket in self._sockets.items():
            for message in drain(socket, limit):
                reply = decode_history_reply(message)
                asked = self._asked.pop(reply.header.id if isinstance(reply, Page) else reply.id, None)
                if asked is not None:
                    self._silent.discard(shard)
                    self._on_their_way[shard] -= 1
                    self._send_waiting(shard, now)
                    yield reply

    def _send_waiting(self, shard: int, now: float) -> None:
        waiting = self._waiting[shard]
        while waiting and self._on_their_way[shard] < MAX_ASKED:
            number = next(self._numbers)
            self._asked[number] = _Asked(shard, encode(waiting.popleft()(number)), now + ANSWER_S)
            self._on_their_way[shard] += 1
            self._send(self._asked[number])

    def _send(self, asked: _Asked) -> None:
        socket = self._sockets.get(asked.shard)
        if socket is None:
            socket = self._binder.connect(zmq.DEALER, [shard_history(asked.shard)], high_water_mark=100)
            self._sockets[asked.shard] = socket
        with contextlib.suppress(zmq.Again):  # a hundred wait already; it is asked again
            socket.send(asked.message, zmq.NOBLOCK)
