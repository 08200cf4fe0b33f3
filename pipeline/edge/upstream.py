"""The edge's side towards the workers: frames and beacons by SUB, questions by DEALER. Shell.

A ZeroMQ socket's file descriptor is edge-triggered: it tells once that something changed. So a callback
drains to the end, or schedules itself anew at the bound; and whatever else touches the socket drains
afterwards.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import zmq
from msgspec.structs import replace

from pipeline.edge.config import EdgeConfig
from pipeline.edge.delivery import Delivery
from pipeline.edge.once_for_all import OnceForAll
from pipeline.errors import LayoutError, MessageMalformed
from pipeline.links import Links
from pipeline.log import LimitedLog, Log
from pipeline.shards import HASH_NAME, shard_of
from pipeline.sockets import Binder, drain, has_more, shard_events, shard_history
from pipeline.wire import (
    BEACON_TOPIC,
    AccessReply,
    AccessRequest,
    Beacon,
    ChannelsReply,
    ChannelsRequest,
    DeleteReply,
    DeleteRequest,
    Document,
    FrameMessage,
    HeadReply,
    HeadRequest,
    HistoryReply,
    HostsRequest,
    Page,
    PageRequest,
    PastReply,
    PastRequest,
    StateRequest,
    decode_beacon,
    decode_frame,
    decode_history_reply,
    encode,
    frame_topic,
)

Question = (
    HeadRequest
    | PageRequest
    | ChannelsRequest
    | StateRequest
    | HostsRequest
    | PastRequest
    | DeleteRequest
    | AccessRequest
)


class Upstream:
    """Args:
    config: what the edge can be told.
    binder: makes the sockets.
    log: where lines go.
    on_frames: given the frames of one wake-up, in order.
    on_beacon: given each beacon.
    on_fatal: given an error that the edge cannot go on with.
    """

    def __init__(
        self,
        config: EdgeConfig,
        binder: Binder,
        log: Log,
        on_frames: Callable[[list[FrameMessage]], None],
        on_beacon: Callable[[Beacon], None],
        on_fatal: Callable[[LayoutError], None],
    ) -> None:
        self._shards = config.pipeline.shards
        self._binder = binder
        self._links = Links()
        self._settings = config.upstream
        self._limited_log = LimitedLog(log)
        self._on_frames = on_frames
        self._on_beacon = on_beacon
        self._on_fatal = on_fatal
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[HistoryReply]] = {}
        self._pages: OnceForAll[tuple[str, int, int], tuple[Page, Delivery | None]] = OnceForAll()
        self._accesses: OnceForAll[AccessRequest, AccessReply] = OnceForAll()
        self._documents: OnceForAll[StateRequest | HostsRequest, Document] = OnceForAll()
        self._beacon_at: dict[int, float] = {}
        self._unwritable: set[int] = set()
        self.counters: Counter[str] = Counter()
        high_water_mark = self._settings.high_water_mark
        self._events = binder.connect(
            zmq.SUB, [shard_events(shard) for shard in range(self._shards)], high_water_mark=high_water_mark
        )
        self._events.setsockopt(zmq.SUBSCRIBE, BEACON_TOPIC)
        self._questions = [
            binder.connect(zmq.DEALER, [shard_history(shard)], high_water_mark=1_000)
            for shard in range(self._shards)
        ]
        self._looking: asyncio.Handle
        self._loop.add_reader(self._events.fileno(), self._drain_events)
        for shard, socket in enumerate(self._questions):
            self._loop.add_reader(socket.fileno(), self._drain_answers, shard)
        self._looking = self._loop.call_soon(self._look_after_links)

    def close(self) -> None:
        """Stop listening; the binder closes the sockets."""
        self._looking.cancel()
        self._loop.remove_reader(self._events.fileno())
        for socket in self._questions:
            self._loop.remove_reader(socket.fileno())

    # --- frames and beacons -----------------------------------------------------------------------

    def subscribe(self, channel: str) -> None:
        """Receive a channel's frames from now on; what was before is asked for."""
        self._events.setsockopt(zmq.SUBSCRIBE, frame_topic(channel))
        self._loop.call_soon(self._drain_events)

    def unsubscribe(self, channel: str) -> None:
        """Receive a channel's frames no more."""
        self._events.setsockopt(zmq.UNSUBSCRIBE, frame_topic(channel))
        self._loop.call_soon(self._drain_events)

    def shard_of(self, channel: str) -> int:
        """Return the shard that owns a channel."""
        return shard_of(channel, self._shards)

    def silent_shards(self, now: float) -> list[int]:
        """Return the shards that have sent no beacon for `silent_s`."""
        return [
            shard
            for shard in range(self._shards)
            if now - self._beacon_at.get(shard, float("-inf")) > self._settings.silent_s
        ]

    def unwritable_shards(self) -> list[int]:
        """Return the shards whose last beacon said that they cannot write their journal."""
        return sorted(self._unwritable)

    def _drain_events(self) -> None:
        frames: list[FrameMessage] = []
        for message in drain(self._events, self._settings.drain_messages):
            try:
                if not message.startswith(BEACON_TOPIC):
                    frames.append(decode_frame(message))
                    continue
                beacon = decode_beacon(message)
            except MessageMalformed as error:
                self.counters["malformed{socket=events}"] += 1
                self._limited_log.warning("malformed message from a worker", time.monotonic(), problem=error)
                continue
            if frames:  # what a beacon says comes after the frames before it
                self._on_frames(frames)
                frames = []
            self._take_beacon(beacon)
        if frames:
            self._on_frames(frames)
        if has_more(self._events):
            self._loop.call_soon(self._drain_events)

    def _look_after_links(self) -> None:
        now = time.monotonic()
        for shard in self._links.look(now, drained=not has_more(self._events)):
            self._binder.connect_anew(self._events, shard_events(shard))
            self.counters["links_renewed"] += 1
        self._drain_events()  # the descriptor tells of changes only, and the socket was touched
        self._looking = self._loop.call_later(self._links.next_deadline() - now, self._look_after_links)

    def _take_beacon(self, beacon: Beacon) -> None:
        if (beacon.shards, beacon.hash) != (self._shards, HASH_NAME):
            self._on_fatal(
                LayoutError(
                    f"shard {beacon.shard} is one of {beacon.shards}, spread by {beacon.hash!r}; "
                    f"this edge is set to {self._shards} shards, spread by {HASH_NAME!r}"
                )
            )
            return
        now = time.monotonic()
        self._beacon_at[beacon.shard] = now
        self._links.heard(beacon.shard, now)
        if beacon.writable:
            self._unwritable.discard(beacon.shard)
        else:
            self._unwritable.add(beacon.shard)
        self._on_beacon(beacon)

    # --- questions --------------------------------------------------------------------------------

    async def head(self, channel: str, epoch: int | None) -> HeadReply:
        """Ask how far a channel is, until its worker answers.

        Args:
            channel: `kind/id`.
            epoch: a life that the asker has seen, to learn whether it is still held; or None.
        """
        reply = await self._ask(
            shard_of(channel, self._shards), lambda number: HeadRequest(number, channel, epoch)
        )
        assert isinstance(reply, HeadReply)
        return reply

    async def page(self, channel: str, epoch: int, first: int) -> tuple[Page, Delivery | None]:
        """Ask for events, until the worker answers.

        All who want the same at one time share one question, and what is composed of its answer.

        Returns:
            (the page, its events; None when it has none).
        """
        return await self._pages.get((channel, epoch, first), lambda: self._fetch_page(channel, epoch, first))

    async def _fetch_page(self, channel: str, epoch: int, first: int) -> tuple[Page, Delivery | None]:
        reply = await self._ask(
            shard_of(channel, self._shards), lambda number: PageRequest(number, channel, epoch, first)
        )
        assert isinstance(reply, Page)
        self.counters["pages"] += 1
        return reply, Delivery.of_page(reply) if reply.header.last >= reply.header.first else None

    async def state(self, channel: str, epoch: int | None) -> Document:
        """Ask for a scan's state, until the worker answers; all who want the same share one question.

        Args:
            channel: `kind/id`.
            epoch: which life; None for the present one.
        """
        return await self._document(StateRequest(0, channel, epoch))

    async def hosts(self, channel: str, epoch: int | None, after: int, limit: int) -> Document:
        """Ask for hosts of a scan, as `state` does."""
        return await self._document(HostsRequest(0, channel, epoch, after, limit))

    async def past(self, shard: int, wanted: PastRequest) -> PastReply:
        """Ask a shard for lives that are in its journal only, until it answers."""
        reply = await self._ask(shard, lambda number: replace(wanted, id=number))
        assert isinstance(reply, PastReply)
        return reply

    async def delete(self, channel: str, epoch: int | None) -> DeleteReply:
        """Have a scan's lives deleted, until the worker answers.

        Args:
            channel: `kind/id`.
            epoch: which life; None for all.
        """
        shard = shard_of(channel, self._shards)
        reply = await self._ask(shard, lambda number: DeleteRequest(number, channel, epoch))
        assert isinstance(reply, DeleteReply)
        return reply

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return self._shards

    async def _document(self, wanted: StateRequest | HostsRequest) -> Document:
        return await self._documents.get(wanted, lambda: self._fetch_document(wanted))

    async def _fetch_document(self, wanted: StateRequest | HostsRequest) -> Document:
        reply = await self._ask(
            shard_of(wanted.channel, self._shards), lambda number: replace(wanted, id=number)
        )
        assert isinstance(reply, Document)
        self.counters["states"] += 1
        return reply

    async def access(self, channel: str, epoch: int | None) -> AccessReply:
        """Ask whose a life of a channel is, until the worker answers; who wants the same shares one question.

        Args:
            channel: `kind/id`.
            epoch: which life; None for the present one.
        """
        wanted = AccessRequest(0, channel, epoch)
        return await self._accesses.get(wanted, lambda: self._fetch_access(wanted))

    async def _fetch_access(self, wanted: AccessRequest) -> AccessReply:
        reply = await self._ask(
            shard_of(wanted.channel, self.shards), lambda number: replace(wanted, id=number)
        )
        assert isinstance(reply, AccessReply)
        return reply

    async def channels(
        self, timeout_s: float, since: Callable[[int], str | None] = lambda _: None
    ) -> tuple[list[ChannelsReply], bool]:
        """Ask every shard for its channels.

        Args:
            timeout_s: how long is waited, seconds.
            since: shard -> the version of its last answer; None for the whole.

        Returns:
            (the answers that came within `timeout_s` seconds, whether these are all).
        """
        tasks = [
            self._loop.create_task(self._ask(shard, partial(ChannelsRequest, since=since(shard))))
            for shard in range(self._shards)
        ]
        done, late = await asyncio.wait(tasks, timeout=timeout_s)
        for task in late:
            task.cancel()
        replies = [reply for task in done if isinstance(reply := task.result(), ChannelsReply)]
        return sorted(replies, key=lambda reply: reply.shard), not late

    async def _ask(self, shard: int, compose: Callable[[int], Question]) -> HistoryReply:
        number = next(self._ids)
        future: asyncio.Future[HistoryReply] = self._loop.create_future()
        self._asked[number] = future
        message = encode(compose(number))
        try:
            while True:
                self._send(shard, message)
                try:
                    return await asyncio.wait_for(
                        asyncio.shield(future), timeout=self._settings.answer_timeout_s
                    )
                except TimeoutError:
                    self.counters["questions_repeated"] += 1
        finally:
            self._asked.pop(number, None)
            future.cancel()

    def _send(self, shard: int, message: bytes) -> None:
        try:
            self._questions[shard].send(message, zmq.NOBLOCK)
        except zmq.Again:
            self.counters["questions_not_sent"] += 1  # a thousand wait already; it is asked again
        self._loop.call_soon(self._drain_answers, shard)

    def _drain_answers(self, shard: int) -> None:
        for message in drain(self._questions[shard], self._settings.drain_messages):
            try:
                reply = decode_history_reply(message)
            except MessageMalformed as error:
                self.counters["malformed{socket=history}"] += 1
                self._limited_log.warning("malformed answer from a worker", time.monotonic(), problem=error)
                continue
            number = reply.id
            future = self._asked.get(number)
            if future is not None and not future.done():
                future.set_result(reply)
        if has_more(self._questions[shard]):
            self._loop.call_soon(self._drain_answers, shard)
