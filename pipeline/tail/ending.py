"""When the scans that a tail waits for have ended, and how. Pure.

Workers say how a life stands, and up to which event; it counts as ended here once the cursor is there, so
that everything before has been printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from pipeline.errors import MessageMalformed
from pipeline.frame import Position

_ENDED = ("completed", "failed")


class _Standing(msgspec.Struct, frozen=True):
    status: str
    error: str | None = None


_decode = msgspec.json.Decoder(_Standing).decode


@dataclass(frozen=True, slots=True)
class End:
    """How a life ended.

    Attributes:
        at: its last event.
        failed: whether it ended otherwise than completed.
        error: why, as its producer says; may be empty.
    """

    at: Position
    failed: bool
    error: str = ""


class Endings:
    """Args:
    channels: those whose end is awaited.
    """

    def __init__(self, channels: Iterable[str]) -> None:
        self._waiting = list(channels)
        self._told: dict[str, End] = {}
        self.reached: dict[str, End] = {}

    @property
    def waiting(self) -> list[str]:
        """The channels that have not ended."""
        return [channel for channel in self._waiting if channel not in self.reached]

    def tell(self, channel: str, at: Position, state: bytes) -> End | None:
        """Take in how a life of a channel stands.

        Args:
            channel: `kind/id`.
            at: the last event that is taken into account.
            state: the state's document, as a worker tells it.

        Returns:
            How it ended; None if it has not.

        Raises:
            MessageMalformed: it is none.
        """
        try:
            standing = _decode(state)
        except (msgspec.DecodeError, RecursionError) as error:
            raise MessageMalformed(f"state of {channel}: {error}") from None
        if standing.status not in _ENDED:
            return None
        return self._told.setdefault(channel, End(at, standing.status == "failed", standing.error or ""))

    def look(self, position: Callable[[str], Position | None]) -> bool:
        """Say whether all have ended.

        Args:
            position: returns the last event of a channel that was printed or passed over; None for none.
        """
        for channel in self.waiting:
            end, there = self._told.get(channel), position(channel)
            if end is not None and there is not None and there >= end.at:
                self.reached[channel] = end
        return not self.waiting

    def failures(self) -> list[str]:
        """Return a line for each channel that failed."""
        return [
            f"{channel} failed: {end.error}" if end.error else f"{channel} failed"
            for channel, end in self.reached.items()
            if end.failed
        ]
