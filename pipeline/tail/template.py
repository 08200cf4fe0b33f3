"""A line as the user wants it, such as `{time} {ip}:{port}`: read once, filled for each event. Pure.

What fills it is written by attackers, so this is no `str.format`: a name is looked up in the event's JSON and
in nothing else; there are no attributes, no indices, no conversions, no widths.

============== =======================================================================================
in a template  stands for
============== =======================================================================================
`{name}`       the event's field of that name; `{a.b}` is `b` of the object `a`
`{scan}` …     the event's place: one of `PLACE`, whatever the event's own fields are
`{{` `}}`      a brace
============== =======================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping

PLACE = ("time", "scan", "channel", "epoch", "seq")
"""Names that stand for where and when an event is, not for a field of it."""

MISSING = "-"
"""What is printed for a field that the event does not have."""

MAX_FIELDS = 64
MAX_DEPTH = 8

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_PART = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+")


class Template:
    """Args:
    text: the template.

    Raises:
        ValueError: it has a brace alone, a name that is none, or too many of them.
    """

    __slots__ = ("_parts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts: list[str | tuple[str, ...]] = []
        for part in _PART.findall(text):
            if part in ("{{", "}}"):
                self._parts.append(part[0])
            elif part in "{}":
                raise ValueError(f"{part!r} stands alone in the template; write {part * 2!r} for a brace")
            elif part[0] == "{":
                self._parts.append(_path(part[1:-1]))
            else:
                self._parts.append(part)
        if sum(isinstance(part, tuple) for part in self._parts) > MAX_FIELDS:
            raise ValueError(f"the template has more than {MAX_FIELDS} names")

    def fill(self, place: Mapping[str, str], fields: Mapping[str, object]) -> list[str | tuple[object]]:
        """Return the line's parts: text to print as it is, or, in a tuple, a value that is still to be shown.

        Args:
            place: a text for each of `PLACE`, fit to be printed.
            fields: the event.
        """
        filled: list[str | tuple[object]] = []
        for part in self._parts:
            if isinstance(part, str):
                filled.append(part)
            elif len(part) == 1 and part[0] in place:
                filled.append(place[part[0]])
            else:
                value = _value(part, fields)
                filled.append(MISSING if value is None else (value,))
        return filled


def _path(name: str) -> tuple[str, ...]:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name[:80]!r} is no name for a template: letters, digits, - and _, with dots between, such as "
            f"{{ip}} or {{a.b}}"
        )
    path = tuple(name.split("."))
    if len(path) > MAX_DEPTH:
        raise ValueError(f"{name[:80]!r} goes {len(path)} deep; {MAX_DEPTH} is the limit")
    return path


def _value(path: tuple[str, ...], fields: Mapping[str, object]) -> object:
    value: object = fields
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value
