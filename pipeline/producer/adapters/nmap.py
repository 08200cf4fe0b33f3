"""nmap: the XML it prints with `-oX -` becomes events while it runs.

Sits between `emit` and its standard input. Knows nmap's XML, no scan id and no file. What nmap prints, and
what becomes of it:

==================================== =================================================================
nmaprun                              scanStarted; every watcher sees it: scripts' arguments are masked
taskbegin, or taskprogress           phaseStarted, when the phase is another one than before: 0 percent
taskprogress, taskend                scanProgress: percent of that task; nmap knows none of the whole
hosthint, host that is up            hostDiscovered, once a host
port, listed with its state          portFound; extraports are a count, not a list, and are left out
service of an open port              serviceDetected
script output that names a CVE       vulnerabilityFound, once a (host, port, CVE)
runstats, and the root's end tag     scanCompleted, or error when nmap says it failed
end of input before the root's end   error
==================================== =================================================================

Without `-v` nmap prints no taskbegin; with `--stats-every 1s` it prints a taskprogress a second. It prints a
host when the whole host group is done, and only a hosthint comes earlier. Nothing here can change that.

The parser is expat itself, because it keeps no tree and knows the byte it is at. An internal DTD subset, the
only place where an entity could be declared, ends the reading.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.parsers import expat

from pipeline.errors import InputMalformed
from pipeline.producer.adapters import Problem
from pipeline.producer.adapters.nmap_hosts import MAX_NAME, MAX_TEXT, HostReader, event_of, number_of, text_of
from pipeline.producer.adapters.nmap_scripts import mask_script_arguments, names_cve

MAX_TAG_BYTES = 4 * 1024 * 1024
"""The largest single tag read, in bytes (a script's whole output is one attribute); past it reading stops."""

MAX_DEPTH = 64
"""The deepest nesting read; nmap's own is about 12. Past it reading stops."""

_HEAD_BYTES = 64
_MOST_HOSTS = 2**53  # past it JSON readers lose count
_ADVICE = "run nmap with -oX -"

_DNS_COUNT = re.compile(r" of \d+ hosts?\b.*", re.DOTALL)
_NOT_WORD = re.compile(r"[^a-z0-9]+")


class NmapAdapter:
    """Reads one nmap XML document as it streams.

    An input that is not one whole document of a run that nmap calls a success ends with exactly one `error`
    event, so that those who watch are told; where the input, not the run, was at fault, also with a
    :class:`Problem` that names the byte. After that, or after bytes behind the document, the rest is ignored.

    Args:
        part: leave out `scanStarted` and `scanCompleted`, and say every error with `"fatal": false`.
    """

    def __init__(self, *, part: bool) -> None:
        self._part = part
        self._out: list[bytes | Problem] = []
        self._head = b""
        self._skipped_bytes = 0
        self._fed_bytes = 0
        self._refused_at = 0
        self._started = self._ended = self._stopped = False
        self._open_tags: list[str] = []
        self._phase = ""
        self._hosts = HostReader()
        self._finished: dict[str, str] | None = None
        self._hosts_up: int | None = None
        # Whatever a document declares: nmap prints UTF-8, and another codec's name could raise anything.
        parser = expat.ParserCreate("utf-8")
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        if hasattr(parser, "SetReparseDeferralEnabled"):
            # expat 2.6 puts off a tag cut between two chunks until more has come; a scan's next byte may be
            # minutes away. What that guards against, a huge tag read again and again, MAX_TAG_BYTES bounds.
            parser.SetReparseDeferralEnabled(False)
        self._parser = parser

    def feed(self, chunk: bytes) -> list[bytes | Problem]:
        """Take the next bytes; see :meth:`Adapter.feed`."""
        if not self._started:
            chunk = self._begin(chunk)
        if chunk and not self._stopped:
            self._parse(chunk, final=False)
        return self._take()

    def close(self) -> list[bytes | Problem]:
        """End the input; see :meth:`Adapter.close`."""
        if not self._stopped:
            if self._started:
                self._parse(b"", final=True)
            else:
                self._stop_without_xml()
        return self._take()

    def _take(self) -> list[bytes | Problem]:
        out, self._out = self._out, []
        return out

    # -- from bytes to tags

    def _begin(self, chunk: bytes) -> bytes:
        """Return what is to be parsed once the input turns out to be XML; before that, nothing."""
        if self._stopped:
            return b""
        if not self._head:
            stripped = chunk.lstrip()
            self._skipped_bytes += len(chunk) - len(stripped)
            chunk = stripped
        self._head += chunk
        text = self._head.removeprefix(b"\xef\xbb\xbf")
        if text.startswith(b"<"):
            head, self._head, self._started = self._head, b"", True
            return head
        if len(text) >= _HEAD_BYTES or b"\n" in text:
            self._stop_without_xml()
        return b""

    def _stop_without_xml(self) -> None:
        if self._head:
            shown = repr(self._head[:_HEAD_BYTES].splitlines()[0].decode("utf-8", "replace"))
            message = f"no nmap XML: the input starts with {shown}; {_ADVICE}"
        else:
            message = f"no nmap XML: input was empty; {_ADVICE}"
        self._stop(self._skipped_bytes, message, message)

    def _parse(self, chunk: bytes, *, final: bool) -> None:
        self._fed_bytes += len(chunk)
        try:
            self._parser.Parse(chunk, final)
            waiting = self._fed_bytes - self._parser.CurrentByteIndex
            if not final and waiting > MAX_TAG_BYTES:
                raise self._refusal(f"a tag of over {waiting} bytes exceeds the limit of {MAX_TAG_BYTES}")
        except InputMalformed as error:
            self._stop_reading(self._refused_at, str(error))
        except expat.ExpatError as error:
            if final and not self._ended:
                end = self._skipped_bytes + self._fed_bytes
                inside = f" inside <{self._open_tags[-1][:MAX_NAME]}>" if self._open_tags else ""
                during = f", during {self._phase}" if self._phase else ""
                self._stop(
                    end,
                    f"nmap XML cut off{inside}: nmap was stopped, or its output is incomplete",
                    f"nmap ended early: its XML stops at byte {end}{inside}{during}",
                )
            else:
                self._stop_reading(self._parser.ErrorByteIndex, expat.ErrorString(error.code) or "not XML")

    def _stop_reading(self, index: int, reason: str) -> None:
        byte = self._skipped_bytes + max(index, 0)
        if self._ended:
            self._stop(byte, f"ignored what follows the nmap document: {reason}", "")
        else:
            self._stop(
                byte, f"nmap XML cannot be read on: {reason}", f"nmap XML unreadable at byte {byte}: {reason}"
            )

    def _stop(self, byte: int, message: str, event_message: str) -> None:
        """Give up the rest: a Problem for the sender and, unless the scan has ended, an error event."""
        self._stopped = True
        self._note(message, byte)
        if not self._ended:
            self._fail(event_message)

    def _refusal(self, reason: str) -> InputMalformed:
        self._refused_at = self._parser.CurrentByteIndex  # once it is raised, expat stands behind the tag
        return InputMalformed(reason)

    def _doctype(
        self, _name: str, _system: str | None, _public: str | None, has_internal_subset: int
    ) -> None:
        if has_internal_subset:
            raise self._refusal("a DOCTYPE with declarations of its own is refused; nmap prints none")

    # -- from tags to events

    def _start(self, name: str, attrs: dict[str, str]) -> None:
        parent = self._open_tags[-1] if self._open_tags else ""
        if len(self._open_tags) >= MAX_DEPTH:
            raise self._refusal(f"tags nested deeper than the limit of {MAX_DEPTH}")
        if not parent and name != "nmaprun":
            raise self._refusal(f"the root is <{name[:MAX_NAME]}>, not <nmaprun>; {_ADVICE}")
        self._open_tags.append(name)
        match parent, name:
            case "", _:
                self._scan_started(attrs)
            case "nmaprun", "taskbegin" | "taskprogress" | "taskend":
                self._task(name, attrs)
            case "nmaprun", "host" | "hosthint":
                self._hosts.begin()
            case "nmaprun", _:
                pass
            case "runstats", "finished":
                self._finished = attrs
            case "runstats", "hosts":
                up = number_of(attrs.get("up"))
                self._hosts_up = int(up) if up is not None and 0 <= up <= _MOST_HOSTS else None
            case "prescript" | "postscript", "script":
                if names_cve(attrs.get("output", "")):
                    self._note(f"script {text_of(attrs.get('id'))!r} names a CVE, but no host; not sent")
            case _ if self._hosts.inside:
                self._pass_on(self._hosts.tag(parent, name, attrs))

    def _end(self, name: str) -> None:
        self._open_tags.pop()
        self._pass_on(self._hosts.end(name))
        if not self._open_tags:
            self._scan_ended()

    def _scan_started(self, attrs: dict[str, str]) -> None:
        if self._part:
            return
        self._send(
            "scanStarted",
            timestamp=_iso(attrs.get("start")),
            scanner=text_of(f"nmap {attrs.get('version', '')}".strip()),
            args=text_of(mask_script_arguments(text_of(attrs.get("args")))) or None,
        )

    def _scan_ended(self) -> None:
        finished = self._finished
        if finished is None:
            message = "nmap ended early: its XML holds no <finished>"
            self._note(message)
            self._fail(message)
        elif finished.get("exit", "success") != "success":
            self._fail(text_of(finished.get("errormsg")).strip() or "nmap failed and gave no reason")
        elif not self._part:
            self._send(
                "scanCompleted", duration=number_of(finished.get("elapsed")), total_hosts=self._hosts_up
            )
        self._ended = True

    def _task(self, kind: str, attrs: dict[str, str]) -> None:
        task = text_of(attrs.get("task"))
        phase = self._phase_of(task, begins=kind == "taskbegin")
        if phase != self._phase:
            self._phase = phase
            self._send("phaseStarted", phase=phase, progress=0)
        if kind == "taskend":
            extra = text_of(attrs.get("extrainfo"))
            self._send(
                "scanProgress", phase=phase, progress=100, message=f"{task}: done" + (extra and f", {extra}")
            )
        percent = number_of(attrs.get("percent"))
        if kind == "taskprogress" and percent is not None:
            remaining, until = text_of(attrs.get("remaining")), _iso(attrs.get("etc"))
            message = f"{task}: {percent:g} % done"
            message += f", about {remaining} s remaining" if remaining else ""
            message += f" (until {until})" if until else ""
            self._send("scanProgress", phase=phase, progress=percent, message=message)

    def _phase_of(self, task: str, *, begins: bool) -> str:
        if task != "NSE":
            return _NOT_WORD.sub("_", _DNS_COUNT.sub("", task).lower()).strip("_")[:MAX_NAME] or "unnamed"
        # nmap calls three things so: scripts before all hosts, for each host group, and behind all hosts.
        # Only with -v, when it tells of every task, does coming first mean before all hosts.
        first = begins and not self._phase
        return "script_pre_scan" if first or self._phase == "script_pre_scan" else "script_scan"

    # -- what goes out

    def _send(self, type_: str, **fields: object) -> None:
        self._out.append(event_of(type_, **fields))

    def _pass_on(self, found: list[bytes | str]) -> None:
        for item in found:
            if isinstance(item, bytes):
                self._out.append(item)
            else:
                self._note(item)

    def _fail(self, message: str) -> None:
        self._send("error", message=message[:MAX_TEXT], fatal=False if self._part else None)

    def _note(self, message: str, byte: int | None = None) -> None:
        at = self._skipped_bytes + self._parser.CurrentByteIndex if byte is None else byte
        self._out.append(Problem(f"byte {at}", message))


def _iso(epoch_s: str | None) -> str | None:
    """Return a time nmap gives in epoch seconds as ISO 8601, or None where there is none."""
    seconds = number_of(epoch_s)
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return None
