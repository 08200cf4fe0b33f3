"""The journal on disk: one SQLite file a shard, in WAL mode, one writer. Shell.

`journal_file` opens the file and has its schema, `retention` trims it.

A full disk: nothing is committed, so nothing is acked, and history is still served. `min_free_bytes` stops
commits while there is still room for trimming, which needs some itself; without even that it waits.

Events are on disk as they came, with a checksum a row: damage that SQLite does not see reaches no reader.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import msgspec

from pipeline.errors import JournalDamaged, JournalError
from pipeline.throttle_batch.batcher import Commit
from pipeline.throttle_batch.config import JournalSection
from pipeline.throttle_batch.history import Chunk
from pipeline.throttle_batch.journal_file import JournalFile, transaction
from pipeline.throttle_batch.records import (
    LifeRecord,
    LifeState,
    ProducerRecord,
    Recovered,
    decode_state,
    encode_state,
)
from pipeline.throttle_batch.retention import Life, Place, Retention

_ROW_BYTES = 64
"""What a row costs beside its events, about."""
_TRIM_FREE_BYTES = 1_048_576
"""Trimming waits while the disk has less: it has to write before it frees anything."""

# SQLite gives whatever type stands in the file; a flipped bit may have changed it.
_LifeRow: TypeAlias = tuple[int, str, int, int, int, int | None, int, int, int, bytes]
_ProducerRow: TypeAlias = tuple[str, str, int, int]
_ChunkRow: TypeAlias = tuple[int, int, int, bytes]


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
    """

    def __init__(self, path: Path, settings: JournalSection, boot_id: str, *, recover: bool = False) -> None:
        self._settings = settings
        self._failed_commits = 0
        self.set_aside: Path | None = None
        self._file = JournalFile(path)
        try:
            try:
                self._db = self._open(boot_id, check=recover)
            except JournalDamaged:
                if not recover:
                    raise
                self.set_aside = self._file.set_aside()
                self._db = self._open(boot_id, check=False)
        except BaseException:
            self._file.close()
            raise

    def _open(self, boot_id: str, *, check: bool) -> sqlite3.Connection:
        db = self._file.open(boot_id, fsync=self._settings.fsync, check=check)
        try:
            with self._file.errors():
                self._retention = Retention(self._settings)
                self._recovered = self._read_all(db)
        except BaseException:
            db.close()
            raise
        return db

    def _read_all(self, db: sqlite3.Connection) -> Recovered:
        lives = []
        rows = db.execute(
            "SELECT id, channel, epoch, head, held, ended_ms, size_bytes, updated_ms, folded, state FROM life"
            " ORDER BY epoch"
        )
        for row in rows:
            number, channel, epoch, head, held, ended_ms, size_bytes, updated_ms, folded, state = (
                msgspec.convert(row, _LifeRow)
            )
            self._retention.note((channel, epoch), Life(number, head, held, size_bytes, folded))
            first = max(folded + 1, held)  # age may have taken events after the checkpoint
            _, tail = _read(db, number, first, head, 1 << 62)
            if len(tail) != head - first + 1:
                raise ValueError(f"of the events {first} to {head} of {channel} {len(tail)} are there")
            lives.append(LifeRecord(channel, epoch, head, ended_ms, updated_ms, decode_state(state), tail))
        producers = [
            ProducerRecord(*msgspec.convert(row, _ProducerRow))
            for row in db.execute("SELECT pid, channel, inc, committed FROM producer ORDER BY updated_ms")
        ]
        return Recovered(lives, producers)

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
                        found = changed.get(place) or self._retention.lives.get(place)
                        if found is None:
                            continue  # trimmed away since
                        self._db.execute(
                            "UPDATE life SET folded = ?, state = ? WHERE id = ?",
                            (checkpoint.state.folded, encode_state(checkpoint.state), found.number),
                        )
                        changed[place] = replace(found, folded=checkpoint.state.folded)
                    self._db.executemany(
                        "INSERT OR REPLACE INTO producer VALUES (?, ?, ?, ?, ?)",
                        [(ack.pid, ack.channel, ack.inc, ack.committed, now_ms) for ack in commit.acks],
                    )
        except JournalError:
            self._failed_commits += 1
            raise
        for place, life in changed.items():
            self._retention.note(place, life, added_rows=1)

    def _append(self, chunk: Chunk, now_ms: int) -> Life:
        body = b"\n".join(chunk.events)
        size = len(body) + _ROW_BYTES
        last = chunk.first + len(chunk.events) - 1
        known = self._retention.lives.get((chunk.channel, chunk.epoch))
        if known is None:
            # Not always from 1: a silent channel may be too old to be kept, and then go on.
            life = Life(self._add_life(chunk, now_ms), last, chunk.first, size, folded=0)
        else:
            life = replace(known, head=last, size_bytes=known.size_bytes + size)
        self._db.execute(
            "UPDATE life SET head = ?, size_bytes = ?, updated_ms = ?, ended_ms = COALESCE(ended_ms, ?)"
            " WHERE id = ?",
            (last, life.size_bytes, now_ms, now_ms if chunk.ends else None, life.number),
        )
        self._db.execute(
            "INSERT INTO chunk VALUES (?, ?, ?, ?, ?, ?)",
            (life.number, chunk.first, last, size, zlib.crc32(body), body),
        )
        return life

    def _add_life(self, chunk: Chunk, now_ms: int) -> int:
        state = encode_state(LifeState(folded=0, created_ms=now_ms))
        number = self._db.execute(
            "INSERT INTO life (channel, epoch, head, held, size_bytes, updated_ms, folded, state)"
            " VALUES (?, ?, 0, ?, 0, ?, 0, ?)",
            (chunk.channel, chunk.epoch, chunk.first, now_ms, state),
        ).lastrowid
        assert number is not None
        return number

    def _see_room(self) -> None:
        free = self._file.free_bytes()
        if free < self._settings.min_free_bytes:
            raise OSError(
                f"disk full: {free} bytes are free, min_free_bytes is {self._settings.min_free_bytes}"
            )

    # --- reading ----------------------------------------------------------------------------------

    def read(
        self, channel: str, epoch: int, first: int, upto: int, max_bytes: int
    ) -> tuple[int, list[bytes]]:
        """Return events of a life from `first` on, as `history.History.read` does.

        Raises:
            JournalDamaged: they are not as they were written.
            JournalError: the file cannot be read.
        """
        life = self._retention.lives.get((channel, epoch))
        if life is None:
            return first, []
        first = max(first, life.held)
        with self._file.errors():
            return _read(self._db, life.number, first, min(upto, life.head), max_bytes)

    def held(self, channel: str, epoch: int) -> int | None:
        """Return the oldest seq held of a life; the next seq when none is; None when it is unknown."""
        life = self._retention.lives.get((channel, epoch))
        return None if life is None else life.held

    def head(self, channel: str, epoch: int) -> int | None:
        """Return the last seq committed of a life; None when it is unknown."""
        life = self._retention.lives.get((channel, epoch))
        return None if life is None else life.head

    # --- letting go -------------------------------------------------------------------------------

    def free(self, channel: str, epoch: int) -> bool:
        """Take notice that a life's memory was freed; it stays here until its retention is over.

        Returns:
            Whether the life is gone for readers too.
        """
        return (channel, epoch) not in self._retention.lives

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

    def counters(self) -> dict[str, float]:
        """Return what it counts."""
        return {
            "journal_bytes": self._retention.size_bytes,
            "journal_trimmed_events": self._retention.trimmed_events,
            "journal_failed_commits": self._failed_commits,
        }

    def close(self) -> None:
        """Let go of the file, marked as closed cleanly."""
        self._file.mark_closed(self._db)
        self._db.close()
        self._file.close()


def _read(
    db: sqlite3.Connection, life: int, first: int, upto: int, max_bytes: int
) -> tuple[int, list[bytes]]:
    """Return what `SqliteJournal.read` does; ValueError when it is not what was written."""
    events: list[bytes] = []
    if first > upto:
        return first, events
    size = 0
    rows = db.execute(
        "SELECT first, last, checksum, events FROM chunk WHERE life = ? AND first >= COALESCE("
        "(SELECT MAX(first) FROM chunk WHERE life = ? AND first <= ?), 0) AND first <= ? ORDER BY first",
        (life, life, first, upto),
    )
    with contextlib.closing(rows):
        for row in rows:
            chunk_first, chunk_last, checksum, body = msgspec.convert(row, _ChunkRow)
            found = body.split(b"\n")
            if zlib.crc32(body) != checksum or len(found) != chunk_last - chunk_first + 1:
                raise ValueError(f"events {chunk_first} to {chunk_last} of a life are damaged")
            wanted = first + len(events)
            if not chunk_first <= wanted <= chunk_last:
                raise ValueError(f"event {wanted} of a life is missing")
            for raw in found[wanted - chunk_first : upto - chunk_first + 1]:
                size += len(raw) + 1
                if size > max_bytes and events:
                    return first, events
                events.append(raw)
    return first, events
