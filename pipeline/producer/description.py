"""What a scan is found by later: its name, targets and labels, put into its `scanStarted`. Pure.

Sits between `emit`'s options and the events. Knows no tool.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pipeline.event import ScanStarted, read_event
from pipeline.event_json import encode_event

MAX_NAME = 200
"""Characters of a name."""
MAX_TARGETS = 100
MAX_TARGET = 255
MAX_LABELS = 32
MAX_LABEL_KEY = 64
MAX_LABEL_VALUE = 255


class Description:
    """What is known of a scan beside its events.

    Args:
        name: what a person calls it.
        targets: what it scans.
        labels: each KEY=VALUE.

    Raises:
        ValueError: one of them is beyond its bound, or no KEY=VALUE; says which, and the bound.

    Attributes:
        fields: what is put into `scanStarted`; empty for nothing.
        used: whether a `scanStarted` has come.
    """

    def __init__(self, name: str | None, targets: Sequence[str], labels: Sequence[str]) -> None:
        self.fields: dict[str, object] = {}
        self.used = False
        if name is not None:
            _check("--name", name, MAX_NAME)
            self.fields["name"] = name
        if targets:
            if len(targets) > MAX_TARGETS:
                raise ValueError(f"{len(targets)} targets exceed the limit of {MAX_TARGETS}")
            for target in targets:
                _check("--target", target, MAX_TARGET)
            self.fields["targets"] = list(targets)
        if labels:
            self.fields["labels"] = _labels(labels)

    def put(self, raw: bytes) -> bytes:
        """Return an event; what is known of the scan is put into a `scanStarted`, over what that says."""
        if b"scanStarted" not in raw or not isinstance(read_event(raw), ScanStarted):
            return raw
        self.used = True
        if not self.fields:
            return raw
        return encode_event({**msgspec.json.decode(raw, type=dict[str, object]), **self.fields})


def _labels(labels: Sequence[str]) -> dict[str, str]:
    if len(labels) > MAX_LABELS:
        raise ValueError(f"{len(labels)} labels exceed the limit of {MAX_LABELS}")
    found: dict[str, str] = {}
    for label in labels:
        key, equals, value = label.partition("=")
        if not equals or not key:
            raise ValueError(f"--label {label[:80]!r} is no KEY=VALUE")
        if key in found:
            raise ValueError(f"--label {key[:80]!r} is given twice")
        _check("the key of --label", key, MAX_LABEL_KEY)
        _check(f"--label {key}", value, MAX_LABEL_VALUE)
        found[key] = value
    return found


def _check(what: str, text: str, most: int) -> None:
    if not text or len(text) > most:
        raise ValueError(f"{what} has {len(text)} characters; it must have 1 to {most}")
