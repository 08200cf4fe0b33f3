"""Tools that print what they found a line at a time: what their adapters share. Pure.

Over `lines` and `findings`, under masscan, nuclei, naabu, httpx and `mapped`. Their output has neither a
start nor an end: the scan starts with the input and is complete when it ends, unless its last line is broken
off.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from pipeline.errors import InputMalformed
from pipeline.producer.adapters import Problem
from pipeline.producer.adapters.findings import Findings
from pipeline.producer.adapters.lines import Line, Lines

MAX_LINE_BYTES = 4 * 1024 * 1024
"""The longest line read, in bytes: some tools print whole answers in it. A longer one is a problem."""

_SHOWN = 60


class ToolLines(ABC):
    """Reads a tool's lines, one after the other; a line that cannot be read is a :class:`Problem`.

    Args:
        part: leave out `scanStarted` and `scanCompleted`, and say an error with `"fatal": false`.
    """

    scanner: str

    def __init__(self, *, part: bool) -> None:
        self._lines = Lines(MAX_LINE_BYTES)
        self._findings = Findings(self.scanner, part=part)
        self._cut_off = ""

    def feed(self, chunk: bytes) -> list[bytes | Problem]:
        """Take the next bytes; see :meth:`Adapter.feed`."""
        self._take(self._lines.feed(chunk))
        return self._findings.take()

    def close(self) -> list[bytes | Problem]:
        """Take the last line if it has no end, and end the scan; see :meth:`Adapter.close`."""
        self._take(self._lines.close())
        self._findings.end(self._cut_off or self._unfinished())
        return self._findings.take()

    def aside(self, line: bytes) -> list[bytes | Problem] | None:
        """Take a line that the tool printed on its standard error; see :meth:`Adapter.aside`."""
        found = self._aside(line)
        return self._findings.take() if found else None

    @abstractmethod
    def _read(self, line: bytes, findings: Findings) -> None:
        """Add what a line says; raise `InputMalformed` if it says nothing that is known."""

    def _aside(self, _line: bytes) -> bool:
        return False

    def _unfinished(self) -> str:
        """Return where the input breaks off, where something else than its last line tells; else nothing."""
        return ""

    def _take(self, lines: list[Line]) -> None:
        findings = self._findings
        for line in lines:
            findings.where = f"line {line.number}"
            bad = findings.bad
            if line.text is None:
                findings.note(f"line exceeds the limit of {MAX_LINE_BYTES} bytes; skipped")
            else:
                try:
                    self._read(line.text, findings)
                except InputMalformed as error:
                    findings.note(str(error))
            if findings.bad == bad:
                findings.good += 1
            elif not line.whole:
                self._cut_off = findings.where


def json_object(line: bytes) -> dict[str, object]:
    """Return the object a line holds.

    Raises:
        InputMalformed: it holds none.
    """
    try:
        value: object = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ValueError) as error:
        shown = repr(line[:_SHOWN].decode("utf-8", "replace"))
        raise InputMalformed(f"no JSON object: {shown}: {str(error)[:_SHOWN]}") from None
    if not isinstance(value, dict):
        raise InputMalformed("no JSON object, but other JSON")
    return value
