"""Lines of an input that comes in pieces: numbered, bounded. Pure.

Under every adapter that reads a line at a time. Knows nothing of what stands in a line.
"""

from __future__ import annotations

from dataclasses import dataclass

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        number: from 1.
        text: without its end, LF or CRLF, and without a byte order mark; None when it was longer than the
            bound, and was not kept.
        whole: whether it had an end; only the last line of an input may have none.
    """

    number: int
    text: bytes | None
    whole: bool = True


class Lines:
    """Cuts an input into lines; blank ones are left out.

    Args:
        max_bytes: the longest line kept; of a longer one no byte is held.
    """

    def __init__(self, max_bytes: int) -> None:
        # Room for the CR of a CRLF and for the byte order mark, which are not the line's.
        self._most = max_bytes + 1 + len(_BOM)
        self._max_bytes = max_bytes
        self._held = bytearray()
        self._too_long = False
        self._number = 1

    def feed(self, chunk: bytes) -> list[Line]:
        """Take the next bytes, cut anywhere; return the lines they end."""
        found: list[Line] = []
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._hold(chunk[start:end])
            self._end(found, whole=True)
            self._number += 1
            start = end + 1
        self._hold(chunk[start:])
        return found

    def close(self) -> list[Line]:
        """End the input; return the last line if it had no end."""
        found: list[Line] = []
        self._end(found, whole=False)
        return found

    def _hold(self, piece: bytes) -> None:
        if len(self._held) + len(piece) > self._most:
            self._too_long = True
        if self._too_long:
            self._held.clear()
        else:
            self._held += piece

    def _end(self, found: list[Line], *, whole: bool) -> None:
        text = bytes(self._held)
        too_long = self._too_long
        self._held.clear()
        self._too_long = False
        if self._number == 1:
            text = text.removeprefix(_BOM)
        text = text.removesuffix(b"\r")
        if too_long or len(text) > self._max_bytes:
            found.append(Line(self._number, None, whole))
        elif text.strip():
            found.append(Line(self._number, text, whole))
