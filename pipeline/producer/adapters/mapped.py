"""Any other JSON lines, by a map: which field of an event comes from where in the line. Pure.

A rule is what `emit --map` is given:

=========================== ================================================================================
FIELD=PATH                  the value at PATH: names and numbers of places in lists, with dots between them
FIELD==TEXT                 always TEXT; a number, true or false where it looks like one
FIELD=PATH{A:B,C:-,\\*:D}    the same, translated: B where A stands, nothing for C, D for what is not listed
=========================== ================================================================================

`type` must have a rule. A line whose type is translated to nothing is left out; of any other field translated
to nothing, or without a value, only the field is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from pipeline.errors import EventRejected, InputMalformed, OperatorError
from pipeline.event import check_event
from pipeline.event_json import encode_event
from pipeline.producer.adapters.findings import Findings, port_number
from pipeline.producer.adapters.tool_lines import ToolLines, json_object

MAX_RULES = 64

_RULE = re.compile(r"(?P<field>[A-Za-z_][A-Za-z0-9_]*)=(?P<rest>.+)", re.DOTALL)
_PATH = re.compile(r"(?P<path>[^{}=]+?)(?:\{(?P<table>[^{}]*)\})?")
_NOTHING = "-"
_OTHERS = "*"
_SPELLINGS = {
    "protocol": {"tcp": "TCP", "udp": "UDP"},
    "state": {name.lower(): name for name in ("Open", "Closed", "Filtered")},
    "severity": {name.lower(): name for name in ("Critical", "High", "Medium", "Low", "Info")},
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Where one field comes from.

    Attributes:
        text: the rule as it was written.
        field: the event's field.
        path: the steps to the value; empty for a constant.
        constant: the value, if it is always the same.
        table: what is translated into what; None for no translation.
    """

    text: str
    field: str
    path: tuple[str, ...] = ()
    constant: object = None
    table: dict[str, str] | None = None

    def value(self, record: dict[str, object]) -> object:
        """Return the field's value in one line; None for none."""
        if not self.path:
            return self.constant
        found: object = record
        for step in self.path:
            if isinstance(found, dict):
                found = found.get(step)
            elif isinstance(found, list) and step.isdigit() and int(step[:9]) < len(found):
                found = found[int(step[:9])]
            else:
                return None
        if self.table is None:
            return _spelled(self.field, found)
        key = found if isinstance(found, str) else msgspec.json.encode(found).decode()
        translated = self.table.get(key, self.table.get(_OTHERS, _NOTHING))
        return None if translated == _NOTHING else _constant(translated)


def read_rules(texts: list[str] | tuple[str, ...]) -> list[Rule]:
    """Read the rules of a map.

    Raises:
        OperatorError: one of them cannot be read, stands twice, or there is none for `type`; says which.
    """
    rules = [_rule(text) for text in texts]
    fields = [rule.field for rule in rules]
    if len(rules) > MAX_RULES:
        raise OperatorError(f"{len(rules)} rules exceed the limit of {MAX_RULES}")
    for field in fields:
        if fields.count(field) > 1:
            raise OperatorError(f"field {field!r} has {fields.count(field)} rules; one is allowed")
    if "type" not in fields:
        raise OperatorError("no rule says the type; add one such as type==portFound")
    return rules


def _rule(text: str) -> Rule:
    matched = _RULE.fullmatch(text)
    if matched is None:
        raise OperatorError(f"{text!r} is no rule: it must be FIELD=PATH, FIELD==TEXT or FIELD=PATH{{A:B,…}}")
    field, rest = matched["field"], matched["rest"]
    if rest.startswith("="):
        return Rule(text, field, constant=_constant(rest[1:]))
    path = _PATH.fullmatch(rest)
    steps = tuple(path["path"].split(".")) if path else ()
    if path is None or not all(steps):
        raise OperatorError(f"{text!r}: {rest!r} is no path: names with dots between them")
    if path["table"] is None:
        return Rule(text, field, steps)
    table: dict[str, str] = {}
    for pair in path["table"].split(","):
        key, colon, value = pair.partition(":")
        if not colon or not key or not value:
            raise OperatorError(f"{text!r}: {pair!r} is no translation: it must be FROM:TO")
        table[key] = value
    return Rule(text, field, steps, table=table)


def _constant(text: str) -> object:
    try:
        value: object = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _spelled(field: str, value: object) -> object:
    """Return a value as the events spell it, where another spelling is clear."""
    if field == "port":
        number = port_number(value)
        return value if number is None else number
    if field in _SPELLINGS and isinstance(value, str):
        return _SPELLINGS[field].get(value.lower(), value)
    return value


class MapAdapter(ToolLines):
    """Makes an event of each line, by rules.

    Args:
        rules: what `read_rules` gave.
        part: leave out `scanStarted` and `scanCompleted`, and say an error with `"fatal": false`.
    """

    scanner = "the mapped tool"

    def __init__(self, rules: list[Rule], *, part: bool) -> None:
        super().__init__(part=part)
        self._rules = rules

    def _read(self, line: bytes, findings: Findings) -> None:
        record = json_object(line)
        fields = {rule.field: rule.value(record) for rule in self._rules}
        kind = fields.pop("type")
        if kind is None:
            rule = next(rule for rule in self._rules if rule.field == "type")
            if rule.table is None:
                raise InputMalformed(f"{rule.text} finds nothing")
            return
        try:
            check_event(encode_event({"type": kind, **{k: v for k, v in fields.items() if v is not None}}))
        except EventRejected as error:
            empty = [rule.text for rule in self._rules if rule.field != "type" and fields[rule.field] is None]
            nothing = f"; nothing is found by {', '.join(empty)}" if empty else ""
            raise InputMalformed(f"{error.message}{nothing}") from None
        findings.send(str(kind), **fields)
