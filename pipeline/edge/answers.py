"""What a browser is told of what it asked in messages: in order, and never more of it than a bound. Shell.

Beside the events, on the same socket: an answer goes at once when nothing waits, else when it is its turn.
"""

from __future__ import annotations

from collections import Counter, deque

import msgspec

from pipeline.edge.browser_actions import (
    ACTIONS_OF_ONE,
    AckAction,
    Action,
    BadAction,
    FilterAction,
    PingAction,
    read_action,
)
from pipeline.edge.close_codes import BAD_REQUEST, CloseCode
from pipeline.edge.transmit import Transmitter
from pipeline.edge.variant import Variant
from pipeline.edge.watcher import Watcher
from pipeline.wire import BrowserError, BrowserPong, encode

MAX_ANSWERS = 100
"""Answers that wait for a browser that asks on and does not read; what it asks beyond is not done."""


class Answers:
    """Args:
    transmitter: the browser's socket.
    variant: what it speaks.
    counters: where what is refused is counted.
    """

    def __init__(self, transmitter: Transmitter, variant: Variant, counters: Counter[str]) -> None:
        self._transmitter = transmitter
        self._variant = variant
        self._counters = counters
        self._waiting: deque[bytes] = deque()
        transmitter.on_idle.append(self.drive)

    def hear(self, message: str | bytes, allowed: tuple[type[Action], ...]) -> Action | None:
        """Read a browser's message; answer what can be answered without knowing more.

        Args:
            message: as it came.
            allowed: the actions that the stream knows.

        Returns:
            What is left to be done; None for nothing.
        """
        self._counters["inbound_messages"] += 1
        if len(self._waiting) >= MAX_ANSWERS:
            self._counters["actions_unanswered"] += 1
            return None
        try:
            action = read_action(message, allowed)
        except BadAction as error:
            self.refuse(str(error))
            return None
        if isinstance(action, PingAction):
            if self._transmitter.idle:  # else what waits is a sign of life, and comes first
                self.tell(BrowserPong())
            return None
        return action

    def refuse(self, problem: str, scan_id: str | None = None, code: CloseCode = BAD_REQUEST) -> None:
        """Say that what was asked is not done.

        Args:
            problem: the value met, and the limit.
            scan_id: the scan it is about, if it is about one on a stream of several.
            code: what it would be closed with, if that were to end the connection.
        """
        self._counters[f"actions_refused{{code={code.code}}}"] += 1
        self.tell(
            BrowserError(code=code.code, message=problem[:500], temporary=code.reconnect, scan_id=scan_id)
        )

    def tell(self, message: msgspec.Struct) -> None:
        """Send a message when it is its turn."""
        self._waiting.append(self._variant.message(encode(message)))
        self.drive()

    def drive(self) -> None:
        """Send what waits, as long as the browser takes it."""
        while self._waiting and self._transmitter.idle:
            self._transmitter.write(self._waiting.popleft())
        if self._waiting:
            self._transmitter.wait()

    def leave(self) -> None:
        """Send nothing more."""
        self._waiting.clear()
        self._transmitter.on_idle.remove(self.drive)


class ScanAnswers:
    """What a browser may ask on the stream of one scan.

    Args:
        watcher: gives it the scan.
        transmitter: the browser's socket.
        variant: what it speaks.
        counters: where what is refused is counted.
    """

    __slots__ = ("_answers", "_counters", "_transmitter", "_variant", "_watcher")

    def __init__(
        self, watcher: Watcher, transmitter: Transmitter, variant: Variant, counters: Counter[str]
    ) -> None:
        self._watcher = watcher
        self._transmitter = transmitter
        self._variant = variant
        self._counters = counters
        self._answers: Answers | None = None  # most browsers never ask

    def hear(self, message: str | bytes) -> None:
        """Do what a message asks, or answer why not; HeroForge's browsers have nothing to ask."""
        if self._variant.wire != "native":
            self._counters["inbound_messages"] += 1
            return
        if self._answers is None:
            self._answers = Answers(self._transmitter, self._variant, self._counters)
        action = self._answers.hear(message, ACTIONS_OF_ONE)
        if isinstance(action, AckAction):
            self._watcher.ack(action.seq)
        elif isinstance(action, FilterAction):
            try:
                self._watcher.refilter(action.read())
            except ValueError as error:
                self._answers.refuse(str(error))
