"""SIGHUP of `up`: all of it reads its configuration anew; or its terminal has gone, and it stops."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

from tests.e2e.test_up import Start, gone, up
from tests.harness import PATIENCE, free_port, private_dir

__all__ = ["up"]


def test_all_of_them_read_their_configuration_anew(up: Start, tmp_path: Path) -> None:
    own, edge = tmp_path / "up.toml", tmp_path / "edge.toml"
    edge.write_text("")
    stages = f'[stages]\nedge_config = "{edge}"\n'
    own.write_text(stages)
    running = up("-c", str(own))
    running.ready()
    pids = running.children()
    edge.write_text("[limits]\nmax_waiting = 7\n")
    own.write_text(stages + '[restart]\nsteady_s = 5.0\n[log]\nlevel = "debug"\n')
    os.kill(running.popen.pid, signal.SIGHUP)
    told = running.wait_for("configuration read anew", process="up")
    assert (told["changed"], told["needs_restart"]) == ("log.level", "restart.steady_s")
    assert running.wait_for("configuration read anew", process="edge-0")["changed"] == "limits.max_waiting"
    edge.write_text("[limits]\nmax_waitings = 7\n")
    os.kill(running.popen.pid, signal.SIGHUP)
    refused = running.wait_for("configuration refused; the old one holds", process="edge-0")
    assert refused["problem"].endswith("did you mean max_waiting?")
    running.carries_an_event("demo")
    assert running.children() == pids, "nobody was restarted"
    assert running.terminate() == 0


def test_one_that_is_only_just_starting_is_not_ended_by_it(up: Start) -> None:
    running = up()
    running.wait_for("started", program="edge-0")
    os.kill(running.popen.pid, signal.SIGHUP)
    running.ready()
    assert [line for line in running.lines if line.get("fact") == "died"] == []


def test_without_its_terminal_it_stops() -> None:
    ours, its = pty.openpty()
    with private_dir() as place:
        places = [
            "--run-dir",
            str(place / "run"),
            "--data-dir",
            str(place / "data"),
            "--port",
            str(free_port()),
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "up", *places],
            stdin=its,
            stdout=subprocess.PIPE,
            stderr=its,
            start_new_session=True,
            env={**os.environ, "PIPELINE_METRICS__PORT": "0"},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # no threads here
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"ready edge=")
            pids = [
                int(pid)
                for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            ]
            assert len(pids) == 3
            os.close(its)
            os.close(ours)
            assert process.wait(20 * PATIENCE) == 0
            gone(pids)
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
