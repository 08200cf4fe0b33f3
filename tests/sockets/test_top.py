"""`top` beside real stages: printed once, and drawn on a terminal that is put back as it was."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from pipeline import Emitter
from tests.harness import PATIENCE, Pipeline, Process, deadline

WAIT_S = 20.0


def once(run_dir: Path, *args: str, code: int = 0) -> Process:
    process = Process("top", "--run-dir", str(run_dir), "--interval", "0.2", *args)
    try:
        assert process.wait(WAIT_S) == code, process.lines
    finally:
        process.close()
    return process


@pytest.fixture
def whole(pipeline: Pipeline) -> Pipeline:
    pipeline.start(workers=2)
    return pipeline


def test_everything_there_is(whole: Pipeline) -> None:
    with (
        Emitter("demo", run_dir=str(whole.run_dir)) as emitter,
        connect(whole.ws("/ws/scans/demo")) as browser,
    ):
        emitter.emit({"type": "scanStarted"})
        emitter.emit({"type": "phaseStarted", "phase": "dns\x1b[2J"})
        emitter.flush(WAIT_S)
        browser.recv(WAIT_S * PATIENCE)
        document = json.loads(once(whole.run_dir, "--json").output)
        text = once(whole.run_dir, "--once").output
    names = ["ingest-0", *(f"shard-{shard}" for shard in range(4)), "edge-0"]
    assert [stage["name"] for stage in document["stages"]] == names
    pids = {name: process.popen.pid for name, process in whole.processes.items()}
    for stage in document["stages"]:
        worker = f"throttle-batch-{stage['index'] % 2}"
        assert stage["pid"] == stage["process"]["pid"] == pids.get(stage["name"], pids[worker])
        assert stage["process"]["rss_bytes"] > 2**20
        assert stage["process"]["cpu_percent"] >= 0
        assert stage["rates"]
    (scan,) = document["scans"]
    assert (scan["channel"], scan["status"], scan["events"]) == ("scan/demo", "running", 2)
    (reader,) = document["connections"]
    assert (reader["wire"], reader["channels"]) == ("native", ["scan/demo"])
    lines = text.splitlines()
    assert all(line.isprintable() for line in lines)
    for start in (*names, "demo ", "127.0.0.1 "):
        assert sum(line.startswith(start) for line in lines) == 1, text


def test_a_shard_whose_worker_is_gone_is_missed(whole: Pipeline) -> None:
    whole.processes["throttle-batch-1"].kill()
    document = json.loads(once(whole.run_dir, "--json").output)
    assert {stage["name"]: stage["problems"] for stage in document["stages"] if stage["problems"]} == {
        "shard-1": ["silent"],
        "shard-3": ["silent"],
    }
    whole.processes["throttle-batch-0"].kill()
    document = json.loads(once(whole.run_dir, "--json").output)
    assert sum("silent" in stage["problems"] for stage in document["stages"]) == 4


def test_without_a_pipeline_it_says_where_it_looked(run_dir: Path) -> None:
    process = once(run_dir, "--once", code=1)
    assert process.errors.startswith(f"error: no pipeline is found in {run_dir};")


class Terminal:
    """A `top` on a terminal of its own."""

    def __init__(self, run_dir: Path, columns: int = 80, rows: int = 24, **environ: str) -> None:
        self._main, self.side = os.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.side)
        command = [sys.executable, "-m", "pipeline", "top", "--run-dir", str(run_dir), "--interval", "0.2"]
        self.popen = subprocess.Popen(
            command,
            stdin=self.side,
            stdout=self.side,
            stderr=subprocess.PIPE,
            env={**os.environ, "TERM": "xterm", **environ},
            preexec_fn=self._own,
        )
        self.shown = b""

    def _own(self) -> None:
        """Make it the new process's own terminal, so that Ctrl-C reaches it."""
        os.setsid()
        fcntl.ioctl(self.side, termios.TIOCSCTTY, 0)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self._main, keys)

    def read_until(self, fact: Callable[[bytes], object], since: int = 0) -> None:
        """Read what is drawn until it is as wanted, from a place on."""
        end = deadline(WAIT_S)
        while not fact(self.shown[since:]):
            left = end - time.monotonic()
            assert left > 0, self.shown[since:]
            assert self.popen.poll() is None, self.ended()
            if select.select([self._main], [], [], left)[0]:
                self.shown += os.read(self._main, 65_536)

    def ended(self) -> tuple[int, bytes]:
        """Return the exit code and what it said on stderr."""
        end = deadline(WAIT_S)
        while self.popen.poll() is None:
            assert time.monotonic() < end
            if select.select([self._main], [], [], 0.05)[0]:
                self.shown += os.read(self._main, 65_536)
        while select.select([self._main], [], [], 0)[0]:
            self.shown += os.read(self._main, 65_536)
        assert self.popen.stderr is not None
        return self.popen.returncode, self.popen.stderr.read().strip()  # Ctrl-C ends the line it is in

    def put_back(self) -> bool:
        """Whether the terminal is as it was before."""
        left = self.shown.rfind(b"\x1b[?1049l") > self.shown.rfind(b"\x1b[?1049h") >= 0
        return left and termios.tcgetattr(self.side) == self.before

    def close(self) -> None:
        self.popen.kill()
        self.popen.communicate()
        os.close(self._main)
        os.close(self.side)


@pytest.fixture
def terminal(whole: Pipeline) -> Iterator[Terminal]:
    drawn = Terminal(whole.run_dir)
    try:
        yield drawn
    finally:
        drawn.close()


def everything(shown: bytes) -> bool:
    return all(name in shown for name in (b"ingest-0", b"shard-3", b"edge-0", b"READER"))


def end_by_key(terminal: Terminal) -> None:
    terminal.press(b"q")


def end_by_ctrl_c(terminal: Terminal) -> None:
    terminal.press(b"\x03")


def end_by_sigterm(terminal: Terminal) -> None:
    terminal.popen.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(("end", "code"), [(end_by_key, 0), (end_by_ctrl_c, 130), (end_by_sigterm, 0)])
def test_the_terminal_is_put_back(terminal: Terminal, end: Callable[[Terminal], None], code: int) -> None:
    terminal.read_until(everything)
    assert not terminal.put_back()
    end(terminal)
    assert terminal.ended() == (code, b"")
    assert terminal.put_back()


def test_it_goes_on_and_is_drawn_anew_in_another_size(whole: Pipeline, terminal: Terminal) -> None:
    terminal.read_until(everything)
    with Emitter("later", run_dir=str(whole.run_dir)) as emitter:
        emitter.emit({"type": "scanStarted"})
        emitter.flush(WAIT_S)
        terminal.read_until(lambda shown: b"later" in shown)
        drawn = len(terminal.shown)
        terminal.resize(40, 8)
        terminal.read_until(lambda shown: b"more" in shown, since=drawn)  # what has no room is counted
    terminal.press(b"q")
    assert terminal.ended() == (0, b"")
    assert terminal.put_back()


def test_a_terminal_that_cannot_be_drawn_on_is_told(whole: Pipeline) -> None:
    terminal = Terminal(whole.run_dir, TERM="no-such-terminal")
    try:
        code, said = terminal.ended()
    finally:
        terminal.close()
    assert code == 1
    assert said.startswith(b"error: this terminal (TERM=no-such-terminal) cannot be drawn on")


def test_stages_that_come_and_go_while_it_is_watched(whole: Pipeline, terminal: Terminal) -> None:
    terminal.read_until(everything)
    drawn = len(terminal.shown)
    whole.processes["ingest-0"].kill()
    terminal.read_until(lambda shown: b"silent" in shown, since=drawn)
    terminal.press(b"q")
    assert terminal.ended() == (0, b"")


@pytest.mark.parametrize("flags", [["--interval", "0"], ["--interval", "x"], ["extra"]])
def test_wrong_usage_is_2(run_dir: Path, flags: list[Any]) -> None:
    process = Process("top", "--run-dir", str(run_dir), *flags)
    try:
        assert process.wait(WAIT_S) == 2
    finally:
        process.close()
