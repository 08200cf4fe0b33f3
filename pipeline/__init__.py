"""Live progress of long-running jobs, from a scanner to every browser that watches.

::

    scanner ──▶ emit ──PUSH──▶ ingest ──PUSH──▶ throttle-batch ──XPUB──▶ edge ──WebSocket──▶ browsers
                ▲                │                  │      │
                └──acks──────────┘◀──acks───────────┘      └──XPUB──▶ tail, or any ZeroMQ subscriber

Each folder below is one of these processes; the files beside the folders are what processes share.
`docs/ARCHITECTURE.md` follows one event through the files.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.emitter import Emitter, EmitterClosed, EmitterFenced, EmitterFull, Resumed
    from pipeline.errors import EventRejected, NotDelivered, PipelineError
    from pipeline.items import (
        Batch,
        Degraded,
        Disconnected,
        Ended,
        Item,
        Joined,
        Lag,
        Reset,
        Snapshot,
    )
    from pipeline.outboxes import Rejected
    from pipeline.subscriber import Subscriber

__version__ = "0.1.0"

_MODULES = {
    "Batch": "items",
    "Degraded": "items",
    "Disconnected": "items",
    "Emitter": "emitter",
    "EmitterClosed": "emitter",
    "EmitterFenced": "emitter",
    "EmitterFull": "emitter",
    "Ended": "items",
    "EventRejected": "errors",
    "Item": "items",
    "Joined": "items",
    "Lag": "items",
    "NotDelivered": "errors",
    "PipelineError": "errors",
    "Rejected": "outboxes",
    "Reset": "items",
    "Resumed": "emitter",
    "Snapshot": "items",
    "Subscriber": "subscriber",
}
"""Each public name, and the module it is in."""

__all__ = [
    "Batch",
    "Degraded",
    "Disconnected",
    "Emitter",
    "EmitterClosed",
    "EmitterFenced",
    "EmitterFull",
    "Ended",
    "EventRejected",
    "Item",
    "Joined",
    "Lag",
    "NotDelivered",
    "PipelineError",
    "Rejected",
    "Reset",
    "Resumed",
    "Snapshot",
    "Subscriber",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for.

    So `pipeline tail --help` needs no ZeroMQ, and an `Emitter` no Tornado.
    """
    if name not in _MODULES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(import_module(f"pipeline.{_MODULES[name]}"), name)
