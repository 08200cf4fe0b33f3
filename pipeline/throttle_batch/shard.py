"""One shard: its three sockets, its batcher and its history. Shell.

Holds no rule about events; `batcher` does. A wake-up of the stage calls `take_in`, then `release`, then
`answer` on each of its shards.
"""

from __future__ import annotations

import time
from collections import Counter, deque

import zmq

from pipeline.errors import EventsDamaged, JournalError, MessageMalformed
from pipeline.event import Catalogue
from pipeline.frame import Frame
from pipeline.log import LimitedLog, Log
from pipeline.metrics import Histogram
from pipeline.runtime import wall_ms
from pipeline.shards import HASH_NAME
from pipeline.sockets import Binder, drain, drain_router, shard_events, shard_history, shard_in
from pipeline.throttle_batch.batcher import Batcher, Commit
from pipeline.throttle_batch.channel import Channel
from pipeline.throttle_batch.config import ThrottleBatchConfig
from pipeline.throttle_batch.heads import REPEATS, HeadRotation
from pipeline.throttle_batch.journal import DamagedRange, Journal
from pipeline.throttle_batch.listing import Listing
from pipeline.throttle_batch.records import LifeRecord
from pipeline.throttle_batch.shelf import Shelf
from pipeline.throttle_batch.shown import hosts_page, state_document
from pipeline.vitals import Vitals
from pipeline.wire import (
    FRAME_TOPIC,
    MAX_PAGE_BYTES,
    AccessReply,
    AccessRequest,
    Beacon,
    ChannelsRequest,
    DeleteReply,
    DeleteRequest,
    Head,
    HeadReply,
    HeadRequest,
    HostsHeader,
    HostsRequest,
    PageHeader,
    PageRequest,
    PastRequest,
    StateHeader,
    StateRequest,
    decode_envelope,
    decode_history_request,
    encode,
    encode_beacon,
    encode_feedback,
    encode_frame,
    encode_hosts,
    encode_page,
    encode_state,
)

_PAGES_A_WAKEUP = 2
"""A page is a quarter of a megabyte: more of them at once would delay what is live."""
_LOOKED_AT_S = 10.0
"""How long a state that was read from the journal is kept for the next question."""


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
        critical = catalogue.critical
        self._critical = None if critical == Catalogue().critical else tuple(sorted(critical))
        self._batcher = Batcher(config, catalogue, boot_ms, now)
        self._listing = Listing(number, boot, self._batcher)
        self._journal = journal
        self._journal_failing = False
        self._committed_ms = 0
        self._looked_at: Channel | None = None
        self._looked_until = now
        self._damaged: set[DamagedRange] = set()
        for found in journal.damaged:
            self._tell_damage(found)
        self._batcher.restore(journal.load(), now)
        self._shelf = Shelf(number, self._batcher, journal)
        self._supply(now)
        self._rotation = HeadRotation(config.publish.beacon_interval_s)
        self._gone: deque[list[tuple[str, int]]] = deque([[]], maxlen=REPEATS)
        self.inbox = binder.bind(zmq.PULL, shard_in(number), high_water_mark=1_000)
        self.events = binder.bind(
            zmq.XPUB, shard_events(number), high_water_mark=config.publish.high_water_mark
        )
        self.questions = binder.bind(zmq.ROUTER, shard_history(number), high_water_mark=1_000)

    def follow(self, config: ThrottleBatchConfig) -> None:
        """Go on with another configuration."""
        self._config = config
        self._batcher.follow(config)
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
        if now > self._looked_until:
            self._looked_at = None
        for frame in self._batcher.handle_timeout(now):
            self._publish(frame, now)
        for channel, epoch in self._batcher.take_gone():
            if self._journal.free(channel, epoch):
                self._batcher.forget(channel, epoch)
            self._gone[-1].append((channel, epoch))
            self._looked_at = None
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
            record = self._recall(channel.name, channel.epoch, now)
            channel.supply(record.detail or b"" if record is not None else b"")

    def _recall(self, channel: str, epoch: int, now: float) -> LifeRecord | None:
        try:
            return self._journal.record(channel, epoch)
        except JournalError as error:
            self._cannot_read(error, now)
            return None

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
                    reply = self._page(request, now)
                    if not reply:
                        break  # the reader asks again
                elif isinstance(request, StateRequest | HostsRequest):
                    pages += 1
                    reply = self._state(request, now)
                elif isinstance(request, PastRequest):
                    pages += 1
                    reply = self._past(request, now)
                    if not reply:
                        break
                elif isinstance(request, DeleteRequest):
                    reply = encode(self._delete(request, now))
                elif isinstance(request, AccessRequest):
                    reply = encode(self._access(request, now))
                elif isinstance(request, HeadRequest):
                    reply = encode(self._head(request, now))
                elif isinstance(request, ChannelsRequest):
                    reply = encode(self._listing.reply(request, now))
                else:
                    name, figures = f"shard-{self.number}", self.figures()
                    reply = encode(self._vitals.reply(request.id, name, figures, now))
                self.questions.send_multipart((peer, reply), zmq.NOBLOCK)
                break
            else:
                return

    def _past(self, request: PastRequest, now: float) -> bytes:
        try:
            return encode(self._shelf.past(request))
        except JournalError as error:
            self._cannot_read(error, now)
            return b""

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
        self._looked_at = None
        return reply

    def _cannot_read(self, error: JournalError, now: float) -> None:
        self._counters["history_failed"] += 1
        self._limited_log.warning("history cannot be read", now, problem=error)

    def _present(self, name: str, now: float) -> tuple[int, bool] | None:
        """Return (epoch, whether it has ended) of a channel's present life; None when there is none."""
        channel = self._batcher.current(name)
        if channel is not None:
            return channel.epoch, channel.terminal_at is not None
        past = self._batcher.past(name)
        if past is not None:
            return past.epoch, past.ended
        try:
            epoch = self._shelf.latest(name)
        except JournalError as error:
            self._cannot_read(error, now)
            epoch = None
        return (epoch, True) if epoch is not None else None  # nothing comes for it: see `lives`

    def _head(self, request: HeadRequest, now: float) -> HeadReply:
        name = request.channel
        asked = self._ends(name, request.epoch) if request.epoch is not None else None
        asked_held, asked_seq = None, 0
        if request.epoch is not None and asked is not None:
            asked_held, asked_seq = asked[0], self._committed(name, request.epoch, asked[1])
        present = self._present(name, now)
        ends = self._ends(name, present[0]) if present is not None else None
        if present is None or ends is None:
            return HeadReply(
                request.id, name, asked_seq=asked_seq, asked_held=asked_held, critical=self._critical
            )
        held, seq = ends
        return HeadReply(
            request.id,
            name,
            present[0],
            seq,
            held,
            present[1],
            asked_seq,
            asked_held,
            self._batcher.current(name) is None,
            self._critical,
        )

    def _ends(self, name: str, epoch: int) -> tuple[int, int] | None:
        """Return (the oldest seq that can be given, the last one) of a life; None when it is unknown.

        What is in memory ends with its last published frame; what is in the journal only, with its log.
        """
        life = self._batcher.life(name, epoch)
        head = life.published_seq if life is not None else self._journal.head(name, epoch)
        if head is None:
            return None
        held = self._journal.held(name, epoch)
        return (head + 1 if held is None else min(held, head + 1)), head

    def _committed(self, name: str, epoch: int, head: int) -> int:
        """Return the last event committed of a life of which `head` is the last that can be given."""
        life = self._batcher.life(name, epoch)
        return life.committed_seq if life is not None else head

    def _page(self, request: PageRequest, now: float) -> bytes:
        name = request.channel
        ends = self._ends(name, request.epoch)
        head = ends[1] if ends is not None else 0
        committed = self._committed(name, request.epoch, head)
        damaged = 0
        try:
            first, events = self._journal.read(
                name, request.epoch, max(1, request.first), head, MAX_PAGE_BYTES
            )
        except EventsDamaged as error:
            self._tell_damage(DamagedRange(name, request.epoch, error.first, error.last))
            first, events = max(request.first, error.first), []
            damaged = min(error.last, head)
        except JournalError as error:
            self._cannot_read(error, now)
            return b""
        last = first + len(events) - 1
        present = self._present(name, now)
        # Of a life before the present one nothing is to come.
        ended = present[1] if present is not None and present[0] == request.epoch else ends is not None
        header = PageHeader(
            request.id,
            name,
            request.epoch,
            first,
            last,
            head,
            ends is not None,
            present[0] if present is not None else None,
            ended and max(last, damaged) >= committed,
            damaged,
            self._journal.is_cut(name, request.epoch),
            committed if committed > head else 0,
            self._next_life(name, request.epoch, present[0], now) if present and last >= head else None,
        )
        self._counters["pages"] += 1
        return encode_page(header, events)

    def _next_life(self, name: str, epoch: int, present: int, now: float) -> int | None:
        """Return the life that follows another, if it is neither the present one nor unknown."""
        if epoch >= present:
            return None
        try:
            return next((each for each in self._journal.epochs(name) if epoch < each < present), None)
        except JournalError as error:
            self._cannot_read(error, now)
            return None

    def _tell_damage(self, found: DamagedRange) -> None:
        """Count and log a range of events that nobody can be given; once."""
        if found in self._damaged:
            return
        self._damaged.add(found)
        self._counters["journal_damaged_events"] += found.last - found.first + 1
        self._log.error(
            "events in the journal are damaged; readers are told",
            channel=found.channel,
            epoch=found.epoch,
            first=found.first,
            last=found.last,
        )

    def _state(self, request: StateRequest | HostsRequest, now: float) -> bytes:
        """Answer with a life's state, or some of its hosts; from the journal when its memory is freed."""
        name = request.channel
        present = self._present(name, now) if request.epoch is None else None
        epoch = request.epoch if request.epoch is not None else present[0] if present is not None else 0
        live = self._batcher.life(name, epoch)
        channel = live or self._revived(name, epoch, now)
        self._counters["states"] += 1
        if channel is None:
            if isinstance(request, StateRequest):
                return encode_state(StateHeader(request.id, name), None)
            return encode_hosts(HostsHeader(request.id, name), [])
        if isinstance(request, HostsRequest):
            return hosts_page(channel, request)
        header = StateHeader(request.id, name, epoch, channel.committed_seq, live is None)
        return encode_state(header, state_document(channel, now))

    def _access(self, request: AccessRequest, now: float) -> AccessReply:
        """Answer whose a life is."""
        name, epoch = request.channel, request.epoch
        if epoch is None:
            present = self._present(name, now)
            epoch = present[0] if present is not None else 0
        life = self._batcher.life(name, epoch) or self._revived(name, epoch, now)
        if life is None:
            return AccessReply(request.id, name)
        about = life.state.about
        return AccessReply(request.id, name, epoch, about.owner, about.shared_with)

    def _revived(self, name: str, epoch: int, now: float) -> Channel | None:
        """Return a life that is in the journal only; the one asked for last is kept for its next pages."""
        if self._looked_at is not None and (self._looked_at.name, self._looked_at.epoch) == (name, epoch):
            return self._looked_at
        record = self._recall(name, epoch, now)
        self._looked_until = now + _LOOKED_AT_S
        self._looked_at = self._batcher.revive(record, now) if record is not None else None
        return self._looked_at

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
