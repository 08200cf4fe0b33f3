"""The tail process: SUB to every shard's frames, out to standard output.

It never slows the pipeline: a worker drops frames for a reader that does not keep up, and what was missed
is seen by its numbers and told.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import zmq

from pipeline.errors import EventRejected, MessageMalformed, PeerError
from pipeline.log import escape
from pipeline.runtime import wall_ms
from pipeline.sockets import Binder, drain, found, poll_ms
from pipeline.tail.continuity import Continuity
from pipeline.tail.render import event_json, event_line, for_terminal, frame_line, passing
from pipeline.wire import FRAME_TOPIC, FrameMessage, channel_name, decode_frame, frame_topic, split_events

RESCAN_INTERVAL_S = 0.5
"""How often the run directory is looked at for shards that were not there before."""
HIGH_WATER_MARK = 1_000
"""Frames queued of each shard, so that a terminal that scrolls slowly is not a gap at once."""
DRAIN_MESSAGES = 200

Style = Literal["text", "json", "raw", "frames"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TailOptions:
    """What is printed, and until when.

    Attributes:
        scan_ids: only these scans; empty for everything.
        types: only events of these types; empty for all.
        not_types: no events of these types.
        count: stop after so many events (frames, in that style); None for no end.
        timeout_s: stop after so many seconds; None for no end.
        style: how it is printed.
        colour: whether colours are used, in the text style.
        escape_json: whether JSON is printed in printable ASCII: for a terminal, which it could drive.
    """

    scan_ids: tuple[str, ...] = ()
    types: frozenset[str] = frozenset()
    not_types: frozenset[str] = frozenset()
    count: int | None = None
    timeout_s: float | None = None
    style: Style = "text"
    colour: bool = False
    escape_json: bool = False


class Tail:
    """Args:
    run_dir: the pipeline's run directory.
    options: what is printed.
    output: the file descriptor it is written to; when its reader goes, the tail ends.
    notice: told, one line at a time, what is not data.
    """

    def __init__(
        self, run_dir: Path, options: TailOptions, output: int, notice: Callable[[str], None]
    ) -> None:
        self._run_dir = run_dir
        self._options = options
        self._output = output
        self._notice = notice
        self._continuity = Continuity()
        self._printed = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._binder = Binder(self._context, run_dir)
        self._frames = self._binder.connect(zmq.SUB, [], high_water_mark=HIGH_WATER_MARK)
        self._connected: set[str] = set()
        self._told_waiting = False
        topics = [frame_topic(channel_name("scan", scan_id)) for scan_id in options.scan_ids]
        for topic in topics or [FRAME_TOPIC]:
            self._frames.setsockopt(zmq.SUBSCRIBE, topic)

    def run(self) -> None:
        """Print until the count is reached, the time is over, or nobody reads any more.

        Raises:
            PeerError: the time is over and the count was not reached.
            BrokenPipeError: the reader of the output has gone.
        """
        options = self._options
        poller = zmq.Poller()
        poller.register(self._frames, zmq.POLLIN)
        poller.register(self._output, zmq.POLLERR)
        next_scan = now = time.monotonic()
        end = None if options.timeout_s is None else now + options.timeout_s
        while not self._enough():
            if now >= next_scan:
                self._connect_new()
                next_scan = now + RESCAN_INTERVAL_S
            deadline = next_scan if end is None else min(next_scan, end)
            ready = dict(poller.poll(poll_ms(deadline, now)))
            now = time.monotonic()
            if self._frames in ready:
                self._take_in()
            elif self._output in ready:
                raise BrokenPipeError
            if end is not None and now >= end and not self._enough():
                if options.count is None:
                    return
                raise PeerError(self._not_reached())

    def close(self) -> None:
        """Close the sockets, and say how much was missed, if anything was."""
        self._binder.close()
        self._context.term()
        if self._continuity.gaps:
            self._notice(f"missed {self._continuity.missed} events in {self._continuity.gaps} gaps")

    def _enough(self) -> bool:
        return self._options.count is not None and self._printed >= self._options.count

    def _not_reached(self) -> str:
        options = self._options
        unit = "frames" if options.style == "frames" else "events"
        types = f" of type {' or '.join(sorted(options.types))}" if options.types else ""
        scans = f" of scan {' or '.join(options.scan_ids)}" if options.scan_ids else ""
        nobody = "" if self._connected else f"; no pipeline is found in {self._run_dir}"
        wanted = f"{self._printed} of {options.count} {unit}{types}{scans}"
        return f"{wanted} came within {options.timeout_s:g} s{nobody}"

    def _connect_new(self) -> None:
        names = set(found(self._run_dir, "shard-*.events"))
        if not names and not self._connected and not self._told_waiting:
            self._notice(f"waiting for a pipeline in {self._run_dir}")
            self._told_waiting = True
        for name in sorted(names - self._connected):
            self._frames.connect(f"ipc://{self._run_dir / name}")
            self._connected.add(name)

    def _take_in(self) -> None:
        arrived = datetime.fromtimestamp(wall_ms() / 1000).astimezone()
        out = bytearray()
        try:
            for message in drain(self._frames, DRAIN_MESSAGES):
                try:
                    frame = decode_frame(message)
                    for line in self._lines(frame, len(message), arrived):
                        out += line + b"\n"
                        self._printed += 1
                        if self._enough():
                            return
                except (MessageMalformed, EventRejected) as error:
                    self._notice(f"malformed frame: {escape(str(error))}")
        finally:
            self._write(out)

    def _lines(self, frame: FrameMessage, size_bytes: int, arrived: datetime) -> Iterator[bytes]:
        options, header, channel = self._options, frame.header, frame.channel
        new_from, missed = self._continuity.take(channel, header.epoch, header.first, header.last)
        if missed:
            self._notice(
                f"gap: {escape(channel)}: {len(missed)} events missed, "
                f"{header.epoch}:{missed.start}-{missed.stop - 1}"
            )
        if options.style == "frames":
            yield frame_line(
                channel,
                header.epoch,
                header.first,
                header.last,
                header.merged,
                size_bytes,
                arrived,
                critical=header.critical,
            ).encode()
            return
        events = split_events(frame.body)
        offsets = header.at if header.merged else range(header.last - header.first + 1)
        if len(offsets) != len(events):
            raise MessageMalformed(f"{channel}: {len(events)} events for {len(offsets)} numbers")
        for offset, raw in zip(offsets, events, strict=True):
            seq = header.first + offset
            event = passing(channel, header.epoch, seq, raw)
            if (
                seq < new_from
                or event.type in options.not_types
                or (options.types and event.type not in options.types)
            ):
                continue
            if options.style == "text":
                yield event_line(event, arrived, colour=options.colour).encode()
            else:
                line = event_json(event) if options.style == "json" else raw
                yield for_terminal(line.decode()).encode() if options.escape_json else line

    def _write(self, data: bytearray) -> None:
        while data:
            del data[: os.write(self._output, data)]
