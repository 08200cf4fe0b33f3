"""The file `tail --record` appends to: one line an event, whole lines only. Shell.

What `tail --json` prints: channel, epoch, seq, event. `emit --replay` reads it.
"""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import OperatorError

_BLOCK_BYTES = 65_536


class RecordFile:
    """Args:
    path: made, for its owner only, if it is not there. A last line that was not written whole, because its
        writer was killed, is cut off.

    Attributes:
        cut_bytes: how much was cut off.

    Raises:
        OperatorError: it cannot be written, or is no file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.cut_bytes = 0
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                self._cut()
            except BaseException:
                os.close(self._descriptor)
                raise
        except OSError as error:
            raise self._error(error) from None

    def write(self, lines: bytes) -> None:
        """Append whole lines; they are the kernel's when this returns.

        Raises:
            OperatorError: they cannot be written.
        """
        left = memoryview(lines)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            raise self._error(error) from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _cut(self) -> None:
        size = end = os.fstat(self._descriptor).st_size
        while end:
            start = max(0, end - _BLOCK_BYTES)
            newline = os.pread(self._descriptor, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            self.cut_bytes = size - end
            os.ftruncate(self._descriptor, end)

    def _error(self, error: OSError) -> OperatorError:
        return OperatorError(f"{self._path}: {error.strerror}")
