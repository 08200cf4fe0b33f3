"""The thread that carries an emitter's events to an ingest, and hears what becomes of them.

Sits between `outboxes`, which it shares with the emitter under one lock, and the sockets, which are its own.
What is sent when is for `outboxes` to say. One ingest at a time: one that does not answer is left for the
next.
"""

from __future__ import annotations

import contextlib
import socket as sockets
import threading
import time
import zlib
from typing import Literal

import zmq
from zmq.utils.monitor import parse_monitor_message

from pipeline.endpoints import Endpoints
from pipeline.errors import MessageMalformed, OperatorError
from pipeline.libzmq import check_libzmq
from pipeline.outboxes import Outboxes
from pipeline.sockets import Binder, drain, found, ingest_control, ingest_data, poll_ms
from pipeline.wire import Feedback, Hello, Welcome, decode_ingest_message, encode, encode_envelope
from pipeline.zap import FAILURES

HELLO_INTERVAL_S = 1.0
"""How often a producer says hello: an ingest that was restarted does not know it any more."""
FAIL_OVER_S = 1.5
"""An ingest that has not answered for so long is left for the next one."""
ALIVE_INTERVAL_S = 5.0
"""How often each channel is told that its producer is alive."""
BYE_LINGER_S = 0.5
"""How long the last words may take to leave, if the ingest does not read."""


class Uplink:
    """Runs from the moment it is made until `stop`.

    Args:
        endpoints: where the pipeline's sockets are.
        outboxes: what is to be sent.
        changed: its lock guards `outboxes`; notified whenever something was heard.

    Attributes:
        welcomed: an ingest answers.
        refusal: why the last ingest did not let us in, for people; empty while none has said so.
        asleep: the thread waits; `wake` ends that.
    """

    def __init__(self, endpoints: Endpoints, outboxes: Outboxes, changed: threading.Condition) -> None:
        check_libzmq(zmq.zmq_version_info())  # here, where whoever made the emitter is told
        self._endpoints = endpoints
        self._outboxes = outboxes
        self._changed = changed
        self.welcomed = False
        self.refusal = ""
        self._stopping = False
        self.asleep = False
        self._wake_read, self._wake_write = sockets.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="scanstream-emitter", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """End the thread's wait, if it waits; hold the lock."""
        if self.asleep:
            self.asleep = False
            self._wake_write.send(b"\0")

    def stop(self) -> None:
        """End the thread; do not hold the lock."""
        with self._changed:
            self._stopping = True
            self.wake()
        self._thread.join()
        self.let_go()

    def let_go(self) -> None:
        """Close what wakes the thread: it has ended, or it is another process's and these are copies."""
        self._wake_read.close()
        self._wake_write.close()

    def _run(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        turn = zlib.crc32(self._outboxes.pid.encode())  # spreads producers over the ingests
        try:
            while not self._stopping:
                indices = [
                    int(name.split("-")[1].split(".")[0])
                    for name in found(self._endpoints, "ingest-*.control")
                ]
                index = indices[turn % len(indices)] if indices else 0
                binder = Binder(context, self._endpoints)
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
        binder.join(data, ingest_data(index))
        control = binder.connect(zmq.DEALER, [], high_water_mark=1_000)
        monitor = control.get_monitor_socket(FAILURES)
        try:
            binder.join(control, ingest_control(index))
            self._talk(data, control, monitor, index)
        finally:
            control.disable_monitor()
            monitor.close(linger=0)

    def _talk(
        self, data: zmq.Socket[bytes], control: zmq.Socket[bytes], monitor: zmq.Socket[bytes], index: int
    ) -> None:
        poller = zmq.Poller()
        poller.register(monitor, zmq.POLLIN)
        poller.register(control, zmq.POLLIN)
        poller.register(self._wake_read.fileno(), zmq.POLLIN)
        now = time.monotonic()
        heard_at = now
        next_hello = now
        next_alive = now + ALIVE_INTERVAL_S
        with self._changed:
            self.welcomed = False
            for outbox in self._outboxes.busy():
                outbox.go_back(now)
        while not self._stopping:
            now = time.monotonic()
            if now >= next_hello:
                self._say_hello(control)
                next_hello = now + HELLO_INTERVAL_S
            if now >= next_alive:
                self._give_sign(data, "alive")
                next_alive = now + ALIVE_INTERVAL_S
            if now - heard_at > FAIL_OVER_S:
                return
            with self._changed:
                blocked, deadline = self._send_due(data, now)
                self.asleep = True
            deadline = min(next_hello, heard_at + FAIL_OVER_S + 0.01, deadline or next_hello)
            if blocked:
                poller.register(data, zmq.POLLOUT)
            ready = dict(poller.poll(poll_ms(deadline, now)))
            self.asleep = False
            if blocked:
                poller.unregister(data)
            if self._wake_read.fileno() in ready:
                self._wake_read.recv(65_536)
            if monitor in ready:
                self._take_refusal(monitor, ingest_control(index))
            if control in ready:
                heard_at = time.monotonic()
                for message in drain(control, 1_000):
                    self._hear(message, heard_at)
        if not self._outboxes.unacked:  # else the scans' producer is gone indeed
            self._give_sign(data, "bye")
            data.close(linger=int(BYE_LINGER_S * 1000))

    def _take_refusal(self, monitor: zmq.Socket[bytes], name: str) -> None:
        """Keep in mind why the handshake with an ingest failed; what is told of a key counts for more."""
        told = parse_monitor_message(monitor.recv_multipart())
        where = f"the ingest at {self._endpoints.address(name)}"
        keys = self._endpoints.keys
        if told["event"] == zmq.EVENT_HANDSHAKE_FAILED_AUTH and keys is not None:
            refusal = (
                f"{where} refuses this key: {keys.public} is not in its allow-list, or not as a producer's; "
                f"its operator can allow it"
            )
        elif told["value"] == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
            refusal = (
                f"{where} lets in nobody without a key: give --key-file, and its public key"
                if keys is None
                else f"{where} works without keys; leave out --key-file"
            )
        elif told["event"] == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL and keys is not None:
            refusal = f"{where} broke off the handshake: the server key that was given is not its own"
        else:
            return
        with self._changed:
            if told["event"] != zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL or not self.refusal:
                self.refusal = refusal

    def _give_sign(self, data: zmq.Socket[bytes], sign: Literal["alive", "bye"]) -> None:
        """Tell each channel that its producer lives, or has nothing more to say; nothing depends on it."""
        with self._changed:
            headers = [] if self._outboxes.fenced or not self.welcomed else self._outboxes.signs(sign)
        with contextlib.suppress(zmq.Again):  # an ingest that takes nothing passes no sign on
            for header in headers:
                data.send(encode_envelope(header, []), zmq.NOBLOCK)

    def _say_hello(self, control: zmq.Socket[bytes]) -> None:
        with contextlib.suppress(zmq.Again):  # the ingest is not there; FAIL_OVER_S decides
            control.send(encode(Hello(self._outboxes.pid, self._outboxes.inc)), zmq.NOBLOCK)

    def _send_due(self, data: zmq.Socket[bytes], now: float) -> tuple[bool, float | None]:
        """Send what the windows allow; return (whether the socket is full, the next deadline).

        Nothing before the ingest's welcome: it could not tell us what it rejects.
        """
        deadline: float | None = None
        if self._outboxes.fenced or not self.welcomed:
            return False, None
        for outbox in self._outboxes.busy():
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
                self.welcomed = True
                self.refusal = ""
            elif isinstance(message, Feedback):
                self._outboxes.hear(message, now)
                if message.acks:
                    with contextlib.suppress(OperatorError):  # the spool's; `emit` will say so
                        self._outboxes.tell_dropped()
            self._changed.notify_all()
