"""The lives in a journal on disk, the latest first, and how they are deleted. Shell.

Used by `sqlite_journal`. The order is that of an index the file has anyway, so a list costs what it shows,
however many lives there are; and a life is in it for as long as its row stands.

A life is deleted by one small transaction, whatever its size: from then on no reader finds it, also after a
crash, and trimming takes its events and then its row, a little at a time. The greatest epoch that was deleted
is kept, so that no later life is given it again.
"""

from __future__ import annotations

import sqlite3
import zlib
from dataclasses import replace
from typing import TypeAlias

import msgspec

from pipeline.throttle_batch.journal_file import transaction
from pipeline.throttle_batch.past import PastRow
from pipeline.throttle_batch.records import decode_state
from pipeline.throttle_batch.retention import DELETED_MS, Life, Place, Retention
from pipeline.wire import Mark

_DELETED_EPOCH = "deleted_epoch"
"""The name in `meta` under which the greatest deleted epoch stands."""

_COLUMNS = "SELECT id, channel, epoch, updated_ms, state FROM life"
_ORDER = "ORDER BY updated_ms DESC, id DESC LIMIT ?"
_AFTER = "updated_ms <= ? AND (updated_ms < ? OR id < ?) AND updated_ms > ?"
_ALL = f"{_COLUMNS} WHERE {_AFTER} {_ORDER}"
_OF_CHANNEL = f"{_COLUMNS} WHERE channel = ? AND {_AFTER} {_ORDER}"
_LATEST: Mark = (1 << 62, 0)

_Row: TypeAlias = tuple[int, str, int, int]


def read_past(
    db: sqlite3.Connection, retention: Retention, channel: str | None, before: Mark | None, limit: int
) -> list[PastRow]:
    """Return lives, the latest first, whether or not they are in memory, too.

    Args:
        channel: only those of this one; None for all.
        before: only those after this mark; None to begin with the latest.
        limit: the most returned; fewer when there are no more.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    updated_ms, number = before or _LATEST
    place = (updated_ms, updated_ms, number, DELETED_MS, limit)
    rows = db.execute(_ALL, place) if channel is None else db.execute(_OF_CHANNEL, (channel, *place))
    found = []
    for row in rows.fetchall():
        number, name, epoch, updated_ms = msgspec.convert(row[:4], _Row)
        raw = row[4]
        life = retention.lives[name, epoch]
        # SQLite gives whatever type stands in the file; a flipped bit may have changed it.
        sound = isinstance(raw, bytes) and zlib.crc32(raw) == life.state_checksum
        state = decode_state(raw) if sound else None
        found.append(
            PastRow(
                name,
                epoch,
                (updated_ms, number),
                life.head,
                life.held,
                life.ended_ms,
                life.all_bytes,
                state,
            )
        )
    return found


def epochs_of(db: sqlite3.Connection, channel: str) -> list[int]:
    """Return the lives of a channel that are not deleted, by ascending epoch.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    rows = db.execute(
        "SELECT epoch FROM life WHERE channel = ? AND updated_ms > ? ORDER BY epoch", (channel, DELETED_MS)
    )
    return [int(epoch) for (epoch,) in rows.fetchall()]


def delete_lives(db: sqlite3.Connection, retention: Retention, channel: str, epochs: list[int]) -> None:
    """Delete lives of a channel, all of them or none; those the file does not have are no error.

    Raises:
        sqlite3.Error: the file cannot be written.
    """
    changed: list[tuple[Place, Life]] = []
    with transaction(db):
        for epoch in epochs:
            place = (channel, epoch)
            known = retention.lives.get(place)
            if known is None:
                continue
            life = replace(known, updated_ms=DELETED_MS)
            db.execute(
                "UPDATE life SET updated_ms = ?, checksum = ? WHERE id = ?",
                (DELETED_MS, life.checksum(place), life.number),
            )
            changed.append((place, life))
        greatest = max(epochs, default=0)
        if greatest > deleted_epoch(db):
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_DELETED_EPOCH, str(greatest)))
    for place, life in changed:
        retention.note(place, life)


def deleted_epoch(db: sqlite3.Connection) -> int:
    """Return the greatest epoch that was deleted; 0 for none.

    Raises:
        sqlite3.Error: the file cannot be read.
        ValueError: what stands there is not what was written.
    """
    row = db.execute("SELECT value FROM meta WHERE name = ?", (_DELETED_EPOCH,)).fetchone()
    return int(row[0]) if row is not None else 0
