"""What a hook is sent: its identity, and its body as JSON. Pure.

The event stands in it as its producer sent it, so that what is in it may be an attacker's: a receiver shows
it as text. One of more than `MAX_EVENT_BYTES` is cut down to its short texts and numbers.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import msgspec

from pipeline.frame import Position
from pipeline.notify.config import Rule
from pipeline.notify.rules import About

MAX_EVENT_BYTES = 16_384
"""The largest event that is sent whole: receivers need not take much more than 20 kB."""
_MAX_FIELDS = 32
_MAX_TEXT = 200


class ScanEntry(msgspec.Struct, frozen=True):
    """What the scan says of itself, as its first event has it."""

    name: str
    targets: tuple[str, ...]
    labels: dict[str, str]


class Data(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happened.

    Attributes:
        scan_id: the scan.
        hook: the hook's name.
        rule: why the hook is told.
        position: the event's place, `epoch:seq`; empty in a test.
        event: as its producer sent it.
        scan: what the scan says of itself.
        event_cut: the event was too large, and most of it is left out.
    """

    scan_id: str
    hook: str
    rule: str
    position: str
    event: msgspec.Raw
    scan: ScanEntry
    event_cut: bool = False


class WebhookMessage(msgspec.Struct, frozen=True):
    """A message's body.

    Attributes:
        type: `scan.` and the rule; `test` for a test.
        timestamp: when the event was seen, ISO 8601, UTC.
        data: what happened.
    """

    type: str
    timestamp: str
    data: Data


_encode = msgspec.json.Encoder().encode


def message_id(hook: str, rule: str, channel: str, position: Position) -> str:
    """Return what names a message: the same however often it is made of the same event; without any `.`."""
    identity = "\0".join((hook, rule, channel, str(position)))
    return "msg_" + hashlib.sha256(identity.encode()).hexdigest()[:40]


def compose(
    hook: str, rule: Rule, scan_id: str, position: Position, event: bytes, about: About, seen_ms: int
) -> bytes:
    """Return the body of a message.

    Args:
        hook: the hook's name.
        rule: why it is told.
        scan_id: the scan.
        position: the event's place.
        event: its JSON.
        about: what the scan says of itself.
        seen_ms: wall clock, epoch milliseconds.
    """
    cut = len(event) > MAX_EVENT_BYTES
    scan = ScanEntry(about.name, about.targets, about.labels)
    raw = msgspec.Raw(_cut_event(event) if cut else event)
    data = Data(scan_id, hook, rule, str(position), raw, scan, cut)
    return _encode(WebhookMessage(f"scan.{rule}", _iso(seen_ms), data))


def compose_test(hook: str, seen_ms: int) -> bytes:
    """Return the body of a message that only shows that messages arrive."""
    event = msgspec.Raw(b'{"type":"test"}')
    data = Data("test", hook, "test", "", event, ScanEntry("", (), {}))
    return _encode(WebhookMessage("test", _iso(seen_ms), data))


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cut_event(event: bytes) -> bytes:
    """Return an event's type and its first short fields."""
    found = msgspec.json.decode(event, type=dict[str, msgspec.Raw])
    kept: dict[str, object] = {"type": found["type"]}
    for key, raw in list(found.items())[:_MAX_FIELDS]:
        value = bytes(raw)
        if key == "type" or len(key) > _MAX_TEXT or value[:1] in (b"{", b"["):
            continue
        if value[:1] == b'"':
            kept[key] = msgspec.json.decode(value, type=str)[:_MAX_TEXT]
        elif len(value) <= _MAX_TEXT:
            kept[key] = raw
    return _encode(kept)
