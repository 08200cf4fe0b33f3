"""What a `session` wants done; the shell does it at once. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pipeline.edge.close_codes import CloseCode
from pipeline.edge.delivery import Delivery
from pipeline.frame import Position


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send these events."""

    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Say:
    """Send one message: its JSON. Where a reader is behind it, its position."""

    message: bytes
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask history for the events of `epoch` from `first` on; the answer goes to `on_page`."""

    epoch: int
    first: int


@dataclass(frozen=True, slots=True)
class FetchState:
    """Ask the worker for the state of `epoch`; the answer goes to `on_state`."""

    epoch: int


@dataclass(frozen=True, slots=True)
class AskAccess:
    """Find out whether the reader may see the channel's present life; the answer goes to `on_access`."""


@dataclass(frozen=True, slots=True)
class End:
    """Close the connection, or end the subscription."""

    code: CloseCode


Action: TypeAlias = Deliver | Say | Fetch | FetchState | AskAccess | End
