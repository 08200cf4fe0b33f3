"""Adapters: the bytes a tool prints become events, while it prints them.

`emit` reads standard input, a file or a tool it has started, in chunks of any size, feeds them here, and
sends what comes back. An adapter is pure: no socket, no clock, no file. It holds a bounded amount whatever it
is fed, and never raises on bad input: what it cannot read comes back as a :class:`Problem`, in its place
among the events. Only `detection` raises, when it cannot tell what the input is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from pipeline.errors import OperatorError

_CLASSES = {
    "ndjson": "NdjsonAdapter",
    "nmap": "NmapAdapter",
    "masscan": "MasscanAdapter",
    "nuclei": "NucleiAdapter",
    "naabu": "NaabuAdapter",
    "httpx": "HttpxAdapter",
    "zap": "ZapAdapter",
}

ADAPTER_NAMES = tuple(_CLASSES)
"""The names :func:`open_adapter` knows, each a module here."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing in the input that was not understood, for the person who sent it.

    Attributes:
        where: the place in the input: "line 17" (from 1) or "byte 20480" (from 0).
        message: one line; what was met, and the limit or what to do. It may quote the input, so escape
            control characters before showing it.
    """

    where: str
    message: str


class Adapter(Protocol):
    """Turns one input, from its first byte to its end, into events."""

    def feed(self, chunk: bytes) -> list[bytes | Problem]:
        """Take the next bytes, cut anywhere.

        Args:
            chunk: any number of bytes; 64 KiB at a time is a good size.

        Returns:
            The events that these bytes complete, each one line of JSON of at most `MAX_EVENT_BYTES` that
            `check_event` accepts, and the problems met, in the order of the input.
        """

    def close(self) -> list[bytes | Problem]:
        """Say that the input has ended; call it once, and nothing after it.

        Returns:
            What is still due, such as the `error` event of a tool that died. As with :meth:`feed`.
        """

    def aside(self, line: bytes) -> list[bytes | Problem] | None:
        """Take a line that the tool printed on its standard error, where some tell their progress.

        Args:
            line: without its end.

        Returns:
            As with :meth:`feed`; None when the line is nothing to the adapter, and is for a person.
        """


def open_adapter(name: str, *, part: bool) -> Adapter:
    """Make the adapter for one input.

    Args:
        name: one of `ADAPTER_NAMES`.
        part: whether this input is one of several tools that feed a scan which somebody else opens and
            closes. `scanStarted` and terminal events are then left out, and an error is said with
            `"fatal": false`.

    Raises:
        OperatorError: there is no adapter of that name.
    """
    if name not in _CLASSES:
        raise OperatorError(f"{name!r} is no input format; there are {', '.join(ADAPTER_NAMES)}")
    # Imported here: a run needs one of them, and all need Problem from this module.
    module = import_module(f"{__name__}.{name}")
    opened: Callable[..., Adapter] = getattr(module, _CLASSES[name])
    return opened(part=part)
