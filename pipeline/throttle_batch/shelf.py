"""What a shard tells of the lives that are in its journal only, and how it deletes some. Shell.

Used by `shard`. A question looks at a bounded number of lives, so that whatever is searched for among however
many, what is live goes on in between: who asks goes on from the mark where the answer ends.
"""

from __future__ import annotations

from pipeline.errors import JournalError
from pipeline.frame import Frame
from pipeline.throttle_batch.batcher import Batcher
from pipeline.throttle_batch.journal import Journal
from pipeline.throttle_batch.past import Wanted, past_life
from pipeline.wire import MAX_PAST_A_PAGE, DeleteReply, DeleteRequest, PastLife, PastReply, PastRequest

_ROWS_A_READ = 100
MAX_LIVES_LOOKED_AT = 500
"""The most lives one question looks at: some milliseconds."""


class Shelf:
    """Args:
    shard: which shard.
    batcher: what is in memory.
    journal: what is kept.
    """

    def __init__(self, shard: int, batcher: Batcher, journal: Journal) -> None:
        self._shard = shard
        self._batcher = batcher
        self._journal = journal

    def past(self, request: PastRequest) -> PastReply:
        """Answer a question for past lives.

        Raises:
            JournalError: the journal cannot be read.
        """
        wanted = Wanted(request)
        limit = min(max(1, request.limit), MAX_PAST_A_PAGE)
        found: list[PastLife] = []
        mark = request.before
        for _ in range(MAX_LIVES_LOOKED_AT // _ROWS_A_READ):
            rows = self._journal.past(request.channel, mark, _ROWS_A_READ)
            for row in rows:
                mark = row.mark
                if row.state is None or self._batcher.life(row.channel, row.epoch) is not None:
                    continue
                state = self._batcher.waiting_state(row.channel, row.epoch) or row.state
                if wanted.includes(row.channel, state):
                    found.append(past_life(row, state, present=self._is_present(row.channel, row.epoch)))
                    if len(found) == limit:
                        return PastReply(request.id, self._shard, found, mark)
            if len(rows) < _ROWS_A_READ:
                return PastReply(request.id, self._shard, found)
        return PastReply(request.id, self._shard, found, mark)

    def _is_present(self, name: str, epoch: int) -> bool:
        if self._batcher.current(name) is not None:
            return False
        past = self._batcher.past(name)
        return (past.epoch if past is not None else self._journal.epochs(name)[-1]) == epoch

    def latest(self, name: str) -> int | None:
        """Return the latest life of a channel of which nothing is in mind; None when there is none.

        Raises:
            JournalError: the journal cannot be read.
        """
        epochs = self._journal.epochs(name)
        return epochs[-1] if epochs else None

    def delete(self, request: DeleteRequest) -> tuple[DeleteReply, list[Frame]]:
        """Delete lives.

        Returns:
            (the answer, frames of what is deleted that are to be published first).
        """
        name, batcher = request.channel, self._batcher
        try:
            epochs = self._journal.epochs(name)
            if request.epoch is not None:
                epochs = [epoch for epoch in epochs if epoch == request.epoch]
            lives = [batcher.life(name, epoch) for epoch in epochs]
            if any(life is not None and life.terminal_at is None for life in lives):
                return DeleteReply(request.id, name, [], "running"), []
            if not epochs:
                return DeleteReply(request.id, name, [], "unknown"), []
            self._journal.delete(name, epochs)
        except JournalError:
            return DeleteReply(request.id, name, [], "journal"), []
        frames = [frame for epoch in epochs for frame in batcher.delete(name, epoch)]
        return DeleteReply(request.id, name, epochs), frames
