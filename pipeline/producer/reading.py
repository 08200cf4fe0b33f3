"""An input, read and sent as it comes: standard input, or a file. Shell: it touches the pipe."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import OperatorError
from pipeline.log import escape
from pipeline.producer.adapters import Adapter
from pipeline.producer.description import Description
from pipeline.producer.terminal import Terminal

if TYPE_CHECKING:
    from pipeline.producer.sender import Sender

READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Input:
    """What is read, and what is sent around it.

    Attributes:
        file: None or `-` for standard input.
        adapter: what reads it; None where nothing is read.
        description: what is put into `scanStarted`.
        first: an event sent before; None for none.
        last: an event sent behind; None for none.
    """

    file: Path | None
    adapter: Adapter | None
    description: Description
    first: bytes | None
    last: bytes | None


def forward(sender: Sender, terminal: Terminal, what: Input) -> None:
    """Send an input.

    Raises:
        OperatorError: it cannot be read.
        InputMalformed: it is nothing that is known.
    """
    put = what.description.put
    if what.first is not None:
        sender.send(put(what.first))
    if what.adapter is not None:
        _read(sender, terminal, what.file, what.adapter, put)
    if what.last is not None:
        sender.send(what.last)
    if what.description.fields and not what.description.used:
        terminal.notice("the input has no scanStarted: --name, --target and --label are not sent")


def _read(
    sender: Sender, terminal: Terminal, file: Path | None, adapter: Adapter, put: Callable[[bytes], bytes]
) -> None:
    is_file = file is not None and str(file) != "-"
    if not is_file and sys.stdin.isatty():
        terminal.notice("reading from the terminal; end with Ctrl-D")
    try:
        descriptor = os.open(str(file), os.O_RDONLY) if is_file else sys.stdin.fileno()
        try:
            label = escape(file.name) if file is not None and is_file else "standard input"
            with terminal.bar(label, _size(descriptor)) as advance:
                while chunk := _next_chunk(descriptor, sender, adapter, put):
                    for item in adapter.feed(chunk):
                        sender.send(put(item) if isinstance(item, bytes) else item)
                    sender.tell_rejected()
                    advance(len(chunk))
        finally:
            if is_file:
                os.close(descriptor)
    except OSError as error:
        raise OperatorError(f"{file or 'standard input'}: {error.strerror}") from None
    for item in adapter.close():
        sender.send(put(item) if isinstance(item, bytes) else item)


def _size(descriptor: int) -> int:
    """Return how much there is to read, if that can be known; else 0."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return 0
    return status.st_size - os.lseek(descriptor, 0, os.SEEK_CUR)


def _next_chunk(descriptor: int, sender: Sender, adapter: Adapter, put: Callable[[bytes], bytes]) -> bytes:
    try:
        return os.read(descriptor, READ_BYTES)
    except KeyboardInterrupt:
        # The tool in front of us was interrupted too; those who watch are told, if its adapter can tell.
        for item in adapter.close():
            if isinstance(item, bytes):
                sender.send(put(item))
        raise
