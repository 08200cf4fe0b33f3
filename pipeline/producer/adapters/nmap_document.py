"""One XML document of nmap becomes events while it comes. Pure.

Under `nmap`, which finds where a document begins. Knows nmap's XML, no scan id and no file. What nmap prints,
and what becomes of it:

==================================== =================================================================
nmaprun                              scanStarted; every watcher sees it: scripts' arguments are masked
taskbegin, or taskprogress           phaseStarted, when the phase is another one than before: 0 percent
taskprogress, taskend                scanProgress: percent of that task; nmap knows none of the whole
hosthint, host that is up            hostDiscovered, once a host
port, listed with its state          portFound; extraports are a count, not a list, and are left out
service of an open port              serviceDetected
script output                        enumerationFinding of a port, hostFinding of a host
script output that names a CVE       vulnerabilityFound, once a (host, port, CVE)
osmatch, the best one                osDetected
runstats, and the root's end tag     the outcome
end of input before the root's end   an outcome that is an error
==================================== =================================================================

Without `-v` nmap prints no taskbegin; with `--stats-every 1s` it prints a taskprogress a second. It prints a
host when the whole host group is done, and only a hosthint comes earlier. Nothing here can change that. An
event has the time that nmap gives for it as its `ts`: a host its beginning, what was found of it its end.

The parser is expat itself, because it keeps no tree and knows the byte it is at. An internal DTD subset, the
only place where an entity could be declared, ends the reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from xml.parsers import expat

from pipeline.errors import InputMalformed
from pipeline.producer.adapters import Problem
from pipeline.producer.adapters.arguments import targets_of
from pipeline.producer.adapters.nmap_hosts import (
    MAX_NAME,
    HostReader,
    epoch_of,
    event_of,
    number_of,
    text_of,
)
from pipeline.producer.adapters.nmap_phases import NmapPhases
from pipeline.producer.adapters.nmap_scripts import arguments_of, mask_script_arguments, names_cve

MAX_TAG_BYTES = 4 * 1024 * 1024
"""The largest single tag read, in bytes (a script's whole output is one attribute); past it reading stops."""

MAX_DEPTH = 64
"""The deepest nesting read; nmap's own is about 12. Past it reading stops."""

_MOST_HOSTS = 2**53  # past it JSON readers lose count
_ADVICE = "run nmap with -oX -"


@dataclass(slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        message: what went wrong; empty for a success.
        duration: seconds; None where nmap does not say.
        hosts_up: how many hosts were up; None where nmap does not say.
        ts: when, epoch seconds; None where nmap does not say.
    """

    message: str = ""
    duration: float | None = None
    hosts_up: int | None = None
    ts: int | None = None


class _RootEnded(Exception):
    """Raised within expat, so that it reads nothing behind the document."""


class NmapDocument:
    """Reads one document.

    Args:
        at: the byte of the input it begins at.
        hosts: what has been found of hosts, in earlier documents too.
        phases: the phases so far, in earlier documents too.
        starts: whether it starts the scan.

    Attributes:
        at: the byte of the input it begins at.
        broken: whether it could not be read to its end; what follows is searched for the next document.
        outcome: how the run ended, once `feed` has returned a place, or `close` has been called.
    """

    def __init__(self, at: int, hosts: HostReader, phases: NmapPhases, *, starts: bool) -> None:
        self._starts = starts
        self._out: list[bytes | Problem] = []
        self.at = at
        self._fed_bytes = 0
        self._refused_at = 0
        self._root_end_at = 0
        self._open_tags: list[str] = []
        self._phases = phases
        self._hosts = hosts
        self._finished: dict[str, str] | None = None
        self._hosts_up: int | None = None
        self.broken = False
        self.outcome = Outcome()
        hosts.leave()
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

    def take(self) -> list[bytes | Problem]:
        """Return what has come of the document since the last call."""
        out, self._out = self._out, []
        return out

    def feed(self, chunk: bytes) -> int | None:
        """Take the next bytes.

        Returns:
            The byte of the input from which something else may follow, once the document has ended or cannot
            be read on; None while it goes on.
        """
        chunk_at = self._fed_bytes
        self._fed_bytes += len(chunk)
        try:
            self._parser.Parse(chunk, False)
            waiting = self._fed_bytes - self._parser.CurrentByteIndex
            if waiting > MAX_TAG_BYTES:
                raise self._refusal(f"a tag of over {waiting} bytes exceeds the limit of {MAX_TAG_BYTES}")
        except _RootEnded:
            tag_end = chunk.find(b">", max(self._root_end_at - chunk_at, 0))
            return self.at + chunk_at + tag_end + 1
        except InputMalformed as error:
            return self._break(self._refused_at, str(error))
        except expat.ExpatError as error:
            return self._break(self._parser.ErrorByteIndex, expat.ErrorString(error.code) or "not XML")
        return None

    def close(self) -> None:
        """End the input: the document is cut off."""
        self.broken = True
        end = self.at + self._fed_bytes
        inside = f" inside <{self._open_tags[-1][:MAX_NAME]}>" if self._open_tags else ""
        during = f", during {self._phases.present}" if self._phases.present else ""
        self._note(f"nmap XML cut off{inside}: nmap was stopped, or its output is incomplete", end)
        self.outcome.message = f"nmap ended early: its XML stops at byte {end}{inside}{during}"

    def _break(self, index: int, reason: str) -> int:
        byte = self.at + max(index, 0)
        self.broken = True
        self._note(f"nmap XML cannot be read on: {reason}", byte)
        self.outcome.message = f"nmap XML unreadable at byte {byte}: {reason}"
        return byte

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
                self._hosts.begin(attrs)
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
            self._run_ended()
            self._root_end_at = self._parser.CurrentByteIndex
            raise _RootEnded

    def _scan_started(self, attrs: dict[str, str]) -> None:
        if not self._starts:
            return
        args = text_of(mask_script_arguments(text_of(attrs.get("args"))))
        self._send(
            "scanStarted",
            timestamp=_iso(attrs.get("start")),
            scanner=text_of(f"nmap {attrs.get('version', '')}".strip()),
            args=args or None,
            targets=targets_of("nmap", arguments_of(args)[1:]) or None,
            ts=epoch_of(attrs.get("start")),
        )

    def _run_ended(self) -> None:
        finished, outcome = self._finished, self.outcome
        if finished is None:
            outcome.message = "nmap ended early: its XML holds no <finished>"
            self._note(outcome.message)
            return
        outcome.ts = epoch_of(finished.get("time"))
        outcome.hosts_up = self._hosts_up
        outcome.duration = number_of(finished.get("elapsed"))
        if finished.get("exit", "success") != "success":
            outcome.message = text_of(finished.get("errormsg")).strip() or "nmap failed and gave no reason"

    def _task(self, kind: str, attrs: dict[str, str]) -> None:
        task, ts = text_of(attrs.get("task")), epoch_of(attrs.get("time"))
        percent = number_of(attrs.get("percent")) if kind == "taskprogress" else None
        begins = self._phases.see(kind, task, percent)
        phase = self._phases.present
        if begins:
            self._send("phaseStarted", phase=phase, progress=0, ts=ts)
        if kind == "taskend":
            extra = text_of(attrs.get("extrainfo"))
            message = f"{task}: done" + (extra and f", {extra}")
            self._send("scanProgress", phase=phase, progress=100, message=message, ts=ts)
        if percent is not None:
            remaining, until = text_of(attrs.get("remaining")), _iso(attrs.get("etc"))
            message = f"{task}: {percent:g} % done"
            message += f", about {remaining} s remaining" if remaining else ""
            message += f" (until {until})" if until else ""
            self._send("scanProgress", phase=phase, progress=percent, message=message, ts=ts)

    # -- what goes out

    def _send(self, type_: str, **fields: object) -> None:
        self._out.append(event_of(type_, **fields))

    def _pass_on(self, found: list[bytes | str]) -> None:
        for item in found:
            if isinstance(item, bytes):
                self._out.append(item)
            else:
                self._note(item)

    def _note(self, message: str, byte: int | None = None) -> None:
        at = self.at + self._parser.CurrentByteIndex if byte is None else byte
        self._out.append(Problem(f"byte {at}", message))


def _iso(epoch_s: str | None) -> str | None:
    """Return a time nmap gives in epoch seconds as ISO 8601, or None where there is none."""
    seconds = number_of(epoch_s)
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return None
