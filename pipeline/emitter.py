"""What a scanner embeds: events in, numbered, sent, and kept until they are acked.

::

    from pipeline import Emitter

    with Emitter("demo") as emitter:
        emitter.emit({"type": "scanStarted"})
        emitter.emit({"type": "hostDiscovered", "ip": "10.0.0.5"})
        emitter.emit({"type": "scanCompleted"})

Leaving the block waits until everything is acked. With a spool, what is not acked outlives the process.
Imports pyzmq and msgspec, and neither tornado nor click. A thread owns the sockets; `emit` only encodes,
numbers and queues.
"""

from __future__ import annotations

import contextlib
import os
import socket as sockets
import threading
import time
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import zmq

from pipeline.errors import (
    EventRejected,
    MessageMalformed,
    NotDelivered,
    OperatorError,
    PipelineError,
    RejectReason,
)
from pipeline.event import MAX_EVENT_BYTES, Event, Lost, check_scan_id, encode_event
from pipeline.outboxes import Outboxes, Rejected
from pipeline.places import run_dir as resolve_run_dir
from pipeline.sockets import Binder, drain, found, ingest_control, ingest_data, poll_ms
from pipeline.spool_file import SpoolFile
from pipeline.wire import (
    Feedback,
    Hello,
    Welcome,
    channel_name,
    decode_ingest_message,
    encode,
    encode_envelope,
)

HELLO_INTERVAL_S = 1.0
"""How often a producer says hello: an ingest that was restarted does not know it any more."""
FAIL_OVER_S = 1.5
"""An ingest that has not answered for so long is left for the next one."""


class EmitterFull(PipelineError):
    """The emitter's buffer is full and `on_full` is `raise`."""


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
        on_full: what `emit` does while `max_buffered_bytes` are not acked: `block`; `drop` the event, count
            it and tell it by a `lost` event; or `raise` `EmitterFull`.
        max_buffered_bytes: the most event bytes kept.
        spool: a file that keeps what is not acked. An emitter that is given it after this one was killed
            sends that first, with the same numbers: nothing is lost or doubled. Empty once all is acked and
            the emitter is closed.

    Raises:
        EventRejected: `bad_scan_id`.
        EndpointError: the run directory cannot be used.
        OperatorError: the spool cannot be used, or another process uses it.

    Attributes:
        resumed: what was found in the spool, one entry a channel.
    """

    def __init__(
        self,
        scan_id: str | None = None,
        *,
        run_dir: str = "",
        on_full: Literal["block", "drop", "raise"] = "block",
        max_buffered_bytes: int = 16_777_216,
        spool: str | os.PathLike[str] | None = None,
    ) -> None:
        self._default_channel = channel_name("scan", check_scan_id(scan_id)) if scan_id is not None else None
        self._run_dir: Path = resolve_run_dir(run_dir, os.environ)
        self._on_full = on_full
        self._max_buffered_bytes = max_buffered_bytes
        self.resumed: tuple[Resumed, ...] = ()
        self._begin()
        if spool is not None:
            self._take_over(SpoolFile(Path(spool)))

    def _begin(self) -> None:
        self._os_pid = os.getpid()
        self._outboxes = Outboxes(uuid.uuid4().hex, time.time_ns() // 1_000_000)
        self._spool: SpoolFile | None = None
        self._changed = threading.Condition()
        self._dropped: dict[str, int] = {}
        self._welcomed = False
        self._closing = False
        self._asleep = False
        self._thread: threading.Thread | None = None

    def _take_over(self, spool: SpoolFile) -> None:
        """Go on where the process that had the spool before left off."""
        if spool.found is None:
            try:
                spool.begin(self._outboxes.pid, self._outboxes.inc)
            except OperatorError:
                spool.leave()
                raise
        else:
            self._outboxes = Outboxes.restored(spool.found)
            self.resumed = tuple(Resumed(box.channel, box.last, len(box)) for box in self._outboxes)
        self._spool = self._outboxes.spool = spool

    @property
    def pid(self) -> str:
        """The producer's id."""
        return self._outboxes.pid

    # --- the caller's side ------------------------------------------------------------------------

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
            EventRejected: `schema`, `too_large` or `bad_scan_id`; nothing was queued.
            EmitterFull: the buffer is full and `on_full` is `raise`.
            EmitterFenced: another process sends as this producer.
            OperatorError: the spool cannot be written; nothing was queued.
        """
        raw = event if isinstance(event, bytes) else encode_event(event)
        if len(raw) > MAX_EVENT_BYTES:
            raise EventRejected(
                RejectReason.TOO_LARGE,
                f"event of {len(raw)} bytes exceeds the limit of {MAX_EVENT_BYTES} bytes",
            )
        if b"\n" in raw:
            raise EventRejected(
                RejectReason.SCHEMA, "the event's JSON holds a line break; write it on one line"
            )
        if report_id is not None:
            channel = channel_name("report", check_scan_id(report_id))
        elif scan_id is not None or self._default_channel is None:
            channel = channel_name("scan", check_scan_id(scan_id))
        else:
            channel = self._default_channel
        self._see_fork()
        with self._changed:
            self._see_fence()
            if not self._make_room(len(raw)):
                self._dropped[channel] = self._dropped.get(channel, 0) + 1
                return 0
            self._start_thread()
            return self._queue(channel, raw)

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
                self._start_thread()  # what a spool held needs no `emit`
            done = self._changed.wait_for(lambda: not self.unacked or self._outboxes.fenced, timeout_s)
            self._see_fence()
            if not done:
                raise NotDelivered(
                    self.unacked,
                    f"{self.unacked} events are not acknowledged after {timeout_s:g} s; the pipeline in "
                    f"{self._run_dir} does not keep up or does not run",
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
            self._start_thread()
            if not self._changed.wait_for(lambda: self._welcomed, timeout_s):
                raise NotDelivered(
                    self.unacked,
                    f"no pipeline answers in {self._run_dir} after {timeout_s:g} s; start one with bin/up, "
                    f"or name its directory with --run-dir",
                )

    def rejected(self) -> list[Rejected]:
        """Return the events refused since the last call; beyond 1,000 the oldest are left out."""
        with self._changed:
            return self._outboxes.take_rejected()

    @property
    def unacked(self) -> int:
        """How many events are neither acked nor rejected yet."""
        return self._outboxes.unacked

    def close(self, timeout_s: float | None = 30.0) -> None:
        """Wait until everything is acked, then stop.

        Raises:
            NotDelivered: some are not acked within `timeout_s` seconds; they are given up, or stay in the
                spool.
            EmitterFenced: another process sends as this producer.
        """
        try:
            self.flush(timeout_s)
        finally:
            with self._changed:
                self._closing = True
                self._wake()
            if self._thread is not None:
                self._thread.join()
                self._wake_read.close()
                self._wake_write.close()
            if self._spool is not None:
                self._spool.close(done=self.unacked == 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _see_fork(self) -> None:
        if os.getpid() != self._os_pid:
            self.resumed = ()
            self._begin()

    def _see_fence(self) -> None:
        """Raise if another process sends as this producer; hold the lock."""
        if self._outboxes.fenced:
            raise EmitterFenced(self._outboxes.fenced)

    def _make_room(self, size: int) -> bool:
        """Say whether an event of so many bytes may be queued; hold the lock."""
        if self._has_room(size):
            return True
        if self._on_full == "drop":
            return False
        if self._on_full == "raise":
            raise EmitterFull(
                f"{self._outboxes.size_bytes} event bytes are not acknowledged; "
                f"the limit is {self._max_buffered_bytes}"
            )
        self._start_thread()  # a spool alone can fill it
        self._changed.wait_for(lambda: self._has_room(size) or self._outboxes.fenced)
        self._see_fence()
        return True

    def _has_room(self, size: int) -> bool:
        return self._outboxes.size_bytes + size <= self._max_buffered_bytes

    def _queue(self, channel: str, raw: bytes) -> int:
        if dropped := self._dropped.get(channel, 0):
            self._outboxes.add(channel, encode_event(Lost(count=dropped, reason="emitter_full")))
            del self._dropped[channel]
        pseq = self._outboxes.add(channel, raw)
        self._wake()
        return pseq

    def _start_thread(self) -> None:
        if self._thread is None:
            self._wake_read, self._wake_write = sockets.socketpair()
            self._wake_read.setblocking(False)
            self._wake_write.setblocking(False)
            self._thread = threading.Thread(target=self._run, name="scanstream-emitter", daemon=True)
            self._thread.start()

    def _wake(self) -> None:
        """End the thread's wait, if it waits; hold the lock."""
        if self._asleep:
            self._asleep = False
            self._wake_write.send(b"\0")

    # --- the thread's side ------------------------------------------------------------------------

    def _run(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        turn = zlib.crc32(self.pid.encode())  # spreads producers over the ingests
        try:
            while not self._closing:
                indices = [
                    int(name.split("-")[1].split(".")[0]) for name in found(self._run_dir, "ingest-*.control")
                ]
                index = indices[turn % len(indices)] if indices else 0
                binder = Binder(context, self._run_dir)
                try:
                    self._talk_to(binder, index)
                finally:
                    binder.close()
                turn += 1
        finally:
            context.term()

    def _talk_to(self, binder: Binder, index: int) -> None:
        """Send to one ingest until it does not answer any more, or the emitter is closed."""
        data = binder.connect(zmq.PUSH, [], high_water_mark=64)
        data.setsockopt(zmq.IMMEDIATE, 1)  # queue nothing for an ingest that is not there
        data.connect(f"ipc://{self._run_dir / ingest_data(index)}")
        control = binder.connect(zmq.DEALER, [ingest_control(index)], high_water_mark=1_000)
        poller = zmq.Poller()
        poller.register(control, zmq.POLLIN)
        poller.register(self._wake_read.fileno(), zmq.POLLIN)
        now = time.monotonic()
        heard_at = now
        next_hello = now
        with self._changed:
            for outbox in self._outboxes:
                outbox.go_back(now)
        while not self._closing:
            now = time.monotonic()
            if now >= next_hello:
                self._say_hello(control)
                next_hello = now + HELLO_INTERVAL_S
            if now - heard_at > FAIL_OVER_S:
                return
            with self._changed:
                blocked, deadline = self._send_due(data, now)
                self._asleep = True
            deadline = min(next_hello, heard_at + FAIL_OVER_S + 0.01, deadline or next_hello)
            if blocked:
                poller.register(data, zmq.POLLOUT)
            ready = dict(poller.poll(poll_ms(deadline, now)))
            self._asleep = False
            if blocked:
                poller.unregister(data)
            if self._wake_read.fileno() in ready:
                self._wake_read.recv(65_536)
            if control in ready:
                heard_at = time.monotonic()
                for message in drain(control, 1_000):
                    self._hear(message, heard_at)

    def _say_hello(self, control: zmq.Socket[bytes]) -> None:
        with contextlib.suppress(zmq.Again):  # the ingest is not there; FAIL_OVER_S decides
            control.send(encode(Hello(self.pid, self._outboxes.inc)), zmq.NOBLOCK)

    def _send_due(self, data: zmq.Socket[bytes], now: float) -> tuple[bool, float | None]:
        """Send what the windows allow; return (whether the socket is full, the next deadline)."""
        deadline: float | None = None
        if self._outboxes.fenced:
            return False, None
        for outbox in self._outboxes:
            outbox.handle_timeout(now)
            while (message := outbox.next_message(now)) is not None:
                header, events = message
                try:
                    data.send(encode_envelope(header, events), zmq.NOBLOCK)
                except zmq.Again:
                    return True, deadline
                outbox.sent(events, now)
            due = outbox.next_deadline()
            if due is not None:
                deadline = due if deadline is None else min(deadline, due)
        return False, deadline

    def _hear(self, raw: bytes, now: float) -> None:
        try:
            message = decode_ingest_message(raw)
        except MessageMalformed:
            return
        with self._changed:
            if isinstance(message, Welcome):
                self._welcomed = True
            elif isinstance(message, Feedback):
                self._outboxes.hear(message, now)
            self._changed.notify_all()
