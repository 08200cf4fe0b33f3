"""HeroForge's way with the events of a scan, re-created from its description. Pure: takes times and events.

================= ==================================================================================
what              how
================= ==================================================================================
critical events   each is a message, at once
all others        gathered for 0.1 s from the first one, or until there are 50; then one message goes:
                  the last of them. The others are gone
limit             10 messages a second: one that comes less than 0.1 s after the one before is gone
to each client    a channel of 100 messages; a client that is further behind is told `lag`, and goes on
                  with the oldest of the 100
compression       none
================= ==================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

BATCH_S = 0.1
BATCH_EVENTS = 50
LEAST_PAUSE_S = 0.1
CHANNEL_MESSAGES = 100
CLAIMED = {"messages": "15,000 -> 9,000", "KB": "750 -> 450", "CPU %": "45 -> 18", "lag": "12 -> 1"}
"""What HeroForge says of itself, of this scan: without its throttle, and with it."""

Timed = tuple[float, bytes]


def limited(events: Iterable[Timed], critical: Callable[[bytes], bool]) -> list[Timed]:
    """Return the messages that are left of a scan's events, and when they go.

    Args:
        events: (seconds, event), in order.
        critical: whether an event is.
    """
    messages: list[Timed] = []
    batch: list[bytes] = []
    began = 0.0
    sent = -LEAST_PAUSE_S

    def end_batch(at: float) -> None:
        nonlocal sent
        if batch and at >= sent + LEAST_PAUSE_S - 1e-9:
            messages.append((at, batch[-1]))
            sent = at
        batch.clear()

    for at, event in events:
        if batch and at >= began + BATCH_S:
            end_batch(began + BATCH_S)
        if critical(event):
            messages.append((at, event))
            continue
        if not batch:
            began = at
        batch.append(event)
        if len(batch) == BATCH_EVENTS:
            end_batch(at)
    end_batch(began + BATCH_S)
    return messages


def lags(came: Sequence[float], every_s: float, still_s: float) -> int:
    """Return how often a client is told that it lags, if only the channel of 100 holds what it has not read.

    Args:
        came: when each message is there for it, seconds.
        every_s: how often it stands still.
        still_s: for how long; otherwise it reads at once.
    """
    told = 0
    if not came:
        return 0
    first, last = min(came), max(came)
    start = first + every_s
    while start < last:
        waiting = sum(start <= at < start + still_s for at in came)
        told += waiting > CHANNEL_MESSAGES
        start += every_s
    return told
