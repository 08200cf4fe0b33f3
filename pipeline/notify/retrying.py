"""What a receiver's answer means, and when a message is sent again. Pure.

========================= ========================================================================
answer                    what follows
========================= ========================================================================
2xx                       it is delivered
410                       the hook is gone: nothing more is sent to it by this process
408, 425, 429, 5xx, none  the receiver is unwell: everything for the hook waits, and this message is
                          the next one again
anything else             this message is refused: it waits, and those behind it go on
========================= ========================================================================

A redirect is not followed: it is such an answer. `Retry-After`, in seconds or as a date, makes the pause
longer, up to the longest one.
"""

from __future__ import annotations

import enum
from email.utils import parsedate_to_datetime

_UNWELL = frozenset({408, 425, 429})
_MAX_DOUBLINGS = 40
"""More would be a number of no use; the longest pause is long reached."""


class Verdict(enum.Enum):
    """What an answer means."""

    DELIVERED = "delivered"
    GONE = "gone"
    UNWELL = "unwell"
    REFUSED = "refused"


def judge(status: int | None) -> Verdict:
    """Return what a status means; None is no answer."""
    if status is None or status in _UNWELL or 500 <= status <= 599:
        return Verdict.UNWELL
    if 200 <= status <= 299:
        return Verdict.DELIVERED
    return Verdict.GONE if status == 410 else Verdict.REFUSED


def retry_after_s(value: str | None, wall_s: float) -> float:
    """Return how long a receiver asks to wait, in seconds; 0 when it does not, or says it in no known way.

    Args:
        value: of its `Retry-After` header.
        wall_s: the wall clock, epoch seconds: what a date is meant against.
    """
    if value is None:
        return 0.0
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - wall_s)
    except (ValueError, TypeError, OverflowError):
        return 0.0


def pause_s(failures: int, first_s: float, longest_s: float, chance: float, asked_s: float = 0.0) -> float:
    """Return how long to wait before the next attempt.

    Args:
        failures: how many attempts have failed, 1 or more.
        first_s: the pause after the first one; it doubles with each.
        longest_s: the longest.
        chance: 0 to 1, at random: 0 cuts the pause to half, 1 leaves it whole. Those who failed together
            then do not come back together.
        asked_s: what the receiver asked for.
    """
    whole = min(longest_s, first_s * 2.0 ** min(failures - 1, _MAX_DOUBLINGS))
    return max(whole * (0.5 + 0.5 * chance), min(asked_s, longest_s))
