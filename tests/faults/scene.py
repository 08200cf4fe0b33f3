"""A scan with producers and readers on every wire, played while something befalls the pipeline."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from pipeline import Emitter
from tests.e2e.watching import Watchers
from tests.faults.oracle import check_held, check_heroforge, check_log, check_native
from tests.faults.readers import (
    Staying,
    StayingHeroForge,
    StayingNative,
    StayingRest,
    StayingSse,
    StayingTail,
    wait_end,
)
from tests.faults.stand import Stand
from tests.faults.traffic import END, Producer, event
from tests.harness import PATIENCE, deadline

KNOCK_S = 0.05


class Audience:
    """A reader on each wire, from the first event on.

    Args:
        stand: what they read from.
        scan_id: what they watch.
        watchers: their loop.
        tail: whether there is a `tail` too; it is a process of its own.
    """

    def __init__(self, stand: Stand, scan_id: str, watchers: Watchers, *, tail: bool) -> None:
        self.native = watchers.add(StayingNative(watchers.loop, stand.ws(f"/ws/scans/{scan_id}")))
        self.sse = watchers.add(StayingSse(watchers.loop, f"{stand.url}/sse/scans/{scan_id}"))
        self.heroforge = watchers.add(StayingHeroForge(watchers.loop, stand.ws(f"/api/ws/scans/{scan_id}")))
        self.rest = watchers.add(StayingRest(watchers.loop, f"{stand.url}/api/scans/{scan_id}/events"))
        self.tail = StayingTail(stand.run_dir_of("tail"), scan_id) if tail else None
        self.members: list[Staying] = [self.native, self.sse, self.heroforge, self.rest]

    def wait(self, seconds: float) -> None:
        """Wait until each has got the end of the scan.

        Raises:
            AssertionError: one has not, in time.
        """
        for reader in self.members:
            wait_end(reader, seconds)
        if self.tail is not None:
            end = deadline(seconds)
            pause = threading.Event()
            while not any(b'"scanCompleted"' in line for line in self.tail.lines()[-1:]):
                assert not past(end), f"tail waited in vain, at {self.tail.lines()[-1:]}; {self.tail.notices}"
                pause.wait(KNOCK_S)

    def check(self, sent: dict[str, list[bytes]]) -> None:
        """Hold everything against what was sent; see `readers`.

        Raises:
            AssertionError: something is lost, twice, out of order, or not told.
        """
        log = self.rest.log()
        check_log(log, sent)
        check_native(self.native, log)
        check_native(self.sse, log)
        check_heroforge(self.heroforge, log)
        if self.tail is not None:
            check_held("tail", self.tail.held(), log)

    def close(self) -> None:
        """End the tail; the others end with their loop."""
        if self.tail is not None:
            self.tail.close()


def past(end: float) -> bool:
    """Say whether a deadline is over."""
    return deadline(0) > end


@dataclass
class Scene:
    """What is played.

    Attributes:
        stand: the pipeline, begun.
        seed: what the producers send, and when.
        scan_id: where to.
        producers: how many.
        count: how many events each sends.
        span_s: for how long, about.
        tail: whether a `tail` reads along.
        patience_s: how long anything is waited for.
        audience: the readers, while it is played.
        watchers: their loop.
        beside: what was sent beside, by name of its producer: whoever sends puts it here.
    """

    stand: Stand
    seed: int = 1
    scan_id: str = "office"
    producers: int = 2
    count: int = 200
    span_s: float = 1.5
    tail: bool = True
    patience_s: float = 60.0
    audience: Audience = field(init=False)
    watchers: Watchers = field(init=False)
    beside: dict[str, list[bytes]] = field(default_factory=dict)

    def play(self, befall: Callable[[], None], check: Callable[[list[bytes]], None] = lambda _: None) -> None:
        """Let the producers send and the readers read while `befall` runs, and check what came of it.

        Args:
            befall: returns when all is well again.
            check: given the log, holds what further readers got against it.

        Raises:
            AssertionError: a reader was not given what it must be given, or a process failed.
            NotDelivered: a producer was not heard.
        """
        with ExitStack() as stack:
            self.watchers = stack.enter_context(Watchers())
            self.audience = Audience(self.stand, self.scan_id, self.watchers, tail=self.tail)
            stack.callback(self.audience.close)
            sending = []
            for number in range(self.producers):
                producer = Producer(
                    self.scan_id,
                    f"p{number}",
                    self.count,
                    self.seed,
                    self.stand.run_dir_of("producer"),
                    self.span_s,
                )
                stack.callback(producer.close)
                sending.append(producer)
            for producer in sending:
                producer.start()
            befall()
            for producer in sending:
                producer.finish(self.patience_s)
            sent = {producer.name: producer.sent for producer in sending} | self.beside
            sent["last"] = self.send_until(self._is_live, "last")
            with Emitter(self.scan_id, run_dir=str(self.stand.run_dir_of("producer"))) as emitter:
                emitter.emit(END)
            self.audience.wait(self.patience_s)
            self.audience.check(sent)
            check(self.audience.rest.log())
            assert all(not producer.emitter.rejected() for producer in sending)
            assert self.stand.last_words == []

    def send_until(self, fact: Callable[[], object], name: str) -> list[bytes]:
        """Send events, one after the other, until `fact`; then wait until they are acked.

        Args:
            name: the producer that stands in the events.

        Returns:
            What was sent.

        Raises:
            AssertionError: it never comes true.
            NotDelivered: what was sent is not acked.
        """
        sent: list[bytes] = []
        end = deadline(self.patience_s)
        pause = threading.Event()
        with Emitter(self.scan_id, run_dir=str(self.stand.run_dir_of("producer"))) as emitter:
            while not fact():
                assert not past(end), f"{name} sends in vain; {self.stand.deaths} {self.audience.heroforge!r}"
                sent.append(event(name, len(sent) + 1))
                emitter.emit(sent[-1])
                pause.wait(KNOCK_S)
            emitter.flush(self.patience_s * PATIENCE)
        return sent

    def _is_live(self) -> bool:
        """Say whether HeroForge's reader, which is given only what is live, is there again."""
        connections = self.audience.heroforge.connections
        return bool(connections) and any(b'"last"' in raw for raw in connections[-1])
