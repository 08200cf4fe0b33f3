"""A journal's file: locked, opened, brought to this version's schema, checked, set aside when damaged. Shell.

Used by `sqlite_journal`, which knows what stands in it.

======================= ===========================================================================
table                   a row is
======================= ===========================================================================
life                    one life of a channel: where its log begins and ends, and its last checkpoint
chunk                   consecutive events of a life, one a line
detail                  what of a life's checkpoint grows with what was found: apart from `life`, because
                        that row is written at every commit
producer                how far a (producer, channel) is: written with the events, so that an event is
                        in the log and its number marked as taken, or neither. `epoch`, `seq`, `digest`:
                        what is kept of one that posts, see `records.Posted`
meta                    `open_since_boot`: the run of the operating system that a worker opened the file
                        in; not there while it is closed. `open_with_fsync`: whether its commits wait
======================= ===========================================================================

Each row of the first three has a checksum over all of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pipeline.errors import EndpointError, JournalDamaged, JournalError
from pipeline.throttle_batch.records import row_checksum

_BUSY_S = 0.2
"""How long somebody else's lock on the file is waited for; then the commit fails, and is tried again."""

_OPERATING_ERRORS = frozenset(
    {
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
"""What SQLite says when the system is in its way; whatever else it says of a file is the file's damage."""

_MIGRATIONS = (
    """
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE life (
        id INTEGER PRIMARY KEY,
        channel TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        head INTEGER NOT NULL,
        held INTEGER NOT NULL,
        ended_ms INTEGER,
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
        checksum INTEGER NOT NULL,
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
    """
    ALTER TABLE life ADD COLUMN cut INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE life ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
    UPDATE life SET checksum = row_checksum(id, channel, epoch, head, held, ended_ms, size_bytes, updated_ms,
        folded, crc32(state), cut);
    ALTER TABLE producer ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
    UPDATE producer SET checksum = row_checksum(pid, channel, inc, committed, updated_ms);
    """,
    """
    CREATE TABLE detail (
        life INTEGER PRIMARY KEY,
        folded INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        body BLOB NOT NULL
    );
    """,
    """
    ALTER TABLE producer ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE producer ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE producer ADD COLUMN digest TEXT NOT NULL DEFAULT '';
    UPDATE producer SET checksum = row_checksum(pid, channel, inc, committed, updated_ms, epoch, seq, digest);
    """,
)
"""Each brings a journal from the version of its place to the next; the first makes a new one."""

SCHEMA_VERSION = len(_MIGRATIONS)

_MARKED_SINCE = 2
"""The first version of the schema that has a file of `lineage` beside each journal."""


class JournalFile:
    """The file of one journal, and the lock beside it that keeps every other process out.

    Args:
        path: the file; `open` makes it if it is not there.

    Attributes:
        checked: whether `open` had SQLite check it.
        unmarked: whether a version wrote it that kept nothing beside its journals, see `lineage`.
        system_stopped: whether it was left open, without waiting for the disk, by an earlier run of the
            operating system.

    Raises:
        EndpointError: another process owns the journal.
        JournalError: there is no writing beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checked = False
        self.unmarked = False
        self.system_stopped = False
        self._lock = self._take_lock()

    def _take_lock(self) -> IO[str]:
        try:
            lock = self.path.with_name(self.path.name + ".lock").open("w")
        except OSError as error:
            raise JournalError(f"{self.path}: {error}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise EndpointError(f"{self.path}: another process owns this journal") from None
        return lock

    def open(self, boot_id: str, *, fsync: bool, check: bool) -> sqlite3.Connection:
        """Open the file; the caller marks it as open, closes the connection, then this.

        Args:
            boot_id: names this run of the operating system; a file that an earlier run left open is checked.
            fsync: every commit waits for the disk.
            check: check the file in any case.

        Raises:
            JournalDamaged: the file is damaged.
            JournalError: it cannot be opened, or a later version wrote it.
        """
        with self.errors():
            db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        try:
            with self.errors():
                version = self._version(db)
                if version == 0:
                    # Freed pages go back to the file system a few at a time; there is no table yet.
                    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
                db.execute("PRAGMA journal_mode = WAL")
                db.execute(f"PRAGMA synchronous = {'FULL' if fsync else 'NORMAL'}")
                self.unmarked = 0 < version < _MARKED_SINCE
                db.create_function("row_checksum", -1, row_checksum, deterministic=True)
                db.create_function("crc32", 1, zlib.crc32, deterministic=True)
                for number in range(version, SCHEMA_VERSION):
                    db.executescript(
                        f"BEGIN IMMEDIATE;{_MIGRATIONS[number]}PRAGMA user_version = {number + 1};COMMIT;"
                    )
                self._check(db, boot_id, always=check)
        except BaseException:
            db.close()
            raise
        return db

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn whatever the file is to blame for, or the system, into a `JournalError`."""
        try:
            yield
        except sqlite3.Error as error:
            if not is_damage(error):
                raise JournalError(f"{self.path}: {error}") from None
            raise self._damaged(error) from None
        except OSError as error:
            raise JournalError(f"{self.path}: {error}") from None
        except (ValueError, OverflowError) as error:  # what is there is not what was written
            raise self._damaged(error) from None

    def _damaged(self, problem: object) -> JournalDamaged:
        return JournalDamaged(f"{self.path}: {problem}; --recover sets it aside and begins anew")

    def _version(self, db: sqlite3.Connection) -> int:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise JournalError(
                f"{self.path}: written by a later version (schema {version}; this one knows up to "
                f"{SCHEMA_VERSION})"
            )
        return version

    def _check(self, db: sqlite3.Connection, boot_id: str, *, always: bool) -> None:
        meta = dict(db.execute("SELECT name, value FROM meta").fetchall())
        left_open = meta.get("open_since_boot", boot_id) != boot_id
        self.system_stopped = left_open and meta.get("open_with_fsync") != "1"
        self.checked = always or left_open
        if self.checked:
            found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise self._damaged(found)

    def mark_open(self, db: sqlite3.Connection, boot_id: str, *, fsync: bool) -> None:
        """Write down that the file is open; call it when all that follows from its last end is done."""
        with transaction(db):
            db.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [("open_since_boot", boot_id), ("open_with_fsync", str(int(fsync)))],
            )

    def set_aside(self) -> Path:
        """Rename the file, so that a new one can be begun; nothing may have it open.

        Returns:
            Its new path.
        """
        number = 1
        while (target := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        with self.errors():
            for suffix in ("", "-wal", "-shm"):
                part = self.path.with_name(self.path.name + suffix)
                if part.exists():
                    part.replace(target.with_name(target.name + suffix))
        return target

    def free_bytes(self) -> int:
        """Return how many bytes the disk has left for us."""
        found = os.statvfs(self.path.parent)
        return found.f_bavail * found.f_frsize

    def mark_closed(self, db: sqlite3.Connection) -> None:
        """Write down that the file is closed cleanly; where that fails it is checked when next opened."""
        with contextlib.suppress(sqlite3.Error):
            db.execute("DELETE FROM meta WHERE name = 'open_since_boot'")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Let others have the journal."""
        self._lock.close()


def is_damage(error: sqlite3.Error) -> bool:
    """Say whether the file is to blame for an error; else the system is."""
    code = getattr(error, "sqlite_errorcode", None)  # the module's own errors have none
    return code is None or code & 0xFF not in _OPERATING_ERRORS


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Write all that the block writes, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def os_boot_id() -> str:
    """Return what names this run of the operating system."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"unknown-{uuid.uuid4()}"  # unlike any other: what was left open is checked
