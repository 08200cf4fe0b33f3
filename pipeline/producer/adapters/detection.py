"""Which tool an input comes from, by how it begins. Pure.

Looks at no more than `MAX_HEAD_BYTES`; what it looked at is then read by that tool's adapter, so that nothing
is lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from pipeline.errors import InputMalformed
from pipeline.producer.adapters import Adapter, Problem

MAX_HEAD_BYTES = 65_536
"""How much of an input is looked at. What has not said by then what it is, is not known."""

KNOWN = (
    "nmap XML, masscan (-oD, -oJ, -oL), nuclei -jsonl, naabu -json, httpx -json, a JSON report of ZAP, NDJSON"
)
"""What can be told from its beginning, in words."""

_MASSCAN_WORDS = re.compile(
    rb"#masscan\b|(?:open|closed|banner) (?:tcp|udp|sctp|icmp|arp|oproto) \d+ \S+ \d+"
)
_ZAP_KEY = re.compile(rb'"@(?:programName|version|generated)"')
_KEY = re.compile(rb'"([a-z_-]{1,20})" ?:')
_SHOWN = 60


def detect(head: bytes, *, complete: bool) -> str | None:
    """Return the name of the adapter that reads what begins so; None if more must be seen to say.

    Args:
        head: the beginning of the input, at most `MAX_HEAD_BYTES`.
        complete: whether nothing more will come, or be looked at.

    Raises:
        InputMalformed: it is nothing that is known, or too little of it is there to tell.
    """
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    complete = complete or len(head) >= MAX_HEAD_BYTES
    line, end, _ = text.partition(b"\n")
    if not text and not complete:
        return None
    name: str | None = None
    if text.startswith(b"<"):
        name, more = _of_xml(text)
    elif text.startswith(b"{"):
        name, more = _of_object(line.strip(), text, whole=bool(end) or complete)
    elif text.startswith(b"["):
        name, more = _of_array(text)
    elif _MASSCAN_WORDS.match(line):
        name, more = "masscan", False
    else:
        more = not end
    if name is None and (complete or not more):
        shown = repr(line[:_SHOWN].decode("utf-8", "replace")) if text else "nothing"
        raise InputMalformed(f"cannot tell what this is: it begins with {shown}; known are {KNOWN}")
    return name


def _of_xml(text: bytes) -> tuple[str | None, bool]:
    root = re.search(rb"<([A-Za-z_][\w.-]*)[\s>/]", text)
    if root is None:
        return None, True
    return ("nmap" if root[1] == b"nmaprun" else None), False


def _of_array(text: bytes) -> tuple[str | None, bool]:
    first = re.search(rb"[^\s\[,]", text)
    if first is None:
        return None, True
    line = text[first.start() :].partition(b"\n")[0]
    return ("masscan" if b'"ip"' in line and b'"ports"' in line else None), b'"ports"' not in line


def _of_object(line: bytes, text: bytes, *, whole: bool) -> tuple[str | None, bool]:
    if not whole:
        return None, True
    try:
        record: object = msgspec.json.decode(line.rstrip(b","))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        # An object over several lines, as only ZAP prints, or one longer than what is looked at.
        if _ZAP_KEY.search(text):
            return "zap", False
        return _of_record(dict.fromkeys(key.decode() for key in _KEY.findall(line))), True
    return _of_record(record if isinstance(record, dict) else {}), False


def _of_record(record: dict[str, object]) -> str | None:
    has = record.__contains__
    if isinstance(record.get("type"), str) and not has("template-id"):
        return "ndjson"
    if has("site") and (has("@version") or has("@generated") or has("@programName")):
        return "zap"
    if has("template-id") or (has("requests") and has("total") and has("templates")):
        return "nuclei"
    if has("rec_type") or (has("ip") and has("ports")) or has("finished"):
        return "masscan"
    if has("url") and (has("status_code") or has("failed") or has("input")):
        return "httpx"
    if has("port") and (has("ip") or has("host")):
        return "naabu"
    return None


class AutoAdapter:
    """Finds out what an input is, then reads it as that.

    Args:
        part: as for every adapter.
        told: called once, with the name of what it is.
        open_: opens the adapter of a name.
    """

    def __init__(self, *, part: bool, told: Callable[[str], None], open_: Callable[..., Adapter]) -> None:
        self._part = part
        self._told = told
        self._open = open_
        self._head = b""
        self._adapter: Adapter | None = None

    def feed(self, chunk: bytes) -> list[bytes | Problem]:
        """Take the next bytes; see :meth:`Adapter.feed`.

        Raises:
            InputMalformed: it is nothing that is known.
        """
        if self._adapter is not None:
            return self._adapter.feed(chunk)
        self._head += chunk
        return self._decide(complete=False)

    def close(self) -> list[bytes | Problem]:
        """End the input; see :meth:`Adapter.close`.

        Raises:
            InputMalformed: it is nothing that is known.
        """
        found = self._decide(complete=True) if self._adapter is None else []
        assert self._adapter is not None
        return found + self._adapter.close()

    def aside(self, line: bytes) -> list[bytes | Problem] | None:
        """Take a line of standard error; see :meth:`Adapter.aside`."""
        return self._adapter.aside(line) if self._adapter is not None else None

    def _decide(self, *, complete: bool) -> list[bytes | Problem]:
        name = detect(self._head[:MAX_HEAD_BYTES], complete=complete)
        if name is None:
            return []
        self._adapter = self._open(name, part=self._part)
        self._told(name)
        head, self._head = self._head, b""
        return self._adapter.feed(head)
