"""NDJSON: one event a line, from any tool that can print JSON.

Sits between `emit` and its standard input. It adds nothing: a good line goes on byte for byte, and no
start or end of a scan is invented. Knows no scan id and no file.
"""

from __future__ import annotations

import msgspec

from pipeline.errors import EventRejected
from pipeline.event import MAX_EVENT_BYTES, Catalogue, Error, ScanStarted, check_event, encode_event
from pipeline.producer.adapters import Problem

_BOM = b"\xef\xbb\xbf"


class NdjsonAdapter:
    """Reads one JSON event a line.

    Lines end with LF or CRLF; the last one needs no end. Blank lines are skipped. A line that is no event,
    or is longer than `MAX_EVENT_BYTES`, is a :class:`Problem` and the next line goes on; at most that many
    bytes of a line are held.

    Args:
        part: leave out `scanStarted` and every terminal event, and send a fatal `error` as a non-fatal one.
            Terminal is what the default catalogue calls so; what an operator added to it is not known here.
    """

    def __init__(self, *, part: bool) -> None:
        self._part = part
        self._catalogue = Catalogue()
        self._held = bytearray()
        self._too_long = False
        self._line_number = 1

    def feed(self, chunk: bytes) -> list[bytes | Problem]:
        """Take the next bytes; see :meth:`Adapter.feed`."""
        out: list[bytes | Problem] = []
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._hold(chunk[start:end])
            self._end_line(out)
            self._line_number += 1
            start = end + 1
        self._hold(chunk[start:])
        return out

    def close(self) -> list[bytes | Problem]:
        """Take the last line if it has no end; see :meth:`Adapter.close`."""
        out: list[bytes | Problem] = []
        self._end_line(out)
        return out

    def _hold(self, piece: bytes) -> None:
        # Room for the CR of a CRLF and for the byte order mark, which are not the event's.
        if len(self._held) + len(piece) > MAX_EVENT_BYTES + 1 + len(_BOM):
            self._too_long = True
        if self._too_long:
            self._held.clear()
        else:
            self._held += piece

    def _end_line(self, out: list[bytes | Problem]) -> None:
        line = bytes(self._held)
        too_long = self._too_long
        self._held.clear()
        self._too_long = False
        if self._line_number == 1:
            line = line.removeprefix(_BOM)
        line = line.removesuffix(b"\r")
        if too_long:
            self._note(out, f"line exceeds the limit of {MAX_EVENT_BYTES} bytes an event; skipped")
        elif line.strip():
            self._read(line, out)

    def _read(self, line: bytes, out: list[bytes | Problem]) -> None:
        try:
            event = check_event(line)
            if self._part:
                if isinstance(event, ScanStarted):
                    return
                if self._catalogue.treatment(event, line).terminal:
                    if not isinstance(event, Error):
                        return
                    line = encode_event({**msgspec.json.decode(line, type=dict[str, object]), "fatal": False})
        except EventRejected as rejected:
            self._note(out, rejected.message)
        else:
            out.append(line)

    def _note(self, out: list[bytes | Problem], message: str) -> None:
        out.append(Problem(f"line {self._line_number}", message))
