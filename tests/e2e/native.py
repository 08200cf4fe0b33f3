"""A reader of our own wire, that says what the protocol does not allow."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from tests.e2e.connection import Connection, LoopThread

SUBPROTOCOL = "scanstream.v1.json"


class _Message(msgspec.Struct):
    """The fields of our wire that a reader looks at; `seq` is a number in hello, a pair in batch."""

    type: str
    epoch: int | None = None
    seq: int | tuple[int, int] | None = None
    resumed: bool | None = None
    merged: int = 0
    filtered: int = 0
    at: tuple[int, ...] | None = None
    events: list[msgspec.Raw] = []
    reason: str = ""
    degraded: bool = False
    skipped: int = msgspec.field(default=0, name="skippedMessages")
    from_: int = msgspec.field(default=0, name="from")
    to: int = 0
    code: int = 0


class Gist(msgspec.Struct):
    """What a check looks at of any event."""

    type: str
    phase: str | None = None


_decode = msgspec.json.Decoder(_Message).decode
read_gist = msgspec.json.Decoder(Gist).decode
"""Return the type of any event, and its phase, if it is one that has one."""


class NativeReader(Connection):
    """A reader of our own wire.

    Attributes:
        epoch: the life it is in; None before the first event.
        seq: the last event it has got, or was told it does not get.
        events: epoch -> seq -> the event's JSON.
        ranges: the first and last of each batch.
        frames: how many batches it has got.
        merged: how many events the batches say they left out.
        filtered: how many of them for the reader's filter.
        filters: each `filter`.
        errors: each `error`.
        hellos: each `hello`.
        resets: each `reset`.
        lags: each `lag`.
        degraded: each `degraded`: whether it is so.
        states: epoch -> (the last event that the state it was given counts, the state).
    """

    def __init__(self, loop: LoopThread, url: str) -> None:
        super().__init__(loop, url)
        self.epoch: int | None = None
        self.seq = 0
        self.events: dict[int, dict[int, bytes]] = {}
        self.ranges: list[tuple[int, int]] = []
        self.frames = 0
        self.merged = 0
        self.filtered = 0
        self.filters: list[_Message] = []
        self.errors: list[_Message] = []
        self.hellos: list[_Message] = []
        self.resets: list[_Message] = []
        self.lags: list[_Message] = []
        self.degraded: list[bool] = []
        self.states: dict[int, tuple[int, dict[str, Any]]] = {}

    def __repr__(self) -> str:
        return (
            f"reader of {self.url} at {self.epoch}:{self.seq}, {self.frames} frames, {self.merged} merged, "
            f"closes {self.closes}, problems {self.problems[:3]}"
        )

    def subprotocols(self) -> Any:
        return [SUBPROTOCOL]

    def target(self) -> str:
        since = "start" if self.epoch is None else f"{self.epoch}:{self.seq}"
        return f"{self.url}{'&' if '?' in self.url else '?'}since={since}"

    def take(self, data: bytes) -> None:
        message = _decode(data)
        if message.type == "hello":
            self.hellos.append(message)
            if message.resumed is False:
                self.epoch, self.seq = message.epoch, 0
        elif message.type == "batch":
            self._batch(message)
        elif message.type == "snapshot":
            self._snapshot(message, data)
        elif message.type == "reset":
            self.resets.append(message)
            self.epoch, self.seq = message.epoch, 0
        elif message.type == "lag":
            self.lags.append(message)
            self.seq += message.skipped
        elif message.type == "degraded":
            self.degraded.append(message.degraded)
        elif message.type == "filter":
            self.filters.append(message)
            if message.from_ != self.seq + 1:
                self.problems.append(f"a filter from {message.from_} on, after {self.seq}")
        elif message.type == "error":
            self.errors.append(message)
        elif message.type != "closing":
            self.problems.append(f"unexpected {message.type}")

    def may_begin_with_a_state(self) -> bool:
        """Say whether a snapshot may come: where it was is gone, and nothing came since."""
        return self.hellos[-1].resumed is False and self.seq == 0

    def _snapshot(self, message: _Message, data: bytes) -> None:
        assert isinstance(message.seq, int)
        assert message.epoch is not None
        if not self.may_begin_with_a_state():
            self.problems.append(f"a snapshot at {message.seq} after {self.seq}, and nothing was gone")
        self.epoch, self.seq = message.epoch, message.seq
        self.states[message.epoch] = (message.seq, json.loads(data)["state"])

    def _batch(self, message: _Message) -> None:
        assert isinstance(message.seq, tuple)
        assert message.epoch is not None
        first, last = message.seq
        if self.epoch is None:
            self.epoch = message.epoch
        if message.epoch != self.epoch:
            self.problems.append(f"epoch {message.epoch} after {self.epoch}, and no reset between")
        if first != self.seq + 1:
            self.problems.append(f"first {first} after {self.seq}")
        if len(message.events) + message.merged + message.filtered != last - first + 1:
            self.problems.append(f"{first}-{last}: {len(message.events)} events and {message.merged} merged")
        offsets = message.at if message.at is not None else tuple(range(len(message.events)))
        if len(offsets) != len(message.events) or list(offsets) != sorted(set(offsets)):
            self.problems.append(f"{first}-{last}: at does not fit its {len(message.events)} events")
        held = self.events.setdefault(message.epoch, {})
        for offset, event in zip(offsets, message.events, strict=False):
            held[first + offset] = bytes(event)
        self.ranges.append((first, last))
        self.epoch, self.seq = message.epoch, last
        self.frames += 1
        self.merged += message.merged
        self.filtered += message.filtered

    def check(self, sent: list[bytes]) -> None:
        """Hold everything got against what was sent: one life, numbered in the order sent.

        What is missing must be counted as merged, and be a progress report that a later one of its phase
        follows in the same frame.

        Raises:
            AssertionError: something is lost, twice, out of order, or not what was sent.
        """
        assert self.problems == []
        assert (self.lags, self.resets) == ([], [])
        assert self.seq == len(sent)
        assert len(self.events) == 1
        (got,) = self.events.values()
        wrong = [seq for seq, event in got.items() if event != sent[seq - 1]]
        assert wrong == [], f"not what was sent: {wrong[:5]} of {self!r}"
        assert len(got) + self.merged == len(sent)
        for first, last in self.ranges:
            followed: set[str | None] = set()
            for seq in range(last, first - 1, -1):
                event = read_gist(sent[seq - 1])
                if seq not in got:
                    assert event.type == "scanProgress", f"{seq} is a {event.type}, and lost"
                    assert event.phase in followed, f"{seq} was not replaced in its frame, and is lost"
                elif event.type == "scanProgress":
                    followed.add(event.phase)

    def check_filtered(self, sent: list[bytes], passes: Callable[[bytes], bool]) -> None:
        """Hold what a reader with a filter got against what was sent.

        Args:
            sent: every event of the one life, in order.
            passes: whether an event is what the filter wants.

        Raises:
            AssertionError: something wanted is lost and was not merged, or something came that is not wanted.
        """
        assert self.problems == []
        assert (self.lags, self.resets) == ([], [])
        assert self.seq == len(sent)
        (got,) = self.events.values()
        assert [seq for seq, event in got.items() if event != sent[seq - 1]] == []
        assert [seq for seq in got if not passes(sent[seq - 1])] == []
        assert len(got) + self.merged + self.filtered == len(sent)
        missing = [event for seq, event in enumerate(sent, 1) if passes(event) and seq not in got]
        assert {read_gist(event).type for event in missing} <= {"scanProgress"}
        assert len(missing) <= self.merged
