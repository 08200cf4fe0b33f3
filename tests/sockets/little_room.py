"""What an emitter's spool does when no file may grow.

`python -m tests.sockets.little_room WHAT SPOOL RUN_DIR`: a process of its own, for the limit holds for every
file it writes. What it saw it prints, as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from pipeline import Emitter
from pipeline.errors import OperatorError
from pipeline.spool_file import SpoolFile

CHANNEL = "scan/a"


def room(size_bytes: int | None) -> None:
    """Let no file grow beyond so many bytes, as if the disk were full; None: let them."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size_bytes is None else size_bytes, hard))


def refused(call: object, *args: object, **named: object) -> str:
    """Return what an `OperatorError` says; empty when there is none."""
    try:
        call(*args, **named)  # type: ignore[operator]
    except OperatorError as error:
        return str(error)
    return ""


def file(path: Path, _run_dir: str) -> dict[str, object]:
    """Add to a spool, pack it, and mark an ack, where only the first and the last fit."""
    spool = SpoolFile(path)
    spool.begin("p", 7)
    spool.add(CHANNEL, 1, b"x" * 30)
    before = path.read_bytes()
    room(len(before) + 30)
    said = refused(spool.add, CHANNEL, 2, b"y" * 60)
    unchanged = path.read_bytes() == before
    spool.acked(CHANNEL, 1)
    marked = path.read_bytes()
    spool.pack("p", 7, [(CHANNEL, 1, [b"z" * 200])])
    kept = path.read_bytes() == marked
    spool.close(done=False)
    return {"said": said, "unchanged": unchanged, "kept": kept, "marked": len(marked) > len(before)}


def begin(path: Path, run_dir: str) -> dict[str, object]:
    """Begin a spool where not even its first record fits."""
    room(10)
    said = refused(Emitter, "a", run_dir=run_dir, spool=path)
    SpoolFile(path).close(done=False)  # it is let go of
    return {"said": said}


def emitter(path: Path, run_dir: str) -> dict[str, object]:
    """Emit until the disk is full, and on when it is not any more."""
    numbers: list[list[int]] = []
    with Emitter("a", run_dir=run_dir, spool=path) as sender:
        room(2_000)
        said, count = "", 0
        while not said:
            count += 1
            raw = b'{"type":"note","n":%d}' % count
            try:
                numbers.append([count, sender.emit(raw)])
            except OperatorError as error:
                said = str(error)
        again = [
            refused(sender.emit, b'{"type":"note","n":%d,"pad":"%b"}' % (n, b"." * 3_000)) for n in (-1, -2)
        ]
        room(None)
        more = range(count + 1, count + 11)
        numbers += [[number, sender.emit(b'{"type":"note","n":%d}' % number)] for number in more]
    return {"said": said, "again": again, "numbers": numbers, "left": path.stat().st_size}


if __name__ == "__main__":
    what, spool_path, directory = sys.argv[1:]
    print(json.dumps({"file": file, "begin": begin, "emitter": emitter}[what](Path(spool_path), directory)))
