"""What a reader is told besides events: each message, on the wire that the reader speaks. Pure.

`session` decides what is to be said and when; this composes it. HeroForge's wire has a word for less.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.edge.action import Say
from pipeline.edge.filter import Filter
from pipeline.frame import Position
from pipeline.wire import (
    BrowserDegraded,
    BrowserFilter,
    BrowserHello,
    BrowserLag,
    BrowserReset,
    HeadReply,
    browser_snapshot,
    encode,
    heroforge_lag,
    heroforge_not_found,
    split_channel,
)


@dataclass(frozen=True, slots=True)
class Greeting:
    """What `hello` says beside the position: the same for every session of an edge."""

    ping_interval_s: float
    client_timeout_s: float
    server_version: str
    features: tuple[str, ...] = ("since", "snapshot", "lag", "reset", "ping", "filter")


def hello(
    channel: str, connection_id: str, greeting: Greeting, head: HeadReply, *, resumed: bool | None
) -> Say:
    """Greet a browser.

    Args:
        channel: `kind/id`.
        connection_id: names the connection.
        greeting: what is the same for all.
        head: how far the channel is.
        resumed: whether it goes on at its position; None without one.
    """
    message = BrowserHello(
        scan_id=_id_of(channel),
        connection_id=connection_id,
        epoch=head.epoch,
        seq=head.seq,
        resumed=resumed,
        ping_interval=greeting.ping_interval_s,
        client_timeout=greeting.client_timeout_s,
        server_version=greeting.server_version,
        features=greeting.features,
    )
    return Say(encode(message))


def snapshot(channel: str, epoch: int, seq: int, state: bytes) -> Say:
    """Return a scan's state at an event, as its worker composed it."""
    return Say(browser_snapshot(_id_of(channel), epoch, seq, state), Position(epoch, seq))


def not_found(channel: str) -> Say:
    """Say that a channel does not exist; on HeroForge's wire."""
    return Say(heroforge_not_found(channel))


def lag(channel: str, first: int, last: int, count: int, reason: str, *, heroforge: bool) -> Say:
    """Say that `count` of the events `first` to `last` are not given."""
    if heroforge:
        return Say(heroforge_lag(channel, count))
    message = BrowserLag(scan_id=_id_of(channel), skipped=count, from_=first, to=last, reason=reason)
    return Say(encode(message))


def reset(channel: str, epoch: int, reason: str) -> Say:
    """Say that a new life begins, and why the old one does not go on."""
    return Say(encode(BrowserReset(scan_id=_id_of(channel), epoch=epoch, reason=reason)))


def degraded(channel: str, *, is_so: bool) -> Say:
    """Say that the channel's worker is silent, or there again."""
    reason = "worker_silent" if is_so else "worker_back"
    return Say(encode(BrowserDegraded(scan_id=_id_of(channel), degraded=is_so, reason=reason)))


def refiltered(channel: str, epoch: int | None, first: int, wanted: Filter | None) -> Say:
    """Say from which event on another filter holds."""
    parts = wanted.told() if wanted is not None else None
    return Say(encode(BrowserFilter(scan_id=_id_of(channel), epoch=epoch, from_=first, wanted=parts)))


def _id_of(channel: str) -> str:
    return split_channel(channel)[1]
