"""`top` on a terminal: drawn again and again, until somebody has seen enough. Shell.

Curses puts the terminal back however this ends. The pipeline is asked in a thread of its own, so that a stage
that does not answer delays no key and no resize.
"""

from __future__ import annotations

import contextlib
import curses
import locale
import os
import signal
import sys
import threading
from collections.abc import Mapping
from types import FrameType
from typing import NoReturn

from pipeline.errors import OperatorError
from pipeline.operate.board import Board
from pipeline.operate.gathering import ANSWER_S, BEACON_S, Gathering
from pipeline.operate.picture import lines

LOOK_MS = 100
"""How often keys are looked at."""


class Watching(threading.Thread):
    """Gathers again and again, until it is told to leave; then it closes what it gathers with.

    Args:
        gathering: asks the pipeline; from now on this thread's.
        board: makes documents.
        interval_s: seconds between two.

    Attributes:
        latest: the last document; None before the first.
        problem: what ended it, if it was not told to.
    """

    def __init__(self, gathering: Gathering, board: Board, interval_s: float) -> None:
        super().__init__(name="top", daemon=True)
        self._gathering = gathering
        self._board = board
        self._interval_s = interval_s
        self._leave = threading.Event()
        self.latest: Mapping[str, object] | None = None
        self.problem: Exception | None = None

    def run(self) -> None:
        """Gather until `leave`."""
        try:
            while not self._leave.is_set():
                self.latest = self._board.document(self._gathering.take())
                self._leave.wait(self._interval_s)
        except Exception as error:  # noqa: BLE001  # raised again where it is shown
            self.problem = error
        finally:
            self._gathering.close()

    def leave(self) -> None:
        """Have it end, and wait for that as long as a question may take."""
        self._leave.set()
        self.join(BEACON_S + 2 * ANSWER_S)


def show(gathering: Gathering, board: Board, interval_s: float) -> None:
    """Show the pipeline until q is pressed, or SIGTERM or SIGHUP comes.

    Args:
        gathering: asks the pipeline; closed when this returns.
        board: makes documents.
        interval_s: seconds between two looks.

    Raises:
        OperatorError: this terminal cannot be drawn on.
        KeyboardInterrupt: Ctrl-C; the terminal is as it was before.
    """
    locale.setlocale(locale.LC_ALL, "")
    watching = Watching(gathering, board, interval_s)
    before = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    watching.start()
    try:
        curses.setupterm(fd=sys.stdout.fileno())
        curses.wrapper(lambda screen: _draw(screen, watching))
    except curses.error as error:
        raise OperatorError(
            f"this terminal (TERM={os.environ.get('TERM', '')}) cannot be drawn on: {error}; use --once"
        ) from None
    finally:
        watching.leave()
        for number, handler in before.items():
            signal.signal(number, handler)


def _draw(screen: curses.window, watching: Watching) -> None:
    with contextlib.suppress(curses.error):  # a terminal that cannot hide it
        curses.curs_set(0)
    screen.timeout(LOOK_MS)
    drawn: Mapping[str, object] | None = None
    size = screen.getmaxyx()
    while True:
        key = screen.getch()
        if key in (ord("q"), ord("Q")):
            return
        if watching.problem is not None:
            raise watching.problem
        _follow_size()
        latest = watching.latest
        if latest is None or (latest is drawn and size == screen.getmaxyx()):
            continue
        drawn, size = latest, screen.getmaxyx()
        rows, columns = size
        screen.erase()
        for row, line in enumerate(lines(latest, columns, rows)):
            with contextlib.suppress(curses.error):  # the last cell of the screen cannot be left
                screen.addstr(row, 0, line, _look(row, line))
        screen.refresh()


def _follow_size() -> None:
    """Take the terminal's size as it is: curses hears of another by a signal alone, which may pass it by."""
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    if curses.is_term_resized(rows, columns):
        curses.resizeterm(rows, columns)


def _look(row: int, line: str) -> int:
    if row == 0:
        return curses.A_BOLD
    return curses.A_REVERSE if line.startswith(("STAGE ", "SCAN ", "READER ")) else curses.A_NORMAL


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)
