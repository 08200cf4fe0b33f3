"""What every benchmark's command line has: how much is measured, where it is written down, and its help.

A benchmark names its own options, each with a value for every scale; one that is given beats the scale's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _report import DOCS

SCALES = ("normal", "quick", "full", "smallest")
Value = int | float | str | bool | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a benchmark.

    Attributes:
        name: without dashes.
        text: what it says, one sentence.
        normal: its value; several numbers are given with commas between.
        quick: the value with --quick; the normal one if not given. The same for `full` and `smallest`.
    """

    name: str
    text: str
    normal: Value
    quick: Value | None = None
    full: Value | None = None
    smallest: Value | None = None

    def value(self, scale: str) -> Value:
        """Return its value at a scale."""
        own: Value | None = getattr(self, scale)
        if own is None and scale == "smallest":
            own = self.quick
        return self.normal if own is None else own


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word.replace("_", "")) for word in text.split(",") if word)


def _written(value: Value) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "all"


def parse(
    name: str,
    doc: str,
    minutes: dict[str, float],
    own: Sequence[Option],
    arguments: Sequence[str] | None = None,
) -> argparse.Namespace:
    """Read a benchmark's command line.

    Args:
        name: the benchmark's.
        doc: its docstring.
        minutes: scale -> how long it takes.
        own: its options.
        arguments: the command line; the process's if not given.

    Returns:
        The value of each option; `scale`, what was asked for; `into`, the directory to write to, or None.
    """
    parser = argparse.ArgumentParser(
        prog=f"bin/bench {name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_ending(name, minutes),
    )
    scales = parser.add_mutually_exclusive_group()
    for scale, text in (
        ("quick", "the least that tells something"),
        ("full", "every cell, more runs"),
        ("smallest", "the least that runs every part, for a test; its figures tell nothing"),
    ):
        scales.add_argument(f"--{scale}", dest="scale", action="store_const", const=scale, help=text)
    parser.add_argument("--write", action="store_true", help="write down also with options of its own")
    parser.add_argument(
        "--into",
        type=Path,
        metavar="DIR",
        default=DOCS,
        help="directory of BENCHMARKS.md, where figures are written down",
    )
    for option in own:
        _add(parser, option)
    found = parser.parse_args(arguments)
    scale = found.scale or "normal"
    given = []
    for option in own:
        key = option.name.replace("-", "_")
        if getattr(found, key) is None:
            setattr(found, key, option.value(scale))
        else:
            given.append(f"--{option.name} {_written(getattr(found, key))}")
    found.into = found.into if found.write or not given else None
    if found.into is not None and not (found.into / "BENCHMARKS.md").is_file():
        parser.error(f"--into {found.into}: there is no BENCHMARKS.md")
    found.scale = " ".join([*([f"--{scale}"] if scale != "normal" and given else []), *given]) or scale
    if given:
        found.scale = f"`{found.scale}`"
    return found


def _add(parser: argparse.ArgumentParser, option: Option) -> None:
    values = [_written(option.value("normal"))]
    values += [
        f"--{scale} {_written(option.value(scale))}"
        for scale in ("quick", "full")
        if option.value(scale) != option.normal
    ]
    text = f"{option.text} ({'; '.join(values)})".replace("%", "%%")
    if isinstance(option.normal, bool):
        parser.add_argument(
            f"--{option.name}", action=argparse.BooleanOptionalAction, default=None, help=text
        )
        return
    kind: Callable[[str], Any] = _numbers if isinstance(option.normal, tuple) else type(option.normal)
    metavar = {tuple: "N,N…", int: "N", float: "N", str: "WORD"}[type(option.normal)]
    parser.add_argument(f"--{option.name}", type=kind, default=None, metavar=metavar, help=text)


def _ending(name: str, minutes: dict[str, float]) -> str:
    times = ", ".join(
        f"{value:g} min{'' if scale == 'normal' else f' with --{scale}'}"
        for scale, value in minutes.items()
        if value
    )
    return (
        f"takes about {times}.\n\n"
        "output: tables on stdout. Without options of its own, also DIR/BENCHMARKS.md (its section only),\n"
        f"DIR/benchmarks/{name}.json with the figures, and pictures of them beside that.\n\n"
        "exit code: 0 when it could measure, whatever the figures; 1 when not; 2 usage."
    )
