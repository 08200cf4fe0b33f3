"""What waits to be sent to one hook: one message at a time, in order, and again until it is taken. Pure.

The rules are those of `retrying`. Messages are here as numbers; their bodies are in the ledger.

=========================== =========================================================================
beyond                      what goes
=========================== =========================================================================
`max_waiting` messages      the oldest that is not under way
`give_up_after_s`           a message so old, when it would be its turn
the hook is gone            all, and every further one
=========================== =========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.notify.config import DeliverySection
from pipeline.notify.retrying import Verdict, pause_s


@dataclass(slots=True)
class _Message:
    made_at: float
    due_at: float
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """A message that will not be delivered.

    Attributes:
        number: which.
        reason: `queue_full`, `expired`, `gone` or `no_hook`.
    """

    number: int
    reason: str


class Waiting:
    """Args:
    settings: pauses and bounds.

    Attributes:
        settings: the same; others may follow.
        gone: the receiver wants nothing more.
        failures: how many attempts have failed since the last one that was answered well.
    """

    def __init__(self, settings: DeliverySection) -> None:
        self.settings = settings
        self._messages: dict[int, _Message] = {}
        self._under_way: int | None = None
        self._not_before = float("-inf")
        self._earliest = float("inf")
        self.gone = False
        self.failures = 0

    def __len__(self) -> int:
        return len(self._messages)

    def renew(self, now: float) -> None:
        """Take notice that the hook is another one: what waits is sent at once, whatever it answered before.

        An attempt that is under way counts for the new one.
        """
        self.gone = False
        self.failures = 0
        self._not_before = now
        for message in self._messages.values():
            message.due_at = min(message.due_at, now)
        self._look()

    def leave(self) -> list[Drop]:
        """Return all that waits: the hook is no more."""
        dropped = [Drop(number, "no_hook") for number in self._messages]
        self._messages.clear()
        return dropped

    def add(self, number: int, made_at: float, now: float) -> list[Drop]:
        """Take in a message; numbers grow.

        Args:
            number: which.
            made_at: when its event was seen, monotonic seconds; may be before this process began.
            now: monotonic seconds.

        Returns:
            What is dropped for it, or it itself.
        """
        if self.gone:
            return [Drop(number, "gone")]
        self._messages[number] = _Message(made_at, now)
        self._earliest = min(self._earliest, now)
        if len(self._messages) <= self.settings.max_waiting:
            return []
        oldest = next(each for each in self._messages if each != self._under_way)
        del self._messages[oldest]
        return [Drop(oldest, "queue_full")]

    def next_deadline(self) -> float | None:
        """Return when to call `take`; None when nothing is to be sent, or something is under way."""
        if self._under_way is not None or not self._messages:
            return None
        return max(self._not_before, self._earliest)

    def take(self, now: float) -> tuple[int | None, list[Drop]]:
        """Return the message to send now, and what is too old to be sent; call `answered` with its answer."""
        if self._under_way is not None:
            return None, []
        old = [
            number
            for number, message in self._messages.items()
            if now - message.made_at >= self.settings.give_up_after_s
        ]
        for number in old:
            del self._messages[number]
        self._look()
        if now >= self._not_before:
            due = (number for number, message in self._messages.items() if message.due_at <= now)
            self._under_way = next(due, None)
        return self._under_way, [Drop(number, "expired") for number in old]

    def answered(self, verdict: Verdict, asked_s: float, chance: float, now: float) -> list[Drop]:
        """Take in the answer to the message under way.

        Args:
            verdict: what it means. A delivered message is forgotten here.
            asked_s: how long the receiver asks to wait.
            chance: 0 to 1, at random.
            now: monotonic seconds.

        Returns:
            What is dropped: everything, when the hook is gone.
        """
        number, self._under_way = self._under_way, None
        assert number is not None
        message = self._messages[number]
        if verdict is Verdict.DELIVERED:
            del self._messages[number]
            self._look()
            self.failures = 0
            self._not_before = now + min(asked_s, self.settings.max_retry_s)
            return []
        if verdict is Verdict.GONE:
            self.gone = True
            dropped = [Drop(each, "gone") for each in self._messages]
            self._messages.clear()
            return dropped
        if verdict is Verdict.UNWELL:
            self.failures += 1
            self._not_before = now + self._pause(self.failures, asked_s, chance)
            return []
        self.failures = 0
        message.failures += 1
        message.due_at = now + self._pause(message.failures, asked_s, chance)
        self._look()
        return []

    def _look(self) -> None:
        self._earliest = min((message.due_at for message in self._messages.values()), default=float("inf"))

    def _pause(self, failures: int, asked_s: float, chance: float) -> float:
        settings = self.settings
        return pause_s(failures, settings.first_retry_s, settings.max_retry_s, chance, asked_s)
