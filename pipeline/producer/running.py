"""A tool that `emit` starts: its output read and sent, its signals passed on, its end told. Shell.

The tool has a session of its own and no terminal: a Ctrl-C reaches `emit` only, which passes it on, once each
time. The kernel kills it when `emit` dies in whatever way (prctl(2), PR_SET_PDEATHSIG; not a set-user-ID
program, for which the kernel forgets that).
"""

from __future__ import annotations

import ctypes
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING

from pipeline.errors import OperatorError, PipelineError
from pipeline.log import escape
from pipeline.producer.adapters import Adapter, Problem
from pipeline.producer.adapters.arguments import ToolCommand
from pipeline.producer.description import Description
from pipeline.producer.outcome import Outcome
from pipeline.producer.terminal import Terminal
from pipeline.runtime import wall_ms

if TYPE_CHECKING:
    from pipeline.producer.sender import Sender

STOP_S = 15.0
"""How long a tool that was told to stop may take; then it is killed."""
TOLD_S = 2.0
"""How long it may take to tell those who watch of a tool that was killed, while nothing is acked."""

_READ_BYTES = 65_536
_MAX_SHOWN_LINE = 8_192
_LEFT_OPEN_S = 0.5
_PR_SET_PDEATHSIG = 1
_LINE_END = re.compile(rb"[\r\n]")


def run_tool(
    sender: Sender,
    terminal: Terminal,
    *,
    command: ToolCommand,
    adapter: Adapter,
    description: Description,
    part: bool,
    notices: Sequence[str],
) -> bool:
    """Run a tool to its end and send what it finds.

    Args:
        part: whether somebody else starts and ends the scan.
        notices: lines to tell once it runs.

    Returns:
        Whether it did well.

    Raises:
        OperatorError: it cannot be started.
        InputMalformed: its output is nothing that is known; it has been killed, and those who watch are told.
        KeyboardInterrupt: it was told to stop; it has ended, and those who watch are told.
    """
    outcome = Outcome(command.tool, part=part)
    run = _Run(sender, terminal, adapter, outcome)
    began = time.monotonic()
    run.start(command.arguments)
    for line in notices:
        terminal.notice(escape(line))
    fields: dict[str, object] = {"args": command.shown[:4_096]}
    if command.targets:
        fields["targets"] = list(command.targets)
    start = outcome.start(fields, _now())
    why = ""
    try:
        if start is not None:
            sender.send(description.put(start))
        run.read()
    except PipelineError as error:
        why = str(error)
        raise
    finally:
        status = run.finish()
        end = outcome.end(
            status,
            time.monotonic() - began,
            _now(),
            ended_by=_name_of(-status) if status < 0 else "",
            stopped=run.stopped,
            why=why,
        )
        if end is not None:
            sender.send(end)
        run.leave()
    if run.stopped:
        terminal.notice(f"{command.tool} was told to stop ({run.stopped})")
        raise KeyboardInterrupt
    if status:
        ended = f"exit status {status}" if status > 0 else _name_of(-status)
        terminal.notice(f"{command.tool} ended with {ended}")
    return status == 0 and not outcome.failed


class _Run:
    """One run, from its start to the end of its process.

    Attributes:
        stopped: the signal it was told to stop with; empty if it was not.
    """

    def __init__(self, sender: Sender, terminal: Terminal, adapter: Adapter, outcome: Outcome) -> None:
        self._sender = sender
        self._terminal = terminal
        self._adapter = adapter
        self._outcome = outcome
        self._signals = 0
        self._error_line = bytearray()
        self._before: dict[
            signal.Signals, signal.Handlers | Callable[[int, FrameType | None], object] | int | None
        ]
        self._before = {}
        self.stopped = ""

    def start(self, arguments: tuple[str, ...]) -> None:
        dies_with_us = _dies_with_us()
        if dies_with_us is None:
            self._terminal.notice("on this system the command goes on if emit is killed")
        try:
            self._child = subprocess.Popen(  # noqa: S603  what the user wants to have run, without a shell
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                preexec_fn=dies_with_us,
            )
        except OSError as error:
            raise OperatorError(f"{arguments[0]}: {error.strerror}") from None
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._pass_on)
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, _give_up)

    def read(self) -> None:
        """Read its output until both pipes are closed, or it has ended and nothing more comes."""
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._child.stdout, selectors.EVENT_READ, self._take_output)
                selector.register(self._child.stderr, selectors.EVENT_READ, self._take_error)
                while selector.get_map():
                    ready = selector.select(_LEFT_OPEN_S)
                    if not ready and self._child.poll() is not None:
                        break  # what it has started in turn holds the pipes open
                    for key, _ in ready:
                        if chunk := os.read(key.fd, _READ_BYTES):
                            key.data(chunk)
                        else:
                            selector.unregister(key.fileobj)
            if self._error_line:
                self._take_error(b"\n")
            self._child.wait()
            self._send(self._adapter.close())
        except KeyboardInterrupt:
            # Told twice to stop, or too slow to: it is killed, and what it was in the middle of is given up.
            self.stopped = self.stopped or "SIGINT"

    def finish(self) -> int:
        """End it, if it has not ended; return its exit status."""
        if self._child.poll() is None:
            self._child.kill()
        if self._signals:
            signal.setitimer(signal.ITIMER_REAL, TOLD_S)
        return self._child.wait()

    def leave(self) -> None:
        """Let go of its pipes, and put the signals back."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        for pipe in (self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._sender.tell_rejected()

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self.stopped = self.stopped or signal.Signals(number).name
        self._child.send_signal(number)
        if self._signals > 1:
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, STOP_S)

    def _take_output(self, chunk: bytes) -> None:
        self._send(self._adapter.feed(chunk))

    def _take_error(self, chunk: bytes) -> None:
        self._error_line += chunk
        *lines, rest = _LINE_END.split(bytes(self._error_line))
        if len(rest) > _MAX_SHOWN_LINE:
            lines, rest = [*lines, rest], b""
        self._error_line = bytearray(rest)
        for line in lines:
            if not line.strip():
                continue
            found = self._adapter.aside(line)
            if found is None:
                self._terminal.notice(escape(line.decode("utf-8", "replace").rstrip()))
            else:
                self._send(found)

    def _send(self, items: list[bytes | Problem]) -> None:
        for item in self._outcome.pass_on(items):
            self._sender.send(item)
        self._sender.tell_rejected()


def _give_up(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _dies_with_us() -> Callable[[], None] | None:
    """Return what the process does before it becomes the tool; None where the system has no such thing."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return None
    parent = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return ask


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _now() -> float:
    return wall_ms() / 1000
