"""What a journal on disk lets go of, and when: by age, per channel, and in all. Shell.

Used by `sqlite_journal`, which tells it of every life that changed.

=========================== ==========================================================================
beyond                      what goes
=========================== ==========================================================================
`retention_age_s`           lives without an event for so long, whole
`max_lives`                 lives whose last event is oldest, whole
`max_channel_bytes`,        a life's oldest events, up to its checkpoint: what is not folded into that is
`max_channel_events`        needed when a worker starts
`max_total_bytes`           the same, of the life that holds most; states count. Where nothing but states is
                            left, lives that have ended, whole, the oldest first
`PRODUCER_AGE_MS`           producers that said nothing for so long, and for `retention_age_s`
a reader's wish             a life that was deleted, whole. Readers find it no more from the moment its
                            row says so: by `DELETED_MS` in place of its last event's time
=========================== ==========================================================================
"""

from __future__ import annotations

import heapq
import sqlite3
from dataclasses import dataclass, replace

from pipeline.throttle_batch.config import JournalSection
from pipeline.throttle_batch.journal_file import transaction
from pipeline.throttle_batch.records import row_checksum

PRODUCER_AGE_MS = 86_400_000
"""How long it is remembered how far a silent producer was, at least: it may still send again."""

DELETED_MS = -1
"""Of a life that is deleted, in place of its last event's time: so old that it is the next to go."""

_ROWS = 64
"""Rows deleted in one `trim` at most, beside twice as many as were added since the last one: so it keeps up,
and takes a few milliseconds between two wake-ups."""
_VACUUM_PAGES = 256
"""How many freed pages, of 4 KiB, one `trim` gives back to the file system."""

Place = tuple[str, int]
"""(channel, epoch)."""


@dataclass(frozen=True, slots=True)
class Life:
    """How a life stands in the file.

    Attributes:
        number: its row.
        head: its last event.
        held: its oldest event that is there; `head + 1` when none is.
        size_bytes: of its chunks.
        folded: the last event in its checkpoint.
        state_checksum: of the checkpoint.
        updated_ms: wall clock of its last event.
        ended_ms: wall clock of its terminal event; None while it has none.
        cut: it takes no more events, see `lineage`.
        state_bytes: of its checkpoint, with what of it grows.
    """

    number: int
    head: int
    held: int
    size_bytes: int
    folded: int
    state_checksum: int
    updated_ms: int
    ended_ms: int | None = None
    cut: bool = False
    state_bytes: int = 0

    @property
    def deleted(self) -> bool:
        """Whether readers do not find it any more; its rows go by and by."""
        return self.updated_ms == DELETED_MS

    @property
    def all_bytes(self) -> int:
        """What it takes in the file."""
        return self.size_bytes + self.state_bytes

    def checksum(self, place: Place) -> int:
        """Return what stands in its row to check it by."""
        return row_checksum(
            self.number,
            *place,
            self.head,
            self.held,
            self.ended_ms,
            self.size_bytes,
            self.updated_ms,
            self.folded,
            self.state_checksum,
            int(self.cut),
        )


class Retention:
    """Args:
    settings: the bounds.

    Attributes:
        lives: every life in the file.
        size_bytes: of all of them, their states too.
        trimmed_events: how many events were let go of.
    """

    def __init__(self, settings: JournalSection) -> None:
        self.settings = settings
        self.lives: dict[Place, Life] = {}
        self.size_bytes = 0
        self.trimmed_events = 0
        self._beyond: set[Place] = set()
        self._added_rows = 0
        self._gone: list[Place] = []

    def note(self, place: Place, life: Life, added_rows: int = 0) -> None:
        """Take notice of how a life stands in the file now."""
        before = self.lives.get(place)
        self.size_bytes += life.all_bytes - (before.all_bytes if before is not None else 0)
        self.lives[place] = life
        self._added_rows += added_rows
        if any(self._surplus(life)):
            self._beyond.add(place)
        else:
            self._beyond.discard(place)

    def _surplus(self, life: Life) -> tuple[int, int]:
        """Return by how many bytes and events a life is beyond its bounds."""
        return (
            max(0, life.size_bytes - self.settings.max_channel_bytes),
            max(0, life.head - life.held + 1 - self.settings.max_channel_events),
        )

    def trim(self, db: sqlite3.Connection, now_ms: int) -> list[Place]:
        """Let go of a little of what is beyond the bounds.

        Returns:
            The lives that are gone altogether.

        Raises:
            sqlite3.Error: the file cannot be written; what went before is told by the next call.
        """
        rows, self._added_rows = _ROWS + 2 * self._added_rows, 0
        oldest_ms = now_ms - int(self.settings.retention_age_s * 1000)
        db.execute(
            "DELETE FROM producer WHERE (pid, channel) IN"
            " (SELECT pid, channel FROM producer WHERE updated_ms < ? ORDER BY updated_ms LIMIT ?)",
            (min(oldest_ms, now_ms - PRODUCER_AGE_MS), rows),
        )
        rows = self._trim_old(db, oldest_ms, rows)
        rows = self._trim_many(db, rows)
        rows = self._trim_long(db, rows)
        self._trim_largest(db, rows)
        # As a script, for `execute` stops after the first page.
        db.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
        gone, self._gone = self._gone, []
        return gone

    def _trim_old(self, db: sqlite3.Connection, oldest_ms: int, rows: int) -> int:
        """Delete lives without an event since `oldest_ms`; return how many of `rows` are left."""
        old = db.execute(
            "SELECT channel, epoch FROM life WHERE updated_ms < ? ORDER BY updated_ms LIMIT ?",
            (max(oldest_ms, DELETED_MS + 1), rows),
        ).fetchall()
        return self._let_go(db, old, rows)

    def _trim_many(self, db: sqlite3.Connection, rows: int) -> int:
        """Delete the oldest lives while there are too many; return how many of `rows` are left."""
        beyond = min(rows, len(self.lives) - self.settings.max_lives)
        if beyond <= 0:
            return rows
        oldest = db.execute(
            "SELECT channel, epoch FROM life ORDER BY updated_ms LIMIT ?", (beyond,)
        ).fetchall()
        return self._let_go(db, oldest, rows)

    def _let_go(self, db: sqlite3.Connection, places: list[Place], rows: int) -> int:
        """Delete lives whole, as far as `rows` rows may go; return how many of them are left."""
        for place in places:
            if rows <= 0:
                break
            life = self.lives[place]
            rows -= 1 + self._shorten(db, place, life.head, rows, (life.size_bytes, life.head))
            life = self.lives[place]
            if life.held > life.head:
                self._drop(db, place)
        return rows

    def _drop(self, db: sqlite3.Connection, place: Place) -> None:
        """Delete a life that has no events any more."""
        life = self.lives[place]
        with transaction(db):
            db.execute("DELETE FROM detail WHERE life = ?", (life.number,))
            db.execute("DELETE FROM life WHERE id = ?", (life.number,))
        self.size_bytes -= self.lives.pop(place).all_bytes
        self._beyond.discard(place)
        self._gone.append(place)

    def _trim_long(self, db: sqlite3.Connection, rows: int) -> int:
        for place in list(self._beyond):
            if rows <= 0:
                break
            life = self.lives[place]
            rows -= self._shorten(db, place, life.folded, rows, self._surplus(life))
        return rows

    def _trim_largest(self, db: sqlite3.Connection, rows: int) -> None:
        if self.size_bytes <= self.settings.max_total_bytes or rows <= 0:
            return
        candidates = ((place, life) for place, life in self.lives.items() if life.held <= life.folded)
        for place, life in heapq.nlargest(rows, candidates, key=lambda item: item[1].size_bytes):
            over = self.size_bytes - self.settings.max_total_bytes
            if over <= 0 or rows <= 0:
                return
            rows -= self._shorten(db, place, life.folded, rows, (over, 0))
        if rows > 0:
            self._drop_oldest(db, rows)

    def _drop_oldest(self, db: sqlite3.Connection, rows: int) -> None:
        """Delete lives that have ended and of which only the state is left, while that is too much."""
        old = db.execute(
            "SELECT channel, epoch FROM life WHERE ended_ms IS NOT NULL AND held > head"
            " ORDER BY updated_ms LIMIT ?",
            (rows,),
        ).fetchall()
        for place in old:
            if self.size_bytes <= self.settings.max_total_bytes:
                return
            self._drop(db, place)

    def _shorten(
        self, db: sqlite3.Connection, place: Place, upto: int, max_rows: int, surplus: tuple[int, int]
    ) -> int:
        """Delete a life's oldest rows, until so many bytes and events are gone.

        Args:
            upto: no row that reaches past this seq goes.
            max_rows: no more than so many rows go.

        Returns:
            How many rows went.
        """
        life = self.lives[place]
        count, size, held = 0, 0, life.held
        rows = db.execute(
            "SELECT first, size_bytes FROM chunk WHERE life = ? ORDER BY first LIMIT ?",
            (life.number, max_rows + 1),
        ).fetchall()
        # A row ends before the next one: its own word for that may be damaged, and take others along.
        ends = [first - 1 for first, _ in rows[1:]]
        if len(rows) <= max_rows:
            ends.append(life.head)
        for last, (_, row_size) in zip(ends, rows, strict=False):
            if last > upto or (size >= surplus[0] and held - life.held >= surplus[1]):
                break
            count += 1
            size += row_size
            held = last + 1
        if not rows and upto == life.head:
            held = life.head + 1  # what was there is lost
        if held > life.held:
            shorter = replace(life, held=held, size_bytes=life.size_bytes - size)
            with transaction(db):
                db.execute("DELETE FROM chunk WHERE life = ? AND first < ?", (life.number, held))
                db.execute(
                    "UPDATE life SET held = ?, size_bytes = ?, checksum = ? WHERE id = ?",
                    (held, shorter.size_bytes, shorter.checksum(place), life.number),
                )
            self.trimmed_events += held - life.held
            self.note(place, shorter)
        return count
