"""Everything a worker has to know when it starts, read from the rows of a journal, each one checked. Shell.

Used by `sqlite_journal` when it opens the file. Damaged events are told, and read around; any other row that
is not what was written is an error: the file is then not opened.
"""

from __future__ import annotations

import sqlite3
import zlib
from typing import TypeAlias

import msgspec

from pipeline.throttle_batch.chunks import read_around_damage
from pipeline.throttle_batch.journal import DamagedRange
from pipeline.throttle_batch.past_rows import deleted_epoch
from pipeline.throttle_batch.records import (
    NOT_POSTED,
    LifeRecord,
    Posted,
    ProducerRecord,
    Recovered,
    decode_state,
    row_checksum,
)
from pipeline.throttle_batch.retention import Life, Retention

# SQLite gives whatever type stands in the file; a flipped bit may have changed it.
_LifeRow: TypeAlias = tuple[int, str, int, int, int, int | None, int, int, int, bytes, int, int]
_ProducerRow: TypeAlias = tuple[str, str, int, int, int, int, int, str, int]


def recover_all(
    db: sqlite3.Connection, retention: Retention, *, checked: bool
) -> tuple[Recovered, list[DamagedRange]]:
    """Read every life and every producer.

    Args:
        db: the file.
        retention: told of each life.
        checked: whether all events are looked at, not only those that are folded.

    Returns:
        (what there is, the ranges of events that are damaged).

    Raises:
        ValueError: a row is not what was written.
        msgspec.ValidationError: it is not even of its type.
    """
    lives = []
    found: list[DamagedRange] = []
    # The length of a blob is known without reading it.
    sizes = dict(db.execute("SELECT life, length(body) FROM detail").fetchall())
    rows = db.execute(
        "SELECT id, channel, epoch, head, held, ended_ms, size_bytes, updated_ms, folded, state, cut,"
        " checksum FROM life ORDER BY epoch"
    )
    for row in rows:
        (
            number,
            channel,
            epoch,
            head,
            held,
            ended_ms,
            size_bytes,
            updated_ms,
            folded,
            state,
            cut,
            wanted,
        ) = msgspec.convert(row, _LifeRow)
        life = Life(
            number,
            head,
            held,
            size_bytes,
            folded,
            zlib.crc32(state),
            updated_ms,
            ended_ms,
            bool(cut),
            len(state) + sizes.get(number, 0),
        )
        place = (channel, epoch)
        if life.checksum(place) != wanted:
            raise ValueError(f"what stands of {channel} is not what was written")
        retention.note(place, life)
        if life.deleted:
            continue
        first = max(folded + 1, held)  # age may have taken events after the checkpoint
        tail, damaged = read_around_damage(db, number, held, head, first, keep=True)
        if checked:
            _, damaged = read_around_damage(db, number, held, head, held, keep=False)
        found += [DamagedRange(channel, epoch, *span) for span in damaged]
        # Of a life whose state needs no folding it is read when somebody asks.
        detail = detail_of(db, number, folded) if folded < head else None
        lives.append(
            LifeRecord(
                channel, epoch, head, ended_ms, updated_ms, decode_state(state), tail, bool(cut), detail
            )
        )
    producers = []
    for row in db.execute(
        "SELECT pid, channel, inc, committed, updated_ms, epoch, seq, digest, checksum"
        " FROM producer ORDER BY updated_ms"
    ):
        *known, wanted = msgspec.convert(row, _ProducerRow)
        if row_checksum(*known) != wanted:
            raise ValueError(f"how far producer {known[0]} is in {known[1]} is not what was written")
        pid, channel, inc, committed, _, epoch, seq, digest = known
        posted = Posted(epoch, seq, digest) if epoch or digest else NOT_POSTED
        producers.append(ProducerRecord(pid, channel, inc, committed, posted))
    return Recovered(lives, producers, deleted_epoch(db)), found


def detail_of(db: sqlite3.Connection, life: int, folded: int) -> bytes:
    """Return what of a checkpoint grows; empty when none was written with it, or it is damaged."""
    row = db.execute("SELECT folded, checksum, body FROM detail WHERE life = ?", (life,)).fetchone()
    if row is None:
        return b""
    kept_folded, checksum, body = msgspec.convert(row, tuple[int, int, bytes])
    return body if (kept_folded, zlib.crc32(body)) == (folded, checksum) else b""
