"""The journal on disk: one SQLite file a shard, in WAL mode, one writer. Shell.

`journal_file` opens the file and has its schema, `recovery` reads it all once, `lineage` says whether it is
the one that readers know, `chunks` reads its events, `past_rows` lists and deletes its lives, `retention`
trims it.

A full disk: nothing is committed, so nothing is acked, and history is still served. `min_free_bytes` stops
commits while there is still room for trimming, which needs some itself; without even that it waits.

Every row has a checksum: damage that SQLite does not see reaches no reader. Where events are damaged that
range is lost, and told; any other row that is damaged keeps the file from being opened.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from pipeline.errors import JournalDamaged, JournalError
from pipeline.throttle_batch.batcher import Commit
from pipeline.throttle_batch.chunks import chunk_checksum, read_around_damage, read_chunks
from pipeline.throttle_batch.config import JournalSection
from pipeline.throttle_batch.history import Chunk
from pipeline.throttle_batch.journal_file import JournalFile, transaction
from pipeline.throttle_batch.lineage import Lineage, Reason
from pipeline.throttle_batch.past import PastRow
from pipeline.throttle_batch.past_rows import delete_lives, epochs_of, read_past
from pipeline.throttle_batch.records import (
    NOT_POSTED,
    Checkpoint,
    LifeRecord,
    LifeState,
    Posted,
    Recovered,
    decode_state,
    encode_state,
    row_checksum,
)
from pipeline.throttle_batch.recovery import detail_of, recover_all
from pipeline.throttle_batch.retention import Life, Place, Retention
from pipeline.wire import Ack, Mark

_ROW_BYTES = 64
"""What a row costs beside its events, about."""
_TRIM_FREE_BYTES = 1_048_576
"""Trimming waits while the disk has less: it has to write before it frees anything."""


class SqliteJournal:
    """Args:
    path: the file; made if it is not there. A lock beside it keeps every other process out.
    settings: bounds and durability.
    boot_id: names this run of the operating system; a file that an earlier run left open is checked.
    recover: check the file whatever happened to it; set a damaged one aside and begin anew.

    Raises:
        EndpointError: another process owns the journal.
        JournalDamaged: the file is damaged.
        JournalError: it cannot be opened, or a later version wrote it.

    Attributes:
        set_aside: where a damaged file was moved to; None when there was none.
        cut_off: why what follows gets new epochs; None when it does not. See `lineage`.
        damaged: ranges of events that were found damaged while it was opened.
    """

    def __init__(self, path: Path, settings: JournalSection, boot_id: str, *, recover: bool = False) -> None:
        self._settings = settings
        self._failed_commits = 0
        self.set_aside: Path | None = None
        self._file = JournalFile(path)
        self._lineage = Lineage(path)
        try:
            try:
                self._db = self._open(boot_id, recover=recover)
            except JournalDamaged:
                if not recover:
                    raise
                self.set_aside = self._file.set_aside()
                self._db = self._open(boot_id, recover=False)
        except BaseException:
            self._lineage.close()
            self._file.close()
            raise

    def _open(self, boot_id: str, *, recover: bool) -> sqlite3.Connection:
        self.cut_off: Reason | None = None
        db = self._file.open(boot_id, fsync=self._settings.fsync, check=recover)
        try:
            with self._file.errors():
                self._retention = Retention(self._settings)
                self._recovered, self.damaged = recover_all(db, self._retention, checked=self._file.checked)
                if self._recovered.lives:
                    self.cut_off = self._doubt(db, recover=recover)
                if self.cut_off is not None:
                    self._cut(db)
                self._file.mark_open(db, boot_id, fsync=self._settings.fsync)
                self._lineage.begin()
        except BaseException:
            db.close()
            raise
        return db

    def _doubt(self, db: sqlite3.Connection, *, recover: bool) -> Reason | None:
        if recover:
            return "recover"
        if self._file.system_stopped:
            return "system_stopped"
        return self._lineage.doubt(db, unmarked=self._file.unmarked)

    def _cut(self, db: sqlite3.Connection) -> None:
        """Have every life take no more events."""
        with transaction(db):
            for place, life in list(self._retention.lives.items()):
                cut = replace(life, cut=True)
                db.execute(
                    "UPDATE life SET cut = 1, checksum = ? WHERE id = ?", (cut.checksum(place), cut.number)
                )
                self._retention.note(place, cut)
        lives = [replace(record, cut=True) for record in self._recovered.lives]
        self._recovered = replace(self._recovered, lives=lives)

    def load(self) -> Recovered:
        """Return everything a worker has to know when it starts; ask once."""
        recovered, self._recovered = self._recovered, Recovered([], [])
        return recovered

    # --- writing ----------------------------------------------------------------------------------

    def commit(self, commit: Commit, now_ms: int) -> None:
        """Make a wake-up's work durable, all of it or nothing.

        Raises:
            JournalError: it is not; the same commit may be tried again.
        """
        changed: dict[Place, Life] = {}
        try:
            with self._file.errors():
                self._see_room()
                with transaction(self._db):
                    for chunk in commit.chunks:
                        changed[chunk.channel, chunk.epoch] = self._append(chunk, now_ms)
                    for checkpoint in commit.checkpoints:
                        place = (checkpoint.channel, checkpoint.epoch)
                        found = changed.get(place) or self._life(*place)
                        if found is None:
                            continue  # trimmed away or deleted since
                        changed[place] = self._keep(place, found, checkpoint)
                    self._db.executemany(
                        "DELETE FROM producer WHERE pid = ? AND channel = ?", commit.forgotten
                    )
                    marks = [_mark(ack, commit.posted, now_ms) for ack in commit.acks]
                    self._db.executemany(
                        "INSERT OR REPLACE INTO producer"
                        " (pid, channel, inc, committed, updated_ms, epoch, seq, digest, checksum)"
                        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        [(*mark, row_checksum(*mark)) for mark in marks],
                    )
        except JournalError:
            self._failed_commits += 1
            raise
        for place, life in changed.items():
            self._retention.note(place, life, added_rows=1)
        if commit.chunks:
            last = commit.chunks[-1]
            self._lineage.note(last.channel, last.epoch, last.first + len(last.events) - 1)

    def _append(self, chunk: Chunk, now_ms: int) -> Life:
        body = b"\n".join(chunk.events)
        size = len(body) + _ROW_BYTES
        place = (chunk.channel, chunk.epoch)
        last = chunk.first + len(chunk.events) - 1
        known = self._retention.lives.get(place) or self._add_life(chunk, now_ms)
        ended_ms = now_ms if chunk.ends and known.ended_ms is None else known.ended_ms
        life = replace(
            known, head=last, size_bytes=known.size_bytes + size, updated_ms=now_ms, ended_ms=ended_ms
        )
        self._db.execute(
            "UPDATE life SET head = ?, size_bytes = ?, updated_ms = ?, ended_ms = ?, checksum = ?"
            " WHERE id = ?",
            (last, life.size_bytes, now_ms, ended_ms, life.checksum(place), life.number),
        )
        self._db.execute(
            "INSERT INTO chunk VALUES (?, ?, ?, ?, ?, ?)",
            (life.number, chunk.first, last, size, chunk_checksum(life.number, chunk.first, body), body),
        )
        return life

    def _add_life(self, chunk: Chunk, now_ms: int) -> Life:
        """Add a row, which its first events then bring up to date."""
        state = encode_state(LifeState(folded=0, created_ms=now_ms))
        number = self._db.execute(
            "INSERT INTO life (channel, epoch, head, held, size_bytes, updated_ms, folded, state)"
            " VALUES (?, ?, 0, ?, 0, ?, 0, ?)",
            (chunk.channel, chunk.epoch, chunk.first, now_ms, state),
        ).lastrowid
        assert number is not None
        # Not always from 1: a silent channel may be too old to be kept, and then go on.
        return Life(number, 0, chunk.first, 0, 0, zlib.crc32(state), now_ms, state_bytes=len(state))

    def _keep(self, place: Place, known: Life, checkpoint: Checkpoint) -> Life:
        state, detail = checkpoint.state, checkpoint.detail
        raw = encode_state(state)
        size = known.state_bytes if detail is None else len(raw) + len(detail)
        life = replace(known, folded=state.folded, state_checksum=zlib.crc32(raw), state_bytes=size)
        self._db.execute(
            "UPDATE life SET folded = ?, state = ?, checksum = ? WHERE id = ?",
            (state.folded, raw, life.checksum(place), life.number),
        )
        if detail is not None:
            self._db.execute(
                "INSERT OR REPLACE INTO detail VALUES (?, ?, ?, ?)",
                (life.number, state.folded, zlib.crc32(detail), detail),
            )
        return life

    def _see_room(self) -> None:
        free = self._file.free_bytes()
        if free < self._settings.min_free_bytes:
            raise OSError(
                f"disk full: {free} bytes are free, min_free_bytes is {self._settings.min_free_bytes}"
            )

    # --- reading ----------------------------------------------------------------------------------

    def _life(self, channel: str, epoch: int) -> Life | None:
        life = self._retention.lives.get((channel, epoch))
        return None if life is None or life.deleted else life

    def read(
        self, channel: str, epoch: int, first: int, upto: int, max_bytes: int
    ) -> tuple[int, list[bytes]]:
        """Return events of a life from `first` on, as `history.History.read` does; up to a damaged one.

        Raises:
            EventsDamaged: the first of them is damaged.
            JournalError: the file cannot be read.
        """
        life = self._life(channel, epoch)
        if life is None:
            return first, []
        first = max(first, life.held)
        with self._file.errors():
            wanted = (first, min(upto, life.head))
            return first, read_chunks(self._db, life.number, life.held, life.head, wanted, max_bytes)

    def record(self, channel: str, epoch: int) -> LifeRecord | None:
        """Return everything that is kept of a life but its old events; None when it is unknown.

        Raises:
            JournalDamaged: it is not as it was written.
            JournalError: the file cannot be read.
        """
        life = self._life(channel, epoch)
        if life is None:
            return None
        with self._file.errors():
            row = self._db.execute("SELECT state FROM life WHERE id = ?", (life.number,)).fetchone()
            (state,) = msgspec.convert(row, tuple[bytes])
            if zlib.crc32(state) != life.state_checksum:
                raise ValueError(f"the state of {channel} is not what was written")
            first = max(life.folded + 1, life.held)
            tail, _ = read_around_damage(self._db, life.number, life.held, life.head, first, keep=True)
            return LifeRecord(
                channel,
                epoch,
                life.head,
                life.ended_ms,
                life.updated_ms,
                decode_state(state),
                tail,
                life.cut,
                detail_of(self._db, life.number, life.folded),
            )

    def held(self, channel: str, epoch: int) -> int | None:
        """Return the oldest seq held of a life; the next seq when none is; None when it is unknown."""
        life = self._life(channel, epoch)
        return None if life is None else life.held

    def head(self, channel: str, epoch: int) -> int | None:
        """Return the last seq committed of a life; None when it is unknown."""
        life = self._life(channel, epoch)
        return None if life is None else life.head

    def is_cut(self, channel: str, epoch: int) -> bool:
        """Say whether a life takes no more events although it had not ended, see `lineage`."""
        life = self._life(channel, epoch)
        return life is not None and life.cut

    def epochs(self, channel: str) -> list[int]:
        """Return the lives of a channel, by ascending epoch.

        Raises:
            JournalError: the file cannot be read.
        """
        with self._file.errors():
            return epochs_of(self._db, channel)

    def past(self, channel: str | None, before: Mark | None, limit: int) -> list[PastRow]:
        """Return lives, the latest first; see `past_rows.read_past`.

        Raises:
            JournalError: the file cannot be read.
        """
        with self._file.errors():
            return read_past(self._db, self._retention, channel, before, limit)

    @property
    def has_room(self) -> bool:
        """Whether there is as much free disk as a commit wants."""
        with self._file.errors():
            return self._file.free_bytes() >= self._settings.min_free_bytes

    # --- letting go -------------------------------------------------------------------------------

    def free(self, channel: str, epoch: int) -> bool:
        """Take notice that a life's memory was freed; it stays here until its retention is over.

        Returns:
            Whether the life is gone for readers too.
        """
        return self._life(channel, epoch) is None

    def delete(self, channel: str, epochs: list[int]) -> None:
        """Have readers find lives no more, for good; what they hold goes with `trim`.

        Raises:
            JournalError: the file cannot be written; they are as they were.
        """
        with self._file.errors():
            for epoch in epochs:
                self._lineage.forget(channel, epoch)
            delete_lives(self._db, self._retention, channel, epochs)

    def trim(self, now_ms: int) -> list[tuple[str, int]]:
        """Let go of a little of what is beyond the bounds; call it often.

        Returns:
            (channel, epoch) of the lives that are gone altogether.

        Raises:
            JournalError: the file cannot be written; what is beyond the bounds stays for now.
        """
        with self._file.errors():
            if self._file.free_bytes() < _TRIM_FREE_BYTES:
                return []
            return self._retention.trim(self._db, now_ms)

    def follow(self, settings: JournalSection) -> None:
        self._settings = settings
        self._retention.settings = settings

    def counters(self) -> dict[str, float]:
        """Return what it counts."""
        return {
            "journal_bytes": self._retention.size_bytes,
            "journal_lives": len(self._retention.lives),
            "journal_trimmed_events": self._retention.trimmed_events,
            "journal_failed_commits": self._failed_commits,
        }

    def close(self) -> None:
        """Let go of the file, marked as closed cleanly."""
        self._file.mark_closed(self._db)
        self._db.close()
        self._lineage.close()
        self._file.close()


def _mark(ack: Ack, posted: Mapping[tuple[str, str], Posted], now_ms: int) -> tuple[object, ...]:
    """Return the row of a producer, without its checksum."""
    found = posted.get((ack.pid, ack.channel), NOT_POSTED)
    return ack.pid, ack.channel, ack.inc, ack.committed, now_ms, found.epoch, found.seq, found.digest
