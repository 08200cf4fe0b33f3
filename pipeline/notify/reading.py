"""Reads every scan's events from the workers, each once and in order, from where it was. Shell.

SUB to every shard's frames and beacons; what they do not bring is asked for. `following` knows what is due
and what is missing. It never slows a worker: what is dropped for it is fetched from history.
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
from pipeline.log import LimitedLog, Log
from pipeline.questions import Questions
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
    decode_beacon,
    decode_frame,
)

_SCANS = "scan/"
_HIGH_WATER_MARK = 1_000
_DRAIN_MESSAGES = 200


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

    def next_deadline(self) -> float | None:
        """Return when to call `read` although nothing comes."""
        return self._questions.next_deadline()

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
        try:
            for reply in self._questions.answers(_DRAIN_MESSAGES, now):
                if (passage := self._take_answer(reply)) is not None:
                    yield passage
        except MessageMalformed as error:
            self._malformed("history", error)
        self._questions.repeat(now)
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
        for head in beacon.heads:
            if head.channel.startswith(_SCANS):
                self._following.learn(head.channel, head.epoch, head.seq)
        if self._boots.get(beacon.shard) != beacon.boot:
            # Its beacons name all channels only by and by; and one that died may have committed what it did
            # not publish.
            self._boots[beacon.shard] = beacon.boot
            self._questions.ask(beacon.shard, ChannelsRequest, now)

    def _take_frame(self, frame: FrameMessage) -> Passage | None:
        header = frame.header
        due = self._following.frame(frame.channel, header.epoch, header.first, header.last)
        if due is None:
            return None
        self.counters["frames"] += 1
        return Passage(frame.channel, header.epoch, header.first, due, header.at, header.critical, frame.body)

    def _take_answer(self, reply: HistoryReply) -> Passage | None:
        if isinstance(reply, ChannelsReply):
            for summary in reply.channels:
                if summary.channel.startswith(_SCANS):
                    self._following.learn(summary.channel, summary.epoch, summary.seq)
                    self._heard.append(summary)
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
