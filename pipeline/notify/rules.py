"""Which event tells which hook. Pure.

================== ==================================================== ===============================
rule               its event                                            how often in a life of a scan
================== ==================================================== ===============================
completed          `scanCompleted`                                      once: it is the end
failed             `error`, unless `"fatal": false`                     once: it is the end
stalled, resumed   `scanStalled`, `scanResumed`                         each time
orphaned           `scanOrphaned`                                       each time
critical_finding   `vulnerabilityFound` of the hook's `min_severity`    the first one only
                   or worse
================== ==================================================== ===============================

What a scan is called and which labels it has, its `scanStarted` says; a hook with `labels` is told nothing
of a scan that has said none yet. Of a scan that only tries the way (`CANARY_LABEL`) nobody is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import msgspec

from pipeline.event import CANARY_LABEL, SEVERITIES, Error, ScanStarted, Severity, VulnerabilityFound
from pipeline.notify.config import Hook, Rule

_RULE_OF: Mapping[str, Rule] = {
    "scanCompleted": "completed",
    "error": "failed",
    "scanStalled": "stalled",
    "scanResumed": "resumed",
    "scanOrphaned": "orphaned",
    "vulnerabilityFound": "critical_finding",
}
_STARTED = "scanStarted"
_RANKS: dict[Severity, int] = {name: rank for rank, name in enumerate(SEVERITIES)}

MAX_TEXT = 200
"""Characters of a name, target or label that are kept; HeroForge's and ours are far shorter."""
MAX_ENTRIES = 16
"""Targets and labels that are kept."""


class About(msgspec.Struct, frozen=True):
    """What a scan says of itself when it starts, cut to `MAX_TEXT` and `MAX_ENTRIES`."""

    name: str = ""
    targets: tuple[str, ...] = ()
    labels: dict[str, str] = {}


class _Typed(msgspec.Struct, frozen=True):
    type: str


# An event was checked where it came in: of its own type these do not fail, whatever else stands in it.
_decode_type = msgspec.json.Decoder(_Typed).decode
_decode_started = msgspec.json.Decoder(ScanStarted).decode
_decode_error = msgspec.json.Decoder(Error).decode
_decode_finding = msgspec.json.Decoder(VulnerabilityFound).decode


@dataclass(slots=True)
class Watch:
    """One life of a scan, as far as the rules remember it.

    Attributes:
        about: what it says of itself.
        told: the hooks that were told of a finding.
    """

    about: About = field(default_factory=About)
    told: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Told:
    """A hook is to be told of an event.

    Attributes:
        hook: its name.
        rule: why.
        offset: which of the events it is.
    """

    hook: str
    rule: Rule
    offset: int


class Rules:
    """Args:
    hooks: name -> hook.
    """

    def __init__(self, hooks: Mapping[str, Hook]) -> None:
        self._hooks = hooks
        self._for_findings = sum("critical_finding" in hook.on for hook in hooks.values())

    def concern(self, body: bytes, *, critical: bool, watch: Watch) -> bool:
        """Say whether events must be looked at one by one; quick, and sure only where it says no.

        Args:
            body: the JSON array of the events.
            critical: whether one of class critical may be among them.
            watch: of their life.
        """
        if critical:
            return True
        if len(watch.told) >= self._for_findings:
            return False
        return b"vulnerabilityFound" in body or b"\\u" in body  # JSON may spell a letter otherwise

    def look(self, scan_id: str, raws: list[bytes], watch: Watch) -> list[Told]:
        """Return who is to be told, and remember in `watch` what was seen.

        Args:
            scan_id: the scan.
            raws: the JSON of consecutive events of one life.
            watch: of this life.
        """
        told = []
        for offset, raw in enumerate(raws):
            kind = _decode_type(raw).type
            if kind == _STARTED:
                started = _decode_started(raw)
                watch.about = about(started.name, started.targets, started.labels)
            rule = _RULE_OF.get(kind)
            if rule is None or (rule == "failed" and not _decode_error(raw).fatal):
                continue
            severity = _decode_finding(raw).severity if rule == "critical_finding" else None
            for name, hook in self._hooks.items():
                if rule not in hook.on or not _wants(hook, scan_id, watch.about):
                    continue
                if severity is not None:
                    if name in watch.told or _RANKS[severity] > _RANKS[hook.min_severity]:
                        continue
                    watch.told.add(name)
                told.append(Told(name, rule, offset))
        return told


def about(
    name: str | None,
    targets: str | list[str] | tuple[str, ...] | None,
    labels: dict[str, str] | list[str] | None,
) -> About:
    """Return what a scan says of itself, cut to what is kept; a label without a value has an empty one."""
    each = [targets] if isinstance(targets, str) else list(targets or ())
    named = dict.fromkeys(labels, "") if isinstance(labels, list) else labels or {}
    kept = list(named.items())[:MAX_ENTRIES]
    return About(
        (name or "")[:MAX_TEXT],
        tuple(text[:MAX_TEXT] for text in each[:MAX_ENTRIES]),
        {key[:MAX_TEXT]: value[:MAX_TEXT] for key, value in kept},
    )


def _wants(hook: Hook, scan_id: str, scan: About) -> bool:
    if CANARY_LABEL in scan.labels:
        return False
    if hook.scans and not any(fnmatchcase(scan_id, pattern) for pattern in hook.scans):
        return False
    return all(scan.labels.get(key) == value for key, value in hook.labels.items())
