"""What a scanner embeds: events in, numbered, sent, and kept until they are acked.

::

    from pipeline import Emitter

    with Emitter("demo") as emitter:
        emitter.emit({"type": "scanStarted"})
        emitter.emit({"type": "hostDiscovered", "ip": "10.0.0.5"})
        emitter.emit({"type": "scanCompleted"})

Leaving the block waits until everything is acked. With a spool, what is not acked outlives the process.
Imports pyzmq and msgspec, and neither tornado nor click. This is the caller's side: `emit` only encodes,
numbers and queues; `uplink` has the thread that owns the sockets.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pipeline.endpoints import Endpoints, ingest_at, open_endpoints
from pipeline.errors import EventRejected, NotDelivered, OperatorError, PipelineError, RejectReason
from pipeline.event import MAX_EVENT_BYTES, Event, check_scan_id
from pipeline.event_json import encode_event
from pipeline.outboxes import Outboxes, Rejected
from pipeline.places import run_dir as resolve_run_dir
from pipeline.sockets import ingest_control
from pipeline.spool_file import SpoolFile
from pipeline.uplink import Uplink
from pipeline.wire import channel_name

LINE_FEED = 0x0A
"""Looked for as a number: as bytes it takes ten times as long."""

_forks = 0
"""How often this process, or one it comes of, was forked: counted, since asking for the process id at each
event is a tenth of what an event costs here."""


def _forked() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)


class EmitterFull(PipelineError):
    """The emitter's buffer is full and `on_full` is `raise`."""


class EmitterClosed(PipelineError):
    """An event was given to an emitter that is closed."""


class EmitterFenced(PipelineError):
    """Another process sends, or has sent, as this producer: nothing more of this one will be taken."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """What an emitter took over of one channel from its spool.

    Attributes:
        channel: `kind/id`.
        taken: how many events were numbered before.
        unacked: how many of them, the last ones, are sent now because they were never acked.
    """

    channel: str
    taken: int
    unacked: int


class Emitter:
    """Sends events of one or several scans.

    Thread-safe. After a fork the child begins anew, as another producer and without a spool; what the parent
    has not got acked stays the parent's.

    Args:
        scan_id: where `emit` sends unless told otherwise.
        run_dir: the pipeline's run directory; empty for the default.
        endpoints: the address book of a pipeline whose sockets are at TCP addresses, or `Endpoints` opened.
        connect: instead of both, the addresses of an ingest's data and control sockets, joined by a comma.
        key_file: the emitter's own secret key, where ingests want one.
        server_key: with `connect`, the ingest's public key, 40 characters.
        on_full: what `emit` does while `max_buffered_bytes` are not acked: `block`; `drop` the event, count
            it and tell it by a `lost` event; or `raise` `EmitterFull`.
        max_buffered_bytes: the most event bytes kept; a single event is kept whatever its size.
        own: claim every scan it sends to for itself, from the scan's first event to its end: what other
            producers send there is rejected as `scan_owned`, and so is what this one sends to a scan that
            others feed already.
        spool: a file that keeps what is not acked. An emitter that is given it after this one was killed
            sends that first, with the same numbers: nothing is lost or doubled. Empty once all is acked and
            the emitter is closed.

    Raises:
        EventRejected: `bad_scan_id`.
        EndpointError: the run directory cannot be used.
        ConfigError: the address book, an address or a key cannot be used.
        OperatorError: the spool cannot be used, or another process uses it.

    Attributes:
        resumed: what was found in the spool, one entry a channel.
    """

    def __init__(
        self,
        scan_id: str | None = None,
        *,
        run_dir: str = "",
        endpoints: Endpoints | str | os.PathLike[str] = "",
        connect: str = "",
        key_file: str | os.PathLike[str] = "",
        server_key: str = "",
        on_full: Literal["block", "drop", "raise"] = "block",
        max_buffered_bytes: int = 16_777_216,
        own: bool = False,
        spool: str | os.PathLike[str] | None = None,
    ) -> None:
        self._default_channel = _channel("scan", scan_id) if scan_id is not None else None
        if isinstance(endpoints, Endpoints):
            self._endpoints = endpoints
        elif connect:
            self._endpoints = ingest_at(connect, server_key, os.fspath(key_file))
        else:
            self._endpoints = open_endpoints(
                resolve_run_dir(run_dir, os.environ),
                book_file=os.fspath(endpoints),
                key_file=os.fspath(key_file),
            )
        self._endpoints.address(ingest_control(0))
        self._on_full = on_full
        self._max_buffered_bytes = max_buffered_bytes
        self._own = own
        self.resumed: tuple[Resumed, ...] = ()
        self._begin()
        if spool is not None:
            self._take_over(SpoolFile(Path(spool)))

    def _begin(self) -> None:
        self._forks = _forks
        self._outboxes = Outboxes(uuid.uuid4().hex, time.time_ns() // 1_000_000, own=self._own)
        self._spool: SpoolFile | None = None
        self._lock = threading.RLock()  # taken by itself for each event: through the condition costs more
        self._changed = threading.Condition(self._lock)
        self._closing = False
        self._uplink: Uplink | None = None

    def _take_over(self, spool: SpoolFile) -> None:
        """Go on where the process that had the spool before left off."""
        if spool.found is None:
            try:
                spool.begin(self._outboxes.pid, self._outboxes.inc)
            except OperatorError:
                spool.leave()
                raise
        else:
            self._outboxes = Outboxes.restored(spool.found, own=self._own)
            self.resumed = tuple(Resumed(box.channel, box.last, len(box)) for box in self._outboxes)
        self._spool = self._outboxes.spool = spool

    @property
    def pid(self) -> str:
        """The producer's id."""
        return self._outboxes.pid

    def emit(
        self,
        event: Event | Mapping[str, object] | bytes,
        *,
        scan_id: str | None = None,
        report_id: str | None = None,
    ) -> int:
        """Queue one event.

        Args:
            event: a typed event, a mapping with a `type`, or one JSON object as bytes without a line break.
            scan_id: the scan, if not the emitter's own.
            report_id: the report it belongs to, instead of a scan.

        Returns:
            Its number in its channel, from 1; 0 when it was dropped.

        Raises:
            EventRejected: `json`, `schema`, `too_large` or `bad_scan_id`; nothing was queued.
            EmitterFull: the buffer is full and `on_full` is `raise`.
            EmitterClosed: the emitter is closed, or was while this waited for room.
            EmitterFenced: another process sends as this producer.
            OperatorError: the spool cannot be written; nothing was queued.
        """
        raw = event if isinstance(event, bytes) else encode_event(event)
        if not 0 < len(raw) <= MAX_EVENT_BYTES or LINE_FEED in raw:
            raise _unfit(raw)
        if report_id is not None:
            channel = _channel("report", report_id)
        elif scan_id is not None or self._default_channel is None:
            channel = _channel("scan", scan_id)
        else:
            channel = self._default_channel
        if self._forks != _forks:
            self._see_fork()
        with self._lock:
            outboxes = self._outboxes
            # An event costs less than a microsecond here: what is asked of each one is asked without a call.
            if (
                self._closing or outboxes.fenced or outboxes.size_bytes + len(raw) > self._max_buffered_bytes
            ) and not self._make_room(len(raw)):
                outboxes.drop(channel)
                return 0
            if outboxes.dropped:
                outboxes.tell_dropped()
            pseq = outboxes.add(channel, raw)
            uplink = self._uplink or self._start()
            if uplink.asleep and outboxes.may_send(channel):
                uplink.wake()
            return pseq

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until every event is acked or rejected.

        Args:
            timeout_s: seconds to wait; None waits as long as it takes.

        Raises:
            NotDelivered: some are not acked in time; they are kept and still sent.
            EmitterFenced: another process sends as this producer; they will never be acked.
        """
        self._see_fork()
        with self._changed:
            if self.unacked:
                self._start()  # what a spool held needs no `emit`
            done = self._changed.wait_for(lambda: not self.unacked or self._outboxes.fenced, timeout_s)
            self._see_fence()
            if not done:
                raise NotDelivered(
                    self.unacked,
                    f"{self.unacked} events are not acknowledged after {timeout_s:g} s; "
                    + (
                        (self._uplink.refusal if self._uplink is not None else "")
                        or f"the pipeline in {self._endpoints} "
                        f"{self._outboxes.held_up or 'does not keep up or does not run'}"
                    ),
                )

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until an ingest answers.

        Args:
            timeout_s: seconds to wait.

        Raises:
            NotDelivered: none does.
        """
        self._see_fork()
        with self._changed:
            uplink = self._start()
            if not self._changed.wait_for(lambda: uplink.welcomed, timeout_s):
                raise NotDelivered(self.unacked, uplink.refusal or self._nobody(timeout_s))

    def _nobody(self, timeout_s: float) -> str:
        if self._endpoints.is_tcp(ingest_control(0)):
            return f"no ingest answers at {self._endpoints.address(ingest_control(0))} after {timeout_s:g} s"
        return (
            f"no pipeline answers in {self._endpoints} after {timeout_s:g} s; start one with bin/up, or name "
            f"its directory with --run-dir"
        )

    def rejected(self) -> list[Rejected]:
        """Return the events refused since the last call; beyond 1,000 the oldest are left out."""
        self._see_fork()
        with self._changed:
            return self._outboxes.take_rejected()

    @property
    def unacked(self) -> int:
        """How many events are neither acked nor rejected yet."""
        return self._outboxes.unacked

    def close(self, timeout_s: float | None = 30.0) -> None:
        """Wait until everything is acked, then stop; a second call does nothing.

        Raises:
            NotDelivered: some are not acked within `timeout_s` seconds; they are given up, or stay in the
                spool.
            EmitterFenced: another process sends as this producer.
        """
        if self._closing:
            return
        try:
            self.flush(timeout_s)
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            if self._uplink is not None:
                self._uplink.stop()
            if self._spool is not None:
                self._spool.close(done=self.unacked == 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _see_fork(self) -> None:
        if self._forks != _forks:
            if self._uplink is not None:
                self._uplink.let_go()
            self.resumed = ()
            self._begin()

    def _see_fence(self) -> None:
        """Raise if another process sends as this producer; hold the lock."""
        if self._outboxes.fenced:
            raise EmitterFenced(self._outboxes.fenced)

    def _make_room(self, size: int) -> bool:
        """Say whether an event of so many bytes may be queued, waiting if need be; hold the lock."""
        self._see_fence()
        if not self._closing and not self._has_room(size):
            if self._on_full == "drop":
                return False
            if self._on_full == "raise":
                raise EmitterFull(
                    f"{self._outboxes.size_bytes} event bytes are not acknowledged; "
                    f"the limit is {self._max_buffered_bytes}"
                )
            self._start()  # a spool alone can fill it
            self._changed.wait_for(
                lambda: self._closing or bool(self._outboxes.fenced) or self._has_room(size)
            )
            self._see_fence()
        if self._closing:
            raise EmitterClosed("the emitter is closed")
        return True

    def _has_room(self, size: int) -> bool:
        # An event larger than the whole buffer goes alone: it would wait for ever.
        outboxes = self._outboxes
        return not outboxes.unacked or outboxes.size_bytes + size <= self._max_buffered_bytes

    def _start(self) -> Uplink:
        """Return what sends, started if it is not yet; hold the lock."""
        if self._uplink is None:
            self._uplink = Uplink(self._endpoints, self._outboxes, self._changed)
        return self._uplink


@lru_cache(maxsize=16_384)
def _channel(kind: str, channel_id: object) -> str:
    """Return a channel's name; remembered, because most events go where others went."""
    return channel_name(kind, check_scan_id(channel_id))


def _unfit(raw: bytes) -> EventRejected:
    """Return why a line cannot be sent, whatever stands in it."""
    if not raw:
        return EventRejected(RejectReason.JSON, "the event is empty; it must be one JSON object")
    if len(raw) > MAX_EVENT_BYTES:
        return EventRejected(
            RejectReason.TOO_LARGE,
            f"event of {len(raw)} bytes exceeds the limit of {MAX_EVENT_BYTES} bytes",
        )
    return EventRejected(RejectReason.SCHEMA, "the event's JSON holds a line break; write it on one line")
