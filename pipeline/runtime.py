"""What every process does around its loop: signals, its parent's death, the wall clock.

Signal handlers only wake the loop: a handler that sets a flag does not end `poll()`, a byte in a socket
does.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import socket
import time
from types import FrameType

PARENT_VARIABLE = "PIPELINE_PARENT_PID"
"""Set by `up` for its children: the process they must not outlive."""

LISTEN_VARIABLE = "PIPELINE_LISTEN_FD"
"""Set by `up` for its edges: a descriptor that listens already, and goes on when an edge is replaced."""

_PR_SET_PDEATHSIG = 1
_COLLECT_AFTER = 5_000
"""Objects made and not unmade, before the young ones are looked at; Python's own is 700."""


def wall_ms() -> int:
    """Return the wall clock, epoch milliseconds; for showing and for epochs, never for timing."""
    return time.time_ns() // 1_000_000


def die_with_parent() -> None:
    """See to it that this process ends when `up`, if `up` started it, ends in whatever way.

    The kernel sends SIGKILL, which ends a stopped process too (prctl(2), PR_SET_PDEATHSIG).
    """
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before the line above
        os.kill(os.getpid(), signal.SIGKILL)


def take_descriptors() -> None:
    """Let this process open as many descriptors as it may: without any, libzmq ends it (ipc_listener)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def settle() -> None:
    """Have the garbage collector pass over what there is by now, and look more rarely at what comes.

    Call it once, when a process has begun. Little here is ever garbage of the kind it looks for: with 400
    scans in turn that took a twentieth of a worker's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 10, 10)


def has_terminal() -> bool:
    """Say whether this process has a controlling terminal: after one hung up, it has none any more."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


class Signals:
    """Signals as bytes in a socket, for a loop that polls.

    Attributes:
        socket: put it into the poller; when it is readable, call `read`.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self.socket, self._write = socket.socketpair()
        self.socket.setblocking(False)
        self._write.setblocking(False)
        self._before = {number: signal.signal(number, _wake_only) for number in numbers}
        self._wakeup_before = signal.set_wakeup_fd(self._write.fileno())
        heed(*numbers)

    def read(self) -> list[int]:
        """Return the numbers of the signals that came since the last call."""
        try:
            return list(self.socket.recv(4096))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Put back what was there before."""
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self.socket.close()
        self._write.close()


def heed(*numbers: signal.Signals) -> None:
    """Let signals in that `up` held back while this process could not yet heed them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def _wake_only(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the interpreter has written the signal's number into the wake-up socket."""
