"""Objects cut out of one large JSON document while it comes. Pure.

Under `zap`. Holds one object of the depth that is asked for and the beginnings it stands in, never the whole.
Checks no JSON: what is cut out is decoded by whoever asked for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_PART_BYTES = 4 * 1024 * 1024
"""The largest object cut out, in bytes; a larger one is left out, and told."""

MAX_HEAD_BYTES = 65_536
"""How much of what stands around is kept, in bytes a level."""

MAX_DEPTH = 64

_MARKS = re.compile(rb'["{}\[\]]')
_STRING_END = re.compile(rb'["\\]')


@dataclass(frozen=True, slots=True)
class Part:
    """One object.

    Attributes:
        text: its JSON; None when it was larger than `MAX_PART_BYTES`.
        heads: for each level above it what stood there before, closed so that it is JSON again; outermost
            first. A level of which too much stood there is empty.
        byte: where it begins in the document.
    """

    text: bytes | None
    heads: tuple[bytes, ...]
    byte: int


class JsonParts:
    """Args:
    depth: how many braces and brackets stand open around a wanted object.

    Attributes:
        whole: whether the document has begun and ended.
        fed_bytes: how many bytes were fed.
    """

    def __init__(self, depth: int) -> None:
        self._wanted = depth
        self._open = bytearray()
        self._heads: list[bytearray] = [bytearray()]
        self._part = bytearray()
        self._part_at = 0
        self._part_bytes = 0
        self._in_string = self._escaped = False
        self.whole = False
        self.fed_bytes = 0

    def feed(self, chunk: bytes) -> list[Part]:
        """Take the next bytes, cut anywhere; return the objects they complete.

        Raises:
            ValueError: a bracket closes what is not open, or more than `MAX_DEPTH` are open.
        """
        found: list[Part] = []
        start = index = 0
        while index < len(chunk):
            if self._escaped:
                self._escaped = False
                index += 1
                continue
            if self._in_string:
                end = _STRING_END.search(chunk, index)
                if end is None:
                    break
                index = end.end()
                if end[0] == b'"':
                    self._in_string = False
                else:
                    self._escaped = True
                continue
            mark = _MARKS.search(chunk, index)
            if mark is None:
                break
            index = mark.end()
            if mark[0] == b'"':
                self._in_string = True
            elif mark[0] in b"{[":
                start = self._begin(chunk, start, mark.start(), mark[0])
            else:
                start = self._end(chunk, start, index, mark[0], found)
        self._keep(chunk[start:])
        self.fed_bytes += len(chunk)
        return found

    def _begin(self, chunk: bytes, start: int, at: int, mark: bytes) -> int:
        self._keep(chunk[start:at])
        if len(self._open) >= MAX_DEPTH:
            raise ValueError(f"nested deeper than the limit of {MAX_DEPTH}")
        self._open += mark
        if len(self._open) == self._wanted + 1:
            self._part.clear()
            self._part_bytes = 0
            self._part_at = self.fed_bytes + at
        elif len(self._open) <= self._wanted:
            self._heads.append(bytearray())
        self._keep(mark)
        return at + 1

    def _end(self, chunk: bytes, start: int, end: int, mark: bytes, found: list[Part]) -> int:
        if not self._open or (self._open[-1:] == b"{") != (mark == b"}"):
            raise ValueError(f"{mark.decode()!r} closes what is not open")
        self._keep(chunk[start:end])
        depth = len(self._open)
        opened = self._open.pop()
        if depth == self._wanted + 1 and opened == ord("{"):
            text = bytes(self._part) if self._part_bytes <= MAX_PART_BYTES else None
            found.append(Part(text, self._closed_heads(), self._part_at))
        elif depth <= self._wanted:
            inner = self._heads.pop()
            if len(inner) > MAX_HEAD_BYTES:
                inner = bytearray(b"{}" if opened == ord("{") else b"[]")
            self._keep_head(inner)
        if not self._open:
            self.whole = True
        return end

    def _keep(self, piece: bytes) -> None:
        if len(self._open) > self._wanted:
            self._part_bytes += len(piece)
            if self._part_bytes <= MAX_PART_BYTES:
                self._part += piece
            else:
                self._part.clear()
        else:
            self._keep_head(piece)

    def _keep_head(self, piece: bytes | bytearray) -> None:
        head = self._heads[-1]
        if len(head) <= MAX_HEAD_BYTES:
            head += piece[: MAX_HEAD_BYTES + 1 - len(head)]  # one more than the bound: it is not whole

    def _closed_heads(self) -> tuple[bytes, ...]:
        closed = []
        for opened, head in zip(self._open, self._heads[1:], strict=True):
            end = b"}" if opened == ord("{") else b"]"
            kept = bytes(head).rstrip(b" \t\r\n,") if len(head) <= MAX_HEAD_BYTES else b""
            closed.append(_without_last_key(kept) + end if kept else b"")
        return tuple(closed)


def _without_last_key(head: bytes) -> bytes:
    """Return what stands before the key whose value has only begun."""
    stripped = head.rstrip()
    if not stripped.endswith(b":"):
        return stripped
    key = stripped[:-1].rstrip()
    begin = key.rfind(b'"', 0, len(key) - 1)
    return key[: max(begin, 1)].rstrip(b" \t\r\n,")
