"""Events as readers get them: a range of a channel's life, composed once for each kind of reader. Pure.

Made of a live frame or of a page of history; held by the ring (`feed`), given out by `session` and `cohort`.
Knows no reader, only their variants.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.edge.variant import Variant
from pipeline.frame import Position
from pipeline.wire import FrameMessage, Page, browser_batch, split_channel, split_events


class Encoded(NamedTuple):
    """What goes to the socket: whole messages, framed, and how many they are."""

    data: bytes
    messages: int


class Delivery:
    """Events `first` to `last` of a channel's life.

    Args:
        channel: `kind/id`.
        epoch: the life.
        first: seq of the first event.
        last: seq of the last one.
        body: the JSON array of the events.
        merged: state events left out.
        at: each event's offset from `first`; empty when nothing was left out.
        critical: holds critical events. Of a page that is not known.
        terminal: holds the event that ends the channel. Of a page that is not known.
        state: (index, merge key) of each state event in the array. Of a page they are not known.
    """

    __slots__ = (
        "_encoded",
        "at",
        "body",
        "channel",
        "critical",
        "epoch",
        "first",
        "last",
        "merged",
        "state",
        "terminal",
    )

    def __init__(
        self,
        channel: str,
        epoch: int,
        first: int,
        last: int,
        body: bytes,
        merged: int = 0,
        at: tuple[int, ...] = (),
        critical: bool = False,
        terminal: bool = False,
        state: tuple[tuple[int, str], ...] = (),
    ) -> None:
        self.channel = channel
        self.epoch = epoch
        self.first = first
        self.last = last
        self.body = body
        self.merged = merged
        self.at = at
        self.critical = critical
        self.terminal = terminal
        self.state = state
        self._encoded: dict[Variant, Encoded] = {}

    @classmethod
    def of_frame(cls, frame: FrameMessage) -> Delivery:
        """Return what a live frame delivers."""
        header = frame.header
        return cls(
            frame.channel,
            header.epoch,
            header.first,
            header.last,
            frame.body,
            header.merged,
            header.at,
            header.critical,
            header.terminal,
            header.state,
        )

    @classmethod
    def of_page(cls, page: Page) -> Delivery:
        """Return what a page of history delivers; ask only if it has events."""
        header = page.header
        return cls(header.channel, header.epoch, header.first, header.last, page.body)

    @property
    def size_bytes(self) -> int:
        """Bytes of its events; what is composed of them is about as much again for each variant."""
        return len(self.body)

    def encoded(self, variant: Variant) -> Encoded:
        """Return what readers of this variant are sent; composed at the first call, the same ever after.

        Raises:
            MessageMalformed: the events are taken apart for this variant, and are no JSON array.
        """
        known = self._encoded.get(variant)
        if known is None:
            known = self._encoded[variant] = self._compose(variant)
        return known

    def _compose(self, variant: Variant) -> Encoded:
        if variant.wire == "heroforge":
            events = split_events(self.body)
            return Encoded(variant.messages(events), len(events))
        batch = browser_batch(
            split_channel(self.channel)[1],
            self.epoch,
            self.first,
            self.last,
            self.merged,
            self.at,
            self.body,
        )
        return Encoded(variant.message(batch, Position(self.epoch, self.last)), 1)


def join(parts: list[Delivery]) -> Delivery:
    """Return deliveries that follow each other as one; of state events the latest of each key survives.

    Args:
        parts: at least one; all of live frames, for a page does not tell its state events.

    Raises:
        MessageMalformed: the events of one are no JSON array.
    """
    if len(parts) == 1:
        return parts[0]
    first, last = parts[0].first, parts[-1].last
    kept: dict[int, bytes] = {}
    latest: dict[str, int] = {}
    for part in parts:
        events = split_events(part.body)
        offsets = part.at or range(len(events))
        keys = dict(part.state)
        for index, (event, offset) in enumerate(zip(events, offsets, strict=True)):
            seq = part.first + offset
            key = keys.get(index)
            if key is not None:
                kept.pop(latest.get(key, 0), None)
                latest[key] = seq
            kept[seq] = event
    merged = last - first + 1 - len(kept)
    index_of = {seq: index for index, seq in enumerate(kept)}
    return Delivery(
        parts[0].channel,
        parts[0].epoch,
        first,
        last,
        b"[" + b",".join(kept.values()) + b"]",
        merged,
        tuple(seq - first for seq in kept) if merged else (),
        any(part.critical for part in parts),
        any(part.terminal for part in parts),
        tuple((index_of[seq], key) for key, seq in latest.items()),
    )
