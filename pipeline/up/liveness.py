"""When a process that runs counts as hung: it gives no sign of life any more. Pure.

Sits between the signs, which somebody else collects, and the supervisor, which kills what hangs.

============================================== ======================================================
a process                                      counts as hung
============================================== ======================================================
was started, and gave no sign yet              never: reading a large journal takes as long as it takes
gave a sign less than `hung_s` ago             no
gave none for `hung_s`                         yes
while we ourselves did not look for a while    no: it has `hung_s` from now (a suspended machine)
============================================== ======================================================
"""

from __future__ import annotations

LOOKS = 4
"""How often one looks within `hung_s`."""


class Liveness:
    """Args:
    hung_s: seconds without a sign of life; 0 for never.
    """

    def __init__(self, hung_s: float) -> None:
        self._hung_s = hung_s
        self._heard_at: dict[str, float] = {}
        self._looked_at: float | None = None

    def next_deadline(self) -> float | None:
        """Return when to collect signs and call `look`, monotonic seconds; None for never.

        Before the first look it is at once.
        """
        if not self._hung_s:
            return None
        return 0.0 if self._looked_at is None else self._looked_at + self._hung_s / LOOKS

    def started(self, name: str) -> None:
        """Take notice that a process was started, or has ended: signs of the one before count no more."""
        self._heard_at.pop(name, None)

    def new(self, heard: set[str]) -> set[str]:
        """Return those of `heard` that gave no sign since they were started or counted as hung."""
        return heard - self._heard_at.keys()

    def look(self, heard: set[str], now: float) -> list[tuple[str, float]]:
        """Take in who gave a sign of life since the last call.

        Args:
            heard: their names.
            now: monotonic seconds.

        Returns:
            (name, seconds without a sign) of each that counts as hung; each is told once, until it is heard
            again.
        """
        if not self._hung_s:
            return []
        late = self._looked_at is not None and now - self._looked_at > self._hung_s / 2
        self._looked_at = now
        if late:
            self._heard_at = dict.fromkeys(self._heard_at, now)
        self._heard_at.update(dict.fromkeys(heard, now))
        hung = [(name, now - at) for name, at in self._heard_at.items() if now - at >= self._hung_s]
        for name, _ in hung:
            del self._heard_at[name]
        return hung
