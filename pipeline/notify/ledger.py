"""What a notify process must not forget: how far each scan is read, and what is not delivered. Shell.

One SQLite file, `notify.db`, mode 0600, in the data directory; a lock beside it keeps a second process out.
A message and the position behind its event are written in one transaction: a process that is killed goes on
behind the event, with the message, or before it, without.

======== ===================================================================================
table    a row is
======== ===================================================================================
life     the present life of a scan: up to where it is read, what the rules remember of it
message  what a hook is still to be sent
meta     `began_ms`: lives begun before that are not known here, and read from where they are
======== ===================================================================================
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from pipeline.errors import EndpointError, JournalError
from pipeline.frame import Position
from pipeline.notify.rules import About, Watch

NAME = "notify.db"
_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE life (
    channel TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    told TEXT NOT NULL,
    about TEXT NOT NULL,
    updated_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX life_age ON life (updated_ms);
CREATE TABLE message (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    hook TEXT NOT NULL,
    id TEXT NOT NULL,
    seen_ms INTEGER NOT NULL,
    body BLOB NOT NULL
);
"""
_BUSY_S = 1.0

_encode = msgspec.json.Encoder().encode
_decode_told = msgspec.json.Decoder(list[str]).decode
_decode_about = msgspec.json.Decoder(About).decode


class Life(NamedTuple):
    """How far a scan's present life is read, and what the rules remember of it."""

    channel: str
    position: Position
    watch: Watch


class NewMessage(NamedTuple):
    """A message to be kept until it is delivered.

    Attributes:
        hook: whom it is for.
        id: names it.
        seen_ms: wall clock when its event was seen, epoch milliseconds.
        body: what is sent.
    """

    hook: str
    id: str
    seen_ms: int
    body: bytes


class Kept(NamedTuple):
    """A message that is kept; `number` grows."""

    number: int
    hook: str
    seen_ms: int


class Ledger:
    """Args:
    directory: the data directory.
    now_ms: the wall clock, epoch milliseconds.

    Attributes:
        began_ms: lives begun before that and not told by `lives` are none of its business up to now.

    Raises:
        EndpointError: another process has it.
        JournalError: it cannot be used.
    """

    def __init__(self, directory: Path, now_ms: int) -> None:
        self._path = directory / NAME
        try:
            self._lock = (directory / (NAME + ".lock")).open("w")
        except OSError as error:
            raise EndpointError(f"{self._path}.lock: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise EndpointError(f"{self._path}: another process has it") from None
        try:
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            self._database = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
            self._prepare(now_ms)
        except (OSError, sqlite3.Error) as error:
            self._lock.close()
            raise JournalError(f"{self._path}: {error}") from None

    def _prepare(self, now_ms: int) -> None:
        database = self._database
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            database.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {_SCHEMA_VERSION};COMMIT;")
        elif version != _SCHEMA_VERSION:
            raise JournalError(f"{self._path}: version {version}; this program knows {_SCHEMA_VERSION}")
        database.execute("INSERT OR IGNORE INTO meta VALUES ('began_ms', ?)", (now_ms,))
        self.began_ms: int = database.execute("SELECT value FROM meta WHERE name = 'began_ms'").fetchone()[0]

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
        self._lock.close()

    def lives(self) -> Iterator[Life]:
        """Yield what is known of each scan."""
        rows = self._database.execute("SELECT channel, epoch, seq, told, about FROM life")
        for channel, epoch, seq, told, about in rows:
            watch = Watch(_decode_about(about), set(_decode_told(told)))
            yield Life(channel, Position(epoch, seq), watch)

    def messages(self) -> list[Kept]:
        """Return what is not delivered, in order."""
        rows = self._database.execute("SELECT number, hook, seen_ms FROM message ORDER BY number")
        return [Kept(*row) for row in rows]

    def message(self, number: int) -> tuple[str, bytes]:
        """Return (id, body) of a message that is kept.

        Raises:
            JournalError: it cannot be read.
        """
        try:
            row = self._database.execute(
                "SELECT id, body FROM message WHERE number = ?", (number,)
            ).fetchone()
        except sqlite3.Error as error:
            raise JournalError(f"{self._path}: {error}") from None
        return str(row[0]), bytes(row[1])

    def write(
        self, lives: Iterable[Life], messages: Iterable[NewMessage], done: Iterable[int], now_ms: int
    ) -> list[Kept]:
        """Write how far scans are read, and what is to be sent for it, in one transaction.

        Args:
            lives: those that were read further.
            messages: to be sent.
            done: messages to forget: they are delivered, or dropped.
            now_ms: the wall clock, epoch milliseconds.

        Returns:
            The messages, as they are kept now.

        Raises:
            JournalError: nothing is written; it may be tried again.
        """
        rows = [
            (
                life.channel,
                *life.position,
                _encode(sorted(life.watch.told)).decode(),
                _encode(life.watch.about).decode(),
                now_ms,
            )
            for life in lives
        ]
        kept = []
        with self._transaction() as database:
            database.executemany("INSERT OR REPLACE INTO life VALUES (?, ?, ?, ?, ?, ?)", rows)
            for message in messages:
                added = database.execute(
                    "INSERT INTO message (hook, id, seen_ms, body) VALUES (?, ?, ?, ?)", message
                )
                assert added.lastrowid is not None
                kept.append(Kept(added.lastrowid, message.hook, message.seen_ms))
            database.executemany("DELETE FROM message WHERE number = ?", [(each,) for each in done])
        return kept

    def forget(self, before_ms: int, most: int) -> list[str]:
        """Forget scans that had no event for long: one heard of after all is read from where it is.

        Args:
            before_ms: those without an event since then, epoch milliseconds.
            most: how many are kept; beyond it those quiet for longest go too.

        Returns:
            Their channels.

        Raises:
            JournalError: they are not forgotten.
        """
        with self._transaction() as database:
            beyond = database.execute(
                "SELECT updated_ms FROM life ORDER BY updated_ms DESC LIMIT 1 OFFSET ?", (most,)
            ).fetchone()
            before_ms = max(before_ms, beyond[0] + 1 if beyond else 0)
            gone = database.execute("DELETE FROM life WHERE updated_ms < ? RETURNING channel", (before_ms,))
            channels = [row[0] for row in gone.fetchall()]
            began_ms = max(self.began_ms, before_ms)
            database.execute("UPDATE meta SET value = ? WHERE name = 'began_ms'", (began_ms,))
        self.began_ms = began_ms
        return channels

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        database = self._database
        try:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")
        except sqlite3.Error as error:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise JournalError(f"{self._path}: {error}") from None
