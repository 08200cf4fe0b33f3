"""What `emit` says on standard error: one line each, and a progress bar while a file is read.

The bar is drawn on a terminal only; it has no colours.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

_CLEAR_LINE = "\r\x1b[K"


class Terminal:
    """Writes lines, below a bar if there is one."""

    def __init__(self) -> None:
        self._drawn = False

    def notice(self, line: str) -> None:
        """Write one line; it must hold no control characters."""
        click.echo((_CLEAR_LINE if self._drawn else "") + line, err=True)

    @contextmanager
    def bar(self, label: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
        """Draw a progress bar.

        Args:
            label: what is read.
            total_bytes: how much there is; with nothing, and where standard error is no terminal, no bar is
                drawn.

        Yields:
            What is called with how many bytes more were read.
        """
        if total_bytes <= 0 or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            yield _nothing
            return
        with click.progressbar(length=total_bytes, label=label, file=sys.stderr, show_pos=False) as drawn:
            self._drawn = True
            try:
                yield drawn.update
            finally:
                self._drawn = False


def _nothing(_read_bytes: int) -> None:
    return
