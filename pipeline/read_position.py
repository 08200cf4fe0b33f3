"""What a reader of one scan has seen, and whether a message follows it. Pure.

Sits behind the edge, in the `Subscriber`. `edge/static/scanstream_rules.js` has the same rules for browsers;
tests/client/rules.json holds both to them. Knows nothing of connections.

=================================== ==========================================================================
message                             verdict
=================================== ==========================================================================
hello, position held                use: it goes on after it
hello, position not held            reset: what was seen is forgotten; then as if it were the first
batch, first one                    use, wherever it begins; what lies before it is no longer held
batch after the last                use: `first` is the one after the last seen
batch already seen                  drop
batch further on                    gap: come back with the last position
batch that overlaps what was seen,  damaged: the same
or whose counts do not add up
batch of a later epoch              reset, then as after a `reset`; of an earlier one: drop
reset                               use: the next batch begins with 1
lag from..to, at what is due        use: batches within the range are taken; then it goes on at to + 1
lag further on                      gap; one that lies behind: drop
snapshot at n                       use: it stands for everything up to n; an older one: drop
=================================== ==========================================================================

A lag ends with its connection: the next one is told, or given, what is missing from the last event taken on.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from pipeline.frame import Position
from pipeline.wire import (
    BrowserBatch,
    BrowserHello,
    BrowserLag,
    BrowserMessage,
    BrowserReset,
    BrowserSnapshot,
)

Verdict: TypeAlias = Literal["use", "drop", "gap", "damaged", "reset"]


class ReadPosition:
    """Args:
    since: the position to begin with; None: wherever the first batch begins.
    """

    __slots__ = ("_epoch", "_lag_to", "_seq")

    def __init__(self, since: Position | None = None) -> None:
        self._epoch: int | None = since.epoch if since is not None else None
        self._seq: int | None = since.seq if since is not None else None
        self._lag_to: int | None = None

    @property
    def since(self) -> Position | None:
        """The position to resume with; None when nothing was seen."""
        if self._epoch is None or self._seq is None:
            return None
        return Position(self._epoch, self._seq)

    @property
    def due(self) -> int | None:
        """The number of the event that comes next; None when any may."""
        if self._lag_to is not None:
            return self._lag_to + 1
        return None if self._seq is None else self._seq + 1

    def take(self, message: BrowserMessage) -> Verdict:
        """Judge a message, and move on if it is to be used.

        Returns:
            `reset`: forget what was seen, then use it. After `gap` and `damaged` leave the connection.
        """
        match message:
            case BrowserHello():
                return self._hello(message)
            case BrowserBatch():
                return self._batch(message)
            case BrowserLag():
                return self._lag(message)
            case BrowserSnapshot():
                return self._snapshot(message)
            case BrowserReset():
                if self._epoch is not None and message.epoch < self._epoch:
                    return "drop"
                self._forget(message.epoch, 0)
        return "use"

    def _hello(self, hello: BrowserHello) -> Verdict:
        self._lag_to = None
        if hello.resumed is True:
            return "use"
        lost = self._seq is not None
        self._forget(hello.epoch, None)
        return "reset" if lost else "use"

    def _batch(self, batch: BrowserBatch) -> Verdict:
        first, last = batch.seq
        left_out = batch.merged + batch.filtered
        if not 1 <= first <= last or len(batch.events) + left_out != last - first + 1:
            return "damaged"
        if left_out and len(batch.at) != len(batch.events):
            return "damaged"
        if self._epoch is not None and batch.epoch < self._epoch:
            return "drop"
        fresh = self._epoch is not None and batch.epoch > self._epoch
        if fresh:
            self._forget(batch.epoch, 0)
        if self._seq is not None and last <= self._seq:
            return "drop"
        if self._seq is not None and first <= self._seq:
            return "damaged"
        within = self._lag_to is not None and first <= self._lag_to
        if not within and self.due is not None and first != self.due:
            return "gap"
        self._epoch, self._seq = batch.epoch, last
        if self._lag_to is not None and last >= self._lag_to:
            self._lag_to = None
        return "reset" if fresh else "use"

    def _lag(self, lag: BrowserLag) -> Verdict:
        if not 1 <= lag.from_ <= lag.to:
            return "damaged"
        if self._seq is not None and lag.to <= self._seq:
            return "drop"
        if self.due is not None and lag.from_ > self.due:
            return "gap"
        self._seq = max(self._seq or 0, lag.from_ - 1)
        self._lag_to = lag.to
        return "use"

    def _snapshot(self, snapshot: BrowserSnapshot) -> Verdict:
        here = (self._epoch if self._epoch is not None else -1, self._seq or 0)
        if (snapshot.epoch, snapshot.seq) < here:
            return "drop"
        self._forget(snapshot.epoch, snapshot.seq)
        return "use"

    def _forget(self, epoch: int | None, seq: int | None) -> None:
        self._epoch, self._seq, self._lag_to = epoch, seq, None
