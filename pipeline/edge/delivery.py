"""Events as readers get them: a range of a channel's life, composed once for each kind of reader. Pure.

Made of a live frame or of a page of history; held by the ring (`feed`), given out by `session` and `cohort`.
Knows no reader, only their variants.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from pipeline.edge.filter import Filter, Gist, read_gists
from pipeline.edge.variant import Variant
from pipeline.frame import Position
from pipeline.wire import FrameMessage, Page, browser_batch, split_channel, split_events

MAX_VIEWS = 16
"""Filters whose part of a frame is remembered; past it, it may be composed anew for who comes late."""


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
        filtered: events a filter left out.
    """

    __slots__ = (
        "_count",
        "_encoded",
        "_gists",
        "_passing",
        "_views",
        "at",
        "body",
        "channel",
        "critical",
        "epoch",
        "filtered",
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
        filtered: int = 0,
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
        self.filtered = filtered
        self._encoded: dict[Variant, Encoded] = {}
        self._gists: list[Gist] | None = None
        self._count = 0
        self._passing: dict[Filter, tuple[int, ...]] = {}
        self._views: dict[tuple[Filter, int, int], Delivery] = {}

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

    @classmethod
    def of_nothing(cls, channel: str, epoch: int, first: int, last: int, merged: int) -> Delivery:
        """Return that nothing of a range is given, so that a reader knows how far it is."""
        return cls(channel, epoch, first, last, b"[]", merged, filtered=last - first + 1 - merged)

    @property
    def size_bytes(self) -> int:
        """Bytes of its events; what is composed of them is about as much again for each variant."""
        return len(self.body)

    def through(self, wanted: Filter, first: int, merged: int = 0) -> Delivery | None:
        """Return what of this passes a filter, made once for all who have the same.

        Args:
            wanted: the filter.
            first: where the range begins that it is to tell of: here, or earlier when a reader was given
                nothing of what was before.
            merged: state events left out of that earlier part; all others of it were filtered.

        Returns:
            Itself when all of it passes and nothing precedes it; None when nothing passes.
        """
        kept = self._kept(wanted)
        if not kept:
            return None
        if first == self.first and len(kept) == self._count:
            return self
        key = (wanted, first, merged)
        view = self._views.get(key)
        if view is None:
            if len(self._views) >= MAX_VIEWS:
                self._views.clear()
            view = self._views[key] = self._view(kept, first, merged + self.merged)
        return view

    def _kept(self, wanted: Filter) -> tuple[int, ...]:
        """Return the indices of the events that pass; what they look at is decoded once for all filters."""
        kept = self._passing.get(wanted)
        if kept is None:
            if self._gists is None:
                self._gists = read_gists(self.body)
                self._count = len(self._gists)
            if len(self._passing) >= MAX_VIEWS:
                self._passing.clear()
            kept = tuple(index for index, gist in enumerate(self._gists) if wanted.keeps(gist))
            self._passing[wanted] = kept
        return kept

    def _view(self, kept: tuple[int, ...], first: int, merged: int) -> Delivery:
        body = self.body
        if len(kept) < self._count:
            events = split_events(body)
            body = b"[" + b",".join([events[index] for index in kept]) + b"]"
        shift = self.first - first
        at = tuple((self.at[index] if self.at else index) + shift for index in kept)
        filtered = self.last - first + 1 - merged - len(kept)
        return Delivery(self.channel, self.epoch, first, self.last, body, merged, at, filtered=filtered)

    def encoded(self, variant: Variant) -> Encoded:
        """Return what readers of this variant are sent; composed at the first call, the same ever after.

        Raises:
            MessageMalformed: the events are taken apart for this variant, and are no JSON array.
        """
        if variant.wanted is not None:  # it has gone through the filter: how it is framed is what counts
            variant = replace(variant, wanted=None)
        known = self._encoded.get(variant)
        if known is None:
            known = self._encoded[variant] = self._compose(variant)
        return known

    def _compose(self, variant: Variant) -> Encoded:
        if variant.wire == "heroforge":
            events = split_events(self.body)
            return Encoded(variant.messages(events), len(events))
        return Encoded(variant.message(self.batch(), Position(self.epoch, self.last)), 1)

    def batch(self) -> bytes:
        """Return the JSON of the message that brings it on our own wire."""
        return browser_batch(
            split_channel(self.channel)[1],
            self.epoch,
            self.first,
            self.last,
            self.merged,
            self.at,
            self.body,
            self.filtered,
        )


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
