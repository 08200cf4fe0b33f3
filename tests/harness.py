"""Real processes for tests: started, waited for by what they say, and ended for certain.

Nothing here sleeps: every wait is for a fact (a log line, an exit, a message), with a deadline that one
factor scales (`SCANSTREAM_TEST_PATIENCE`, for slow machines).
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.forking import Forked, fork

PATIENCE = float(os.environ.get("SCANSTREAM_TEST_PATIENCE", "1"))
FRESH = os.environ.get("SCANSTREAM_TEST_FRESH", "") not in ("", "0")
"""Whether every process is started by an interpreter of its own; see `forking`."""


def deadline(seconds: float) -> float:
    """Return a deadline, monotonic seconds, `seconds` from now times the factor."""
    return time.monotonic() + seconds * PATIENCE


def _begun(arguments: list[str], env: dict[str, str], stdin: Any) -> subprocess.Popen[bytes] | Forked:
    """Return a process: forked if it is the pipeline's and nothing is asked of its interpreter, or fresh."""
    environ = {**os.environ, **env}
    if not FRESH and arguments[0] == "pipeline" and all(name.startswith("PIPELINE_") for name in env):
        return fork(arguments[1:], environ, stdin)
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
    )


class Process:
    """One stage as its own process; its log lines are read as they come.

    Args:
        args: the stage and its arguments.
        env: variables beside those there are.
        stdin: where it reads from; nothing if not given.
        program: the module that is run, and what stands before `args`.

    Attributes:
        lines: every log line so far: the JSON object of it, or {"text": …} for another line.
    """

    def __init__(
        self,
        *args: str,
        env: dict[str, str] | None = None,
        stdin: Any = None,
        program: tuple[str, ...] = ("pipeline",),
    ) -> None:
        self.args = args
        self.lines: list[dict[str, Any]] = []
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.popen = _begun(
            [*program, *args],
            {"PIPELINE_METRICS__PORT": "0", **(env or {})},
            subprocess.DEVNULL if stdin is None else stdin,
        )
        self.stdout: list[bytes] = []
        self._readers = [
            threading.Thread(target=self._read_stderr, daemon=True),
            threading.Thread(target=self._read_stdout, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_stderr(self) -> None:
        assert self.popen.stderr is not None
        for raw in self.popen.stderr:
            text = raw.decode(errors="replace").rstrip("\n")
            try:
                line = json.loads(text)
            except ValueError:
                line = {"text": text}
            self.lines.append(line)
            self._queue.put(line)
        self._queue.put(None)

    def _read_stdout(self) -> None:
        assert self.popen.stdout is not None
        self.stdout.extend(self.popen.stdout)

    def wait_for(self, fact: str, seconds: float = 20, **fields: Any) -> dict[str, Any]:
        """Return the next log line with this fact and these fields."""
        end = deadline(seconds)
        while True:
            try:
                line = self._queue.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{self.args}: no line {fact!r} {fields}; got {self.lines}") from None
            if line is None:
                raise AssertionError(f"{self.args} ended with {self.popen.wait()}: {self.lines}")
            if line.get("fact") == fact and all(line.get(name) == value for name, value in fields.items()):
                return line

    def wait(self, seconds: float = 20) -> int:
        """Wait for its end.

        Returns:
            Its exit code; everything it wrote has been read.

        Raises:
            AssertionError: it was aborted, by libzmq or the interpreter; what it said of that is told.
        """
        code = self.popen.wait(seconds * PATIENCE)
        for reader in self._readers:
            reader.join(seconds * PATIENCE)
        assert code != -signal.SIGABRT, f"{self.args} was aborted: {self.errors}"
        return code

    def terminate(self, seconds: float = 20) -> int:
        """Ask it to stop, and wait until it has."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self) -> None:
        """End it as a crash would, and wait until it is gone."""
        self.popen.kill()
        self.wait()

    def close(self) -> None:
        """End it, stopped or not, and let go of its pipes."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.wait()
        for pipe in (self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()

    @property
    def errors(self) -> str:
        """Everything it wrote on stderr that is no log line."""
        return "\n".join(line["text"] for line in self.lines if "text" in line)

    @property
    def output(self) -> str:
        """Everything it wrote on stdout; complete once `wait` has returned."""
        return b"".join(self.stdout).decode()


@contextmanager
def private_dir() -> Iterator[Path]:
    """Give an empty directory with a path short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="ss", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


_PORTS_FROM = 10_240
_PORTS_A_TIME = 8
_port_blocks = itertools.count(os.getpid() * 7)


def free_port(in_a_row: int = 1) -> int:
    """Return a port nobody listens on, for what cannot be told to choose one itself.

    The kernel gives it to nobody: it is below those it chooses from (`ip_local_port_range`). Nor does this
    process return it again soon, and others that run tests beside it have other ones.

    Args:
        in_a_row: how many are wanted, `_PORTS_A_TIME` at most; the first is returned.
    """
    chosen_from = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16
    size = 16 * _PORTS_A_TIME
    blocks = (chosen_from - _PORTS_FROM) // size
    for number in _port_blocks:
        low = _PORTS_FROM + number % blocks * size + worker * _PORTS_A_TIME
        try:
            for port in range(low, low + in_a_row):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return low
    raise AssertionError("the count never ends")


def next_sent(stream: Any) -> Any:
    """Return the next message of server-sent events; a slow machine has more signs of life before it.

    Args:
        stream: the answer, as `urllib` or `http.client` gives it.

    Raises:
        AssertionError: the stream ends without one.
    """
    while line := stream.readline():
        if line.startswith(b"data: "):
            return json.loads(line.removeprefix(b"data: "))
    raise AssertionError("the stream ended without a message")


class Pipeline:
    """A whole pipeline in a directory of its own.

    Args:
        place: an empty directory, mode 0700.
        shards: how many shards.

    Attributes:
        processes: every process started, by its name, such as `ingest-0`.
        port: where the edges listen, once one is started.
    """

    def __init__(self, place: Path, shards: int = 4) -> None:
        self.run_dir = place / "run"
        self.data_dir = place / "data"
        self.shards = shards
        self.processes: dict[str, Process] = {}
        self.port = 0

    def start(
        self, ingests: int = 1, workers: int = 1, edges: int = 1, *, config: dict[str, str] | None = None
    ) -> None:
        """Start so many of each stage and wait until each is ready and the edges hear every shard.

        Args:
            config: stage -> TOML text of its config file.
        """
        names = [f"ingest-{index}" for index in range(ingests)]
        names += [f"throttle-batch-{index}" for index in range(workers)]
        for name in names:
            self.start_one(name, workers=workers, config=config)
        for name in names:
            self.processes[name].wait_for("ready")
        for index in range(edges):
            self.start_edge(index, config=config)
        self.wait_ready()

    def start_one(self, name: str, *, workers: int = 1, config: dict[str, str] | None = None) -> Process:
        """Start a process by its name; it may not be ready yet."""
        self.processes[name] = Process(*self.arguments(name, workers=workers, config=config))
        return self.processes[name]

    def arguments(self, name: str, *, workers: int = 1, config: dict[str, str] | None = None) -> list[str]:
        """Return the command line of a process by its name."""
        stage, _, index = name.rpartition("-")
        args = [stage, *self._common(stage, config)]
        if stage == "ingest":
            args += ["--index", index]
        elif stage == "throttle-batch":
            own = [str(shard) for shard in range(self.shards) if shard % workers == int(index)]
            args += ["--data-dir", str(self.data_dir), "--own", ",".join(own)]
        else:
            args += ["--index", index, "--port", str(self.port), "--share-port"]
        return args

    def start_edge(self, index: int = 0, *, config: dict[str, str] | None = None) -> Process:
        """Start an edge and wait until it listens; the first one takes a free port, the others share it."""
        process = self.start_one(f"edge-{index}", config=config)
        self.learn_port(process)
        return process

    def learn_port(self, edge: Process) -> None:
        """Wait until an edge listens, and keep in mind where."""
        ready = edge.wait_for("ready")
        self.port = urlsplit(ready["edge"]).port or 0

    def _common(self, stage: str, config: dict[str, str] | None) -> list[str]:
        args = ["--run-dir", str(self.run_dir), "--shards", str(self.shards), "--log-format", "json"]
        if config and stage in config:
            path = self.run_dir.parent / f"{stage}.toml"
            path.write_text(config[stage])
            args += ["-c", str(path)]
        return args

    def wait_ready(self, seconds: float = 20) -> None:
        """Wait until the edge hears every shard."""
        end = deadline(seconds)
        pause = threading.Event()
        while True:
            status, body = self.get("/readyz")
            if status == 200:
                return
            if time.monotonic() > end:
                raise AssertionError(f"not ready: {body}")
            pause.wait(0.02)

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Return (status, decoded JSON, or text) of a GET to the edge."""
        request = urllib.request.Request(f"{self.url}{path}", headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=10 * PATIENCE) as response:
                status, body = response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                status, body = error.code, error.read()
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body.decode()

    @property
    def url(self) -> str:
        """The edge's address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def ws(self, path: str) -> str:
        """Return the address of a WebSocket."""
        return f"ws://127.0.0.1:{self.port}{path}"

    def stop(self) -> dict[str, dict[str, Any]]:
        """Stop everything.

        Returns:
            The counters in the `stopped` line of each process.
        """
        counted: dict[str, dict[str, Any]] = {}
        for name, process in self.processes.items():
            process.terminate()
            stopped = [line for line in process.lines if line.get("fact") == "stopped"]
            counted[name] = stopped[-1] if stopped else {}
        return counted

    def close(self) -> None:
        """End everything for certain."""
        for process in self.processes.values():
            process.close()
