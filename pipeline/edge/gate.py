"""May this reader have this life of a channel? What is known of it, for one reader. Pure.

Used by `session`, where there are accounts. A life is asked for before anything of it is given; one that may
not be seen looks like one that is not there. It is asked for again from time to time, since a scan may tell
whose it is later than its first event, and when the reader's token is another.
"""

from __future__ import annotations


class Gate:
    """Attributes:
    barred: the life that may not be seen, as far as is known; None when there is none.
    """

    __slots__ = ("_admitted", "barred")

    def __init__(self) -> None:
        self._admitted: int | None = None
        self.barred: int | None = None

    def admits(self, epoch: int) -> bool:
        """Say whether a life may be given."""
        return self._admitted == epoch

    def must_ask(self, epoch: int) -> bool:
        """Say whether there is no telling of a life yet."""
        return epoch not in (self._admitted, self.barred)

    def judged(self, epoch: int | None, *, may_see: bool) -> None:
        """Take in what was found out.

        Args:
            epoch: the present life; None when there is none.
            may_see: whether it may be seen.
        """
        self._admitted = epoch if may_see else None
        self.barred = None if may_see else epoch

    def recheck(self) -> None:
        """Have everything asked for again."""
        self._admitted = self.barred = None
