"""All channels a reader of frames follows: where each began, and whose turn it is to ask history. Pure.

Used by `tail` and `notify`, between their sockets and the cursors. Where a channel begins depends on what was
asked for:

=========== ====================================== ===================================================
start       a channel that was there before        one whose life began later
=========== ====================================== ===================================================
`live`      with what is published after it was    with its first event
            first heard of, here or in an answer
`start`     with the oldest event held             the same
a position  after that position, whatever became   the same
            of it
=========== ====================================== ===================================================

A channel that `resume` names goes on where it was, whatever the start.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, TypeAlias

from pipeline.cursor import Cursor, PageTaken
from pipeline.frame import Position
from pipeline.wire import PageHeader

MAX_CHANNELS = 100_000
"""How many channels are followed; past it the one quiet for longest is forgotten, and begins anew."""

Start: TypeAlias = Position | Literal["live", "start"]


class Following:
    """Args:
    start: where channels begin.
    began_ms: the wall clock when the following began, epoch milliseconds: epochs are made from the same.
    only: the channels that are followed; None for all.
    max_channels: how many are kept in mind.

    Attributes:
        began_ms: as given; lives begun before it and not heard of yet are read from where they are.
        late: how many events of channels that had been followed to their head came by history only.
    """

    def __init__(
        self,
        start: Start,
        began_ms: int,
        only: frozenset[str] | None = None,
        max_channels: int = MAX_CHANNELS,
    ) -> None:
        self._start = start
        self.began_ms = began_ms
        self._only = only
        self._max_channels = max_channels
        self.late = 0
        self._cursors: OrderedDict[str, Cursor] = OrderedDict()
        self._behind: OrderedDict[str, Cursor] = OrderedDict()
        if isinstance(start, Position):
            for channel in only or ():
                self.resume(channel, start, ask=True)

    @property
    def behind(self) -> bool:
        """Whether `next_fetch` returns a question."""
        return bool(self._behind)

    def resume(self, channel: str, position: Position, *, ask: bool) -> None:
        """Go on with a channel behind a position; call it before anything else is heard of the channel.

        Args:
            ask: whether to ask for what follows although nothing was heard of it yet.
        """
        cursor = self._cursor(channel)
        cursor.begin(position.epoch, position.seq + 1, ask=ask)
        self._note(channel, cursor)

    def forget(self, channel: str) -> None:
        """Follow a channel no longer; what is heard of it later begins anew."""
        self._cursors.pop(channel, None)
        self._behind.pop(channel, None)

    def frame(self, channel: str, epoch: int, first: int, last: int) -> int | None:
        """Take in a live frame.

        Returns:
            The first of its events that is due now, all later ones with it; None when none is.
        """
        cursor = self._cursor(channel)
        if cursor.position is None:
            self._begin(cursor, epoch, first - 1)
        due = cursor.frame(epoch, first, last)
        self._note(channel, cursor)
        return due

    def learn(self, channel: str, epoch: int, head: int) -> None:
        """Take in how far a channel is, from a beacon or an answer."""
        if self._only is not None and channel not in self._only:
            return
        cursor = self._cursor(channel)
        if cursor.position is None:
            self._begin(cursor, epoch, head)
        cursor.learn(epoch, head)
        self._note(channel, cursor)

    def next_fetch(self) -> tuple[str, Position] | None:
        """Return the next event to ask history for, and of which channel; None while nobody is behind.

        Call `page` with the answer; until then that channel asks nothing else.
        """
        if not self._behind:
            return None
        channel, cursor = self._behind.popitem(last=False)
        return channel, cursor.fetch()

    def page(self, header: PageHeader) -> PageTaken:
        """Take in a page of history."""
        cursor = self._cursors.get(header.channel)
        if cursor is None:
            return PageTaken()  # forgotten since the question
        was_live = cursor.live
        taken = cursor.page(header)
        if was_live and taken.print_from is not None:
            self.late += header.last - taken.print_from + 1
        self._note(header.channel, cursor)
        return taken

    def position(self, channel: str) -> Position | None:
        """Return the last event printed or passed over of a channel; None before it has begun."""
        cursor = self._cursors.get(channel)
        return cursor.position if cursor is not None else None

    def _cursor(self, channel: str) -> Cursor:
        cursor = self._cursors.get(channel)
        if cursor is None:
            cursor = self._cursors[channel] = Cursor()
            if len(self._cursors) > self._max_channels:
                forgotten, _ = self._cursors.popitem(last=False)
                self._behind.pop(forgotten, None)
        return cursor

    def _begin(self, cursor: Cursor, epoch: int, published: int) -> None:
        """Begin with a channel of which `published` events are nothing new."""
        if self._start == "start":
            cursor.begin(epoch, 1, loose=True)
        elif epoch >= self.began_ms:
            cursor.begin(epoch, 1)
        else:
            cursor.begin(epoch, published + 1)

    def _note(self, channel: str, cursor: Cursor) -> None:
        if channel in self._cursors:
            self._cursors.move_to_end(channel)
        if cursor.behind:
            self._behind[channel] = cursor
        else:
            self._behind.pop(channel, None)
