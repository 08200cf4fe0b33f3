"""The tail process: SUB to every shard's frames and beacons, DEALER to their history, out to standard output.

It never slows the pipeline: a worker drops frames for a reader that does not keep up, and what was dropped
is asked for when it reads on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

import zmq

from pipeline.errors import EventRejected, LayoutError, MessageMalformed, PeerError
from pipeline.frame import Position
from pipeline.log import escape
from pipeline.runtime import wall_ms
from pipeline.shards import HASH_NAME, shard_of
from pipeline.sockets import Binder, drain, found, poll_ms
from pipeline.tail.cursor import Missed, Note
from pipeline.tail.following import Following, Start
from pipeline.tail.printing import Printer, PrintOptions, Range
from pipeline.tail.questions import Questions
from pipeline.tail.record import RecordFile
from pipeline.wire import (
    BEACON_TOPIC,
    FRAME_TOPIC,
    Beacon,
    ChannelsReply,
    ChannelsRequest,
    FrameMessage,
    HeadReply,
    HeadRequest,
    HistoryReply,
    Page,
    PageRequest,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TailOptions:
    """What is read, and until when.

    Attributes:
        scan_ids: only these scans; empty for everything.
        start: where to begin; a position goes with exactly one scan.
        follow: whether to go on with what is published from then on; else the head is the end.
        timeout_s: stop after so many seconds; None for no end.
        record: append every event that is printed to this file, too.
        printing: what is printed, and how.
    """

    scan_ids: tuple[str, ...] = ()
    start: Start = "live"
    follow: bool = True
    timeout_s: float | None = None
    record: Path | None = None
    printing: PrintOptions = field(default_factory=PrintOptions)


class Tail:
    """Args:
    run_dir: the pipeline's run directory.
    options: what is read and printed.
    output: the file descriptor it is written to; when its reader goes, the tail ends.
    notice: told, one line at a time, what is not data.

    Raises:
        OperatorError: the file to record to cannot be used.
    """

    def __init__(
        self, run_dir: Path, options: TailOptions, output: int, notice: Callable[[str], None]
    ) -> None:
        self._run_dir = run_dir
        self._options = options
        self._output = output
        self._notice = notice
        self._channels = tuple(channel_name("scan", scan_id) for scan_id in dict.fromkeys(options.scan_ids))
        self._following = Following(options.start, wall_ms(), frozenset(self._channels) or None)
        self._record = RecordFile(options.record) if options.record is not None else None
        if self._record is not None and self._record.cut_bytes:
            notice(f"{options.record}: its last line was not whole and is cut off")
        self._printer = Printer(options.printing, output, self._record)
        self._shards: int | None = None
        self._boots: dict[int, str] = {}
        self._gaps = 0
        self._missed = 0
        self._unknown: set[str] = set()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._binder = Binder(self._context, run_dir)
        self._questions = Questions(self._binder, notice)
        self._frames = self._binder.connect(zmq.SUB, [], high_water_mark=HIGH_WATER_MARK)
        self._connected: set[str] = set()
        self._told_waiting = False
        if options.follow:
            for topic in [frame_topic(channel) for channel in self._channels] or [FRAME_TOPIC]:
                self._frames.setsockopt(zmq.SUBSCRIBE, topic)
        self._frames.setsockopt(zmq.SUBSCRIBE, BEACON_TOPIC)

    def run(self) -> None:
        """Print until the count, the time, or the end of what is held is reached, or nobody reads any more.

        Raises:
            PeerError: the time is over and the count, or the head, was not reached; or a scan is unknown
                and its coming is not waited for.
            LayoutError: the workers spread their channels in a way this version does not know.
            OperatorError: the record cannot be written.
            BrokenPipeError: the reader of the output has gone.
        """
        options = self._options
        poller = zmq.Poller()
        poller.register(self._frames, zmq.POLLIN)
        poller.register(self._output, zmq.POLLERR)
        next_scan = now = time.monotonic()
        end = None if options.timeout_s is None else now + options.timeout_s
        while not self._finished():
            if now >= next_scan:
                self._connect_new()
                next_scan = now + RESCAN_INTERVAL_S
            self._ask(now)
            for socket in self._questions.sockets:
                poller.register(socket, zmq.POLLIN)
            deadlines = [next_scan, end, self._questions.next_deadline()]
            deadline = min(moment for moment in deadlines if moment is not None)
            ready = dict(poller.poll(poll_ms(deadline, now)))
            now = time.monotonic()
            if self._frames in ready:
                self._hear()
            if any(socket in ready for socket in self._questions.sockets):
                self._take_answers(now)
            elif self._output in ready:
                raise BrokenPipeError
            if end is not None and now >= end and not self._finished():
                if options.printing.count is None and options.follow:
                    return
                raise PeerError(self._not_reached())
        if self._unknown and not self._printer.enough:
            raise PeerError(
                f"{', '.join(sorted(self._unknown))}: not known to the pipeline in {self._run_dir}"
            )

    def close(self) -> None:
        """Close the sockets and the record, and say how much was missed, if anything was."""
        self._binder.close()
        self._context.term()
        if self._record is not None:
            self._record.close()
        if self._gaps:
            self._notice(f"missed {self._missed} events in {self._gaps} gaps")

    def _finished(self) -> bool:
        if self._printer.enough:
            return True
        at_rest = self._shards is not None and not len(self._questions) and not self._following.behind
        return at_rest and not self._options.follow

    def _not_reached(self) -> str:
        options, printing = self._options, self._options.printing
        within = f"within {options.timeout_s:g} s"
        nobody = "" if self._connected else f"; no pipeline is found in {self._run_dir}"
        if printing.count is None:
            return f"the head was not reached {within}{nobody}"
        unit = "frames" if printing.style == "frames" else "events"
        types = f" of type {' or '.join(sorted(printing.types))}" if printing.types else ""
        scans = f" of scan {' or '.join(options.scan_ids)}" if options.scan_ids else ""
        return f"{self._printer.printed} of {printing.count} {unit}{types}{scans} came {within}{nobody}"

    def _connect_new(self) -> None:
        names = set(found(self._run_dir, "shard-*.events"))
        if not names and not self._connected and not self._told_waiting:
            self._notice(f"waiting for a pipeline in {self._run_dir}")
            self._told_waiting = True
        for name in sorted(names - self._connected):
            self._frames.connect(f"ipc://{self._run_dir / name}")
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
        self._printer.print(events, due, arrived)

    def _take_beacon(self, beacon: Beacon) -> None:
        if beacon.hash != HASH_NAME:
            raise LayoutError(
                f"the pipeline in {self._run_dir} spreads its channels by {beacon.hash!r}; this version by "
                f"{HASH_NAME!r}"
            )
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
        if isinstance(self._options.start, Position):
            return  # known already
        for channel in self._channels:
            self._questions.ask(shard_of(channel, shards), partial(HeadRequest, channel=channel), now)
        if not self._channels:
            for shard in range(shards):
                self._questions.ask(shard, ChannelsRequest, now)

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
                mark="history",
            )
            self._printer.print(events, taken.print_from, arrived)

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
