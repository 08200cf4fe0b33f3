"""Reads every scan's events from the workers, each once and in order, from where it was. Shell.

SUB to every shard's frames and beacons; what they do not bring is asked for. `following` knows what is due
and what is missing. It never slows a worker: what is dropped for it is fetched from history.

A life may begin, end and leave the workers' memory while nobody reads here. So a shard is asked first what it
has in memory and what only its journal has; the latter is asked again now and then. Of a scan that is not
known the worker names the first life to be read: the one after the time that this began.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import zmq

from pipeline.cursor import Missed, Note
from pipeline.errors import EventRejected, LayoutError, MessageMalformed
from pipeline.following import Following
from pipeline.frame import Position
from pipeline.links import Links
from pipeline.log import LimitedLog, Log
from pipeline.questions import Questions
from pipeline.runtime import wall_ms
from pipeline.shards import HASH_NAME, shard_of
from pipeline.sockets import Binder, drain, has_more, shard_events
from pipeline.wire import (
    BEACON_TOPIC,
    FRAME_TOPIC,
    Beacon,
    ChannelsReply,
    ChannelsRequest,
    ChannelSummary,
    FrameMessage,
    HistoryReply,
    Page,
    PageRequest,
    PastReply,
    PastRequest,
    decode_beacon,
    decode_frame,
)

_SCANS = "scan/"
_HIGH_WATER_MARK = 1_000
_DRAIN_MESSAGES = 200
_SWEEP_INTERVAL_S = 60.0
"""How often the journals' past lives are looked through."""
_SWEEP_BACK_MS = 3_600_000
"""How far a later look goes back behind the one before: a life is in memory for a while after its end."""


class Passage(NamedTuple):
    """Consecutive events of a life, of which those from `due` on are new.

    Attributes:
        channel: `kind/id`.
        epoch: the life.
        first: seq of the first of them.
        due: seq of the first one that is new.
        at: each event's offset from `first`, where some were merged; else empty.
        critical: whether one of class critical may be among them.
        body: the JSON array of them.
    """

    channel: str
    epoch: int
    first: int
    due: int
    at: tuple[int, ...]
    critical: bool
    body: bytes


class JournalReader:
    """Args:
    binder: makes the sockets.
    shards: how many there are.
    following: where every channel is.
    counters: what is counted.
    log: where lines go.
    """

    def __init__(
        self, binder: Binder, shards: int, following: Following, counters: Counter[str], log: Log
    ) -> None:
        self._binder = binder
        self._links = Links()
        self._shards = shards
        self._following = following
        self.counters = counters
        self._log = log
        self._limited_log = LimitedLog(log)
        self._boots: dict[int, str] = {}
        self._questions = Questions(
            binder, lambda line: self._log.warning("shard does not answer", told=line)
        )
        names = [shard_events(shard) for shard in range(shards)]
        self._frames = binder.connect(zmq.SUB, names, high_water_mark=_HIGH_WATER_MARK)
        self._frames.setsockopt(zmq.SUBSCRIBE, FRAME_TOPIC + _SCANS.encode())
        self._frames.setsockopt(zmq.SUBSCRIBE, BEACON_TOPIC)
        self._heard: list[ChannelSummary] = []
        self._listed: set[int] = set()
        self._sweep_from = [following.began_ms] * shards
        self._sweep_at = float("inf")
        self._sweeping = list(self._sweep_from)

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """Those that something may come by; a question to a shard not asked before adds one."""
        return [self._frames, *self._questions.sockets]

    @property
    def has_more(self) -> bool:
        """Whether something has come that was not read."""
        return any(has_more(socket) for socket in self.sockets)

    @property
    def heard_shards(self) -> int:
        """How many shards have been heard at all."""
        return len(self._boots)

    def next_deadline(self) -> float:
        """Return when to call `read` although nothing comes."""
        asked = self._questions.next_deadline()
        due = min(self._sweep_at, self._links.next_deadline())
        return due if asked is None else min(asked, due)

    def summaries(self) -> list[ChannelSummary]:
        """Return what workers told of scans since the last call."""
        heard, self._heard = self._heard, []
        return heard

    def read(self, now: float) -> Iterator[Passage]:
        """Yield what has come and is due, up to a bound, and ask for what is missing.

        Raises:
            LayoutError: a worker's beacon tells of other shards than this configuration.
        """
        for message in drain(self._frames, _DRAIN_MESSAGES):
            try:
                if message.startswith(BEACON_TOPIC):
                    self._take_beacon(decode_beacon(message), now)
                elif (passage := self._take_frame(decode_frame(message))) is not None:
                    yield passage
            except MessageMalformed as error:
                self._malformed("events", error)
        for shard in self._links.look(now, drained=not has_more(self._frames)):
            self._binder.connect_anew(self._frames, shard_events(shard))
            self.counters["links_renewed"] += 1
        try:
            for reply in self._questions.answers(_DRAIN_MESSAGES, now):
                if (passage := self._take_answer(reply, now)) is not None:
                    yield passage
        except MessageMalformed as error:
            self._malformed("history", error)
        self._questions.repeat(now)
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_INTERVAL_S
            for shard in self._listed:
                self._sweep(shard, now)
        if self._boots:
            while (fetch := self._following.next_fetch()) is not None:
                channel, (epoch, seq) = fetch
                request = partial(PageRequest, channel=channel, epoch=epoch, first=seq)
                self._questions.ask(shard_of(channel, self._shards), request, now)

    def _malformed(self, socket: str, error: MessageMalformed | EventRejected) -> None:
        self.counters[f"malformed{{socket={socket}}}"] += 1
        self._limited_log.warning("malformed message from a worker", time.monotonic(), problem=error)

    def _take_beacon(self, beacon: Beacon, now: float) -> None:
        if (beacon.shards, beacon.hash) != (self._shards, HASH_NAME):
            raise LayoutError(
                f"shard {beacon.shard} is one of {beacon.shards}, spread by {beacon.hash!r}; this process is "
                f"set to {self._shards} shards, spread by {HASH_NAME!r}"
            )
        self._links.heard(beacon.shard, now)
        for head in beacon.heads:
            if head.channel.startswith(_SCANS) and self._may_begin(head.channel):
                self._following.learn(head.channel, head.epoch, head.seq)
        if self._boots.get(beacon.shard) != beacon.boot:
            # Its beacons name all channels only by and by; and one that died may have committed what it did
            # not publish.
            self._boots[beacon.shard] = beacon.boot
            self._questions.ask(beacon.shard, ChannelsRequest, now)

    def _take_frame(self, frame: FrameMessage) -> Passage | None:
        header = frame.header
        if not self._may_begin(frame.channel):
            return None
        due = self._following.frame(frame.channel, header.epoch, header.first, header.last)
        if due is None:
            return None
        self.counters["frames"] += 1
        return Passage(frame.channel, header.epoch, header.first, due, header.at, header.critical, frame.body)

    def _may_begin(self, channel: str) -> bool:
        """Say whether a channel is known, or its shard has told of all it had before."""
        if len(self._listed) == self._shards or self._following.position(channel) is not None:
            return True
        return shard_of(channel, self._shards) in self._listed

    def _meet(self, channel: str, epoch: int, head: int) -> None:
        """Take in that a channel has a life, which may not be the first one to be read."""
        began_ms = self._following.began_ms
        if self._following.position(channel) is None and epoch >= began_ms:
            self._following.resume(channel, Position(began_ms - 1, 0), ask=True)
        self._following.learn(channel, epoch, head)

    def _sweep(self, shard: int, now: float) -> None:
        """Look through the past lives of a shard's journal, those of late."""
        since_ms, self._sweep_from[shard] = self._sweep_from[shard], wall_ms() - _SWEEP_BACK_MS
        self._sweeping[shard] = since_ms
        self._questions.ask(shard, PastRequest, now)

    def _take_past(self, reply: PastReply, now: float) -> None:
        for life in reply.lives:
            position = self._following.position(life.channel)
            if life.epoch >= self._following.began_ms and (position is None or life.epoch > position.epoch):
                self._meet(life.channel, life.epoch, 0)
        if reply.next is not None and reply.next[0] >= self._sweeping[reply.shard]:
            self._questions.ask(reply.shard, partial(PastRequest, before=reply.next), now)

    def _take_answer(self, reply: HistoryReply, now: float) -> Passage | None:
        if isinstance(reply, ChannelsReply):
            for summary in reply.channels:
                if summary.channel.startswith(_SCANS):
                    self._meet(summary.channel, summary.epoch, summary.seq)
                    self._heard.append(summary)
            if reply.shard not in self._listed:
                self._listed.add(reply.shard)
                self._sweep(reply.shard, now)
                self._sweep_at = min(self._sweep_at, now + _SWEEP_INTERVAL_S)
        elif isinstance(reply, PastReply):
            self._take_past(reply, now)
        if not isinstance(reply, Page):
            return None
        header = reply.header
        taken = self._following.page(header)
        for note in taken.notes:
            self._tell(header.channel, note)
        if taken.print_from is None:
            return None
        self.counters["pages"] += 1
        return Passage(
            header.channel, header.epoch, header.first, taken.print_from, (), critical=True, body=reply.body
        )

    def _tell(self, channel: str, note: Note) -> None:
        if isinstance(note, Missed):
            count = note.last - note.first + 1
            self.counters["events_missed"] += count
            self._log.warning(
                "events are not held",
                channel=channel,
                epoch=note.epoch,
                first=note.first,
                last=note.last,
                damaged=note.damaged,
            )
