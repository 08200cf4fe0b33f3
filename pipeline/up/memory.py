"""How much memory a process has taken, as the kernel says. Shell: it reads /proc.

For the supervisor, which ends what takes more than it may. libzmq can be made to fill a process's memory by
whoever may connect: it gathers the parts of a message without a bound on their number, and keeps every topic
that is subscribed to. Nothing of that can be seen or stopped from within, so it is from without.
"""

from __future__ import annotations

import os
from pathlib import Path

WEIGH_INTERVAL_S = 0.5
"""How often it is looked: what fills memory over a local socket fills some 200 MB a second."""


def own_bytes(pid: int) -> int:
    """Return how much memory a process has of its own, without mapped files; 0 when that cannot be known."""
    try:
        _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    except (OSError, ValueError):
        return 0
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def half_of_memory() -> int:
    """Return half of what the machine has, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
