"""The file of an emitter's spool: one process at a time, appended to, packed now and then. Shell.

It outlives its process, not the machine: nothing is synced to the disk, as nothing is by the default journal.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import weakref
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import OperatorError
from pipeline.spool import Spool, acked_record, event_record, header_record, pack, read_spool

SLACK_BYTES = 1_048_576
"""What is acked stays in the file until it is so much, and more than what is not."""


class SpoolFile:
    """Args:
    path: made, for its owner only, if it is not there. Its lock keeps every other process out.

    Attributes:
        found: what an earlier process left in it; None when it is new.

    Raises:
        OperatorError: another process uses it; it is no spool; it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._kept_bytes = 0
        try:
            self._descriptor = _open_locked(self._path)
            try:
                self.found = self._read()
            except BaseException:
                os.close(self._descriptor)
                raise
        except OSError as error:
            raise self._error(error) from None
        _open_files.add(self)

    def begin(self, pid: str, inc: int) -> None:
        """Write who numbers, into a new spool."""
        self._append(header_record(pid, inc))

    def add(self, channel: str, number: int, raw: bytes) -> None:
        """Write an event and its number; call it before the event is sent.

        Raises:
            OperatorError: it cannot be written; the file is as before.
        """
        self._append(event_record(channel, number, raw))

    def acked(self, channel: str, committed: int) -> None:
        """Write that everything up to a number is durable.

        A mark that cannot be written is left out: what it covers is then sent again, and acked again.
        """
        with contextlib.suppress(OperatorError):
            self._append(acked_record(channel, committed))

    def wants_packing(self, unacked_bytes: int) -> bool:
        """Say whether most of the file is acked: then call `pack`."""
        return self._size > SLACK_BYTES + 2 * max(unacked_bytes, self._kept_bytes)

    def pack(self, pid: str, inc: int, channels: Iterable[tuple[str, int, Iterable[bytes]]]) -> None:
        """Replace the file by one that holds only what is not acked; where that cannot be, it stays.

        Args:
            channels: of each, its name, the number of its first un-acked event, and the events from there on.
        """
        data = pack(pid, inc, channels)
        self._kept_bytes = len(data)
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            descriptor = os.open(fresh, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError:
            return
        try:
            _write(descriptor, data)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # before it has the name others look for
            fresh.replace(self._path)
        except OSError:
            os.close(descriptor)
            fresh.unlink(missing_ok=True)
            return
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = len(data)

    def close(self, *, done: bool) -> None:
        """Let go of the file.

        Args:
            done: whether nothing in it is needed any more: it is then emptied.
        """
        if self._descriptor < 0:
            return
        if done:
            with contextlib.suppress(OSError):  # what is acked is only sent and acked once more
                os.ftruncate(self._descriptor, 0)
        self.leave()

    def leave(self) -> None:
        """Close the file and nothing else, as a forked child must: the lock stays its parent's."""
        os.close(self._descriptor)
        self._descriptor = -1
        _open_files.discard(self)

    def _read(self) -> Spool | None:
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OperatorError(f"{self._path}: is no file")
        self._size = status.st_size
        data = bytearray()
        while block := os.pread(self._descriptor, 1_048_576, len(data)):
            data += block
        try:
            found = read_spool(bytes(data))
        except ValueError as error:
            raise OperatorError(f"{self._path}: {error}") from None
        self._cut(found.whole_bytes if found is not None else 0)
        return found

    def _append(self, record: bytes) -> None:
        try:
            _write(self._descriptor, record)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._cut(self._size)  # nothing may follow half a record
            raise self._error(error) from None
        self._size += len(record)

    def _cut(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        self._size = size

    def _error(self, error: OSError) -> OperatorError:
        if isinstance(error, BlockingIOError):
            return OperatorError(f"{self._path}: another process uses this spool")
        return OperatorError(f"{self._path}: {error.strerror}")


def _open_locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # it was replaced between the two calls: this is the old one


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


_open_files: weakref.WeakSet[SpoolFile] = weakref.WeakSet()


def _leave_all() -> None:
    for file in list(_open_files):
        file.leave()


os.register_at_fork(after_in_child=_leave_all)
