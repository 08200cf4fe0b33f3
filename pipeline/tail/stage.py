"""The tail process: SUB to every shard's frames and beacons, DEALER to their history, out to standard output.

It never slows the pipeline: a worker drops frames for a reader that does not keep up, and what was dropped
is asked for when it reads on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import zmq

from pipeline.cursor import Missed, Note
from pipeline.endpoints import Endpoints, endpoints_of
from pipeline.errors import EventRejected, LayoutError, MessageMalformed, PeerError, TimedOut
from pipeline.following import Following
from pipeline.frame import Position
from pipeline.links import Links
from pipeline.log import escape
from pipeline.questions import Questions
from pipeline.runtime import wall_ms
from pipeline.shards import HASH_NAME, shard_of
from pipeline.sockets import Binder, drain, found, has_more, poll_ms, shard_events
from pipeline.tail.ending import Endings
from pipeline.tail.options import WAIT_TOLD_S, TailOptions, not_reached, waited_for
from pipeline.tail.printing import Printer, Range
from pipeline.tail.record import RecordFile
from pipeline.wire import (
    BEACON_TOPIC,
    FRAME_TOPIC,
    Beacon,
    ChannelsReply,
    ChannelsRequest,
    Document,
    FrameMessage,
    HeadReply,
    HeadRequest,
    HistoryReply,
    Page,
    PageRequest,
    StateRequest,
    channel_name,
    decode_beacon,
    decode_frame,
    frame_topic,
)

RESCAN_INTERVAL_S = 0.5
"""How often the run directory is looked at for shards that were not there before."""
HIGH_WATER_MARK = 1_000
"""Frames queued of each shard, so that a terminal that scrolls slowly is not a gap at once."""
DRAIN_MESSAGES = 200
LATE_INTERVAL_S = 10.0
"""How often it is told, at most, that events came too late to be taken live."""


class Tail:
    """Args:
    where: where the pipeline's sockets are; a path is its run directory.
    options: what is read and printed.
    output: the file descriptor it is written to; when its reader goes, the tail ends.
    notice: told, one line at a time, what is not data.

    Raises:
        OperatorError: the file to record to cannot be used.
    """

    def __init__(
        self, where: Path | Endpoints, options: TailOptions, output: int, notice: Callable[[str], None]
    ) -> None:
        self._endpoints = endpoints_of(where)
        self._options = options
        self._output = output
        self._notice = notice
        self._channels = tuple(channel_name("scan", scan_id) for scan_id in dict.fromkeys(options.scan_ids))
        self._following = Following(options.start, wall_ms(), frozenset(self._channels) or None)
        self._record = RecordFile(options.record) if options.record is not None else None
        if self._record is not None and self._record.cut_bytes:
            notice(f"{options.record}: its last line was not whole and is cut off")
        self._printer = Printer(options.printing, output, self._record, time.monotonic())
        self._endings = Endings(self._channels if options.until_complete else ())
        self._stood: set[str] = set()
        self._told_late = 0
        self._merged = 0
        self._next_late = 0.0
        self._shards: int | None = None
        self._boots: dict[int, str] = {}
        self._gaps = 0
        self._missed = 0
        self._unknown: set[str] = set()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._binder = Binder(self._context, self._endpoints)
        self._questions = Questions(self._binder, notice)
        self._frames = self._binder.connect(zmq.SUB, [], high_water_mark=HIGH_WATER_MARK)
        self._links = Links()
        self._connected: set[str] = set()
        self._told_waiting = False
        if options.follow:
            for topic in [frame_topic(channel) for channel in self._channels] or [FRAME_TOPIC]:
                self._frames.setsockopt(zmq.SUBSCRIBE, topic)
        self._frames.setsockopt(zmq.SUBSCRIBE, BEACON_TOPIC)

    def run(self) -> None:
        """Print until the count, the time, or the end of what is held or of the scans is reached.

        Raises:
            TimedOut: the time is over and the count, the head, or the end of a scan was not reached.
            PeerError: a scan is unknown and its coming is not waited for; or it has failed.
            LayoutError: the workers spread their channels in a way this version does not know.
            OperatorError: the record cannot be written.
            BrokenPipeError: the reader of the output has gone.
        """
        self._loop()
        self._printer.handle_timeout(time.monotonic(), _clock(), last=True)
        if self._printer.enough:
            return
        if self._unknown and not self._options.follow:
            raise PeerError(
                f"{', '.join(sorted(self._unknown))}: not known to the pipeline in {self._endpoints}"
            )
        if failures := self._endings.failures():
            raise PeerError("; ".join(failures))

    def _loop(self) -> None:
        options = self._options
        poller = zmq.Poller()
        poller.register(self._frames, zmq.POLLIN)
        poller.register(self._output, zmq.POLLERR)
        next_scan = now = time.monotonic()
        end = None if options.timeout_s is None else now + options.timeout_s
        told_at = now + WAIT_TOLD_S
        while not self._finished():
            if now >= next_scan:
                self._connect_new()
                for shard in self._links.look(now, drained=not has_more(self._frames)):
                    self._binder.connect_anew(self._frames, shard_events(shard))
                self._tell_late(now)
                if now >= told_at:
                    self._tell_waiting()
                    told_at = math.inf
                next_scan = now + RESCAN_INTERVAL_S
            self._ask(now)
            for socket in self._questions.sockets:
                poller.register(socket, zmq.POLLIN)
            deadlines = [next_scan, end, self._questions.next_deadline(), self._printer.next_deadline()]
            deadline = min(moment for moment in deadlines if moment is not None)
            ready = dict(poller.poll(poll_ms(deadline, now)))
            now = time.monotonic()
            if self._frames in ready:
                self._hear()
            if any(socket in ready for socket in self._questions.sockets):
                self._take_answers(now)
            elif self._output in ready:
                raise BrokenPipeError
            self._printer.handle_timeout(now, _clock())
            if end is not None and now >= end and not self._finished():
                if not options.awaits:
                    return
                nobody = "" if self._connected else f"; no pipeline is found in {self._endpoints}"
                raise TimedOut(not_reached(options, self._printer.printed, self._endings.waiting) + nobody)

    def close(self) -> None:
        """Close the sockets and the record, and say how much was missed, if anything was."""
        self._binder.close()
        self._context.term()
        if self._record is not None:
            self._record.close()
        self._tell_late(None)
        if self._merged:
            self._notice(f"merged: {self._merged} progress reports replaced by later ones")
        if self._gaps:
            self._notice(f"missed {self._missed} events in {self._gaps} gaps")

    def _finished(self) -> bool:
        if self._printer.enough:
            return True
        if self._options.until_complete and self._endings.look(self._following.position):
            return True
        at_rest = self._shards is not None and not len(self._questions) and not self._following.behind
        return at_rest and not self._options.follow

    def _tell_late(self, now: float | None) -> None:
        """Tell how many events did not come live, now and then and at the end (None)."""
        late = self._following.late
        if late > self._told_late and (now is None or now >= self._next_late):
            self._notice(f"late: {late - self._told_late} events did not come live and are from history")
            self._told_late = late
            self._next_late = (now or 0.0) + LATE_INTERVAL_S

    def _tell_waiting(self) -> None:
        unknown = [channel for channel in self._unknown if self._following.position(channel) is None]
        answered = self._shards is not None
        keys = self._endpoints.keys
        own = keys.public if keys is not None else ""
        keyed = bool(self._endpoints.book.server_keys)
        line = waited_for(str(self._endpoints), answered=answered, unknown=unknown, key=own, wants_key=keyed)
        if line:
            self._notice(line)

    def _connect_new(self) -> None:
        names = set(found(self._endpoints, "shard-*.events"))
        if not names and not self._connected and not self._told_waiting:
            self._notice(f"waiting for a pipeline in {self._endpoints}")
            self._told_waiting = True
        for name in sorted(names - self._connected):
            self._binder.join(self._frames, name)
            self._connected.add(name)

    # --- what the workers say -----------------------------------------------------------------------

    def _hear(self) -> None:
        arrived = _clock()
        for message in drain(self._frames, DRAIN_MESSAGES):
            if self._printer.enough:
                return
            try:
                if message.startswith(BEACON_TOPIC):
                    self._take_beacon(decode_beacon(message))
                else:
                    self._take_frame(decode_frame(message), len(message), arrived)
            except (MessageMalformed, EventRejected) as error:
                self._notice(f"malformed frame: {escape(str(error))}")

    def _take_frame(self, frame: FrameMessage, size_bytes: int, arrived: datetime) -> None:
        header = frame.header
        due = self._following.frame(frame.channel, header.epoch, header.first, header.last)
        if due is None:
            return
        events = Range(
            channel=frame.channel,
            epoch=header.epoch,
            first=header.first,
            last=header.last,
            body=frame.body,
            merged=header.merged,
            at=header.at,
            size_bytes=size_bytes,
            mark="critical" if header.critical else "",
        )
        if header.merged:
            kept = sum(header.first + offset >= due for offset in header.at)
            self._merged += header.last - due + 1 - kept
        self._printer.print(events, due, arrived)
        if header.terminal:
            self._ask_whether_ended(frame.channel, header.epoch)

    def _take_beacon(self, beacon: Beacon) -> None:
        if beacon.hash != HASH_NAME:
            raise LayoutError(
                f"the pipeline in {self._endpoints} spreads its channels by {beacon.hash!r}; this version by "
                f"{HASH_NAME!r}"
            )
        self._links.heard(beacon.shard, time.monotonic())
        if self._shards is None:
            self._shards = beacon.shards
            self._ask_where_to_begin(beacon.shards)
        if self._options.follow:
            for head in beacon.heads:
                self._following.learn(head.channel, head.epoch, head.seq)
            if self._boots.setdefault(beacon.shard, beacon.boot) != beacon.boot:
                # A worker that died may have committed what it did not publish; its beacons name all
                # channels only by and by.
                self._boots[beacon.shard] = beacon.boot
                self._questions.ask(beacon.shard, ChannelsRequest, time.monotonic())

    # --- questions ----------------------------------------------------------------------------------

    def _ask_where_to_begin(self, shards: int) -> None:
        now = time.monotonic()
        for channel in self._endings.waiting:
            self._ask_whether_ended(channel, None)
        if isinstance(self._options.start, Position):
            return  # known already
        for channel in self._channels:
            self._questions.ask(shard_of(channel, shards), partial(HeadRequest, channel=channel), now)
        if not self._channels:
            for shard in range(shards):
                self._questions.ask(shard, ChannelsRequest, now)

    def _ask_whether_ended(self, channel: str, epoch: int | None) -> None:
        """Ask how a channel's life stands, its present one if none is named."""
        if self._shards is not None and channel in self._endings.waiting:
            request = partial(StateRequest, channel=channel, epoch=epoch)
            self._questions.ask(shard_of(channel, self._shards), request, time.monotonic())

    def _ask(self, now: float) -> None:
        """Ask history for those that are behind; ask again what was asked in vain."""
        self._questions.repeat(now)
        if self._shards is None:
            return
        while (fetch := self._following.next_fetch()) is not None:
            channel, (epoch, seq) = fetch
            request = partial(PageRequest, channel=channel, epoch=epoch, first=seq)
            self._questions.ask(shard_of(channel, self._shards), request, now)

    def _take_answers(self, now: float) -> None:
        arrived = _clock()
        try:
            for reply in self._questions.answers(DRAIN_MESSAGES, now):
                self._take_answer(reply, arrived)
                if self._printer.enough:
                    return
        except (MessageMalformed, EventRejected) as error:
            self._notice(f"malformed answer: {escape(str(error))}")

    def _take_answer(self, reply: HistoryReply, arrived: datetime) -> None:
        if isinstance(reply, Page):
            self._take_page(reply, arrived)
        elif isinstance(reply, Document):
            self._take_state(reply)
        elif isinstance(reply, ChannelsReply):
            for summary in reply.channels:
                self._following.learn(summary.channel, summary.epoch, summary.seq)
        elif isinstance(reply, HeadReply):
            if reply.epoch is not None:
                self._following.learn(reply.channel, reply.epoch, reply.seq)
            else:
                self._unknown.add(reply.channel)

    def _take_page(self, page: Page, arrived: datetime) -> None:
        header = page.header
        taken = self._following.page(header)
        for note in taken.notes:
            self._tell(header.channel, note)
        if taken.unknown:
            self._unknown.add(header.channel)
        if taken.print_from is not None:
            events = Range(
                channel=header.channel,
                epoch=header.epoch,
                first=header.first,
                last=header.last,
                body=page.body,
                size_bytes=len(page.body),
                live=False,
                mark="history",
            )
            self._printer.print(events, taken.print_from, arrived)
        if header.terminal or taken.notes:
            self._ask_whether_ended(header.channel, header.epoch if header.terminal else None)

    def _take_state(self, document: Document) -> None:
        header = document.header
        first = header.channel not in self._stood
        self._stood.add(header.channel)
        if header.epoch is None:
            return  # nobody knows it yet
        end = self._endings.tell(header.channel, Position(header.epoch, header.seq), document.body)
        if first and end is not None and self._options.start == "live":
            self._notice(f"{header.channel} is over already: {'failed' if end.failed else 'completed'}")

    def _tell(self, channel: str, note: Note) -> None:
        name = escape(channel)
        if isinstance(note, Missed):
            count = note.last - note.first + 1
            self._gaps += 1
            self._missed += count
            why = "damaged" if note.damaged else "no longer held"
            self._notice(f"gap: {name}: {count} events are {why}, {note.epoch}:{note.first}-{note.last}")
        else:
            self._notice(f"reset: {name}: life {note.epoch} {note.why}; it goes on with {note.now}:1")


def _clock() -> datetime:
    return datetime.fromtimestamp(wall_ms() / 1000).astimezone()
