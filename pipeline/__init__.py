"""Live progress of long-running jobs, from a scanner to every browser that watches.

::

    scanner ──▶ emit ──PUSH──▶ ingest ──PUSH──▶ throttle-batch ──XPUB──▶ edge ──WebSocket──▶ browsers
                ▲                │                  │      │
                └──acks──────────┘◀──acks───────────┘      └──XPUB──▶ tail, or any ZeroMQ subscriber

Each folder below is one of these processes; the files beside the folders are what processes share.
`docs/ARCHITECTURE.md` follows one event through the files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.emitter import Emitter, EmitterClosed, EmitterFenced, EmitterFull, Resumed
    from pipeline.errors import EventRejected, NotDelivered, PipelineError
    from pipeline.outboxes import Rejected

__version__ = "0.1.0"

__all__ = [
    "Emitter",
    "EmitterClosed",
    "EmitterFenced",
    "EmitterFull",
    "EventRejected",
    "NotDelivered",
    "PipelineError",
    "Rejected",
    "Resumed",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: `pipeline tail --help` needs no ZeroMQ."""
    if name not in __all__:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    from pipeline import emitter, errors

    return getattr(emitter, name, None) or getattr(errors, name)
