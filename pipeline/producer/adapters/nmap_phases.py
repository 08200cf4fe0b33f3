"""nmap's tasks as phases whose percentages are honest. Pure.

Under `nmap_document`. nmap does its tasks for one host group after the other, and script scans in several
rounds; each time a task's percentage begins at 0 again. So each time is a phase of its own:
`syn_stealth_scan`, then `syn_stealth_scan_2`. How many there will be nmap does not know.
"""

from __future__ import annotations

import re

MAX_NAME = 64
"""Characters of a phase; what is beyond is cut off."""
MAX_TASKS = 64
"""How many tasks are counted; of further ones the longest unseen is forgotten."""

_DNS_COUNT = re.compile(r" of \d+ hosts?\b.*", re.DOTALL)
_NOT_WORD = re.compile(r"[^a-z0-9]+")


class NmapPhases:
    """Attributes:
    present: the phase nmap is in; empty before the first.
    """

    def __init__(self) -> None:
        self.present = ""
        self._task = ""
        self._times: dict[str, int] = {}
        self._percent = 0.0

    def see(self, kind: str, task: str, percent: float | None) -> bool:
        """Take what nmap tells of a task; say whether another phase begins with it.

        Args:
            kind: `taskbegin`, `taskprogress` or `taskend`.
            task: its name.
            percent: how far it is; None where nmap does not say.
        """
        name = self._name_of(task, begins=kind == "taskbegin")
        # Scripts come in rounds, most of which are over at once: only one that tells how far it is counts.
        begins = name != self._task or (kind == "taskbegin" and task != "NSE")
        # Estimates go back a little within a task; without -v, only a fall tells that it began again.
        if percent is not None and percent < self._percent / 2:
            begins = True
        if begins:
            self._task = name
            times = self._times.pop(name, 0) + 1
            if len(self._times) >= MAX_TASKS:
                del self._times[next(iter(self._times))]
            self._times[name] = times
            self.present = name if times == 1 else f"{name}_{times}"
            self._percent = 0.0
        told = 100.0 if kind == "taskend" else percent
        if told is not None:
            self._percent = max(self._percent, told)
        return begins

    def _name_of(self, task: str, *, begins: bool) -> str:
        if task != "NSE":
            name = _NOT_WORD.sub("_", _DNS_COUNT.sub("", task).lower()).strip("_")[:MAX_NAME]
            return name or "unnamed"
        # nmap calls three things so: scripts before all hosts, for each host group, and behind all hosts.
        # Only with -v, when it tells of every task, does coming first mean before all hosts.
        first = begins and not self._task
        return "script_pre_scan" if first or self._task == "script_pre_scan" else "script_scan"
