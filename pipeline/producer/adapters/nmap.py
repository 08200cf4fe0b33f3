"""nmap: the XML it prints with `-oX -` becomes events while it runs; so do files of it, one after another.

Sits between `emit` and its standard input. An input is one scan, however many runs of nmap it holds: it
starts with the first of them and ends when the input does.

============================== ==============================================================================
in the input                   what becomes of it
============================== ==============================================================================
a whole run                    its events, see `nmap_document`
a run that is cut off, or      its events and a problem; the next `<?xml` begins the next run
cannot be read on
something else behind a run    a problem; the next `<?xml` begins the next run
the end, every run whole       scanCompleted: the seconds and the hosts of all runs added up
the end, a run was not         error, which says what was wrong with the first of these
============================== ==============================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.producer.adapters import Problem
from pipeline.producer.adapters.nmap_document import NmapDocument
from pipeline.producer.adapters.nmap_hosts import MAX_TEXT, HostReader, event_of
from pipeline.producer.adapters.nmap_phases import NmapPhases

_ADVICE = "run nmap with -oX -"
_BOM = b"\xef\xbb\xbf"
_BEGINNINGS = (b"<?xml", b"<!DOCTYPE nmaprun", b"<nmaprun")
_NEXT = b"<?xml"
_HEAD_BYTES = 64
_RECENT_BYTES = 16
"""How far before the place of an error the next run may begin: expat names a byte behind `<?xml`."""


@dataclass(slots=True)
class _Total:
    runs: int = 0
    failed: int = 0
    message: str = ""
    duration: float | None = None
    hosts_up: int | None = None
    ts: int | None = None


class NmapAdapter:
    """Reads nmap XML as it streams: one document, or several.

    An input that is not whole documents of runs that nmap calls a success ends with exactly one `error`
    event, so that those who watch are told; where the input, not the run, was at fault, also with a
    :class:`Problem` that names the byte.

    Args:
        part: leave out `scanStarted` and `scanCompleted`, and say every error with `"fatal": false`.
    """

    def __init__(self, *, part: bool) -> None:
        self._part = part
        self._out: list[bytes | Problem] = []
        self._hosts = HostReader()
        self._phases = NmapPhases()
        self._document: NmapDocument | None = None
        self._total = _Total()
        self._at = 0  # the byte of the input that comes next
        self._held = b""  # before a document: what may be its beginning
        self._recent = b""
        self._skipping = False
        self._no_xml = ""

    def feed(self, chunk: bytes) -> list[bytes | Problem]:
        """Take the next bytes; see :meth:`Adapter.feed`."""
        while chunk:
            if self._document is None:
                chunk = self._look(chunk)
                continue
            rest_at = self._document.feed(chunk)
            self._out += self._document.take()
            if rest_at is None:
                self._recent = (self._recent + chunk)[-_RECENT_BYTES:]
                self._at += len(chunk)
                break
            if self._document.broken:
                rest_at = max(rest_at - _RECENT_BYTES, self._document.at + 1)
                window, begin = self._recent + chunk, self._at - len(self._recent)
            else:
                window, begin = chunk, self._at
            self._end_run(self._document)
            start = min(max(rest_at - begin, 0), len(window))
            self._at = begin + start
            chunk = window[start:]
        out, self._out = self._out, []
        return out

    def close(self) -> list[bytes | Problem]:
        """End the input; see :meth:`Adapter.close`."""
        if self._document is not None:
            self._document.close()
            self._out += self._document.take()
            self._end_run(self._document)
        elif not self._total.runs and not self._no_xml:
            self._tell_no_xml()
        elif self._held and not self._skipping:
            self._tell_rest()
        self._end_scan()
        out, self._out = self._out, []
        return out

    def aside(self, _line: bytes) -> None:
        """Take nothing; see :meth:`Adapter.aside`."""
        return

    # -- between documents

    def _look(self, chunk: bytes) -> bytes:
        """Return what is left from where a document begins; nothing while none does."""
        text = self._held + chunk
        at = self._at - len(self._held)
        self._at += len(chunk)
        if self._skipping:
            found = text.find(_NEXT)
            if found < 0:
                self._held = text[-(len(_NEXT) - 1) :]
                return b""
            return self._begin(text[found:], at + found)
        stripped = text.lstrip()
        at += len(text) - len(stripped)
        self._held = stripped
        if not self._total.runs:
            text = stripped.removeprefix(_BOM)
            if text.startswith(b"<"):
                return self._begin(stripped, at)
            if len(text) >= _HEAD_BYTES or b"\n" in text:
                self._tell_no_xml()
                return self._skip()
        elif stripped.startswith(_BEGINNINGS):
            return self._begin(stripped, at)
        elif stripped and not any(begin.startswith(stripped) for begin in _BEGINNINGS):
            self._tell_rest()
            return self._skip()
        return b""

    def _skip(self) -> bytes:
        """Look for the next document only; return what is to be looked through."""
        self._skipping = True
        held, self._held = self._held, b""
        self._at -= len(held)
        return held

    def _begin(self, rest: bytes, at: int) -> bytes:
        if self._total.failed and not self._part:
            self._out.append(event_of("error", message=self._total.message, fatal=False))
        self._held = self._recent = b""
        self._skipping = False
        self._at = at
        starts = not self._part and not self._total.runs
        self._total.runs += 1
        self._document = NmapDocument(at, self._hosts, self._phases, starts=starts)
        return rest

    def _tell_no_xml(self) -> None:
        at = self._at - len(self._held)
        if self._held:
            shown = repr(self._held[:_HEAD_BYTES].splitlines()[0].decode("utf-8", "replace"))
            self._no_xml = f"no nmap XML: the input starts with {shown}; {_ADVICE}"
        else:
            self._no_xml = f"no nmap XML: input was empty; {_ADVICE}"
        self._out.append(Problem(f"byte {at}", self._no_xml))

    def _tell_rest(self) -> None:
        at = self._at - len(self._held)
        self._out.append(
            Problem(
                f"byte {at}", "ignored what follows the nmap document, up to another <?xml if there is one"
            )
        )

    # -- ends

    def _end_run(self, document: NmapDocument) -> None:
        total, end = self._total, document.outcome
        self._document = None
        self._skipping = document.broken
        if end.message:
            total.failed += 1
            total.message = total.message or end.message
            if self._part:
                self._out.append(event_of("error", message=end.message[:MAX_TEXT], fatal=False))
        if end.duration is not None:
            total.duration = round((total.duration or 0) + end.duration, 3)
        if end.hosts_up is not None:
            total.hosts_up = (total.hosts_up or 0) + end.hosts_up
        total.ts = end.ts or total.ts

    def _end_scan(self) -> None:
        total = self._total
        if not total.runs:
            fatal = False if self._part else None
            self._out.append(event_of("error", message=self._no_xml[:MAX_TEXT], fatal=fatal))
        elif self._part:
            pass
        elif total.failed:
            message = total.message
            if total.runs > 1:
                message = f"{total.failed} of {total.runs} runs of nmap failed: {message}"
            self._out.append(event_of("error", message=message[:MAX_TEXT], ts=total.ts))
        else:
            self._out.append(
                event_of("scanCompleted", duration=total.duration, total_hosts=total.hosts_up, ts=total.ts)
            )
