"""All channels as the workers told them last, kept up to date by what changed. Pure.

Sits between the workers' answers and the streams of statistics, each of which looks at what is new to it.
Readers of REST are given the workers' own answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from msgspec.structs import replace

from pipeline.changes import Changes
from pipeline.wire import ChannelsReply, ChannelSummary, TimeLeftEntry

ENDED = ("completed", "failed")


class Known(NamedTuple):
    """A channel's summary, and when it came: monotonic seconds."""

    summary: ChannelSummary
    at: float

    def as_of(self, now: float) -> ChannelSummary:
        """Return it with the time that has passed since."""
        scan, passed_s = self.summary, now - self.at
        if scan.status in ENDED or passed_s <= 0:
            return scan
        left = scan.time_left
        if left is not None:
            parts = (max(0.0, round(part - passed_s, 1)) for part in (left.seconds, left.low, left.high))
            left = TimeLeftEntry(left.of, *parts)
        return replace(scan, elapsed_s=round(scan.elapsed_s + passed_s, 3), time_left=left)


@dataclass(frozen=True, slots=True)
class News:
    """What is new to a reader.

    Attributes:
        version: what it knows now; to be given with its next question.
        whole: whether `changed` is everything there is; then what is not in it is gone.
        changed: channels that are new or others.
        gone: names of channels that are no more.
        complete: whether every shard has answered.
    """

    version: int
    whole: bool
    changed: list[Known]
    gone: list[str]
    complete: bool


class Roster:
    """Args:
    shards: how many there are.
    """

    def __init__(self, shards: int) -> None:
        self._shards: list[dict[str, Known]] = [{} for _ in range(shards)]
        self._versions = [""] * shards
        self._changes = Changes()
        self._complete = False

    def since(self, shard: int) -> str | None:
        """Return what to ask a shard's worker with; None for the whole."""
        return self._versions[shard] or None

    def take(self, replies: Iterable[ChannelsReply], now: float, *, complete: bool) -> None:
        """Take in answers to questions that were asked with `since`.

        Args:
            replies: of the shards that answered; what the others told stays.
            now: monotonic seconds.
            complete: whether every shard did.
        """
        self._complete = complete
        for reply in replies:
            known = self._shards[reply.shard]
            told = {summary.channel for summary in reply.channels}
            for name in [name for name in known if name not in told] if reply.whole else reply.gone:
                if known.pop(name, None) is not None:
                    self._changes.touch(name)
            for summary in reply.channels:
                known[summary.channel] = Known(summary, now)
                self._changes.touch(summary.channel)
            self._versions[reply.shard] = reply.version

    def news(self, seen: int) -> News:
        """Return what is new since a version, -1 for none."""
        names = self._changes.since(seen)
        if names is None:
            everything = [known for shard in self._shards for known in shard.values()]
            return News(self._changes.version, True, everything, [], self._complete)
        found = {name: self._find(name) for name in names}
        changed = [known for known in found.values() if known is not None]
        gone = [name for name, known in found.items() if known is None]
        return News(self._changes.version, False, changed, gone, self._complete)

    def _find(self, name: str) -> Known | None:
        return next((shard[name] for shard in self._shards if name in shard), None)
