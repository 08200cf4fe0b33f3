"""What the kernel says of a local process: memory, CPU, state, open files. Shell: it reads /proc.

For `doctor` and `top`. A process of another user, or on a system without /proc, is simply not known.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_LISTENS = "0A"


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """A process at one moment.

    Attributes:
        state: a letter as in /proc/PID/stat: R, S, D, T (stopped), Z.
        rss_bytes: memory in use.
        cpu_s: seconds of CPU since it was started.
    """

    state: str
    rss_bytes: int
    cpu_s: float


def figures_of(pid: int) -> ProcessFigures | None:
    """Return how a process is; None when it is not known here."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        # The name, in brackets, may hold anything.
        fields = text.rpartition(")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        return ProcessFigures(fields[0], int(fields[21]) * _PAGE_BYTES, cpu_s)
    except (OSError, ValueError, IndexError):
        return None


def listener_of(path: Path) -> int:
    """Return the process that listens behind a socket file, also one that is stopped; 0 for nobody."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return 0
    pid, _, _ = struct.unpack("3i", credentials)
    return int(pid)


def open_files(pid: int) -> tuple[int, int] | None:
    """Return (open files, the most it may have) of a process; None when they may not be looked at."""
    try:
        used = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
            if line.startswith("Max open files"):
                soft = line.split()[3]
                return used, int(soft) if soft.isdigit() else 2**31
    except (OSError, IndexError):
        pass
    return None


def journal_dirs(pid: int) -> set[Path]:
    """Return the directories of the journals that a process has open."""
    return {Path(target).parent for target in _targets(pid) if target.endswith(".sqlite3")}


def listening(pid: int) -> list[str]:
    """Return `host:port` of each TCP port that a process listens on, as this machine's programs reach it."""
    inodes = {target[8:-1] for target in _targets(pid) if target.startswith("socket:[")}
    found = set()
    for table, host in (("tcp", "127.0.0.1"), ("tcp6", "[::1]")):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if len(fields) > 9 and fields[3] == _LISTENS and fields[9] in inodes:
                    found.add(f"{host}:{int(fields[1].rpartition(':')[2], 16)}")
    return sorted(found)


def _targets(pid: int) -> list[str]:
    """Return what a process's open files are."""
    found = []
    with contextlib.suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                found.append(str(link.readlink()))
    return found
