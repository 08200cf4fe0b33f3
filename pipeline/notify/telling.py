"""Turns what is read into messages, and remembers how far it was read. Shell, over the ledger.

Between `reading` and the ledger: each passage is looked at by the rules, and what they find is written
together with the position behind it. Positions alone are written now and then: what follows them is then
read again, and found to tell nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pipeline.errors import JournalError
from pipeline.following import Following
from pipeline.frame import Position
from pipeline.log import Log
from pipeline.notify.ledger import Kept, Ledger, Life, NewMessage
from pipeline.notify.messages import compose, message_id
from pipeline.notify.reading import Passage
from pipeline.notify.rules import Rules, Watch, about
from pipeline.wire import ChannelSummary, split_events

WRITE_INTERVAL_S = 1.0
"""How often positions are written, and what could not be written is tried again."""
MAX_UNWRITTEN = 1_000
"""Messages that could not be written; beyond it nothing more is read: the workers' journals hold it."""


class Telling:
    """Args:
    rules: who is told of what.
    ledger: where it is kept.
    following: where every channel is.
    counters: what is counted.
    log: where lines go.
    now: monotonic seconds.
    """

    def __init__(
        self, rules: Rules, ledger: Ledger, following: Following, counters: Counter[str], log: Log, now: float
    ) -> None:
        self._rules = rules
        self._ledger = ledger
        self._following = following
        self.counters = counters
        self._log = log
        self._watches: dict[str, tuple[int, Watch]] = {}
        self._moved: set[str] = set()
        self._messages: list[NewMessage] = []
        self._done: list[int] = []
        self._hurry = False
        self._failing = False
        self._write_at = now
        for life in ledger.lives():
            self._watches[life.channel] = (life.position.epoch, life.watch)
            following.resume(life.channel, life.position, ask=True)

    @property
    def scans(self) -> int:
        """How many scans' places are kept in mind."""
        return len(self._watches)

    @property
    def full(self) -> bool:
        """Whether nothing more may be read for now."""
        return len(self._messages) >= MAX_UNWRITTEN

    def follow(self, rules: Rules) -> None:
        """Go on with other rules, for what is read from now on."""
        self._rules = rules

    def learn(self, summaries: Iterable[ChannelSummary]) -> None:
        """Take in what workers say of scans that were there before."""
        for summary in summaries:
            channel, epoch = summary.channel, summary.epoch
            position = self._following.position(channel)
            if position is None or position.epoch != epoch:
                continue  # an earlier life is still read; this one will say it itself
            self._watch(channel, epoch).about = about(summary.name, summary.targets, summary.labels)
            self._moved.add(channel)

    def take(self, passage: Passage, seen_ms: int) -> None:
        """Look at what was read.

        Args:
            passage: events, some of them new.
            seen_ms: the wall clock, epoch milliseconds.

        Raises:
            MessageMalformed: it holds no events.
        """
        channel, epoch = passage.channel, passage.epoch
        watch = self._watch(channel, epoch)
        self._moved.add(channel)
        if not self._rules.concern(passage.body, critical=passage.critical, watch=watch):
            return
        raws = split_events(passage.body)
        seqs = [passage.first + offset for offset in passage.at or range(len(raws))]
        new = [(seq, raw) for seq, raw in zip(seqs, raws, strict=False) if seq >= passage.due]
        self.counters["events"] += len(new)
        scan_id = channel.partition("/")[2]
        for told in self._rules.look(scan_id, [raw for _, raw in new], watch):
            seq, raw = new[told.offset]
            position = Position(epoch, seq)
            self.counters[f"messages{{rule={told.rule}}}"] += 1
            body = compose(told.hook, told.rule, scan_id, position, raw, watch.about, seen_ms)
            identity = message_id(told.hook, told.rule, channel, position)
            self._messages.append(NewMessage(told.hook, identity, seen_ms, body))

    def done(self, numbers: Iterable[int]) -> None:
        """Forget messages with the next `write`, which is then due at once."""
        self._done.extend(numbers)

    def next_deadline(self) -> float | None:
        """Return when to call `write`; None when there is nothing to be written."""
        return self._write_at if self._moved or self._messages or self._done else None

    def write(self, now: float, now_ms: int) -> list[Kept]:
        """Write what is due to be written.

        Args:
            now: monotonic seconds.
            now_ms: the wall clock, epoch milliseconds.

        Returns:
            The new messages: they may be sent now.
        """
        urgent = bool(self._messages or self._done or self._hurry) and not self._failing
        if not urgent and (now < self._write_at or self.next_deadline() is None):
            return []
        self._write_at = now + WRITE_INTERVAL_S
        lives = []
        for channel in self._moved:
            position = self._following.position(channel)
            epoch, watch = self._watches[channel]
            if position is not None and position.epoch >= epoch:
                lives.append(Life(channel, position, watch if position.epoch == epoch else Watch()))
        try:
            kept = self._ledger.write(lives, self._messages, self._done, now_ms)
        except JournalError as error:
            self.counters["ledger_failures"] += 1
            if not self._failing:
                self._log.error("ledger cannot be written", problem=error)
            self._failing = True
            return []
        self._moved, self._messages, self._done = set(), [], []
        self._hurry = self._failing = False
        return kept

    def forget(self, before_ms: int, most: int) -> None:
        """Forget scans that had no event since `before_ms`, and those beyond `most`."""
        try:
            channels = self._ledger.forget(before_ms, most)
        except JournalError as error:
            self._log.error("ledger cannot be written", problem=error)
            return
        self._following.began_ms = self._ledger.began_ms
        for channel in channels:
            self._following.forget(channel)
            self._watches.pop(channel, None)

    def _watch(self, channel: str, epoch: int) -> Watch:
        known = self._watches.get(channel)
        if known is not None and known[0] == epoch:
            return known[1]
        watch = Watch()
        self._watches[channel] = (epoch, watch)
        self._hurry = True  # from now on this life is followed, whatever becomes of this process
        return watch
