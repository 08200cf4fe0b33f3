"""What tools find, as events: the pieces that adapters of tools without a start or an end share. Pure.

Under `tool_lines`, `zap` and the tools' own files. Knows no tool: values of any kind in, checked events out.
"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit

from pipeline.errors import EventRejected
from pipeline.event import Severity, check_event
from pipeline.event_json import encode_event
from pipeline.producer.adapters import Problem

MAX_TEXT = 1_024
"""The most characters kept of one text field, so that an event stays below `MAX_EVENT_BYTES`."""

MAX_REMEMBERED_HOSTS = 65_536
"""How many hosts are remembered as announced; past it the oldest is forgotten, to be announced anew."""

_MAX_TIME = 64
_LATEST_S = 253_402_300_799  # the last second of the year 9999
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SEVERITIES: dict[str, Severity] = {
    "critical": "Critical",
    "high": "High",
    "medium": "Medium",
    "low": "Low",
    "info": "Info",
    "informational": "Info",
    "unknown": "Info",
}


class Findings:
    """Collects events and problems, in their order. A scan's start comes before the first event.

    Args:
        scanner: the tool's name; stands in `scanStarted`.
        part: leave out `scanStarted` and `scanCompleted`, and say an error with `"fatal": false`.

    Attributes:
        where: the place in the input that is being read, for problems: "line 3".
        good: how many things were understood.
        bad: how many were not.
    """

    def __init__(self, scanner: str, *, part: bool) -> None:
        self._scanner = scanner
        self._part = part
        self._started = part
        self._out: list[bytes | Problem] = []
        self._announced: dict[str, None] = {}
        self._hosts = 0
        self.where = "line 1"
        self.good = 0
        self.bad = 0

    def take(self) -> list[bytes | Problem]:
        """Return what has been collected since the last call."""
        out, self._out = self._out, []
        return out

    def host(self, ip: str, hostname: str | None = None, ts: object = None) -> None:
        """Announce a host, once."""
        if ip in self._announced:
            return
        if len(self._announced) >= MAX_REMEMBERED_HOSTS:
            del self._announced[next(iter(self._announced))]
        self._announced[ip] = None
        self._hosts += 1
        self.send("hostDiscovered", ip=ip, hostname=hostname if hostname != ip else None, ts=ts)

    def send(self, type_: str, **fields: object) -> None:
        """Add an event, without the fields that are None; what no event can say becomes a problem."""
        known = {name: value for name, value in fields.items() if value is not None}
        try:
            raw = encode_event({"type": type_, **known})
            check_event(raw)
        except EventRejected as error:
            self.note(error.message)
            return
        self._start(known.get("ts"))
        self._out.append(raw)

    def note(self, message: str) -> None:
        """Add a problem, at the present place."""
        self.bad += 1
        self._out.append(Problem(self.where, message))

    def end(self, cut_off: str = "") -> None:
        """Add how the scan ended, as far as the end of its input tells.

        Args:
            cut_off: where the input breaks off; empty if it does not.
        """
        message = ""
        if cut_off:
            message = f"{self._scanner} ended early: its output is cut off in {cut_off}"
        elif self.bad and not self.good:
            message = f"nothing in the input was read as {self._scanner}'s output"
        self._start(None)
        if message:
            self._out.append(encode_event(_error(message, fatal=not self._part)))
        elif not self._part:
            self._out.append(encode_event({"type": "scanCompleted", "total_hosts": self._hosts}))

    def _start(self, ts: object) -> None:
        if not self._started:
            self._started = True
            start: dict[str, object] = {"type": "scanStarted", "scanner": self._scanner}
            self._out.append(encode_event(start if ts is None else {**start, "ts": ts}))


def _error(message: str, *, fatal: bool) -> dict[str, object]:
    event: dict[str, object] = {"type": "error", "message": message}
    return event if fatal else {**event, "fatal": False}


def text(value: object, limit: int = MAX_TEXT) -> str | None:
    """Return a text field as it came, at most `limit` characters of it; None where there is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value)[:limit] or None


def texts(value: object, most: int) -> list[str]:
    """Return the texts of a list, at most so many; of anything else, none."""
    found = [text(item) for item in value[:most]] if isinstance(value, list) else []
    return [item for item in found if item]


def port_number(value: object) -> int | None:
    """Return a port given as a number or as digits, or None."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 5:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65_535:
        return value
    return None


def severity(value: object) -> Severity:
    """Return what a tool calls a severity in ours; `Info` for what is none."""
    return _SEVERITIES.get(value.lower(), "Info") if isinstance(value, str) else "Info"


def moment(value: object) -> str | int | None:
    """Return a time a tool gives, as an event's `ts` may be: epoch seconds, or ISO 8601; None for none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 < value <= _LATEST_S else None
    if not isinstance(value, str) or len(value) > _MAX_TIME:
        return None
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return None
    return value


def place_of(address: object) -> tuple[str | None, int | None, str | None]:
    """Return (host, port, scheme) of a URL or a HOST:PORT, each None where there is none."""
    known = text(address, 4 * MAX_TEXT)
    if known is None:
        return None, None, None
    try:
        parts = urlsplit(known if "://" in known else f"//{known}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None, None, None
    scheme = parts.scheme or None
    return text(host), port if port is not None else _DEFAULT_PORTS.get(scheme or ""), scheme
