"""The journal on disk: one SQLite file a shard, in WAL mode, one writer. Shell.

======================= ===========================================================================
table                   a row is
======================= ===========================================================================
life                    one life of a channel: where its log begins and ends, and its last checkpoint
chunk                   consecutive events of a life, one a line
producer                how far a (producer, channel) is: written with the events, so that an event is
                        in the log and its number marked as taken, or neither
======================= ===========================================================================

A full disk: nothing is committed, so nothing is acked, and history is still served. `min_free_bytes` stops
commits while there is still room for trimming, which needs some itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.errors import EndpointError
from pipeline.throttle_batch.batcher import Commit
from pipeline.throttle_batch.config import JournalSection
from pipeline.throttle_batch.journal import JournalDamaged, JournalError
from pipeline.throttle_batch.records import (
    LifeRecord,
    LifeState,
    ProducerRecord,
    Recovered,
    decode_state,
    encode_state,
)

SCHEMA_VERSION = 1

PRODUCER_AGE_MS = 86_400_000
"""How long it is remembered how far a silent producer was, at least: it may still send again."""

_ROW_BYTES = 64
"""What a row costs beside its events, about."""
_TRIM_ROWS = 64
"""Rows deleted in one `trim`: a few milliseconds, between two wake-ups."""
_TRIM_LIVES = 4

_MIGRATIONS = (
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE life (
        id INTEGER PRIMARY KEY,
        channel TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        head INTEGER NOT NULL,
        held INTEGER NOT NULL,
        ended INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        folded INTEGER NOT NULL,
        state BLOB NOT NULL,
        UNIQUE (channel, epoch)
    );
    CREATE INDEX life_age ON life (updated_ms);
    CREATE TABLE chunk (
        life INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        events BLOB NOT NULL
    );
    CREATE UNIQUE INDEX chunk_place ON chunk (life, first);
    CREATE TABLE producer (
        pid TEXT NOT NULL,
        channel TEXT NOT NULL,
        inc INTEGER NOT NULL,
        committed INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        PRIMARY KEY (pid, channel)
    ) WITHOUT ROWID;
    CREATE INDEX producer_age ON producer (updated_ms);
    """,
)
"""Each brings a journal from the version of its place to the next; the first makes a new one."""


@dataclass(slots=True)
class _Life:
    number: int
    head: int
    held: int
    size_bytes: int
    folded: int


class SqliteJournal:
    """Args:
    path: the file; made if it is not there. A lock beside it keeps every other process out.
    settings: bounds and durability.
    boot_id: names this run of the operating system; a file that an earlier run left open is checked.
    recover: set a damaged file aside and begin anew.

    Raises:
        EndpointError: another process owns the journal.
        JournalDamaged: the file is damaged.
        JournalError: it cannot be opened, or a later version wrote it.

    Attributes:
        set_aside: where a damaged file was moved to; None when there was none.
    """

    def __init__(self, path: Path, settings: JournalSection, boot_id: str, *, recover: bool = False) -> None:
        self._path = path
        self._settings = settings
        self._lives: dict[tuple[str, int], _Life] = {}
        self._size_bytes = 0
        self._trimmed_events = 0
        self._failed_commits = 0
        self.set_aside: Path | None = None
        self._lock = self._take_lock()
        try:
            try:
                self._db = self._open(boot_id)
            except JournalDamaged:
                if not recover:
                    raise
                self.set_aside = self._move_aside()
                self._db = self._open(boot_id)
        except BaseException:
            self._lock.close()
            raise

    # --- opening ----------------------------------------------------------------------------------

    def _take_lock(self) -> IO[str]:
        lock = self._path.with_name(self._path.name + ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise EndpointError(f"{self._path}: another process owns this journal") from None
        return lock

    def _open(self, boot_id: str) -> sqlite3.Connection:
        try:
            db = sqlite3.connect(self._path, isolation_level=None)
        except sqlite3.Error as error:
            raise JournalError(f"{self._path}: {error}") from None
        try:
            # Before there is a table: freed pages go back to the file system a few at a time, in `trim`.
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {'FULL' if self._settings.fsync else 'NORMAL'}")
            self._migrate(db)
            self._check(db, boot_id)
            self._recovered = self._read_all(db)
        except BaseException as error:
            db.close()
            if isinstance(error, sqlite3.OperationalError):
                raise JournalError(f"{self._path}: {error}") from None
            if isinstance(error, sqlite3.DatabaseError | ValueError):
                raise self._damaged(str(error)) from None
            raise
        return db

    def _damaged(self, problem: str) -> JournalDamaged:
        return JournalDamaged(f"{self._path}: {problem}; --recover sets it aside and begins anew")

    def _migrate(self, db: sqlite3.Connection) -> None:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise JournalError(
                f"{self._path}: written by a later version (schema {version}; this one knows up to "
                f"{SCHEMA_VERSION})"
            )
        for number in range(version, SCHEMA_VERSION):
            db.executescript(
                f"BEGIN IMMEDIATE;{_MIGRATIONS[number]}PRAGMA user_version = {number + 1};COMMIT;"
            )

    def _check(self, db: sqlite3.Connection, boot_id: str) -> None:
        row = db.execute("SELECT value FROM meta WHERE name = 'open_since_boot'").fetchone()
        if row is not None and row[0] != boot_id:
            found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise self._damaged(found)
        db.execute("INSERT OR REPLACE INTO meta VALUES ('open_since_boot', ?)", (boot_id,))

    def _read_all(self, db: sqlite3.Connection) -> Recovered:
        lives = []
        rows = db.execute(
            "SELECT id, channel, epoch, head, held, ended, size_bytes, updated_ms, folded, state FROM life"
            " ORDER BY epoch"
        )
        for number, channel, epoch, head, held, ended, size_bytes, updated_ms, folded, state in rows:
            self._lives[channel, epoch] = _Life(number, head, held, size_bytes, folded)
            self._size_bytes += size_bytes
            _, tail = _read(db, number, folded + 1, head, 1 << 62)
            lives.append(LifeRecord(channel, epoch, head, bool(ended), updated_ms, decode_state(state), tail))
        producers = [
            ProducerRecord(*row)
            for row in db.execute("SELECT pid, channel, inc, committed FROM producer ORDER BY updated_ms")
        ]
        return Recovered(lives, producers)

    def _move_aside(self) -> Path:
        self._lives.clear()
        self._size_bytes = 0
        number = 1
        while (target := self._path.with_name(f"{self._path.name}.damaged-{number}")).exists():
            number += 1
        self._path.replace(target)
        for suffix in ("-wal", "-shm"):
            beside = self._path.with_name(self._path.name + suffix)
            if beside.exists():
                beside.replace(target.with_name(target.name + suffix))
        return target

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
        changed: dict[tuple[str, int], _Life] = {}
        try:
            self._see_room()
            with _transaction(self._db):
                for chunk in commit.chunks:
                    place = (chunk.channel, chunk.epoch)
                    body = b"\n".join(chunk.events)
                    size = len(body) + _ROW_BYTES
                    last = chunk.first + len(chunk.events) - 1
                    known = self._lives.get(place)
                    if known is None:
                        life = _Life(self._add_life(chunk.channel, chunk.epoch, now_ms), last, 1, size, 0)
                    else:
                        life = _Life(known.number, last, known.held, known.size_bytes + size, known.folded)
                    self._db.execute(
                        "UPDATE life SET head = ?, size_bytes = ?, updated_ms = ?, ended = ended OR ?"
                        " WHERE id = ?",
                        (last, life.size_bytes, now_ms, chunk.ends, life.number),
                    )
                    self._db.execute(
                        "INSERT INTO chunk VALUES (?, ?, ?, ?, ?)",
                        (life.number, chunk.first, last, size, body),
                    )
                    changed[place] = life
                for checkpoint in commit.checkpoints:
                    place = (checkpoint.channel, checkpoint.epoch)
                    found = changed.get(place) or self._lives.get(place)
                    if found is None:
                        continue  # trimmed away since
                    self._db.execute(
                        "UPDATE life SET folded = ?, state = ? WHERE id = ?",
                        (checkpoint.state.folded, encode_state(checkpoint.state), found.number),
                    )
                    changed[place] = _Life(
                        found.number, found.head, found.held, found.size_bytes, checkpoint.state.folded
                    )
                self._db.executemany(
                    "INSERT OR REPLACE INTO producer VALUES (?, ?, ?, ?, ?)",
                    [(ack.pid, ack.channel, ack.inc, ack.committed, now_ms) for ack in commit.acks],
                )
        except (sqlite3.Error, OSError) as error:
            self._failed_commits += 1
            raise JournalError(f"{self._path}: {error}") from None
        for place, life in changed.items():
            before = self._lives.get(place)
            self._size_bytes += life.size_bytes - (before.size_bytes if before is not None else 0)
            self._lives[place] = life

    def _add_life(self, channel: str, epoch: int, now_ms: int) -> int:
        state = encode_state(LifeState(folded=0, created_ms=now_ms))
        number = self._db.execute(
            "INSERT INTO life (channel, epoch, head, held, ended, size_bytes, updated_ms, folded, state)"
            " VALUES (?, ?, 0, 1, 0, 0, ?, 0, ?)",
            (channel, epoch, now_ms, state),
        ).lastrowid
        assert number is not None
        return number

    def _see_room(self) -> None:
        found = os.statvfs(self._path.parent)
        free = found.f_bavail * found.f_frsize
        if free < self._settings.min_free_bytes:
            raise OSError(
                f"disk full: {free} bytes are free, min_free_bytes is {self._settings.min_free_bytes}"
            )

    # --- reading ----------------------------------------------------------------------------------

    def read(
        self, channel: str, epoch: int, first: int, upto: int, max_bytes: int
    ) -> tuple[int, list[bytes]]:
        """Return events of a life from `first` on, as `history.History.read` does."""
        life = self._lives.get((channel, epoch))
        if life is None:
            return first, []
        try:
            return _read(self._db, life.number, max(first, life.held), upto, max_bytes)
        except sqlite3.Error as error:
            raise JournalError(f"{self._path}: {error}") from None

    def held(self, channel: str, epoch: int) -> int | None:
        """Return the oldest seq held of a life; the next seq when none is; None when it is unknown."""
        life = self._lives.get((channel, epoch))
        return None if life is None else life.held

    def head(self, channel: str, epoch: int) -> int | None:
        """Return the last seq committed of a life; None when it is unknown."""
        life = self._lives.get((channel, epoch))
        return None if life is None else life.head

    # --- letting go -------------------------------------------------------------------------------

    def free(self, channel: str, epoch: int) -> bool:  # noqa: ARG002  # retention decides, not memory
        """Take notice that a life's memory was freed; it stays here until its retention is over."""
        return False

    def trim(self, now_ms: int) -> list[tuple[str, int]]:
        """Let go of a little of what is beyond the bounds; call it often.

        Returns:
            (channel, epoch) of the lives that are gone altogether.
        """
        oldest_ms = now_ms - int(self._settings.retention_age_s * 1000)
        try:
            aged = self._db.execute(
                "SELECT channel, epoch FROM life WHERE updated_ms < ? ORDER BY updated_ms LIMIT ?",
                (oldest_ms, _TRIM_LIVES),
            ).fetchall()
            gone = [place for place in aged if self._shorten(place, upto=self._lives[place].head)]
            for place, life in self._beyond_bounds():
                self._shorten(place, upto=life.folded, surplus=self._surplus(life))
            self._db.execute(
                "DELETE FROM producer WHERE updated_ms < ?", (min(oldest_ms, now_ms - PRODUCER_AGE_MS),)
            )
            self._db.execute("PRAGMA incremental_vacuum(256)").fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"{self._path}: {error}") from None
        return gone

    def _beyond_bounds(self) -> list[tuple[tuple[str, int], _Life]]:
        beyond = [item for item in self._lives.items() if any(self._surplus(item[1]))]
        if not beyond and self._size_bytes > self._settings.max_total_bytes:
            beyond = [max(self._lives.items(), key=lambda item: item[1].size_bytes)]
        return beyond[:_TRIM_LIVES]

    def _surplus(self, life: _Life) -> tuple[int, int]:
        """Return by how many bytes and events a life is beyond its bounds."""
        return (
            max(0, life.size_bytes - self._settings.max_channel_bytes),
            max(0, life.head - life.held + 1 - self._settings.max_channel_events),
        )

    def _shorten(self, place: tuple[str, int], *, upto: int, surplus: tuple[int, int] | None = None) -> bool:
        """Delete some of a life's oldest rows.

        Args:
            upto: no row that reaches past this seq; what is not folded into the checkpoint must stay.
            surplus: bytes and events to get rid of; None for as much as one call deletes.

        Returns:
            Whether nothing is left, so that the life itself was deleted.
        """
        life = self._lives[place]
        bytes_over, events_over = surplus if surplus is not None and any(surplus) else (1 << 62, 1 << 62)
        rows, size, held = [], 0, life.held
        for rowid, last, row_size in self._db.execute(
            "SELECT rowid, last, size_bytes FROM chunk WHERE life = ? AND last <= ? ORDER BY first LIMIT ?",
            (life.number, upto, _TRIM_ROWS),
        ):
            if size >= bytes_over and held - life.held >= events_over:
                break
            rows.append((rowid,))
            size += row_size
            held = last + 1
        emptied = held > life.head
        with _transaction(self._db):
            self._db.executemany("DELETE FROM chunk WHERE rowid = ?", rows)
            if emptied:
                self._db.execute("DELETE FROM life WHERE id = ?", (life.number,))
            else:
                self._db.execute(
                    "UPDATE life SET held = ?, size_bytes = ? WHERE id = ?",
                    (held, life.size_bytes - size, life.number),
                )
        self._trimmed_events += held - life.held
        self._size_bytes -= life.size_bytes if emptied else size
        if emptied:
            del self._lives[place]
        else:
            life.held, life.size_bytes = held, life.size_bytes - size
        return emptied

    def counters(self) -> dict[str, float]:
        """Return what it counts."""
        return {
            "journal_bytes": self._size_bytes,
            "journal_trimmed_events": self._trimmed_events,
            "journal_failed_commits": self._failed_commits,
        }

    def close(self) -> None:
        """Let go of the file, marked as closed cleanly."""
        with contextlib.suppress(sqlite3.Error):  # an unclean one is checked when it is opened next
            self._db.execute("DELETE FROM meta WHERE name = 'open_since_boot'")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._db.close()
        self._lock.close()


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _read(
    db: sqlite3.Connection, life: int, first: int, upto: int, max_bytes: int
) -> tuple[int, list[bytes]]:
    events: list[bytes] = []
    size = 0
    rows = db.execute(
        "SELECT first, events FROM chunk WHERE life = ? AND first >= COALESCE("
        "(SELECT MAX(first) FROM chunk WHERE life = ? AND first <= ?), 0) AND first <= ? ORDER BY first",
        (life, life, first, upto),
    )
    for chunk_first, body in rows:
        for raw in body.split(b"\n")[max(0, first - chunk_first) : upto - chunk_first + 1]:
            size += len(raw) + 1
            if size > max_bytes and events:
                rows.close()
                return first, events
            events.append(raw)
    return first, events


def os_boot_id() -> str:
    """Return what names this run of the operating system."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
