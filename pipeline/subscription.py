"""A reader of one scan that comes back by itself: when it connects, asks, leaves, and what it is given. Pure.

The core of `Subscriber`, which owns the socket and the clock. Every method that may lead to something returns
what is to be done, in order. `edge/static/scanstream.js` does the same in browsers. Knows nothing of what
events mean.

================================================ ==========================================================
what                                             then
================================================ ==========================================================
the connection ends, or cannot be opened         it is tried again: see `retry_delay_s`
the same, and the server said not to come back   `ended`
a message that does not follow                   `Leave`, and back with the position held
not open after 20 s                              `Leave`, and back
no message for two ping intervals                `Ask`, if the server answers that
asked, and no message for `client_timeout`       `Leave`, and back
it cannot ask, no message for 75 s               `Leave`, and back: the only way to find out
its token will expire                            `Renew`: see `renewal`
its token is refused                             `ended`, or back with another: see `renewal`
connected for 5 s                                the next retry is a first one again
================================================ ==========================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.errors import MessageMalformed
from pipeline.frame import Position
from pipeline.items import (
    Batch,
    Degraded,
    Disconnected,
    Ended,
    Item,
    Joined,
    Lag,
    Reset,
    Snapshot,
)
from pipeline.read_position import ReadPosition
from pipeline.renewal import TokenTries, refresh_delay_s
from pipeline.wire import (
    BrowserBatch,
    BrowserClosing,
    BrowserDegraded,
    BrowserHello,
    BrowserLag,
    BrowserMessage,
    BrowserReset,
    BrowserSnapshot,
    decode_browser_message,
)

FINAL_CLOSE_CODES = frozenset({1002, 1003, 1007, 1009, 4400, 4401, 4403, 4404, 4406})
"""Close codes after which the server does not want the client back."""

_UNAUTHORISED = 4401

OPEN_WITHIN_S = 20.0
_QUIET_AT_MOST_S = 75.0
_QUIET_PINGS = 2
_HEALTHY_AFTER_S = 5.0
_FIRST_RETRY_WITHIN_S = 0.2
_BACKOFF_LEAST_S = 0.5
_BACKOFF_MOST_S = 20.0
_ASKED_WAIT_MOST_S = 3600.0


def retry_delay_s(attempt: int, random: float, least_s: float = 0.0) -> float:
    """Return how long to wait before a retry, in seconds.

    The first is at random within 0.2 s, so that a restarted edge is not hit by everyone in the same instant;
    then at random between 0.5 s and a bound that doubles up to 20 s.

    Args:
        attempt: failures in a row so far, 0 for the first.
        random: 0 <= random < 1.
        least_s: what the server asked for; waited for before, an hour at most.
    """
    asked_s = min(max(least_s, 0.0), _ASKED_WAIT_MOST_S)
    if attempt == 0:
        return asked_s + random * _FIRST_RETRY_WITHIN_S
    # The exponent is bounded too: a float overflows at 2 ** 1024.
    ceiling_s = min(_BACKOFF_MOST_S, _BACKOFF_LEAST_S * 2.0 ** min(attempt, 16))
    return asked_s + _BACKOFF_LEAST_S + random * (ceiling_s - _BACKOFF_LEAST_S)


@dataclass(frozen=True, slots=True)
class Give:
    """Hand this to the reader, whose position is then `since`."""

    item: Item
    since: Position | None


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a ping."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Close the connection, or give up opening it."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Ask for another token, and send it."""


Action: TypeAlias = Give | Ask | Leave | Renew


class Subscription:
    """Args:
    since: the position to begin with; None: with everything that is held.
    now: monotonic seconds.
    renewable: another token can be asked for.

    Attributes:
        connect_at: when to connect, monotonic seconds; None while it is connected, and once it has ended.
        deadline: while connected or connecting, when something must have come, monotonic seconds.
        ended: why it has ended; None while it has not.
    """

    def __init__(self, since: Position | None, now: float, *, renewable: bool = False) -> None:
        self.connect_at: float | None = now
        self.deadline = now
        self.ended: Ended | None = None
        self._renewable = renewable
        self._tries = TokenTries(renewable=renewable)
        self._renew_at = math.inf
        self._position = ReadPosition(since)
        self._attempt = 0
        self._closing: BrowserClosing | None = None
        self._joined_at: float | None = None
        self._open = False
        self._asked = False
        self._quiet_s = _QUIET_AT_MOST_S
        self._patience_s: float | None = None

    @property
    def since(self) -> Position | None:
        """The position to connect with."""
        return self._position.since

    @property
    def wake_at(self) -> float:
        """When to call `handle_timeout`, at the latest."""
        return min(self.deadline, self._renew_at)

    def token_lasts(self, left_s: float | None, now: float) -> None:
        """Take notice of the token that is used.

        Args:
            left_s: how long it lasts; None when it does not say.
            now: monotonic seconds.
        """
        delay_s = refresh_delay_s(left_s) if left_s is not None and self._renewable else None
        self._renew_at = now + delay_s if delay_s is not None else math.inf

    def connecting(self, now: float) -> None:
        """Take notice that a connection is being opened."""
        self.connect_at = None
        self.deadline = now + OPEN_WITHIN_S
        self._closing = None
        self._joined_at = None
        self._open = self._asked = False
        self._quiet_s, self._patience_s = _QUIET_AT_MOST_S, None

    def opened(self, now: float) -> None:
        """Take notice that it is open."""
        self._open = True
        self.deadline = now + self._quiet_s

    def received(self, data: str | bytes, now: float, random: float) -> list[Action]:
        """Take in a message.

        Args:
            data: the message.
            now: monotonic seconds.
            random: 0 <= random < 1, for a retry.
        """
        self._asked = False
        self.deadline = now + self._quiet_s
        try:
            message = decode_browser_message(data)
        except MessageMalformed:
            return self._again("the server sent something unreadable", now, random)
        if message is None:
            return []
        verdict = self._position.take(message)
        if verdict == "drop":
            return []
        if verdict == "damaged":
            return self._again("the server sent something unreadable", now, random)
        if verdict == "gap":
            return self._again(f"events were missing after {self.since}", now, random)
        said: list[Action] = []
        if verdict == "reset" and isinstance(message, BrowserHello | BrowserBatch):
            reason = "not_held" if isinstance(message, BrowserHello) else "restarted"
            said.append(self._give(Reset(message.epoch, reason)))
        if isinstance(message, BrowserClosing):
            self._closing = message
        elif isinstance(message, BrowserHello):
            self._joined_at = now
            self._tries.accepted()
            if "ping" in message.features:
                self._quiet_s, self._patience_s = _QUIET_PINGS * message.ping_interval, message.client_timeout
                self.deadline = now + self._quiet_s
        item = _item(message)
        return [*said, self._give(item)] if item is not None else said

    def closed(self, code: int | None, reason: str, now: float, random: float) -> list[Action]:
        """Take notice that the connection has ended, or could not be opened.

        Args:
            code: the close code; None when there was none.
            reason: what else is known of it.
            now: monotonic seconds.
            random: 0 <= random < 1, for a retry.
        """
        closing = self._closing
        if closing is not None:
            reason = closing.reason
        if code == _UNAUTHORISED and self._tries.refused():
            return [self._retry(reason, now, random)]
        if (closing is not None and not closing.reconnect) or code in FINAL_CLOSE_CODES:
            self.ended = Ended(code or 1006, reason)
            return []
        asked_s = closing.retry_ms / 1000 if closing is not None else 0.0
        return [self._retry(reason or "the connection was lost", now, random, asked_s)]

    def handle_timeout(self, now: float, random: float) -> list[Action]:
        """See whether the other side is still there, and the token lasts; does nothing before `wake_at`."""
        if self.connect_at is not None or self.ended is not None or now < self.wake_at:
            return []
        if now < self.deadline:
            self._renew_at = math.inf
            return [Renew()] if self._open else []
        if self._open and self._patience_s is not None and not self._asked:
            self._asked = True
            self.deadline = now + self._patience_s
            return [Ask()]
        said = "no sign of life from the server" if self._open else "the server did not answer"
        return self._again(said, now, random)

    def _again(self, reason: str, now: float, random: float) -> list[Action]:
        return [Leave(), self._retry(reason, now, random)]

    def _retry(self, reason: str, now: float, random: float, asked_s: float = 0.0) -> Give:
        if self._joined_at is not None and now - self._joined_at >= _HEALTHY_AFTER_S:
            self._attempt = 0
        retry_s = retry_delay_s(self._attempt, random, asked_s)
        self._attempt += 1
        self.connect_at = now + retry_s
        return self._give(Disconnected(reason, retry_s))

    def _give(self, item: Item) -> Give:
        return Give(item, self.since)


def _item(message: BrowserMessage) -> Item | None:
    match message:
        case BrowserHello():
            return Joined(message.epoch, message.seq, message.resumed)
        case BrowserBatch():
            first, last = message.seq
            offsets = message.at if message.merged or message.filtered else tuple(range(len(message.events)))
            return Batch(
                message.epoch, first, last, message.events, offsets, message.merged, message.filtered
            )
        case BrowserLag():
            return Lag(message.from_, message.to, message.skipped, message.reason)
        case BrowserReset():
            return Reset(message.epoch, message.reason)
        case BrowserSnapshot():
            return Snapshot(message.epoch, message.seq, message.state)
        case BrowserDegraded():
            return Degraded(message.degraded, message.reason)
    return None
