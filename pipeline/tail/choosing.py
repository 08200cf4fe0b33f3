"""Which events a tail prints: those of some types, and of some severity. Pure.

Between what is due and what is printed. What it leaves out is left out of the record, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from pipeline.event import SEVERITIES

_RANKS = {name.lower(): rank for rank, name in enumerate(SEVERITIES)}


class _Severity(msgspec.Struct, frozen=True):
    severity: object = None


_decode = msgspec.json.Decoder(_Severity).decode


@dataclass(frozen=True, slots=True)
class Choice:
    """The events wanted.

    Attributes:
        types: only these types; empty for all.
        not_types: none of these types.
        severity: one of `SEVERITIES`, in any case: no event that says it is below; None for all. An event
            without a severity, or with one that is none of them, is not judged by it.
    """

    types: frozenset[str] = frozenset()
    not_types: frozenset[str] = frozenset()
    severity: str | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return not (self.types or self.not_types or self.severity)

    def wants(self, event_type: str, raw: bytes) -> bool:
        """Say whether an event is wanted.

        Args:
            event_type: its type.
            raw: its JSON, as ingest has checked it.
        """
        if event_type in self.not_types or (self.types and event_type not in self.types):
            return False
        return self.severity is None or _rank(raw) <= _RANKS[self.severity.lower()]


def _rank(raw: bytes) -> int:
    """Return how far down an event's severity is; -1 when it has none that is known."""
    try:
        found = _decode(raw).severity
    except (msgspec.DecodeError, RecursionError):  # integers beyond 4,300 digits are JSON all the same
        return -1
    return _RANKS.get(found.lower(), -1) if isinstance(found, str) else -1
