"""One process of the pipeline with a fault in it: `python -m tests.faults.broken_stage FAULTS… -- STAGE …`.

The stage is the real one; the faults are put around it before it starts. See `crash_points` and `mutants`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

PROGRAM = "tests.faults.broken_stage"


def _times(text: str) -> tuple[str, int]:
    name, _, number = text.partition(":")
    return name, int(number or 1)


def _span(text: str) -> tuple[str, int, int]:
    name, first, *last = text.split(":")
    return name, int(first), int(last[0] if last else first)


def options() -> argparse.ArgumentParser:
    """Return what can be wrong with a stage."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument(
        "--crash", metavar="POINT[:N]", type=_times, help="end as by SIGKILL at the n-th pass"
    )
    parser.add_argument("--hold", metavar="POINT[:N]", type=_times, help="stand still there instead")
    parser.add_argument("--when", default="", metavar="TEXT", help="only passes with this in an event count")
    parser.add_argument("--lose", metavar="KIND:N[:M]", type=_span, help="messages N to M of a kind are lost")
    parser.add_argument("--mutant", help="run a variant that is broken on purpose")
    parser.add_argument("--clock-ms", type=int, default=0, help="the wall clock is off by so much")
    parser.add_argument("stage", nargs=argparse.REMAINDER)
    return parser


def main(arguments: Sequence[str]) -> None:
    """Put the faults in place, and run the stage."""
    cut = list(arguments).index("--")
    given = options().parse_args(arguments[:cut])
    command = list(arguments[cut + 1 :])
    if given.mutant:
        from tests.faults.mutants import MUTANTS, install

        install(MUTANTS[given.mutant])
    if given.clock_ms:
        from pipeline import runtime

        wall_ms = runtime.wall_ms
        runtime.wall_ms = lambda: wall_ms() + given.clock_ms
    from tests.faults.crash_points import ARM, Fuse, Losses, watch_sockets

    fuses = [
        Fuse(*point, given.when.encode(), hold=point is given.hold)
        for point in (given.crash, given.hold)
        if point
    ]
    losses = [Losses(*given.lose)] if given.lose else []
    if fuses or losses:
        watch_sockets(fuses, losses)
    if fuses:
        ARM[command[0]](fuses)
    from pipeline.cli import main as run

    sys.argv = ["pipeline", *command]
    run()


if __name__ == "__main__":
    main(sys.argv[1:])
