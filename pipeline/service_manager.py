"""Tells the service manager that a process is ready, lives, and stops: systemd's sd_notify(3). Shell.

Nothing but datagrams to the socket that `$NOTIFY_SOCKET` names; without one nothing happens. A sign of life
says that the loop turns, so it is sent by the loop itself. What cannot be sent is left out: whoever listens
decides then by its own clock.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What it is told by; not for the processes that this one starts."""

_WAIT_S = 1.0
"""How long it is waited for room to say what is said only once; the next sign of life comes anyway."""


class ServiceManager:
    """Args:
    environ: the process's environment.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):  # a name that is no file
            self._address = "\0" + self._address[1:]
        self._interval_s = _interval_s(environ) if self._address else None
        self._due = 0.0

    def ready(self) -> None:
        """Say that the process does its work from now on."""
        self._say("READY=1", _WAIT_S)

    def stopping(self) -> None:
        """Say that it ends by itself; what it still does may take a while."""
        self._say("STOPPING=1", _WAIT_S)

    def next_deadline(self) -> float | None:
        """Return when to call `alive`, monotonic seconds; None when nobody waits for it."""
        return None if self._interval_s is None else self._due

    def alive(self, now: float) -> None:
        """Give a sign of life, if one is due; an early call does nothing.

        Args:
            now: monotonic seconds.
        """
        if self._interval_s is not None and now >= self._due:
            self._due = now + self._interval_s
            self._say("WATCHDOG=1", 0.0)

    def _say(self, text: str, wait_s: float) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(wait_s)
            manager.sendto(text.encode(), self._address)


def _interval_s(environ: Mapping[str, str]) -> float | None:
    """Return how often to give a sign of life: twice in the time one is waited for, as its manual says."""
    text = environ.get("WATCHDOG_USEC", "")
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        return None
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(text) / 2_000_000
