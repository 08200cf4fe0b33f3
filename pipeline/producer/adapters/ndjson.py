"""NDJSON: one event a line, from any tool that can print JSON.

Sits between `emit` and its standard input. It adds nothing: a good line goes on byte for byte, and no
start or end of a scan is invented. Knows no scan id and no file.
"""

from __future__ import annotations

import msgspec

from pipeline.errors import EventRejected
from pipeline.event import MAX_EVENT_BYTES, Catalogue, Error, ScanStarted, check_event
from pipeline.event_json import encode_event
from pipeline.producer.adapters import Problem
from pipeline.producer.adapters.lines import Line, Lines


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
        self._lines = Lines(MAX_EVENT_BYTES)

    def feed(self, chunk: bytes) -> list[bytes | Problem]:
        """Take the next bytes; see :meth:`Adapter.feed`."""
        return self._take(self._lines.feed(chunk))

    def close(self) -> list[bytes | Problem]:
        """Take the last line if it has no end; see :meth:`Adapter.close`."""
        return self._take(self._lines.close())

    def aside(self, _line: bytes) -> None:
        """Take nothing; see :meth:`Adapter.aside`."""
        return

    def _take(self, lines: list[Line]) -> list[bytes | Problem]:
        out: list[bytes | Problem] = []
        for line in lines:
            where = f"line {line.number}"
            if line.text is None:
                out.append(
                    Problem(where, f"line exceeds the limit of {MAX_EVENT_BYTES} bytes an event; skipped")
                )
                continue
            try:
                event = self._read(line.text)
            except EventRejected as rejected:
                out.append(Problem(where, rejected.message))
            else:
                if event is not None:
                    out.append(event)
        return out

    def _read(self, line: bytes) -> bytes | None:
        event = check_event(line)
        if self._part:
            if isinstance(event, ScanStarted):
                return None
            if self._catalogue.treatment(event, line).terminal:
                if not isinstance(event, Error):
                    return None
                return encode_event({**msgspec.json.decode(line, type=dict[str, object]), "fatal": False})
        return line
