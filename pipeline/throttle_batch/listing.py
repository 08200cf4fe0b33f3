"""What a shard tells of all its channels: the whole, or what changed since a reader asked last. Pure.

Used by `shard`. A question costs what changed, not how many channels there are: an edge asks twice a second
while somebody looks at the list.

=========================================== ===========================================================
since the last answer                       it is told
=========================================== ===========================================================
events, frames, a new life, gone            yes
only time has passed, its rate falls or the in turn, at most `MAX_MOVING` an answer
end comes nearer
only time has passed                        no: a reader has a clock
=========================================== ===========================================================
"""

from __future__ import annotations

from pipeline.throttle_batch.batcher import Batcher
from pipeline.throttle_batch.channel import Channel
from pipeline.throttle_batch.shown import summary
from pipeline.wire import ChannelsReply, ChannelsRequest, ChannelSummary

MAX_MOVING = 250


class Listing:
    """Args:
    shard: its number.
    boot: names this run of the worker: another one knows nothing of the versions of this one.
    batcher: what knows the channels.
    """

    def __init__(self, shard: int, boot: str, batcher: Batcher) -> None:
        self._shard = shard
        self._boot = boot
        self._batcher = batcher
        self._moving: dict[str, None] = {}

    def reply(self, request: ChannelsRequest, now: float) -> ChannelsReply:
        """Answer a question; with the whole where there is no telling what the reader knows."""
        changes = self._batcher.changes
        since = self._known(request.since)
        if since is None or changes.since(since) is None:
            told = [self._summary(channel, now) for channel in self._batcher.channels()]
            return ChannelsReply(request.id, self._shard, told, self._version())
        for name in list(self._moving)[:MAX_MOVING]:
            del self._moving[name]
            changes.touch(name)
        names = changes.since(since) or []
        present = {name: self._batcher.current(name) for name in names}
        told = [self._summary(channel, now) for channel in present.values() if channel is not None]
        gone = [name for name, channel in present.items() if channel is None]
        return ChannelsReply(request.id, self._shard, told, self._version(), whole=False, gone=gone)

    def _summary(self, channel: Channel, now: float) -> ChannelSummary:
        found = summary(channel, now)
        if found.events_per_s or found.time_left is not None:
            self._moving[channel.name] = None
        else:
            self._moving.pop(channel.name, None)
        return found

    def _version(self) -> str:
        return f"{self._boot}:{self._batcher.changes.version}"

    def _known(self, since: str | None) -> int | None:
        boot, _, version = (since or "").rpartition(":")
        known = boot == self._boot and version.isascii() and version.isdigit() and len(version) <= 15
        return int(version) if known else None
