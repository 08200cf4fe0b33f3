"""The rows of events in a journal on disk: read, and told when they are not what was written. Shell.

Used by `sqlite_journal`. A row is found by its life and its first event, and holds a range of events, one a
line, with a checksum over all of that.

=============================================== =====================================================
a row                                           what a reader of its range is given
=============================================== =====================================================
is as it was written                            its events
has another checksum, count or type, is missing nothing, and that the range is damaged: for good
or SQLite finds its pages damaged, which is
also what it says when the disk gives EIO
cannot be read for any other reason             nothing now: it may be well again
=============================================== =====================================================

A damaged range ends before the next sound row.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from typing import TypeAlias

import msgspec

from pipeline.errors import EventsDamaged
from pipeline.throttle_batch.journal_file import is_damage

_MAX_ROWS_TRIED = 64
"""So many rows are looked at for the end of a damaged range; what is damaged beyond is a range of its own."""
_CHECKED_BYTES = 1_048_576
"""How much is read at a time when all rows are checked."""

# SQLite gives whatever type stands in the file; a flipped bit may have changed it.
_Row: TypeAlias = tuple[int, int, int, bytes]

_ROWS_FROM = (
    "SELECT first, last, checksum, events FROM chunk WHERE life = ? AND first >= COALESCE("
    "(SELECT MAX(first) FROM chunk WHERE life = ? AND first <= ?), 0) AND first <= ? ORDER BY first"
)
_ROW_AT = "SELECT first, last, checksum, events FROM chunk WHERE life = ? AND first = ?"
_BEFORE = "SELECT first FROM chunk WHERE life = ? AND first <= ? ORDER BY first DESC LIMIT 1"
_BEHIND = "SELECT first FROM chunk WHERE life = ? AND first > ? ORDER BY first LIMIT 1"


def chunk_checksum(life: int, first: int, body: bytes) -> int:
    """Return what stands in a row to check it by: a row that is found in another place is damaged, too."""
    return zlib.crc32(body, zlib.crc32(b"%d:%d" % (life, first)))


def _events(life: int, row: tuple[object, ...]) -> tuple[int, int, list[bytes]]:
    """Return (first, last, events) of a row; ValueError when it is not what was written."""
    first, last, checksum, body = msgspec.convert(row, _Row)
    # Rows of the first version of the schema have the checksum of their events alone.
    if checksum != chunk_checksum(life, first, body) and checksum != zlib.crc32(body):
        raise ValueError("checksum")
    events = body.split(b"\n")
    if len(events) != last - first + 1:
        raise ValueError("count")
    return first, last, events


def read_chunks(
    db: sqlite3.Connection, life: int, held: int, head: int, wanted: tuple[int, int], max_bytes: int
) -> list[bytes]:
    """Return events of a life, up to the first that is damaged.

    Args:
        life: the number of its row.
        held: its oldest event.
        head: its last event.
        wanted: (first, last) of the events, within these.
        max_bytes: it ends before it grows past so many bytes, but has at least one event.

    Raises:
        EventsDamaged: the first one is damaged.
        sqlite3.Error: the file cannot be read.
    """
    first, upto = wanted
    events: list[bytes] = []
    size = 0
    try:
        rows = db.execute(_ROWS_FROM, (life, life, first, upto))
        with contextlib.closing(rows):
            for row in rows:
                row_first, row_last, found = _events(life, row)
                due = first + len(events)
                if not row_first <= due <= row_last:
                    break  # what is due is missing
                for raw in found[due - row_first : upto - row_first + 1]:
                    size += len(raw) + 1
                    if size > max_bytes and events:
                        return events
                    events.append(raw)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
    except (ValueError, OverflowError):
        pass
    if not events and first <= upto:
        # sqlite3 steps ahead of the row it gives: the one it could not give may be the next one.
        at = _first_found(db, _BEFORE, life, first)
        sound = _row_at(db, life, at) if at is not None else None
        if at is None or sound is None or at + len(sound) <= first:
            raise EventsDamaged(*_damaged_range(db, life, held, head, first))
        events = _page(sound[first - at : upto - at + 1], max_bytes)
    return events


def _page(events: list[bytes], max_bytes: int) -> list[bytes]:
    size = 0
    for index, raw in enumerate(events):
        size += len(raw) + 1
        if size > max_bytes and index:
            return events[:index]
    return events


def _damaged_range(db: sqlite3.Connection, life: int, held: int, head: int, seq: int) -> tuple[int, int]:
    """Return (first, last) of the events around a damaged one that nobody can be given."""
    start, end = held, head
    before = _first_found(db, _BEFORE, life, seq)
    if before is not None:
        sound = _row_at(db, life, before)
        start = before if sound is None else before + len(sound)
    after = seq
    for _ in range(_MAX_ROWS_TRIED):
        found = _first_found(db, _BEHIND, life, after)
        if found is None or found > head:
            break
        after, end = found, found - 1
        if _row_at(db, life, found) is not None:
            break
        end = head
    else:
        end = after - 1
    return min(max(start, held), seq), max(min(end, head), seq)


def _first_found(db: sqlite3.Connection, statement: str, life: int, seq: int) -> int | None:
    try:
        row = db.execute(statement, (life, seq)).fetchone()
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return None
    return row[0] if row is not None and isinstance(row[0], int) else None


def _row_at(db: sqlite3.Connection, life: int, first: int) -> list[bytes] | None:
    """Return the events of a sound row; None when it is damaged."""
    try:
        row = db.execute(_ROW_AT, (life, first)).fetchone()
        return None if row is None else _events(life, row)[2]
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
    except (ValueError, OverflowError):
        pass
    return None


def read_around_damage(
    db: sqlite3.Connection, life: int, held: int, head: int, first: int, *, keep: bool
) -> tuple[list[bytes], list[tuple[int, int]]]:
    """Read a life from an event to its end, over whatever is damaged.

    Args:
        first: seq of the first event that is read.
        keep: whether the events are wanted; else they are looked at only.

    Returns:
        (the events that are sound, the ranges that are damaged).
    """
    events: list[bytes] = []
    damaged: list[tuple[int, int]] = []
    while first <= head:
        try:
            found = read_chunks(db, life, held, head, (first, head), _CHECKED_BYTES)
        except EventsDamaged as error:
            damaged.append((error.first, error.last))
            first = error.last + 1
            continue
        first += len(found)
        if keep:
            events += found
    return events, damaged
