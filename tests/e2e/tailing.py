"""`tail` as its own process, known to listen before anything is sent."""

from __future__ import annotations

import itertools
import json
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from pipeline import Emitter
from pipeline.shards import shard_of
from tests.harness import Pipeline, Process, deadline

_POLL_S = 0.02


class Tail(Process):
    """A `tail --json` of one scan.

    It is live only, and nothing tells from outside that its subscription has arrived; so it also follows
    a scan of ours on the same shard, which is sent to until something of it comes out.
    """

    def __init__(self, pipeline: Pipeline, scan_id: str) -> None:
        shard = shard_of(f"scan/{scan_id}", pipeline.shards)
        self._knock = next(
            name
            for name in map("knock-{}".format, itertools.count())
            if shard_of(f"scan/{name}", pipeline.shards) == shard
        )
        self._scan_id = scan_id
        run_dir = str(pipeline.run_dir)
        super().__init__("tail", "--json", "--scan", scan_id, "--scan", self._knock, "--run-dir", run_dir)
        with Emitter(self._knock, run_dir=run_dir) as emitter:
            self._wait(lambda: emitter.emit({"type": "scanStarted"}) and self.stdout)

    def wait_for(self, text: str, seconds: float = 30) -> None:  # type: ignore[override]  # its data, not its log
        """Wait until the last line has this in it."""
        self._wait(lambda: self.stdout and text.encode() in self.stdout[-1], seconds)

    def _wait(self, fact: Callable[[], object], seconds: float = 30) -> None:
        end = deadline(seconds)
        pause = threading.Event()
        while not fact():
            if time.monotonic() > end or self.popen.poll() is not None:
                raise AssertionError(f"tail waited {seconds:g} s in vain; it said {self.errors!r}")
            pause.wait(_POLL_S)

    def interrupt(self) -> int:
        """End it as Ctrl-C does; return its exit code."""
        self.popen.send_signal(signal.SIGINT)
        return self.wait()

    def events(self) -> dict[int, dict[str, Any]]:
        """Return seq -> event of everything of the scan that came; ask when it has ended."""
        lines = [json.loads(line) for line in self.output.splitlines()]
        return {line["seq"]: line["event"] for line in lines if line["channel"] == f"scan/{self._scan_id}"}
