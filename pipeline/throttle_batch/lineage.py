"""Whether a journal is the file its worker wrote last, or may have gone back behind it. Shell.

Used by `sqlite_journal`. A small file beside the journal, `….last`, names the journal's inode and the last
commit; it is written in place after each commit, and never ahead of one.

====================================================== ==============================================
when the journal is opened                             reason
====================================================== ==============================================
`--recover` is given                                   `recover`
an earlier run of the operating system left it open,   `system_stopped`: the last commits may have
and its commits did not wait for the disk              gone with the power
there is no `….last`, or it names another inode        `copied`: it may be an old copy
the last commit is not in it                           `went_back`: it is an old copy
none of these, or no life is in it                     None: it goes on
====================================================== ==============================================

With a reason, every life in it is cut off: its numbers may have been given to events that are gone, so that
what follows gets a new epoch.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

Reason: TypeAlias = Literal["recover", "system_stopped", "copied", "went_back"]

_SIZE_BYTES = 256
"""The file always has this size, so that writing it needs no room; a channel's name has 71 bytes at most."""


class _Last(msgspec.Struct, frozen=True):
    inode: int
    channel: str = ""
    epoch: int = 0
    head: int = 0


_decode = msgspec.json.Decoder(_Last).decode
_encode = msgspec.json.Encoder().encode


class Lineage:
    """Args:
    journal: the journal's file.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._path = journal.with_name(journal.name + ".last")
        self._inode = 0
        self._last = _Last(0)
        self._descriptor: int | None = None

    def doubt(self, db: sqlite3.Connection, *, unmarked: bool) -> Reason | None:
        """Say why the journal may have gone back behind what readers were given; None when it has not.

        Args:
            db: the journal, open.
            unmarked: a version wrote it that wrote no such file.
        """
        last = self._read()
        if last is None:
            return None if unmarked else "copied"
        if last.inode != self._journal.stat().st_ino:
            return "copied"
        if not last.channel:
            return None
        row = db.execute(
            "SELECT head FROM life WHERE channel = ? AND epoch = ?", (last.channel, last.epoch)
        ).fetchone()
        return "went_back" if row is None or row[0] < last.head else None

    def _read(self) -> _Last | None:
        try:
            return _decode(self._path.read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):  # none, or the power went while it was written
            return None

    def begin(self) -> None:
        """Write down which file it is from now on; the last commit stays what it was.

        Raises:
            OSError: it cannot be written.
        """
        last = self._read() or _Last(0)
        self._inode = self._journal.stat().st_ino
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        self._write(msgspec.structs.replace(last, inode=self._inode))
        # Once a start: where commits wait for the disk, its absence must not look like a copy. Later writes
        # may be lost with the power, for an older one is true as well.
        os.fsync(self._descriptor)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def note(self, channel: str, epoch: int, head: int) -> None:
        """Write down a commit: of one of its lives, how far it is."""
        with contextlib.suppress(OSError):  # what stands there is older then, and true all the same
            self._write(_Last(self._inode, channel, epoch, head))

    def forget(self, channel: str, epoch: int) -> None:
        """Call before a life is deleted: that it is missing then is no sign of a journal that went back.

        Raises:
            OSError: it cannot be written; the life must stay.
        """
        if (self._last.channel, self._last.epoch) == (channel, epoch):
            self._write(_Last(self._inode))

    def _write(self, last: _Last) -> None:
        assert self._descriptor is not None
        self._last = last
        os.pwrite(self._descriptor, _encode(last).ljust(_SIZE_BYTES - 1) + b"\n", 0)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
