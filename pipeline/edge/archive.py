"""The past scans of all shards: asked for together, told as one list. Shell.

A shard looks at a bounded number of lives a question, so a search may take several: they go to all shards at
once, and end when a page is full or the time is over.
"""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from pipeline.edge.past import Part, Place, mark_of, merged
from pipeline.edge.upstream import Upstream
from pipeline.wire import MAX_PAST_A_PAGE, PastLife, PastRequest

SEARCH_S = 3.0
"""How long one answer is searched for; what is found by then is told, and where to go on."""


class Archive:
    """Args:
    upstream: the way to the workers.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def past(
        self, wanted: PastRequest, limit: int, after: Place | None
    ) -> tuple[list[PastLife], str | None, bool]:
        """Return past scans of all shards, the latest first.

        Args:
            wanted: what is looked for; its `before` and `limit` do not count.
            limit: the most returned.
            after: where the list goes on; None for its beginning.

        Returns:
            (the scans, where the list goes on, whether every shard has answered).
        """
        parts: dict[int, Part] = {}
        tasks = [
            asyncio.ensure_future(self._of_shard(shard, wanted, limit, after, parts))
            for shard in range(self._upstream.shards)
        ]
        done, late = await asyncio.wait(tasks, timeout=SEARCH_S)
        for task in late:
            task.cancel()
        for task in done:
            task.result()
        lives, following = merged(list(parts.values()), limit)
        return lives, following, len(parts) == self._upstream.shards

    async def _of_shard(
        self, shard: int, wanted: PastRequest, limit: int, after: Place | None, parts: dict[int, Part]
    ) -> None:
        mark = mark_of(shard, after)
        while True:
            left = limit - len(parts[shard].lives) if shard in parts else limit
            asked = replace(wanted, before=mark, limit=min(left, MAX_PAST_A_PAGE))
            reply = await self._upstream.past(shard, asked)
            part = parts.setdefault(shard, Part(shard))
            part.lives += reply.lives
            part.next = mark = reply.next
            if mark is None or len(part.lives) >= limit:
                return
