"""Producers: each sends its own events 1, 2, 3 …, so that anybody can tell what is missing."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import zmq

from pipeline import Emitter
from pipeline.sockets import Binder, ingest_control, ingest_data
from pipeline.wire import (
    EnvelopeHeader,
    Feedback,
    Hello,
    decode_ingest_message,
    encode,
    encode_envelope,
)
from tests.harness import PATIENCE, deadline

WAIT_S = 15.0
AGAIN_MS = 200
END = b'{"type":"scanCompleted"}'


def event(producer: str, number: int, kind: str = "note") -> bytes:
    """Return one event of a producer; `kind` is its type: a fact, a state or a critical one."""
    about: dict[str, object] = {"type": kind, "producer": producer, "n": number}
    if kind in ("scanProgress", "phaseStarted"):
        about["phase"] = producer
    if kind == "scanProgress":
        about["progress"] = number % 100
    return json.dumps(about, separators=(",", ":")).encode()


def events(producer: str, count: int, seed: int = 0) -> list[bytes]:
    """Return a producer's events: mostly facts, some states, a few critical ones."""
    rng = random.Random(f"{producer} {seed}")
    kinds = rng.choices(["note", "scanProgress", "phaseStarted"], [90, 7, 3], k=count)
    return [event(producer, number, kind) for number, kind in enumerate(kinds, 1)]


class Producer:
    """A scanner with an `Emitter`, in a thread of its own.

    Args:
        scan_id: where it sends.
        name: stands in each event.
        count: how many events it sends.
        seed: what they are, and how they are paced.
        run_dir: the pipeline's, or one that leads there.
        span_s: how long it takes, about.

    Attributes:
        sent: everything it sends, in order.
        emitter: what it sends with.
    """

    def __init__(
        self, scan_id: str, name: str, count: int, seed: int, run_dir: Path, span_s: float = 2.0
    ) -> None:
        self.name = name
        self.sent = events(name, count, seed)
        self.emitter = Emitter(scan_id, run_dir=str(run_dir))
        self._rng = random.Random(f"{name} {seed} pace")
        self._span_s = span_s
        self._pause = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def _run(self) -> None:
        left = list(self.sent)
        bursts = 40
        for number in range(bursts):
            size = (
                len(left)
                if number == bursts - 1
                else min(len(left), self._rng.randint(0, 2 * len(self.sent) // bursts))
            )
            for raw in left[:size]:
                self.emitter.emit(raw)
            del left[:size]
            if self._over:
                return
            self._pause.wait(self._rng.uniform(0, 2 * self._span_s / bursts))

    def finish(self, seconds: float) -> None:
        """Wait until everything is sent and acked.

        Raises:
            NotDelivered: it is not, in time.
        """
        self._thread.join(seconds * PATIENCE)
        self.emitter.flush(seconds * PATIENCE)

    def close(self) -> None:
        """Stop, whatever is still to be sent."""
        self._over = True
        if self._thread.is_alive():
            self._thread.join()
        try:
            self.emitter.close(0)
        except Exception as error:  # noqa: BLE001  # what matters was said by `finish`
            del error


class RawProducer:
    """A numbered producer that does only what it is told: each message, sent or sent again, is a call.

    Args:
        scan_id: where it sends.
        name: its pid, and stands in each event.
        run_dir: the pipeline's run directory.
        inc: its incarnation.
    """

    def __init__(self, scan_id: str, name: str, run_dir: Path, inc: int = 1) -> None:
        self._header = (f"scan/{scan_id}", name, inc)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        binder = self._binder = Binder(self._context, run_dir)
        self._data = binder.connect(zmq.PUSH, [ingest_data(0)], high_water_mark=1_000)
        self._control = binder.connect(zmq.DEALER, [ingest_control(0)], high_water_mark=1_000)
        self._control.setsockopt(zmq.RCVTIMEO, int(WAIT_S * PATIENCE * 1000))
        self._control.send(encode(Hello(name, inc)))
        self._control.recv()

    def send(self, pseq: int, raws: list[bytes], una: int = 1) -> None:
        """Send one message."""
        channel, pid, inc = self._header
        self._data.send(encode_envelope(EnvelopeHeader(channel, pid, inc, pseq, una), raws))

    def deliver(self, pseq: int, raws: list[bytes], una: int = 1) -> None:
        """Send one message again and again until it is acked.

        Raises:
            AssertionError: it never is.
        """
        end = deadline(WAIT_S)
        while True:
            self.send(pseq, raws, una)
            while self._control.poll(AGAIN_MS):
                if any(ack.committed >= pseq + len(raws) - 1 for ack in self.hear().acks):
                    return
            assert deadline(0) < end, f"{self._header}: {pseq} is never acked"

    def hear(self) -> Feedback:
        """Return the next feedback.

        Raises:
            zmq.Again: none came.
        """
        while True:
            message = decode_ingest_message(self._control.recv())
            if isinstance(message, Feedback):
                return message

    def wait_acked(self, number: int) -> None:
        """Wait until everything up to `number` is acked.

        Raises:
            zmq.Again: it is not, in time.
        """
        while max((ack.committed for ack in self.hear().acks), default=0) < number:
            pass

    def wait_nack(self, reason: str) -> int:
        """Wait for a nack with this reason; return how far acks came before it."""
        acked = 0
        while True:
            feedback = self.hear()
            acked = max([acked, *(ack.committed for ack in feedback.acks)])
            if any(nack.reason == reason for nack in feedback.nacks):
                return acked

    def close(self) -> None:
        """Close its sockets."""
        self._binder.close()
        self._context.term()
