"""One shard: its three sockets, its batcher and its history. Shell.

Holds no rule about events; `batcher` does. A wake-up of the stage calls `take_in`, then `release`, then
`answer` on each of its shards.
"""

from __future__ import annotations

from collections import Counter, deque

import zmq

from pipeline.errors import MessageMalformed
from pipeline.event import Catalogue
from pipeline.frame import Frame
from pipeline.log import LimitedLog, Log
from pipeline.shards import HASH_NAME
from pipeline.sockets import Binder, drain, drain_router, shard_events, shard_history, shard_in
from pipeline.throttle_batch.batcher import Batcher
from pipeline.throttle_batch.channel import Channel
from pipeline.throttle_batch.config import ThrottleBatchConfig
from pipeline.throttle_batch.heads import REPEATS, HeadRotation
from pipeline.throttle_batch.history import History
from pipeline.wire import (
    FRAME_TOPIC,
    MAX_PAGE_BYTES,
    Beacon,
    ChannelsReply,
    ChannelsRequest,
    ChannelSummary,
    Head,
    HeadReply,
    HeadRequest,
    PageHeader,
    PageRequest,
    StatsReply,
    decode_envelope,
    decode_history_request,
    encode,
    encode_beacon,
    encode_feedback,
    encode_frame,
    encode_page,
)

_PAGES_A_WAKEUP = 2
"""A page is a quarter of a megabyte: more of them at once would delay what is live."""


class Shard:
    """Args:
    number: which shard.
    config: what the worker can be told.
    catalogue: how each event type is treated.
    binder: makes the sockets.
    log: where lines go.
    boot: names this run of the worker.
    boot_ms: the wall clock at `now`, epoch milliseconds.
    now: monotonic seconds.

    Attributes:
        inbox: the PULL socket.
        events: the XPUB socket.
        questions: the ROUTER socket.
    """

    def __init__(
        self,
        number: int,
        config: ThrottleBatchConfig,
        catalogue: Catalogue,
        binder: Binder,
        log: Log,
        boot: str,
        boot_ms: int,
        now: float,
    ) -> None:
        self.number = number
        self._config = config
        self._log = log.bind(shard=number)
        self._limited_log = LimitedLog(self._log)
        self._boot = boot
        self._counters: Counter[str] = Counter()
        self._batcher = Batcher(config, catalogue, boot_ms, now)
        self._history = History(config.history.max_channel_bytes, config.history.max_total_bytes)
        self._rotation = HeadRotation(config.publish.beacon_interval_s)
        self._gone: deque[list[tuple[str, int]]] = deque([[]], maxlen=REPEATS)
        self.inbox = binder.bind(zmq.PULL, shard_in(number), high_water_mark=1_000)
        self.events = binder.bind(
            zmq.XPUB, shard_events(number), high_water_mark=config.publish.high_water_mark
        )
        self.questions = binder.bind(zmq.ROUTER, shard_history(number), high_water_mark=1_000)

    def next_deadline(self) -> float | None:
        """Return when `release` has something to do."""
        return self._batcher.next_deadline()

    def take_in(self, now: float) -> None:
        """Take what the ingests have sent, up to the bound of a wake-up."""
        for message in drain(self.inbox, self._config.limits.drain_messages):
            try:
                self._batcher.receive(decode_envelope(message), now)
            except MessageMalformed as error:
                self._counters["malformed{socket=in}"] += 1
                self._limited_log.warning("malformed envelope", now, problem=error)

    def release(self, now: float) -> None:
        """Commit what was taken, tell its producers, publish what is due."""
        due = self._batcher.handle_timeout(now)
        for channel, epoch in self._batcher.take_gone():
            self._history.drop(channel, epoch)
            self._gone[-1].append((channel, epoch))
            self._log.info("channel cleaned up", channel=channel, epoch=epoch)
        for frame in due:
            self._publish(frame)
        for chunk in self._batcher.uncommitted().chunks:
            self._history.append(chunk)
        released = self._batcher.committed(now)
        feedback = released.feedback
        if feedback.acks or feedback.retries or feedback.nacks:
            self.events.send(encode_feedback(feedback), zmq.NOBLOCK)
        for frame in released.frames:
            self._publish(frame)

    def _publish(self, frame: Frame) -> None:
        message = encode_frame(frame)
        self.events.send(message, zmq.NOBLOCK)  # XPUB never blocks: a full subscriber misses the frame
        self._rotation.moved(frame.channel)
        self._counters["frames"] += 1
        self._counters["frame_bytes"] += len(message)
        self._counters["merged"] += frame.merged

    def send_beacon(self) -> None:
        """Say that this shard is alive, and how far its channels are."""
        channels = self._batcher.channels()
        names = self._rotation.next((channel.name for channel in channels), len(channels))
        self._send_beacon(names, [life for lives in self._gone for life in lives])
        self._gone.append([])

    def _send_beacon(self, names: list[str], gone: list[tuple[str, int]]) -> None:
        heads = [
            Head(channel.name, channel.epoch, channel.published_seq, channel.terminal_at is not None)
            for channel in map(self._batcher.current, names)
            if channel is not None
        ]
        beacon = Beacon(self.number, self._config.pipeline.shards, HASH_NAME, self._boot, heads, gone)
        self.events.send(encode_beacon(beacon), zmq.NOBLOCK)

    def greet_joiners(self) -> None:
        """Tell whoever subscribed to a channel how far it is; frames before that are in history."""
        joined = {
            message[1:].split(b"|")[1].decode("ascii", "replace")
            for message in drain(self.events, self._config.limits.drain_messages)
            if message[:1] == b"\x01" and message[1:].startswith(FRAME_TOPIC) and message.count(b"|") == 2
        }
        if joined:
            self._send_beacon(sorted(joined), [])

    def answer(self, now: float) -> None:
        """Answer readers' questions; pages only a few a wake-up, the others stay queued in the socket."""
        pages = 0
        for _ in range(self._config.limits.drain_messages):
            if pages == _PAGES_A_WAKEUP:
                return
            for peer, message in drain_router(self.questions, 1):
                try:
                    request = decode_history_request(message)
                except MessageMalformed as error:
                    self._counters["malformed{socket=history}"] += 1
                    self._limited_log.warning("malformed question", now, problem=error)
                    break
                if isinstance(request, PageRequest):
                    pages += 1
                    reply = self._page(request)
                elif isinstance(request, HeadRequest):
                    reply = encode(self._head(request))
                elif isinstance(request, ChannelsRequest):
                    summaries = [self._summary(channel, now) for channel in self._batcher.channels()]
                    reply = encode(ChannelsReply(request.id, self.number, summaries))
                else:
                    reply = encode(StatsReply(request.id, f"shard-{self.number}", self.counters()))
                self.questions.send_multipart((peer, reply), zmq.NOBLOCK)
                break
            else:
                return

    def _head(self, request: HeadRequest) -> HeadReply:
        channel = self._batcher.current(request.channel)
        if channel is None:
            return HeadReply(request.id, request.channel)
        asked = self._batcher.life(request.channel, request.epoch) if request.epoch is not None else None
        return HeadReply(
            request.id,
            channel.name,
            channel.epoch,
            channel.published_seq,
            self._held(channel),
            channel.terminal_at is not None,
            asked.published_seq if asked is not None else 0,
            self._held(asked) if asked is not None else None,
        )

    def _held(self, channel: Channel) -> int:
        """The oldest seq that can be given; one past the head when there is none yet."""
        held = self._history.held(channel.name, channel.epoch)
        return channel.published_seq + 1 if held is None else min(held, channel.published_seq + 1)

    def _page(self, request: PageRequest) -> bytes:
        current = self._batcher.current(request.channel)
        life = self._batcher.life(request.channel, request.epoch)
        head = life.published_seq if life is not None else 0
        first, events = self._history.read(
            request.channel, request.epoch, max(1, request.first), head, MAX_PAGE_BYTES
        )
        last = first + len(events) - 1
        header = PageHeader(
            request.id,
            request.channel,
            request.epoch,
            first,
            last,
            head,
            life is not None,
            current.epoch if current is not None else None,
            life is not None and life.terminal_at is not None and last >= head,
        )
        self._counters["pages"] += 1
        return encode_page(header, events)

    def _summary(self, channel: Channel, now: float) -> ChannelSummary:
        return ChannelSummary(
            channel=channel.name,
            epoch=channel.epoch,
            seq=channel.published_seq,
            status=channel.state.status,
            phase=channel.state.phase,
            progress=channel.state.progress,
            started_ms=channel.epoch,
            elapsed_s=round(channel.elapsed_s(now), 3),
            frames=channel.frames,
            events=channel.head_seq,
            merged=channel.merged,
            counts=channel.state.counts,
            best_effort=channel.best_effort,
        )

    def counters(self) -> dict[str, float]:
        """Return everything this shard counts: name -> value."""
        counted: dict[str, float] = {**self._counters, **self._batcher.counters}
        counted["history_bytes"] = self._history.size_bytes
        counted["history_trimmed_events"] = self._history.trimmed_events
        counted["channels"] = len(self._batcher.channels())
        return counted
