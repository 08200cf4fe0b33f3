"""The edge's side towards the ingests: what is posted by PUSH, what became of it by SUB. Shell.

`posts` says what is sent when, and what feedback means. Feedback is heard where the workers publish it, so
that it comes whichever ingest a message went through, and to two edges that were given the same. While
nothing is under way it is let go of a few times a second, and does not wake the loop.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter

import zmq

from pipeline.edge.config import EdgeConfig
from pipeline.edge.posts import Post, Posts, Told
from pipeline.edge.sections import HttpInSection
from pipeline.errors import MessageMalformed
from pipeline.links import Links
from pipeline.log import LimitedLog, Log
from pipeline.sockets import Binder, drain, found, has_more, shard_events
from pipeline.wire import BEACON_TOPIC, FEEDBACK_TOPIC, decode_beacon, decode_feedback

_TICK_S = 0.005
"""How often it is looked after what is to be sent or answered, while there is something."""
_LOOK_S = 0.5
"""An ingest that was added is found after so long."""
_QUEUED = 128
"""Messages that wait for one ingest."""
_DRAINED = 1_000
_REST_S = 0.25
"""How often feedback is let go of while nobody waits for it; so long its socket holds it."""


class Uplink:
    """Args:
    config: what the edge can be told.
    binder: makes the sockets.
    log: where lines go.

    Attributes:
        counters: what was posted.
        held_bytes: of bodies and of what is not answered; `hold` keeps it within its bound.
    """

    def __init__(self, config: EdgeConfig, binder: Binder, log: Log) -> None:
        self._binder = binder
        self._links = Links()
        self._limited_log = LimitedLog(log)
        self._max_held_bytes = config.http_in.max_total_bytes
        self._posts = Posts(uuid.uuid4().hex, config.http_in.answer_timeout_s)
        self._waiting: dict[Post, asyncio.Future[Told]] = {}
        self._ingests: set[str] = set()
        self._looked_at = float("-inf")
        self._loop = asyncio.get_running_loop()
        self._ticking: asyncio.TimerHandle | None = None
        self.held_bytes = 0
        self.counters: Counter[str] = Counter()
        self._data = binder.connect(zmq.PUSH, [], high_water_mark=_QUEUED)
        self._data.setsockopt(zmq.IMMEDIATE, 1)  # queue nothing for an ingest that is not there
        self._feedback = binder.connect(
            zmq.SUB, [shard_events(shard) for shard in range(config.pipeline.shards)], high_water_mark=10_000
        )
        self._feedback.setsockopt(zmq.SUBSCRIBE, FEEDBACK_TOPIC)
        self._feedback.setsockopt(zmq.SUBSCRIBE, BEACON_TOPIC)  # whether the connection leads there
        self._resting: asyncio.TimerHandle | None = None
        self._rest()
        self._look_for_ingests(time.monotonic())

    def follow(self, settings: HttpInSection) -> None:
        """Go on with other settings, for what is posted from now on."""
        self._max_held_bytes = settings.max_total_bytes
        self._posts.timeout_s = settings.answer_timeout_s

    def close(self) -> None:
        """Stop; the binder closes the sockets. Who still waits is told that nothing was heard."""
        self._loop.remove_reader(self._feedback.fileno())
        for timer in (self._ticking, self._resting):
            if timer is not None:
                timer.cancel()
        for future in self._waiting.values():
            if not future.done():
                future.set_result(Told("unanswered"))

    def hold(self, size: int) -> bool:
        """Take room for so many bytes; False when there is none."""
        if self.held_bytes + size > self._max_held_bytes:
            return False
        self.held_bytes += size
        return True

    def let_go(self, size: int) -> None:
        """Give back what `hold` took."""
        self.held_bytes -= size

    async def post(self, channel: str, events: list[bytes], key: str) -> Told:
        """Send events, and wait for what becomes of them.

        Args:
            channel: `kind/id`.
            events: checked, each on one line.
            key: what a repetition is told by; empty for none.
        """
        self._listen()
        now = time.monotonic()
        post = self._posts.begin(channel, events, key, now)
        if post.told is not None:
            if self._ticking is None:
                self._rest()
            return post.told
        if post not in self._waiting:
            self._waiting[post] = self._loop.create_future()
            self._send(post, now)
            if self._ticking is None:
                self._ticking = self._loop.call_later(_TICK_S, self._tick)
        return await asyncio.shield(self._waiting[post])

    async def settle(self, seconds: float) -> None:
        """Wait until what was posted is answered, for so long at most."""
        if self._waiting:
            await asyncio.wait(self._waiting.values(), timeout=seconds)

    def _tick(self) -> None:
        self._ticking = None
        now = time.monotonic()
        if now >= self._links.next_deadline():
            self._drain()
        for post in self._posts.handle_timeout(now):
            self._answer(post)
        for post in self._posts.due(now):
            if not self._send(post, now):
                break  # nobody takes anything at the moment
        if self._posts:
            self._ticking = self._loop.call_later(_TICK_S, self._tick)
        else:
            self._rest()

    def _listen(self) -> None:
        """Take feedback as it comes."""
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
            self._loop.add_reader(self._feedback.fileno(), self._drain)
            self._drain()  # the descriptor tells of changes only

    def _rest(self) -> None:
        """Take feedback now and then, for it is all for others."""
        if self._resting is None:
            self._loop.remove_reader(self._feedback.fileno())
        self._resting = self._loop.call_later(_REST_S, self._rest)
        self._drain()

    def _send(self, post: Post, now: float) -> bool:
        self._look_for_ingests(now)
        try:
            self._data.send(post.message, zmq.NOBLOCK)
        except zmq.Again:
            return False
        self.counters["posts_resent"] += post.sent
        self._posts.sent(post, now)
        return True

    def _look_for_ingests(self, now: float) -> None:
        if now - self._looked_at < _LOOK_S:
            return
        self._looked_at = now
        for name in found(self._binder.endpoints, "ingest-*.data"):
            if name not in self._ingests:
                self._ingests.add(name)
                self._binder.join(self._data, name)

    def _drain(self) -> None:
        now = time.monotonic()
        for message in drain(self._feedback, _DRAINED):
            if not self._posts and not message.startswith(BEACON_TOPIC):
                continue  # it is for others
            try:
                if message.startswith(BEACON_TOPIC):
                    self._links.heard(decode_beacon(message).shard, now)
                    continue
                feedback = decode_feedback(message)
            except MessageMalformed as error:
                self.counters["malformed{socket=feedback}"] += 1
                self._limited_log.warning("malformed feedback", now, problem=error)
                continue
            for post in self._posts.hear(feedback, now):
                self._answer(post)
        more = has_more(self._feedback)
        for shard in self._links.look(now, drained=not more):
            self._binder.connect_anew(self._feedback, shard_events(shard))
            self.counters["links_renewed"] += 1
            more = True  # perhaps: the socket was touched
        if more:
            self._loop.call_soon(self._drain)

    def _answer(self, post: Post) -> None:
        future = self._waiting.pop(post)
        if post.told is not None and not future.done():
            future.set_result(post.told)
