"""How many browsers have been told to leave by now, when an edge drains. Pure.

They come back at once to whoever takes over, so they leave in waves: all within the window, but never
slower than `LEAST_PER_S`, so that a handful does not keep a restart waiting.
"""

from __future__ import annotations

import math

TICK_S = 0.05
"""How often a wave leaves."""

LEAST_PER_S = 200.0


def told_by(elapsed_s: float, total: int, window_s: float) -> int:
    """Return how many of all are to have been told.

    Args:
        elapsed_s: since the first wave; that one leaves at 0.
        total: how many there are.
        window_s: within how long all are told.
    """
    if elapsed_s + TICK_S >= window_s:
        return total
    per_s = max(LEAST_PER_S, total / window_s)
    return min(total, math.ceil((elapsed_s + TICK_S) * per_s - 1e-9))
