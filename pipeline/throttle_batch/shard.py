"""One shard: its three sockets, its batcher and its history. Shell.

Holds no rule about events; `batcher` does. A wake-up of the stage calls `take_in`, then `release`, then
`answer` on each of its shards.
"""

from __future__ import annotations

import time
from collections import Counter, deque

import zmq

from pipeline.errors import JournalError, MessageMalformed
from pipeline.event import Catalogue
from pipeline.frame import Frame
from pipeline.log import LimitedLog, Log
from pipeline.metrics import Histogram
from pipeline.runtime import wall_ms
from pipeline.shards import HASH_NAME
from pipeline.sockets import Binder, drain, drain_router, shard_events, shard_history, shard_in
from pipeline.throttle_batch.answers import Answers
from pipeline.throttle_batch.batcher import Batcher, Commit
from pipeline.throttle_batch.config import ThrottleBatchConfig
from pipeline.throttle_batch.heads import REPEATS, HeadRotation
from pipeline.throttle_batch.journal import Journal
from pipeline.throttle_batch.listing import Listing
from pipeline.throttle_batch.shelf import Shelf
from pipeline.vitals import Vitals
from pipeline.wire import (
    FRAME_TOPIC,
    AccessRequest,
    Beacon,
    ChannelsRequest,
    DeleteReply,
    DeleteRequest,
    Head,
    HeadRequest,
    HostsRequest,
    PageRequest,
    PastRequest,
    StateRequest,
    decode_envelope,
    decode_history_request,
    encode,
    encode_beacon,
    encode_feedback,
    encode_frame,
)

_PAGES_A_WAKEUP = 2
"""A page is a quarter of a megabyte: more of them at once would delay what is live."""


class Shard:
    """Args:
    number: which shard.
    config: what the worker can be told.
    catalogue: how each event type is treated.
    journal: where what is accepted is kept; not yet loaded.
    binder: makes the sockets.
    log: where lines go.
    vitals: how the worker is.
    boot: names this run of the worker.
    boot_ms: the wall clock at `now`, epoch milliseconds.
    now: monotonic seconds.
    took: the histograms `commit_seconds` and `publish_seconds`, which all shards of a worker share.

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
        journal: Journal,
        binder: Binder,
        log: Log,
        vitals: Vitals,
        boot: str,
        boot_ms: int,
        now: float,
        took: dict[str, Histogram],
    ) -> None:
        self.number = number
        self._config = config
        self._log = log.bind(shard=number)
        self._limited_log = LimitedLog(self._log)
        self._commit_s, self._publish_s = took["commit_seconds"], took["publish_seconds"]
        self._trim_failing = False
        self._vitals = vitals
        self._boot = boot
        self._counters: Counter[str] = Counter()
        self._batcher = Batcher(config, catalogue, boot_ms, now)
        self._listing = Listing(number, boot, self._batcher)
        self._journal = journal
        self._journal_failing = False
        self._committed_ms = 0
        self._shelf = Shelf(number, self._batcher, journal)
        critical = catalogue.critical
        self._answers = Answers(
            self._batcher,
            journal,
            self._shelf,
            None if critical == Catalogue().critical else tuple(sorted(critical)),
            self._log,
            self._counters,
        )
        for found in journal.damaged:
            self._answers.tell_damage(found)
        self._batcher.restore(journal.load(), now)
        self._supply(now)
        self._rotation = HeadRotation(config.publish.beacon_interval_s)
        self._gone: deque[list[tuple[str, int]]] = deque([[]], maxlen=REPEATS)
        self.inbox = binder.bind(zmq.PULL, shard_in(number), high_water_mark=1_000)
        self.events = binder.bind(
            zmq.XPUB, shard_events(number), high_water_mark=config.publish.high_water_mark
        )
        self.questions = binder.bind(zmq.ROUTER, shard_history(number), high_water_mark=256)

    def follow(self, config: ThrottleBatchConfig, now: float) -> None:
        """Go on with another configuration."""
        self._config = config
        self._batcher.follow(config, now)
        self._journal.follow(config.journal)

    @property
    def taking(self) -> bool:
        """Whether `take_in` may be called: not while the journal cannot be written."""
        return not self._journal_failing

    def next_deadline(self) -> float | None:
        """Return when `release` has something to do, while the journal can be written."""
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
        """Publish what is due; commit what was taken, and only then ack and publish it."""
        if not self.taking:
            self._batcher.deaf(now)
        self._answers.forget_old(now)
        for frame in self._batcher.handle_timeout(now):
            self._publish(frame, now)
        for channel, epoch in self._batcher.take_gone():
            if self._journal.free(channel, epoch):
                self._batcher.forget(channel, epoch)
            self._gone[-1].append((channel, epoch))
            self._answers.forget()
            self._log.info("channel cleaned up", channel=channel, epoch=epoch)
        self._supply(now)
        commit = self._batcher.uncommitted()
        if commit and not self._commit(commit):
            return
        released = self._batcher.committed(now)
        feedback = released.feedback
        if feedback.acks or feedback.retries or feedback.nacks:
            self.events.send(encode_feedback(feedback), zmq.NOBLOCK)
            self._counters["acks"] += len(feedback.acks)
            self._counters["retries"] += len(feedback.retries)
        if released.frames:
            now = time.monotonic()  # the commit took its time
        for frame in released.frames:
            self._publish(frame, now)

    def _supply(self, now: float) -> None:
        """Read what the journal keeps of the states that are to be whole again."""
        for channel in self._batcher.wanted():
            record = self._answers.recall(channel.name, channel.epoch, now)
            channel.supply(record.detail or b"" if record is not None else b"")

    def deaf(self, now: float) -> None:
        """Take notice that the worker itself did nothing until now."""
        self._batcher.deaf(now)

    def _commit(self, commit: Commit) -> bool:
        now_ms = wall_ms()
        began = time.monotonic()
        try:
            self._journal.commit(commit, now_ms)
        except JournalError as error:
            if not self._journal_failing:
                self._log.error("journal cannot be written; nothing is acked until it can", problem=error)
            self._journal_failing = True
            return False
        self._commit_s.observe(time.monotonic() - began)
        if self._journal_failing:
            self._log.info("journal can be written again")
        self._journal_failing = False
        self._committed_ms = now_ms
        return True

    def trim(self) -> None:
        """Let the journal go of a little of what is beyond its bounds."""
        try:
            gone = self._journal.trim(wall_ms())
        except JournalError as error:
            if not self._trim_failing:
                self._log.error("journal cannot be trimmed", problem=error)
            self._trim_failing = True
            return
        self._trim_failing = False
        for channel, epoch in gone:
            self._batcher.forget(channel, epoch)

    def close(self) -> None:
        """Keep the last states, and let go of the journal."""
        commit = self._batcher.last_commit()
        if commit:
            self._commit(commit)
        self._journal.close()

    def _publish(self, frame: Frame, now: float) -> None:
        message = encode_frame(frame)
        self.events.send(message, zmq.NOBLOCK)  # XPUB never blocks: a full subscriber misses the frame
        self._publish_s.observe(now - frame.taken_us / 1e6)
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
        beacon = Beacon(
            self.number, self._config.pipeline.shards, HASH_NAME, self._boot, heads, gone, self._writable()
        )
        self.events.send(encode_beacon(beacon), zmq.NOBLOCK)

    def _writable(self) -> bool:
        try:
            return not self._journal_failing and self._journal.has_room
        except JournalError:
            return False

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
                    reply = self._answers.page(request, now)
                    if not reply:
                        break  # the reader asks again
                elif isinstance(request, StateRequest | HostsRequest):
                    pages += 1
                    reply = self._answers.state(request, now)
                elif isinstance(request, PastRequest):
                    pages += 1
                    reply = self._answers.past(request, now)
                    if not reply:
                        break
                elif isinstance(request, DeleteRequest):
                    reply = encode(self._delete(request, now))
                elif isinstance(request, AccessRequest):
                    told, was_read = self._answers.access(request, now)
                    pages += was_read
                    reply = encode(told)
                elif isinstance(request, HeadRequest):
                    reply = encode(self._answers.head(request, now))
                elif isinstance(request, ChannelsRequest):
                    reply = encode(self._listing.reply(request, now))
                else:
                    name, figures = f"shard-{self.number}", self.figures()
                    reply = encode(self._vitals.reply(request.id, name, figures, now))
                self.questions.send_multipart((peer, reply), zmq.NOBLOCK)
                break
            else:
                return

    def _delete(self, request: DeleteRequest, now: float) -> DeleteReply:
        if self._journal_failing:
            return DeleteReply(request.id, request.channel, [], "journal")
        reply, frames = self._shelf.delete(request)
        for frame in frames:
            self._publish(frame, now)
        for epoch in reply.epochs:
            self._gone[-1].append((request.channel, epoch))
            self._counters["lives_deleted"] += 1
            self._log.info("scan deleted", channel=request.channel, epoch=epoch)
        self._answers.forget()
        return reply

    def figures(self) -> dict[str, float]:
        """Return the counters, and how things are now."""
        pending_events, pending_bytes = self._batcher.pending()
        return {
            **self.counters(),
            "pending_events": float(pending_events),
            "pending_bytes": float(pending_bytes),
            "writable": float(self._writable()),
            "committed_ms": float(self._committed_ms),
        }

    def counters(self) -> dict[str, float]:
        """Return everything this shard counts: name -> value."""
        counted: dict[str, float] = {**self._counters, **self._batcher.counters}
        counted.update(self._journal.counters())
        counted["channels"] = len(self._batcher.channels())
        return counted
